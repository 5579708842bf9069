import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { CodedError } from '../base/errors.ts';
import { type CaptureReader, openCapture } from './capture.ts';
import * as pcap from './pcap.ts';
import * as pcapng from './pcapng.ts';

const hex = (text: string) => Uint8Array.from(text.replace(/\s/g, '').match(/../g)!, (pair) => Number.parseInt(pair, 16));

/** A record as plain data. */
function record(reader: CaptureReader) {
  const { seconds, nanoseconds, linkType, originalLength, comment } = reader;
  const frame = Buffer.from(reader.bytes.subarray(reader.at, reader.at + reader.length)).toString('hex');
  return { seconds, nanoseconds, linkType, originalLength, comment, frame };
}

function fault(bytes: Uint8Array): string {
  try {
    const reader = openCapture(bytes, 'x.pcap');
    for (let i = 0; i < 1000 && reader.next(); i++) record(reader);
  } catch (error) {
    assert.ok(error instanceof CodedError, String(error));
    return `${error.code} ${error.message}`;
  }
  return 'none';
}

const FRAME = 'c0ffee';

test('pcap: both byte orders, both time units', () => {
  const little = (magic: string) =>
    hex(`${magic} 0200 0400 00000000 00000000 0000 0400 65000000  01000000 07000000 03000000 09000000 ${FRAME}`);
  const big = (magic: string) =>
    hex(`${magic} 0002 0004 00000000 00000000 0004 0000 00000065  00000001 00000007 00000003 00000009 ${FRAME}`);
  for (const [bytes, nanoseconds] of [
    [little('d4c3b2a1'), 7000],
    [little('4d3cb2a1'), 7],
    [big('a1b2c3d4'), 7000],
    [big('a1b23c4d'), 7],
  ] as const) {
    const reader = openCapture(bytes);
    assert.equal(reader.linkType, pcap.LINKTYPE_RAW);
    assert.equal(reader.next(), true);
    assert.deepEqual(record(reader), { seconds: 1, nanoseconds, linkType: 101, originalLength: 9, comment: '', frame: FRAME });
    assert.equal(reader.next(), false);
  }
});

test('pcap: what is written is read', () => {
  const out = new Uint8Array(24 + 2 * (16 + 3));
  const view = new DataView(out.buffer);
  pcap.writeFileHeader(view, 0, pcap.LINKTYPE_ETHERNET);
  for (const [at, seconds] of [
    [24, 1_700_000_000],
    [43, 1_700_000_001],
  ] as const) {
    pcap.writeRecordHeader(view, at, seconds, 999_999_999, 3, 3);
    out.set(hex(FRAME), at + 16);
  }
  const reader = openCapture(out);
  reader.next();
  assert.equal(reader.next(), true);
  const wanted = { seconds: 1_700_000_001, nanoseconds: 999_999_999, linkType: 1, originalLength: 3, comment: '', frame: FRAME };
  assert.deepEqual(record(reader), wanted);
});

function pcapngFile(seconds: number, nanoseconds: number, comment: string): Uint8Array {
  const text = new TextEncoder().encode(comment);
  const block = pcapng.packetBlockLength(3, text.length);
  const out = new Uint8Array(28 + 32 + block).fill(0xee);
  const view = new DataView(out.buffer);
  pcapng.writeSection(view, 0);
  pcapng.writeInterface(view, 28, pcap.LINKTYPE_RAW, 0);
  assert.equal(pcapng.writePacket(out, 60, 0, seconds, nanoseconds, hex(FRAME), 9, text), block);
  return out;
}

test('pcapng: what is written is read, time exact to the nanosecond', () => {
  fc.assert(
    fc.property(
      fc.nat(2 ** 32),
      fc.nat(999_999_999),
      fc.string({ unit: 'grapheme', maxLength: 20 }),
      (seconds, nanoseconds, comment) => {
        const reader = openCapture(pcapngFile(seconds, nanoseconds, comment));
        assert.equal(reader.next(), true);
        assert.deepEqual(record(reader), { seconds, nanoseconds, linkType: 101, originalLength: 9, comment, frame: FRAME });
        assert.equal(reader.next(), false);
      },
    ),
  );
});

