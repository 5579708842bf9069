// Tunnel probes over real kernels: through our own user-space worker to a real listener, whose answers come to a host that routes the service elsewhere.

import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import type { ProbeOutcome } from '../../src/health/probe.ts';
import type { TunnelCheckSpec } from '../../src/health/spec.ts';
import { tcpPacket } from '../../src/health/tunnel/inner-packet.ts';
import { PROBE_PORTS, TunnelProber, type TunnelProberOptions } from '../../src/health/tunnel/prober.ts';
import { Wrapper } from '../../src/health/tunnel/wrapper.ts';
import { RawEgress } from '../../src/io/raw/egress.ts';
import type { ServiceSpec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { needs } from '../needs.ts';
import { inside } from './inside.ts';

type Family = 4 | 6;
const FAMILIES = [4, 6] as const;
const HTTP: TunnelCheckSpec['http'] = { method: 'GET', path: '/', host: null, status: [{ from: 200, to: 299 }] };
const ECHO_PORT = 7;

/** A counter of /proc/net/snmp: `Tcp OutRsts`. */
function counter(namespace: Namespace, group: string, name: string): number {
  const rows = namespace
    .run('cat', ['/proc/net/snmp'])
    .split('\n')
    .filter((line) => line.startsWith(`${group}:`))
    .map((line) => line.split(' '));
  return Number(rows[1][rows[0].indexOf(name)]);
}

class Scene {
  readonly lab: Lab;
  readonly egress: RawEgress;
  readonly prober: TunnelProber;
  readonly worker: Namespace;

  constructor(t: TestContext, options: Partial<TunnelProberOptions> = {}) {
    this.lab = Lab.create({ workers: 1 });
    this.worker = this.lab.workers[0];
    this.egress = inside(this.lab.director, () => new RawEgress());
    const { sourcePortBase, sourcePortMask } = this.egress.facts;
    this.prober = new TunnelProber({ egress: this.egress, sourcePortBase, sourcePortMask, ...options });
    t.after(() => {
      this.prober.close();
      this.egress.close();
      this.lab.close();
    });
  }

  target(outer: Family, services: readonly ServiceSpec[]) {
    const { director, workers } = this.lab;
    const address = ip(outer === 4 ? workers[0].address4 : workers[0].address6);
    return {
      pool: 'p',
      backend: { name: 'w', address, weight: 1, state: 'active' as const },
      tunnel: {
        encapsulation: 'gue' as const,
        port: 6080,
        source4: ip(director.address4),
        source6: ip(director.address6),
        checksum: 'auto' as const,
      },
      services,
    };
  }

  service(inner: Family, protocol: number, port: number): ServiceSpec {
    const bytes = ip(inner === 4 ? this.lab.vip4 : this.lab.vip6);
    const prefix = { bytes, length: bytes.length * 8 };
    return { name: `s${inner}`, prefix, protocol, portFrom: port, portTo: port, affinity: '5-tuple', pool: 'p' };
  }

  /** One probe from the director's namespace. */
  ask(
    outer: Family,
    inner: Family,
    protocol = 6,
    port = 80,
    more: Partial<TunnelCheckSpec> = {},
    timeoutMs = 1000,
  ): Promise<ProbeOutcome> {
    const check = { type: 'tunnel' as const, address: null, port: null, ...more };
    const target = this.target(outer, [this.service(inner, protocol, port)]);
    return inside(this.lab.director, () => this.prober.probeOf(check).probe(target, timeoutMs, new AbortController().signal));
  }
}

test(
  'through every mix of families: TCP, HTTP, datagrams, pings; nothing of ours is left with the worker',
  needs('root', 'namespaces', 'tun'),
  async (t) => {
    const scene = new Scene(t);
    const { lab, worker } = scene;
    const vips = [lab.vip4, lab.vip6];
    const actors = [
      Actor.start('worker', worker, '../cli/main', 'worker'),
      Actor.start('web', worker, '../demo/web-server', 'w1', '80'),
      Actor.command('echo', worker, process.execPath, resolve('test/interop/udp-echo.mjs'), String(ECHO_PORT), ...vips),
    ];
    await Promise.all(actors.map((actor) => actor.says('ready')));
    const [user, web] = actors;
    for (const outer of FAMILIES) {
      for (const inner of FAMILIES) {
        const asked: ProbeOutcome[] = await Promise.all([
          scene.ask(outer, inner),
          scene.ask(outer, inner, 6, 80, { http: HTTP }),
          scene.ask(outer, inner, 17, ECHO_PORT, { send: ip('1.2.3.4'), expect: ip('1.2.3.4') }),
          scene.ask(outer, inner, 132, 9),
          scene.ask(outer, inner, 6, 80, { http: { ...HTTP, path: '/nowhere' } }),
        ]);
        assert.deepEqual(
          asked.map(({ detail }) => detail),
          ['SYN answered', 'HTTP 200', 'datagram answered', 'ping answered', 'HTTP 404, wanted 200-299'],
          `IPv${inner} in IPv${outer}`,
        );
      }
    }
    // A connection for each port; of 48 datagrams most wait for one.
    const many = await Promise.all(
      Array.from({ length: 64 }, (_, i) => (i % 4 > 0 ? scene.ask(4, 4, 17, ECHO_PORT) : scene.ask(4, 4, 6, 80, { http: HTTP }))),
    );
    assert.deepEqual(
      many.filter(({ ok }) => !ok).map(({ detail }) => detail),
      [],
    );

    await new Promise((done) => setTimeout(done, 300));
    const left = worker
      .run('ss', ['-Htan'])
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('LISTEN'));
    assert.deepEqual(left, []);

    // The kernel of this host keeps out of it, wherever it thinks that the service is.
    const { director } = lab;
    director.ip('link add sink0 type veth peer name sink1', 'link set sink1 up', 'link set sink0 arp off up');
    const resets = () => [counter(director, 'Tcp', 'OutRsts'), counter(director, 'Icmp', 'OutDestUnreachs')];
    const before = resets();
    for (const way of ['blackhole', 'dev sink0']) {
      const kind = way === 'blackhole' ? ['blackhole', ''] : ['', way];
      director.ip(...vips.map((vip) => `route replace ${kind[0]} ${vip} ${kind[1]}`));
      for (const filter of [0, 1, 2]) {
        director.sysctl({ 'net.ipv4.conf.all.rp_filter': filter, 'net.ipv4.conf.eth0.rp_filter': filter });
        for (const inner of FAMILIES) {
          const asked: ProbeOutcome[] = await Promise.all([
            scene.ask(4, inner, 6, 80, { http: HTTP }),
            scene.ask(4, inner, 17, ECHO_PORT),
          ]);
          assert.deepEqual(
            asked.map(({ ok }) => ok),
            [true, true],
            `${way}, rp_filter ${filter}, IPv${inner}: ${asked[0].detail}`,
          );
        }
      }
    }
    assert.deepEqual(resets(), before, 'no RST and no port unreachable of ours');
    // The same with a port that nobody guards: here the kernel would answer.
    director.sysctl({ 'net.ipv4.conf.all.rp_filter': 0, 'net.ipv4.conf.eth0.rp_filter': 0 });
    const { sourcePortBase, sourcePortMask } = scene.egress.facts;
    const wrapper = new Wrapper({ egress: scene.egress, sourcePortBase, sourcePortMask });
    const service = scene.service(4, 6, 80);
    const ends = {
      source: ip(director.address4),
      destination: service.prefix.bytes,
      sourcePort: PROBE_PORTS.base - 1,
      destinationPort: 80,
    };
    const syn = { flags: 2, sequence: 1, acknowledgement: 0, payload: new Uint8Array(0) };
    wrapper.send(scene.target(4, [service]), service, tcpPacket(ends, syn, 1));
    await new Promise((done) => setTimeout(done, 100));
    assert.equal(resets()[0], before[0] + 1);
    wrapper.close();

    web.child.kill('SIGTERM');
    await web.ended;
    assert.equal((await scene.ask(4, 4)).detail, 'connection refused');
    worker.ip(...vips.map((vip) => `addr del ${vip}/${vip.includes(':') ? 128 : 32} dev lo`));
    const missing = await scene.ask(4, 4, 6, 80, {}, 250);
    assert.match(
      missing.detail,
      /^no answer to SYN within 0\.25 s: is the worker's tunnel device up, 10\.80\.9\.1 on it, rp_filter 0$/,
    );
    assert.ok(missing.milliseconds <= 250, `${missing.milliseconds} ms`);
    worker.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
    for (const inner of FAMILIES) {
      const [who, vip] = inner === 4 ? [worker.address4, lab.vip4] : [worker.address6, lab.vip6];
      const forwarded = await scene.ask(4, inner);
      assert.match(
        forwarded.detail,
        new RegExp(`^unwrapped and sent on by (${who}|192\\.0\\.0\\.8): ${vip} is not an address of the worker$`),
      );
      assert.ok(forwarded.milliseconds < 400, `${forwarded.milliseconds} ms`);
    }
    assert.equal(await user.stop(), 0);
  },
);

