// Capture files of any size are read through a window: the same records as from memory, and what happens when the file is not what it was.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { CodedError } from '../../src/base/errors.ts';
import { createBatch } from '../../src/io/open.ts';
import { openCaptureFile } from '../../src/io/pcap-file/capture-window.ts';
import { PcapFileIngress } from '../../src/io/pcap-file/ingress.ts';
import { type CaptureReader, openCapture } from '../../src/wire/capture.ts';
import {
  LINKTYPE_RAW,
  PCAP_FILE_HEADER_LENGTH,
  PCAP_RECORD_HEADER_LENGTH,
  writeFileHeader,
  writeRecordHeader,
} from '../../src/wire/pcap.ts';
import {
  PCAPNG_INTERFACE_LENGTH,
  PCAPNG_SECTION_LENGTH,
  packetBlockLength,
  writeInterface,
  writePacket,
  writeSection,
} from '../../src/wire/pcapng.ts';
import fc from '../property.ts';

const MIB = 1 << 20;

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'gd-window-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const frameOf = (length: number, n: number) => new Uint8Array(length).fill(n + 1);

function pcap(lengths: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(
    lengths.reduce((sum, length) => sum + PCAP_RECORD_HEADER_LENGTH + length, PCAP_FILE_HEADER_LENGTH),
  );
  const view = new DataView(bytes.buffer);
  writeFileHeader(view, 0, LINKTYPE_RAW);
  let at = PCAP_FILE_HEADER_LENGTH;
  lengths.forEach((length, n) => {
    writeRecordHeader(view, at, n, 7, length, length);
    bytes.set(frameOf(length, n), at + PCAP_RECORD_HEADER_LENGTH);
    at += PCAP_RECORD_HEADER_LENGTH + length;
  });
  return bytes;
}

function pcapng(lengths: readonly number[]): Uint8Array {
  const head = PCAPNG_SECTION_LENGTH + PCAPNG_INTERFACE_LENGTH;
  const bytes = new Uint8Array(lengths.reduce((sum, length, n) => sum + packetBlockLength(length, n % 9), head));
  const view = new DataView(bytes.buffer);
  writeSection(view, 0);
  writeInterface(view, PCAPNG_SECTION_LENGTH, LINKTYPE_RAW);
  let at = head;
  lengths.forEach((length, n) => {
    const comment = new TextEncoder().encode('c'.repeat(n % 9));
    at += writePacket(bytes, at, 0, n, 7, frameOf(length, n), length, comment);
  });
  return bytes;
}

function recordsOf(reader: CaptureReader) {
  const found = [];
  while (reader.next()) {
    const frame = Buffer.from(reader.bytes.subarray(reader.at, reader.at + reader.length)).toString('base64');
    found.push([reader.linkType, reader.seconds, reader.nanoseconds, reader.originalLength, reader.comment, frame]);
  }
  return found;
}

function throughWindow<T>(path: string, read: (reader: CaptureReader) => T): T {
  const { source, close } = openCaptureFile(path);
  try {
    return read(openCapture(source, path));
  } finally {
    close();
  }
}

test('through the window come the records that lie in memory, however they lie across its end', (t) => {
  const path = join(folder(t), 'in.pcap');
  const lengths = fc.array(fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: 200_000 }), fc.constantFrom(MIB, 3 * MIB, MIB - 60)), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(lengths, fc.constantFrom(pcap, pcapng), (wanted, write) => {
      const bytes = write(wanted);
      writeFileSync(path, bytes);
      const whole = recordsOf(openCapture(bytes));
      assert.equal(whole.length, wanted.length);
      assert.deepEqual(throughWindow(path, recordsOf), whole);
    }),
    { numRuns: 40 },
  );
});

test('a file with gigabytes in blocks that nobody reads takes no more memory than another; a record of such a size is refused with its place', (t) => {
  const path = join(folder(t), 'large.pcapng');
  const bytes = Buffer.from(pcapng([100]));
  const length = 3 * 1024 * MIB;
  const file = openSync(path, 'w');
  const word = (value: number) => {
    const four = Buffer.alloc(4);
    four.writeUInt32LE(value);
    return four;
  };
  writeSync(file, bytes);
  // A block of a type that is nobody's, a hole in the file, and one more packet behind it.
  writeSync(file, Buffer.concat([word(0x0bad), word(length)]));
  writeSync(file, word(length), 0, 4, bytes.length + length - 4);
  writeSync(file, bytes.subarray(PCAPNG_SECTION_LENGTH + PCAPNG_INTERFACE_LENGTH), 0, undefined, bytes.length + length);
  closeSync(file);
  const before = process.memoryUsage().arrayBuffers;
  assert.equal(throughWindow(path, recordsOf).length, 2);
  assert.ok(process.memoryUsage().arrayBuffers - before < 8 * MIB);

  const lying = openSync(path, 'w');
  const record = Buffer.from(pcap([0]));
  record.writeUInt32LE(20 * MIB, PCAP_FILE_HEADER_LENGTH + 8);
  writeSync(lying, record);
  ftruncateSync(lying, 30 * MIB);
  closeSync(lying);
  assert.throws(() => throughWindow(path, recordsOf), {
    code: 'GD_WIRE_CAPTURE_FORMAT',
    message: /byte 24: a record of 20971536 bytes/,
  });
});

test('a file that becomes shorter while it is read ends there, with its place', (t) => {
  const path = join(folder(t), 'shorter.pcap');
  writeFileSync(path, pcap(new Array(4000).fill(1000)));
  const ingress = new PcapFileIngress({ path });
  t.after(() => ingress.close());
  const { batch } = createBatch(ingress, 64);
  assert.equal(ingress.receive(batch), 1);
  truncateSync(path, 2 * MIB);
  let received = 1;
  while (!ingress.exhausted) received += ingress.receive(batch);
  const failure = ingress.failure as CodedError;
  assert.equal(failure.code, 'GD_WIRE_CAPTURE_TRUNCATED');
  assert.equal(Number(/byte (\d+): the file has become shorter/.exec(failure.message)?.[1]), 24 + received * 1016);
  assert.ok(received < 2100, `${received}`);
});

test('a pipe is read as well, once', async (t) => {
  const [path, pipe] = ['in.pcap', 'pipe'].map((name) => join(folder(t), name));
  writeFileSync(path, pcap([100, 200, 300]));
  execFileSync('mkfifo', [pipe]);
  const cat = spawn('sh', ['-c', 'cat "$0" > "$1"', path, pipe]);
  const ended = new Promise((done) => cat.on('exit', done));
  const ingress = new PcapFileIngress({ path: pipe });
  t.after(() => ingress.close());
  const { batch } = createBatch(ingress, 64);
  let received = 0;
  while (!ingress.exhausted) received += ingress.receive(batch);
  assert.equal(received, 3);
  assert.equal(ingress.failure, null);
  await ended;
});
