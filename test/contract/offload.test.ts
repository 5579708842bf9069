// Super-packets in: what real TCP and UDP senders hand to a device with segmentation offload arrives whole, with its virtio-net facts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HEADROOM } from '../../src/base/arena.ts';
import { type Batch, VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { VERDICT_REPLY } from '../../src/base/verdict.ts';
import type { Ingress } from '../../src/io/driver.ts';
import { createBatch, type MappedBatch } from '../../src/io/open.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';
import { TapIngress } from '../../src/io/tap/ingress.ts';
import { TunIngress } from '../../src/io/tun/ingress.ts';
import { type QueueOffloads, setLinkUp } from '../../src/raw-socket/tun.ts';
import * as virtioNet from '../../src/wire/virtio-net.ts';
import { Namespace, run } from '../host/namespace.ts';
import { Sender } from '../host/sender.ts';
import { address } from '../host/wanted.ts';
import { needs } from '../needs.ts';
import { internetChecksum } from './packets.ts';

const MSS = 1400;
const SYN = 0x02;
const DEVICE_MAC = '02:00:00:00:00:01';
const OUR_MAC = '02:00:00:00:00:02';

interface Family {
  readonly name: string;
  readonly client: Uint8Array;
  readonly service: Uint8Array;
  readonly networkHeader: number;
  readonly tcpType: number;
}
const FAMILIES: readonly Family[] = [
  {
    name: 'IPv4',
    client: address('10.1.0.1'),
    service: address('10.9.9.9'),
    networkHeader: 20,
    tcpType: virtioNet.GSO_TCPV4,
  },
  { name: 'IPv6', client: address('fd00:1::1'), service: address('fd00:9::9'), networkHeader: 40, tcpType: virtioNet.GSO_TCPV6 },
];

/** What one frame's columns and bytes say. */
interface Seen {
  readonly frame: Uint8Array;
  readonly flags: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly reason: number;
}

interface Lab {
  readonly ingress: Ingress;
  readonly mapped: MappedBatch;
  /** Bytes of the link header. */
  readonly link: number;
  inside<T>(work: () => T): T;
  close(): void;
}

/** Addresses of a client, and the way to the service over `device` whose MTU is Ethernet's. */
function route(device: string, isEthernet: boolean): void {
  run(`ip link set ${device} mtu 1500`);
  run('ip addr add 10.1.0.1/32 dev lo');
  run('ip addr add fd00:1::1/128 dev lo nodad');
  run(`ip route add 10.9.9.9/32 dev ${device} src 10.1.0.1`);
  run(`ip -6 route add fd00:9::9/128 dev ${device} src fd00:1::1`);
  if (!isEthernet) return;
  run(`ip neigh replace 10.9.9.9 lladdr ${OUR_MAC} dev ${device} nud permanent`);
  run(`ip neigh replace fd00:9::9 lladdr ${OUR_MAC} dev ${device} nud permanent`);
}

function deviceLab(kind: 'tun' | 'tap', offloads: QueueOffloads): Lab {
  const space = new Namespace();
  return space.inside(() => {
    const ingress =
      kind === 'tun'
        ? new TunIngress({ device: 'gd0', offloads })
        : new TapIngress({ device: 'gd0', offloads, linkAddress: Uint8Array.of(2, 0, 0, 0, 0, 2) });
    if (kind === 'tap') run(`ip link set gd0 address ${DEVICE_MAC}`);
    run('ip link set gd0 addrgenmode none txqueuelen 10000');
    setLinkUp('gd0');
    route('gd0', kind === 'tap');
    const mapped = createBatch(ingress, 16);
    return {
      ingress,
      mapped,
      link: kind === 'tap' ? 14 : 0,
      inside: (work) => space.inside(work),
      close() {
        ingress.close();
        mapped.release();
        space.close();
      },
    };
  });
}

/** The driver reads at the far end of a veth, whose near end has every offload on. */
function packetLab(): Lab {
  const near = new Namespace();
  const far = new Namespace();
  near.connect('va', far, 'vb');
  near.inside(() => {
    run(`ip link set va address ${DEVICE_MAC} addrgenmode none`);
    route('va', true);
  });
  const ingress = far.inside(() => {
    run(`ip link set vb address ${OUR_MAC}`);
    const services = FAMILIES.flatMap(({ service }) =>
      [6, 17].map((protocol) => ({
        prefix: { bytes: service, length: service.length * 8 },
        protocol,
        portFrom: 80,
        portTo: 80,
      })),
    );
    return new PacketIngress({ device: 'vb', services });
  });
  const mapped = createBatch(ingress, 16);
  return {
    ingress,
    mapped,
    link: 14,
    inside: (work) => near.inside(work),
    close() {
      ingress.close();
      mapped.release();
      near.close();
      far.close();
    },
  };
}

/** Milliseconds for something that always comes: a SYN is sent again after one second and after three. */
const PATIENCE = 10_000;

/** Frames with this protocol, until they hold `bytes` of payload in all (0: one frame, whatever it holds), for PATIENCE at most. */
function collect(lab: Lab, family: Family, protocol: number, bytes: number): Seen[] {
  const { batch } = lab.mapped;
  const found: Seen[] = [];
  const protocolAt = lab.link + (family.networkHeader === 20 ? 9 : 6);
  let held = 0;
  for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
    lab.ingress.receive(batch);
    for (let i = 0; i < batch.count; i++) {
      const frame = batch.arena.bytes.slice(batch.frameAt[i], batch.frameAt[i] + batch.frameLength[i]);
      if (frame[lab.link] >> 4 !== (family.networkHeader === 20 ? 4 : 6) || frame[protocolAt] !== protocol) continue;
      const payload = payloadLength(frame, lab, family, protocol);
      if (bytes > 0 && payload === 0) continue;
      found.push({
        frame,
        flags: batch.virtioFlags[i],
        gsoType: batch.gsoType[i],
        gsoSize: batch.gsoSize[i],
        csumStart: batch.csumStart[i],
        csumOffset: batch.csumOffset[i],
        reason: batch.reason[i],
      });
      held += payload;
      // What comes behind is sent again: nobody acknowledges.
      if (held >= bytes) return found;
    }
  }
  return found;
}

