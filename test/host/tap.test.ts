// The kernel as judge of our ARP and neighbour discovery: it resolves a service address on the TAP's link, keeps our answer, and sends.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Batch, LinkAddress } from '../../src/base/batch.ts';
import { checkHost } from '../../src/host/checks.ts';
import { linkByName } from '../../src/host/links.ts';
import { Ownership } from '../../src/host/ownership.ts';
import type { WantedIngress } from '../../src/host/wanted.ts';
import { createBatch } from '../../src/io/open.ts';
import { TapIngress } from '../../src/io/tap/ingress.ts';
import { answerArp, answerSolicitation, isAddressedTo, NEIGHBOUR_ANSWERED } from '../../src/pipeline/neighbour.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import { needs } from '../needs.ts';
import { Namespace, run, setSysctl } from './namespace.ts';
import { Sender } from './sender.ts';
import { address, prefix, service, wanted } from './wanted.ts';

const namespaces: Namespace[] = [];
after(() => {
  for (const namespace of namespaces) namespace.close();
});
function fresh(): Namespace {
  const namespace = new Namespace();
  namespaces.push(namespace);
  return namespace;
}

const OURS = '02:00:5e:10:00:01';
const PREFIXES = ['203.0.113.0/24', '198.51.100.9/32', '2001:db8:1::/48', '2001:db8:9::9/128'];
const tap = (bridge: string | null): WantedIngress => ({ driver: 'tap', device: 'gdt0', queueLength: 10000, bridge });
const wish = (bridge: string | null) => wanted({ ingress: tap(bridge), services: PREFIXES.map(service) });

const words = new Snapshot(
  new SnapshotBuilder().build({
    services: PREFIXES.map((text) => ({
      name: text,
      prefix: prefix(text),
      protocol: 17,
      portFrom: 53,
      portTo: 53,
      affinity: '5-tuple',
      pool: 'p',
    })),
    pools: [
      {
        name: 'p',
        tableSize: 7,
        seed: 0,
        tunnel: { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'none' },
        backends: [],
      },
    ],
  }),
).words;

interface Datagram {
  readonly destination: string;
  readonly hops: number;
  readonly payload: string;
}

/** A director that answers neighbours and keeps datagrams to port 53. */
class Answerer {
  readonly ingress = new TapIngress({ device: 'gdt0', linkAddress: Uint8Array.of(2, 0, 0x5e, 0x10, 0, 1) });
  readonly #mapped = createBatch(this.ingress, 16);
  readonly datagrams: Datagram[] = [];
  answered = 0;

  /** Until a datagram more has come, or half a second is over. */
  work(): Datagram | null {
    const before = this.datagrams.length;
    for (const end = Date.now() + 500; Date.now() < end && this.datagrams.length === before; ) {
      const { batch } = this.#mapped;
      this.ingress.receive(batch);
      for (let i = 0; i < batch.count; i++) this.#judge(batch, i);
      this.ingress.reply(batch);
    }
    return this.datagrams[before] ?? null;
  }

  #judge(batch: Batch, i: number): void {
    const { view, bytes } = batch.arena;
    const from = batch.frameAt[i];
    if (!isAddressedTo(view, from, this.ingress.facts.linkAddress as LinkAddress)) return;
    const type = view.getUint16(from + 12);
    const at = from + 14;
    batch.networkAt[i] = at;
    const six = type === 0x86dd;
    if (six) {
      batch.family[i] = 6;
      batch.networkLength[i] = 40 + view.getUint16(at + 4);
      batch.transportAt[i] = at + 40;
    }
    const isDatagram = (six ? bytes[at + 6] : bytes[at + 9]) === 17 && view.getUint16(at + (six ? 42 : 22)) === 53;
    if (type === 0x0806) {
      if (answerArp(batch, i, words) === NEIGHBOUR_ANSWERED) this.answered++;
    } else if (six && bytes[at + 6] === 58) {
      if (answerSolicitation(batch, i, words) === NEIGHBOUR_ANSWERED) this.answered++;
    } else if (isDatagram && (bytes[from] & 1) === 0) {
      const to = six ? bytes.subarray(at + 24, at + 40) : bytes.subarray(at + 16, at + 20);
      this.datagrams.push({
        destination: six ? Buffer.from(to).toString('hex') : to.join('.'),
        hops: bytes[at + (six ? 7 : 8)],
        payload: Buffer.from(bytes.subarray(at + (six ? 48 : 28), from + batch.frameLength[i])).toString(),
      });
    }
  }

  close(): void {
    this.ingress.close();
    this.#mapped.release();
  }
}

