import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LINK_RAW_IP } from '../../src/base/batch.ts';
import type { CodedError } from '../../src/base/errors.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { MemoryEgress } from '../../src/io/memory/egress.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch, openIngress } from '../../src/io/open.ts';
import { PcapFileEgress } from '../../src/io/pcap-file/egress.ts';
import { PcapFileIngress } from '../../src/io/pcap-file/ingress.ts';
import { openCapture } from '../../src/wire/capture.ts';
import { LINKTYPE_RAW, writeFileHeader, writeRecordHeader } from '../../src/wire/pcap.ts';
import { type EgressHarness, egressContract, ingressContract, reasonOf } from './driver.ts';

const NEAR4 = Uint8Array.from([10, 1, 0, 1]);
const FAR4 = Uint8Array.from([10, 1, 0, 2]);
const v6 = (last: number) => Uint8Array.from([0xfd, ...new Array(14).fill(0), last]);
const address = (family: 4 | 6) => (family === 4 ? { source: NEAR4, destination: FAR4 } : { source: v6(1), destination: v6(2) });

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'gd-files-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function capture(packets: readonly Uint8Array[], original = 0): Uint8Array {
  const header = Buffer.alloc(24);
  writeFileHeader(new DataView(header.buffer, header.byteOffset), 0, LINKTYPE_RAW);
  const records = packets.map((packet) => {
    const record = Buffer.alloc(16);
    const view = new DataView(record.buffer, record.byteOffset);
    writeRecordHeader(view, 0, 1, 0, packet.length, Math.max(original, packet.length));
    return Buffer.concat([record, packet]);
  });
  return Buffer.concat([header, ...records]);
}

function packetsOf(path: string): Uint8Array[] {
  const reader = openCapture(readFileSync(path));
  const found: Uint8Array[] = [];
  while (reader.next()) found.push(reader.bytes.slice(reader.at, reader.at + reader.length));
  return found;
}

const sizes = [20, 21, 28, 64, 1500, 9000, 65535];

ingressContract('memory', {
  needs: [],
  sizes,
  open(_t, packets) {
    const ingress = new MemoryIngress({ frames: packets, facts: { link: LINK_RAW_IP } });
    return {
      ingress,
      deliver() {},
      replyFrame: (payload) => payload,
      replies: () => ingress.replies,
      impossibleReply: null,
      close: () => ingress.close(),
    };
  },
});

ingressContract('pcap-file', {
  needs: [],
  sizes,
  open(t, packets) {
    const path = folder(t);
    writeFileSync(join(path, 'in.pcap'), capture(packets));
    const ingress = new PcapFileIngress({ path: join(path, 'in.pcap'), replies: join(path, 'replies.pcap') });
    return {
      ingress,
      deliver() {},
      replyFrame: (payload) => payload,
      replies: () => packetsOf(join(path, 'replies.pcap')),
      impossibleReply: null,
      close: () => ingress.close(),
    };
  },
});

const harness = (egress: EgressHarness['egress'], arrived: () => Uint8Array[]): EgressHarness => ({
  egress,
  address,
  arrived,
  mtu: null,
  kernelHeader: false,
  unreachable: null,
  close: () => egress.close(),
});

egressContract('memory', {
  needs: [],
  sizes: [60, 1544, 65000],
  open() {
    const egress = new MemoryEgress();
    return harness(egress, () => egress.packets);
  },
});

egressContract('pcap-file', {
  needs: [],
  sizes: [60, 1544, 65000],
  open(t) {
    const path = join(folder(t), 'out.pcap');
    return harness(new PcapFileEgress(path), () => packetsOf(path));
  },
});

test('pcap-file: a record cut by the capture’s snap length is truncated, never forwarded short', (t) => {
  const path = join(folder(t), 'cut.pcap');
  writeFileSync(path, capture([new Uint8Array(96)], 1500));
  const ingress = new PcapFileIngress({ path });
  const { batch } = createBatch(ingress, 4);
  assert.equal(ingress.receive(batch), 1);
  assert.equal(reasonOf(batch, 0), 'truncated');
  assert.equal(ingress.exhausted, true);
});

