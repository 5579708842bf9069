// What happens to clients' packets around a director that starts, and after one that was killed: captured, with the real daemon.

import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { flowFiles } from '../../src/daemon/flow-path.ts';
import { Actor } from '../../src/demo/cast.ts';
import { Capture } from '../../src/demo/lab/capture.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { needs } from '../needs.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import {
  buildLab,
  configuration,
  eventually,
  RunningDirector,
  readPackets,
  sendDatagrams,
  TUNNEL_PORT,
} from './running-director.ts';

/** A packet in words: what it is, and how many hops it has left. */
function describe(packet: Uint8Array): { text: string; to: string; hops: number } {
  const six = packet[0] >> 4 === 6;
  const protocol = six ? packet[6] : packet[9];
  const at = six ? 40 : (packet[0] & 15) * 4;
  const from = formatAddress(six ? packet.subarray(8, 24) : packet.subarray(12, 16));
  const to = formatAddress(six ? packet.subarray(24, 40) : packet.subarray(16, 20));
  const what = protocol === 1 || protocol === 58 ? `ICMP type ${packet[at]}` : `protocol ${protocol}`;
  const hops = six ? packet[7] : packet[8];
  return { text: `${from} → ${to} ${what} hops ${hops}`, to, hops };
}

/** Neighbour discovery and multicast listener reports: the kernel's own business on every link. */
function isHousekeeping(packet: Uint8Array): boolean {
  if (packet[0] >> 4 !== 6) return false;
  return packet[6] === 0 || (packet[6] === 58 && (packet[40] === 143 || (packet[40] >= 133 && packet[40] <= 136)));
}

/**
 * A SYN and datagrams from the client to both services, captured where a bounced packet must pass: on the router's port towards the
 * director, and at the client. Returns the packets for the services that crossed the port, and all others at both places.
 */
async function knock(t: TestContext, lab: Lab): Promise<{ toServices: { text: string; hops: number }[]; others: string[] }> {
  const file = join(tmpdir(), `gue-director-crash-${process.pid}.pcap`);
  t.after(() => {
    for (const path of [file, `${file}.client`]) rmSync(path, { force: true });
  });
  const atRouter = await Capture.start(lab.router, 'director', file, 'ip or ip6');
  const atClient = await Capture.start(
    lab.client,
    'eth0',
    `${file}.client`,
    `(ip or ip6) and not src host ${lab.client.address4}`,
  );
  for (const vip of [lab.vip4, lab.vip6]) {
    sendDatagrams(lab, vip, 53, 4, 1);
    lab.client.run('sh', ['-c', `timeout 0.8 bash -c '< /dev/tcp/${vip}/53' 2>/dev/null || true`]);
  }
  await atRouter.stop();
  await atClient.stop();
  const services = new Set([lab.vip4, lab.vip6]);
  const seen = readPackets(file)
    .filter((packet) => !isHousekeeping(packet))
    .map(describe);
  const heard = readPackets(`${file}.client`)
    .filter((packet) => !isHousekeeping(packet))
    .map(describe)
    .filter(({ text }) => !text.startsWith(`${lab.client.address6} `));
  return {
    toServices: seen.filter(({ to }) => services.has(to)),
    others: [...seen.filter(({ to }) => !services.has(to)), ...heard].map(({ text }) => text),
  };
}

function tablesOf(lab: Lab): string[] {
  const listed = lab.director.run('sh', ['-c', 'nft list tables 2>/dev/null || true']);
  return listed.split('\n').filter((line) => line !== '');
}