/** A SYN's options are no payload; data comes without options, for our SYN-ACK offers none that data would carry. */
function payloadLength(frame: Uint8Array, lab: Lab, family: Family, protocol: number): number {
  const at = lab.link + family.networkHeader;
  if (protocol === 17) return frame.length - at - 8;
  return (frame[at + 13] & SYN) === 0 ? frame.length - at - 20 : 0;
}

function reply(lab: Lab, frame: Uint8Array): void {
  const batch: Batch = lab.mapped.batch;
  batch.count = 1;
  batch.outAt[0] = batch.slotAt[0] + HEADROOM;
  batch.outLength[0] = frame.length;
  batch.arena.bytes.set(frame, batch.outAt[0]);
  batch.verdict[0] = VERDICT_REPLY;
  batch.reason[0] = 0;
  lab.ingress.reply(batch);
  assert.equal(batch.verdict[0], VERDICT_REPLY);
}

/** The SYN's answer: its frame turned round, with a wide window and the MSS option. */
function synAck(syn: Uint8Array, lab: Lab, family: Family): Uint8Array {
  const at = lab.link + family.networkHeader;
  const frame = Buffer.concat([syn.subarray(0, at), Buffer.alloc(28)]);
  if (lab.link > 0) {
    frame.set(syn.subarray(6, 12), 0);
    frame.set(syn.subarray(0, 6), 6);
  }
  const size = family.service.length;
  const addressesAt = at - 2 * size;
  frame.set(family.service, addressesAt);
  frame.set(family.client, addressesAt + size);
  if (family.networkHeader === 20) {
    frame.writeUInt16BE(48, lab.link + 2);
    frame.writeUInt16BE(0, lab.link + 10);
    frame.writeUInt16BE(internetChecksum(frame.subarray(lab.link, at)), lab.link + 10);
  } else frame.writeUInt16BE(28, lab.link + 4);
  frame.set(syn.subarray(at + 2, at + 4), at);
  frame.set(syn.subarray(at, at + 2), at + 2);
  frame.writeUInt32BE(1000, at + 4);
  frame.writeUInt32BE((Buffer.from(syn).readUInt32BE(at + 4) + 1) >>> 0, at + 8);
  frame.set([0x70, 0x12, 0xff, 0xff], at + 12);
  frame.set([2, 4, MSS >> 8, MSS & 0xff, 1, 3, 3, 7], at + 20);
  const pseudo = Buffer.from([0, 6, 0, 28]);
  frame.writeUInt16BE(internetChecksum(frame.subarray(addressesAt), pseudo), at + 16);
  return frame;
}

const content = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 0xff));

/** A TCP connection as far as its first flight of data, 10 segments (RFC 6928). */
function firstFlight(lab: Lab, family: Family): Seen[] {
  const sender = lab.inside(() => new Sender('tcp', family.service, 80));
  const [syn] = collect(lab, family, 6, 0);
  assert.ok(syn !== undefined, 'the SYN arrives');
  reply(lab, synAck(syn.frame, lab, family));
  // The answer is taken in later than it is written: a socket whose handshake is not over refuses to send.
  assert.equal(collect(lab, family, 6, 0).length, 1, 'the handshake is complete');
  sender.send(content(10 * MSS));
  const flight = collect(lab, family, 6, 10 * MSS);
  sender.close();
  return flight;
}