test('pcap-file: a missing file, another format and a second thread are refused with a code', (t) => {
  const path = join(folder(t), 'text.pcap');
  writeFileSync(path, 'this is not a capture file at all');
  assert.throws(() => new PcapFileIngress({ path: '/nonexistent.pcap' }), { code: 'GD_IO_PCAP_READ' });
  assert.throws(() => new PcapFileIngress({ path }), { code: 'GD_WIRE_CAPTURE_FORMAT' });
  const options = { thread: 0, threads: 2, services: [] };
  assert.throws(() => openIngress({ driver: 'pcap-file', path }, options), { code: 'GD_IO_ONE_THREAD' });
});

test('pcap-file: link types of raw IP are read, those of captures without one are refused with what to do', (t) => {
  const path = join(folder(t), 'link.pcap');
  const bytes = Buffer.from(capture([new Uint8Array(40)]));
  const open = (linkType: number) => {
    bytes.writeUInt32LE(linkType, 20);
    writeFileSync(path, bytes);
    return new PcapFileIngress({ path });
  };
  for (const raw of [12, 14, 101, 228, 229]) assert.equal(open(raw).facts.link, LINK_RAW_IP);
  for (const cooked of [113, 276]) {
    assert.throws(
      () => open(cooked),
      (error: CodedError) => error.code === 'GD_IO_PCAP_LINK' && /tcpdump -i IFACE -w/.test(error.hint),
    );
  }
  assert.throws(() => open(105), { code: 'GD_IO_PCAP_LINK', hint: /Ethernet \(1\)/ });
});

test('pcap-file: the hint for a file that ends inside its header names no command that would leave the same file', (t) => {
  const path = join(folder(t), 'cut.pcap');
  const whole = capture([new Uint8Array(40)]);
  for (const length of [10, 23]) {
    writeFileSync(path, whole.subarray(0, length));
    assert.throws(
      () => new PcapFileIngress({ path }),
      (error: CodedError) => !error.hint.includes('head -c') && error.hint !== '',
    );
  }
  writeFileSync(path, whole.subarray(0, 50));
  assert.throws(() => new PcapFileIngress({ path }), { code: 'GD_WIRE_CAPTURE_TRUNCATED', hint: /head -c 24 / });
});

test('pcap-file: each packet has the time of its capture, a batch that of one second', (t) => {
  const path = join(folder(t), 'times.pcap');
  const bytes = Buffer.from(capture([1, 2, 3].map(() => new Uint8Array(40))));
  for (const [record, [seconds, nanoseconds]] of [
    [7, 5],
    [7, 999_999_999],
    [9, 0],
  ].entries()) {
    bytes.writeUInt32LE(seconds, 24 + record * 56);
    bytes.writeUInt32LE(nanoseconds, 28 + record * 56);
  }
  writeFileSync(path, bytes);
  const ingress = new PcapFileIngress({ path });
  const { batch } = createBatch(ingress, 4);
  assert.equal(ingress.receive(batch), 2);
  assert.deepEqual([...(batch.captureTimes?.seconds ?? [])].slice(0, 2), [7, 7]);
  assert.deepEqual([...(batch.captureTimes?.nanoseconds ?? [])].slice(0, 2), [5, 999_999_999]);
  assert.equal(ingress.receive(batch), 1);
  assert.equal(batch.captureTimes?.seconds[0], 9);
});

test('pcap-file: what is live has the time of day', (t) => {
  const path = join(folder(t), 'live.pcap');
  const ingress = new MemoryIngress({ frames: [new Uint8Array(40)], facts: { link: LINK_RAW_IP } });
  const { batch } = createBatch(ingress, 1);
  ingress.receive(batch);
  batch.verdict[0] = VERDICT_FORWARD;
  batch.outAt[0] = batch.frameAt[0];
  batch.outLength[0] = 40;
  const egress = new PcapFileEgress(path);
  const before = Math.floor(Date.now() / 1000);
  egress.send(batch);
  egress.close();
  const reader = openCapture(readFileSync(path));
  assert.ok(reader.next());
  assert.ok(reader.seconds >= before && reader.seconds <= before + 10);
});

test('pcap-file: a full disk is refused with a code', () => {
  // /dev/full takes the open and refuses the file header.
  assert.throws(() => new PcapFileEgress('/dev/full'), { code: 'GD_IO_PCAP_WRITE' });
});