test('pcapng: big-endian section, microseconds by default, simple packets, unknown blocks, options', () => {
  const section = '0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c';
  // Interface with snap length 2 and if_tsoffset 1000 seconds.
  const described = '00000001 00000024 0001 0000 00000002 000e0008 00000000 000003e8 00000000 00000024';
  const unknown = '00000bad 00000010 deadbeef 00000010';
  const enhanced = '00000006 00000024 00000000 00000000 000f4241 00000003 00000009 c0ffee00 00000024';
  const simple = '00000003 00000014 00000009 c0ff0000 00000014';
  const reader = openCapture(hex(section + described + unknown + enhanced + simple));
  assert.equal(reader.next(), true);
  assert.deepEqual(record(reader), {
    seconds: 1001,
    nanoseconds: 1000,
    linkType: 1,
    originalLength: 9,
    comment: '',
    frame: FRAME,
  });
  assert.equal(reader.next(), true);
  assert.deepEqual(record(reader), { seconds: 0, nanoseconds: 0, linkType: 1, originalLength: 9, comment: '', frame: 'c0ff' });
  assert.equal(reader.next(), false);
});

test('a fault is named with its byte offset', () => {
  const file = hex(`d4c3b2a1 0200 0400 00000000 00000000 00000400 65000000 01000000 07000000 03000000 09000000 ${FRAME}`);
  assert.match(fault(hex('00112233')), /^GD_WIRE_CAPTURE_FORMAT x.pcap: byte 0: not a capture file/);
  assert.match(fault(new Uint8Array(0)), /^GD_WIRE_CAPTURE_FORMAT x.pcap: byte 0/);
  assert.match(fault(file.slice(0, 23)), /^GD_WIRE_CAPTURE_TRUNCATED x.pcap: byte 23: the file header needs 24/);
  assert.match(
    fault(file.slice(0, 30)),
    /^GD_WIRE_CAPTURE_TRUNCATED x.pcap: byte 24: a record header needs 16 bytes, 6 are left/,
  );
  assert.match(fault(file.slice(0, 42)), /^GD_WIRE_CAPTURE_TRUNCATED x.pcap: byte 24: the record claims 3 bytes, 2 are left/);
  const blocks = pcapngFile(1, 2, 'why');
  assert.equal(fault(blocks), 'none');
  assert.match(fault(blocks.slice(0, 70)), /^GD_WIRE_CAPTURE_TRUNCATED x.pcap: byte 60: less than a block is left/);
  assert.match(fault(blocks.slice(0, 80)), /^GD_WIRE_CAPTURE_TRUNCATED x.pcap: byte 60: the block claims 48 bytes, 20 are left/);
  const changed = (at: number, value: number) => {
    const bytes = Uint8Array.from(blocks);
    bytes[at] = value;
    return bytes;
  };
  assert.match(fault(changed(8, 0)), /GD_WIRE_CAPTURE_FORMAT x.pcap: byte 8: the byte-order magic is wrong/);
  assert.match(fault(changed(32, 9)), /byte 28: a block can not be 9 bytes long/);
  assert.match(fault(changed(56, 36)), /byte 56: the two lengths of a block differ/);
  assert.match(fault(changed(68, 1)), /byte 60: the packet names interface 1/);
  assert.match(fault(changed(80, 99)), /byte 60: a frame of 99 bytes does not fit its block/);
  assert.match(fault(changed(94, 200)), /byte 92: an option of 200 bytes does not fit its block/);
});

test('random and damaged files: an error with a code, or an end, never anything else', () => {
  const seeds = [
    pcapngFile(5, 6, 'comment'),
    hex(`4d3cb2a1 0200 0400 00000000 00000000 00000400 65000000 01000000 07000000 03000000 09000000 ${FRAME}`),
  ];
  fc.assert(
    fc.property(fc.constantFrom(...seeds), fc.nat(), fc.nat(255), fc.nat(), (seed, where, value, cut) => {
      const bytes = seed.slice(0, seed.length - (cut % 8));
      bytes[where % bytes.length] = value;
      fault(bytes);
    }),
    { numRuns: 3000 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void fault(bytes)));
});