function datagram(lab: Lab, family: Family, bytes: number, segment: number): Seen[] {
  const sender = lab.inside(() => new Sender('udp', family.service, 80));
  if (segment > 0) sender.segment(segment);
  assert.equal(sender.send(content(bytes)), bytes);
  sender.close();
  return collect(lab, family, 17, bytes);
}

function assertFacts(seen: Seen, lab: Lab, family: Family, type: number, size: number, fieldAt: number): void {
  assert.equal(seen.reason, 0);
  assert.equal(seen.gsoType, type);
  assert.equal(seen.gsoSize, size);
  assert.equal(seen.flags & VIRTIO_NEEDS_CSUM, VIRTIO_NEEDS_CSUM);
  assert.equal(seen.csumStart, lab.link + family.networkHeader);
  assert.equal(seen.csumOffset, fieldAt);
}

function superPackets(lab: Lab, family: Family): void {
  const header = lab.link + family.networkHeader;
  const flight = firstFlight(lab, family);
  const data = Buffer.concat(flight.map((seen) => seen.frame.subarray(header + 20)));
  assert.deepEqual(data, content(10 * MSS));
  const large = flight.filter((seen) => seen.frame.length - lab.link > 1500);
  assert.ok(large.length > 0, 'TCP arrives merged');
  for (const seen of large) assertFacts(seen, lab, family, family.tcpType, MSS, 16);

  const train = datagram(lab, family, 10 * 1300 + 7, 1300);
  assert.equal(train.length, 1, 'UDP_SEGMENT arrives as one');
  assert.deepEqual(Buffer.from(train[0].frame.subarray(header + 8)), content(10 * 1300 + 7));
  assertFacts(train[0], lab, family, virtioNet.GSO_UDP_L4, 1300, 6);

  // The largest there is: the kernel segments a frame that has the device's gso_max_size (65,536), link header included.
  const most = 65535 - header - 8;
  const [largest] = datagram(lab, family, most, 1400);
  assert.equal(largest.reason, 0, 'it fits its slot');
  assert.equal(largest.frame.length, 65535);
  assert.deepEqual(Buffer.from(largest.frame.subarray(header + 8)), content(most));
  assertFacts(largest, lab, family, virtioNet.GSO_UDP_L4, 1400, 6);
}

for (const family of FAMILIES) {
  for (const kind of ['tun', 'tap'] as const) {
    test(
      `${kind}, ${family.name}: with segmentation left to us, super-packets arrive whole`,
      needs('root', 'namespaces', 'tun'),
      () => {
        const lab = deviceLab(kind, 'segmentation');
        superPackets(lab, family);
        lab.close();
      },
    );

    test(`${kind}, ${family.name}: without, nothing larger than the MTU arrives`, needs('root', 'namespaces', 'tun'), () => {
      const lab = deviceLab(kind, 'checksum');
      const all = [...firstFlight(lab, family), ...datagram(lab, family, 10 * 1300, 1300)];
      assert.ok(all.length >= 20);
      for (const seen of all) {
        assert.equal(seen.gsoType, 0);
        assert.ok(seen.frame.length - lab.link <= 1500);
      }
      lab.close();
    });
  }

  test(`packet, ${family.name}: super-packets of a veth peer arrive whole`, needs('root', 'namespaces'), () => {
    const lab = packetLab();
    superPackets(lab, family);
    lab.close();
  });
}

test(
  'a batch of super-packets ends at 256 KiB; what is left comes with the next ones, in order',
  needs('root', 'namespaces', 'tun'),
  () => {
    const lab = deviceLab('tun', 'segmentation');
    const [family] = FAMILIES;
    const sender = lab.inside(() => new Sender('udp', family.service, 80));
    sender.segment(1400);
    const bytes = 40 * 1400;
    const sent = 12;
    for (let k = 0; k < sent; k++) assert.equal(sender.send(Buffer.alloc(bytes, k)), bytes);
    sender.close();
    const { batch } = lab.mapped;
    const batches: number[][] = [];
    // The device has queued all of them by now; other packets of the namespace are not for the service.
    for (let count = lab.ingress.receive(batch); count > 0; count = lab.ingress.receive(batch)) {
      batches.push([]);
      for (let i = 0; i < count; i++) {
        if (batch.frameLength[i] > bytes) batches.at(-1)!.push(batch.arena.bytes[batch.frameAt[i] + family.networkHeader + 8]);
      }
    }
    assert.deepEqual(
      batches.flat(),
      Array.from({ length: sent }, (_, k) => k),
    );
    // Five of 56,028 bytes are the first to reach 262,144.
    assert.ok(
      batches.every((each) => each.length <= 5),
      JSON.stringify(batches),
    );
    lab.close();
  },
);