function send(from: Namespace, to: string, payload: string): void {
  from.inside(() => {
    const sender = new Sender('udp', address(to), 53);
    sender.send(Buffer.from(payload));
    sender.close();
  });
}

/** Client and host on one veth; the client's default route is the host. */
function routedHost(): { client: Namespace; host: Namespace } {
  const client = fresh();
  const host = fresh();
  host.connect('h0', client, 'c0');
  host.inside(() => {
    setSysctl('net/ipv4/ip_forward', 1);
    setSysctl('net/ipv6/conf/all/forwarding', 1);
    run('ip addr add 10.1.0.1/24 dev h0');
    run('ip addr add fd00:1::1/64 dev h0 nodad');
  });
  client.inside(() => {
    run('ip addr add 10.1.0.2/24 dev c0');
    run('ip addr add fd00:1::2/64 dev c0 nodad');
    run('ip route add default via 10.1.0.1');
    run('ip -6 route add default via fd00:1::1');
  });
  // States are compared: the kernel's own link-local address must be past its duplicate address detection.
  host.inside(() => {
    for (const end = Date.now() + 5000; run('ip -6 addr show tentative') !== '' && Date.now() < end; ) pause(20);
  });
  return { client, host };
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

test(
  'routed: the kernel resolves a service address on the TAP, keeps our answer, forwards',
  needs('root', 'namespaces', 'tun'),
  () => {
    const { client, host } = routedHost();
    const before = host.state();
    host.inside(() => {
      const director = new Answerer();
      const ownership = new Ownership();
      assert.deepEqual(
        checkHost(wish(null)).filter(({ level }) => level === 'error'),
        [],
      );
      ownership.acquire(wish(null));
      const device = linkByName('gdt0');
      assert.deepEqual([device?.mtu, device?.queueLength, device?.up], [65521, 10000, true]);
      const during = host.state();
      ownership.apply(wish(null));
      assert.equal(host.state(), during, 'a second apply changes nothing');

      send(client, '198.51.100.9', 'one');
      assert.deepEqual(director.work(), { destination: '198.51.100.9', hops: 63, payload: 'one' });
      send(client, '203.0.113.77', 'two');
      assert.deepEqual(director.work(), { destination: '203.0.113.77', hops: 63, payload: 'two' });
      send(client, '2001:db8:9::9', 'three');
      assert.deepEqual(director.work(), { destination: '20010db8000900000000000000000009', hops: 63, payload: 'three' });
      send(client, '2001:db8:1:2::3', 'four');
      assert.deepEqual(director.work(), { destination: '20010db8000100020000000000000003', hops: 63, payload: 'four' });
      assert.equal(director.answered, 4);
      // One neighbour for each prefix, however wide.
      for (let i = 1; i < 20; i++) {
        send(client, `203.0.113.${i}`, 'more');
        assert.equal(director.work()?.destination, `203.0.113.${i}`);
      }
      assert.equal(director.answered, 4);
      const neighbours = `${run('ip neigh show dev gdt0')}${run('ip -6 neigh show dev gdt0')}`;
      for (const one of ['198.51.100.9', '203.0.113.0', '2001:db8:9::9', '2001:db8:1::']) {
        assert.match(neighbours, new RegExp(`^${one} lladdr ${OURS} (?:router )?REACHABLE`, 'm'));
      }
      assert.equal(director.ingress.statistics().kernelDrops, 0);
      assert.deepEqual(ownership.release(), []);
      director.close();
    });
    assert.equal(host.state(), before);
  },
);

test('routed: the kernel asks again, of us alone, and is answered', needs('root', 'namespaces', 'tun'), () => {
  const { client, host } = routedHost();
  host.inside(() => {
    const director = new Answerer();
    const ownership = new Ownership();
    ownership.acquire(wish(null));
    const stale = ['198.51.100.9', '2001:db8:9::9'];
    for (const to of stale) {
      send(client, to, 'one');
      assert.ok(director.work());
      run(`ip neigh change ${to} lladdr ${OURS} dev gdt0 nud stale`);
    }
    setSysctl('net/ipv4/neigh/gdt0/delay_first_probe_time', 1);
    setSysctl('net/ipv6/neigh/gdt0/delay_first_probe_time', 1);
    assert.equal(director.answered, 2);
    for (const to of stale) {
      send(client, to, 'two');
      assert.equal(director.work()?.payload, 'two', 'a stale neighbour is used at once');
    }
    for (const end = Date.now() + 4000; Date.now() < end && director.answered < 4; ) director.work();
    assert.equal(director.answered, 4);
    const neighbours = `${run('ip neigh show dev gdt0')}${run('ip -6 neigh show dev gdt0')}`;
    for (const to of stale) assert.match(neighbours, new RegExp(`^${to} lladdr ${OURS} (?:router )?REACHABLE`, 'm'));
    ownership.release();
    director.close();
  });
});

test(
  'routed: when the device is gone, with the process, only the blackholes are left',
  needs('root', 'namespaces', 'tun'),
  () => {
    const { host } = routedHost();
    const before = host.state();
    host.inside(() => {
      const director = new Answerer();
      const ownership = new Ownership();
      ownership.acquire(wish(null));
      director.close();
      assert.equal(run('ip route show proto 77').trim().split('\n').length, 2);
      assert.doesNotMatch(run('ip route show proto 77'), /gdt0/);
      assert.deepEqual(ownership.release(), []);
    });
    assert.equal(host.state(), before);
  },
);

test(
  'bridged: neighbours on the link resolve the service address; no routes, no forwarding',
  needs('root', 'namespaces', 'tun'),
  () => {
    const client = fresh();
    const host = fresh();
    host.connect('h0', client, 'c0');
    host.inside(() => {
      run('ip link add br0 type bridge');
      // Addresses of the kernel's own would become valid, and the carrier come, while states are compared.
      for (const name of ['h0', 'br0']) setSysctl(`net/ipv6/conf/${name}/disable_ipv6`, 1);
      run('ip link set h0 master br0');
      run('ip link set br0 up');
      for (let left = 100; !run('ip -o link show br0').includes('state UP'); left--) {
        assert.ok(left > 0, 'the bridge has no carrier');
        run('sleep 0.05');
      }
    });
    client.inside(() => {
      run('ip addr add 198.51.100.1/24 dev c0');
      run('ip addr add 2001:db8:9::1/64 dev c0 nodad');
    });
    host.inside(() => {
      const director = new Answerer();
      const ownership = new Ownership();
      assert.deepEqual(
        checkHost(wish('br0')).filter(({ level }) => level === 'error'),
        [],
      );
      ownership.acquire(wish('br0'));
      assert.equal(linkByName('gdt0')?.master, linkByName('br0')?.index);
      assert.doesNotMatch(`${run('ip route show proto 77')}${run('ip -6 route show proto 77')}`, /gdt0/);
      const during = host.state();
      ownership.apply(wish('br0'));
      assert.equal(host.state(), during, 'a second apply changes nothing');

      send(client, '198.51.100.9', 'one');
      assert.deepEqual(director.work(), { destination: '198.51.100.9', hops: 64, payload: 'one' });
      send(client, '2001:db8:9::9', 'two');
      assert.deepEqual(director.work(), { destination: '20010db8000900000000000000000009', hops: 64, payload: 'two' });
      const neighbours = client.inside(() => `${run('ip neigh show dev c0')}${run('ip -6 neigh show dev c0')}`);
      assert.match(neighbours, new RegExp(`^198.51.100.9 lladdr ${OURS} REACHABLE`, 'm'));
      assert.match(neighbours, new RegExp(`^2001:db8:9::9 lladdr ${OURS} REACHABLE`, 'm'));
      // A bridge floods what it does not know: a frame to another host is none of ours.
      client.inside(() => run('ip neigh replace 198.51.100.9 lladdr 02:00:00:00:00:99 dev c0 nud permanent'));
      send(client, '198.51.100.9', 'flooded');
      assert.equal(director.work(), null);
      assert.deepEqual(ownership.release(), []);
      director.close();
    });
  },
);

test('bridged: what is not there, or no bridge, is said before anything is changed', needs('root', 'namespaces', 'tun'), () => {
  fresh().inside(() => {
    const finding = () => checkHost(wish('br0')).filter(({ level }) => level === 'error');
    assert.deepEqual(
      finding().map(({ id }) => id),
      ['bridge-missing'],
    );
    const director = new Answerer();
    assert.throws(() => new Ownership().acquire(wish('br0')), { code: 'GD_HOST_NO_INTERFACE' });
    assert.throws(() => new Ownership().acquire(wish('lo')), { code: 'GD_HOST_NOT_BRIDGE' });
    director.close();
    run('ip link add br0 type bridge');
    assert.deepEqual(finding(), []);
  });
});