test(
  'ICMP about the tunnel ends the wait; a prober takes the ports that are free',
  needs('root', 'namespaces', 'tun'),
  async (t) => {
    let heard: { count: number; what: 'port' } | null = { count: 3, what: 'port' };
    const scene = new Scene(t, { unreachable: () => heard });
    const asked = scene.ask(4, 4);
    heard = { count: 4, what: 'port' };
    const { detail, milliseconds } = await asked;
    assert.equal(detail, `port unreachable: nothing at ${scene.worker.address4} unwraps UDP port 6080`);
    assert.ok(milliseconds < 400, `${milliseconds} ms`);

    const second = new TunnelProber({
      egress: scene.egress,
      sourcePortBase: 49152,
      sourcePortMask: 16383,
      ports: { base: PROBE_PORTS.base, count: 4 },
    });
    t.after(() => second.close());
    const target = scene.target(4, [scene.service(4, 6, 80)]);
    const check = { type: 'tunnel' as const, address: null, port: null };
    const ask = (prober: TunnelProber, more = {}) =>
      inside(scene.lab.director, () => prober.probeOf({ ...check, ...more }).probe(target, 100, new AbortController().signal));
    // A process that takes over guards the same ports beside this one.
    assert.equal((await ask(second)).ok, false);
    // Ten silent workers and four ports: each has its whole time, from when it has a port.
    const datagrams = { ...target, services: [scene.service(4, 17, 53)] };
    const probe = second.probeOf({ ...check, send: Uint8Array.of(1) });
    const silent = await inside(scene.lab.director, () =>
      Promise.all(Array.from({ length: 10 }, () => probe.probe(datagrams, 100, new AbortController().signal))),
    );
    for (const { ok, milliseconds: took } of silent) assert.ok(!ok && took >= 75 && took < 250, `${ok} ${took} ms`);
    await assert.rejects(ask(second, { port: 81 }), /pool p, tunnel check: no service has port 81/);
    await assert.rejects(ask(second, { address: ip('192.0.2.1') }), /no service has 192\.0\.2\.1/);
  },
);