for (const ingress of ['{ driver: tun, device: gd0 }', '{ driver: packet, interface: eth0 }']) {
  test(
    `kill -9, ingress ${ingress}: clients' packets meet silence, nothing is bounced; clean lists exactly what is left and removes it`,
    needs('namespaces', 'tun', 'tcpdump', 'ethtool', 'nft'),
    async (t) => {
      const lab = buildLab(t, 1, { offloads: 'none' });
      // Control: without a director the packets go back and forth between it and the router, until the router says that time is over.
      const loud = await knock(t, lab);
      assert.ok(loud.toServices.some(({ hops }) => hops < 60));
      assert.ok(
        loud.others.some((text) => /ICMP type (5|11|137|3) /.test(text)),
        loud.others.join('\n'),
      );

      const director = await RunningDirector.start(t, lab, configuration(lab, { ingress }));
      director.actor.child.kill('SIGKILL');
      await director.actor.ended;
      const { toServices, others } = await knock(t, lab);
      assert.ok(toServices.length >= 10, 'the packets came as far as the director');
      assert.deepEqual(
        toServices.filter(({ hops }) => hops !== 63).map(({ text }) => text),
        [],
        'each crossed the link once',
      );
      assert.deepEqual(others, [], 'no redirect, RST, unreachable or time exceeded');

      const clean = async (...options: string[]): Promise<string> => {
        const actor = Actor.start('clean', lab.director, '../cli/main', 'clean', ...options);
        assert.equal(await actor.ended, 0, actor.words);
        return actor.output;
      };
      const left = [
        ...lab.leftovers().map((fact) => fact.replace(/^.*?((?:blackhole )?\S+) (?:dev lo )?(proto 77 metric \d+).*$/, '$1 $2')),
        ...tablesOf(lab),
        ...flowFiles(`${lab.director.runtimeDirectory}/flows`).filter((path) => existsSync(path)),
        `${lab.director.runtimeDirectory}/admin.sock`,
      ];
      assert.equal(left.filter((fact) => fact.startsWith('/')).length, 3, 'the flow table and whom it names, and the socket');
      assert.equal(left.filter((fact) => fact.startsWith('blackhole ')).length, 2);
      const listed = [...(await clean('--dry-run')).matchAll(/^would remove (.*)$/gm)].map((match) =>
        match[1].replace(/\/(32|128) /, ' '),
      );
      assert.deepEqual(listed.sort(), left.sort());
      await clean();
      assert.deepEqual(lab.leftovers(), []);
      assert.deepEqual(tablesOf(lab), []);
      for (const name of ['flows', 'flows.identities', 'admin.sock'])
        assert.equal(existsSync(`${lab.director.runtimeDirectory}/${name}`), false, name);
    },
  );
}

test(
  'while a director with packet ingress starts, no packet is both forwarded by it and handled by the kernel',
  needs('namespaces', 'tcpdump', 'ethtool'),
  async (t) => {
    const lab = buildLab(t, 1, { offloads: 'none' });
    const file = join(tmpdir(), `gue-director-start-${process.pid}.pcap`);
    t.after(() => rmSync(file, { force: true }));
    const capture = await Capture.start(lab.director, 'eth0', file, `udp and (dst port ${TUNNEL_PORT} or dst port 53)`);
    // Numbered datagrams from one socket, one each millisecond or so, until they are told to stop.
    const script = `
      const socket = require('node:dgram').createSocket('udp4');
      let number = 0;
      setInterval(() => {
        const bytes = Buffer.alloc(8);
        bytes.writeUInt32BE(number++);
        socket.send(bytes, 53, '${lab.vip4}');
      }, 1);
      process.on('SIGTERM', () => process.exit(0));`;
    const sender = lab.client.spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
    t.after(() => sender.kill('SIGKILL'));
    const director = await RunningDirector.start(t, lab, configuration(lab, { ingress: '{ driver: packet, interface: eth0 }' }));
    await eventually(() => director.metric('forwarded_packets_total') > 50, 'packets are forwarded');
    sender.kill('SIGTERM');
    assert.equal(await director.actor.stop(), 0);
    await capture.stop();
    const forwarded = new Set<number>();
    const bounced = new Set<number>();
    const numberOf = (inner: Uint8Array) => new DataView(inner.buffer, inner.byteOffset).getUint32(28);
    for (const packet of readPackets(file)) {
      if (
        formatAddress(packet.subarray(packet[0] >> 4 === 6 ? 24 : 16).subarray(0, packet[0] >> 4 === 6 ? 16 : 4)) !== lab.vip4
      ) {
        forwarded.add(numberOf(decodeTunnel(packet).inner));
      } else if (packet[8] < 63) {
        bounced.add(numberOf(packet));
      }
    }
    assert.ok(forwarded.size > 50);
    assert.ok(bounced.size > 0, 'the control: before the start the kernel sends them back');
    assert.deepEqual(
      [...forwarded].filter((number) => bounced.has(number)),
      [],
    );
  },
);
