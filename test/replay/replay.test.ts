// `gue-director replay` as a user runs it: captures in, verdicts and captures out, no privilege.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { packet } from '../builder/packet.ts';
import { checkEncapsulation, decodeOuter } from '../check/outer.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'gd-replay-'));
after(() => rmSync(folder, { recursive: true }));

const CONFIG = join(folder, 'director.yaml');
writeFileSync(
  CONFIG,
  `services:
  - { name: web, address: [198.51.100.1, '2001:db8:2::1'], protocol: tcp, port: 443, pool: workers }
pools:
  workers:
    backends:
      - { name: w1, address: 10.0.0.1 }
      - { name: w2, address: 10.0.0.2 }
tunnel:
  source: { ipv4: 10.0.0.254 }
`,
);

/** A classic pcap file, written by hand: microseconds, this machine's byte order, 24 bytes of header and 16 for each record. */
function capture(name: string, linkType: number, frames: readonly Uint8Array[]): string {
  const header = new Uint32Array([0xa1b2c3d4, 0x00040002, 0, 0, 262144, linkType]);
  const records = frames.flatMap((frame, i) => [
    Buffer.from(new Uint32Array([1700000000, i, frame.length, frame.length]).buffer),
    Buffer.from(frame),
  ]);
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat([Buffer.from(header.buffer), ...records]));
  return path;
}

function readRecords(path: string): Uint8Array[] {
  const bytes = readFileSync(path);
  const records: Uint8Array[] = [];
  for (let at = 24; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    records.push(bytes.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return records;
}

function replay(...args: string[]): string {
  return execFileSync(process.execPath, ['--import', 'tsx', MAIN, 'replay', '--config', CONFIG, ...args], { encoding: 'utf8' });
}

const inner4 = packet().ipv4({ dst: '198.51.100.1', ttl: 9 }).tcp({ sport: 5555, dport: 443 }).payload(101).bytes();
const inner6 = packet().ipv6({ dst: '2001:db8:2::1', hopLimit: 9 }).tcp({ sport: 5556, dport: 443 }).payload(77).bytes();

test('Ethernet capture: a verdict per packet, what leaves decodes, replies go to their own file', () => {
  const ping = packet().ethernet().ipv4({ dst: '198.51.100.1' }).icmp4({ type: 8 }).payload(8).bytes();
  const input = capture('ethernet.pcap', 1, [
    Buffer.concat([packet().ethernet({ type: 0x0800 }).bytes(), inner4]),
    Buffer.concat([packet().ethernet({ type: 0x86dd }).bytes(), inner6]),
    packet().ethernet().ipv4({ dst: '203.0.113.9' }).tcp({ dport: 443 }).bytes(),
    ping,
  ]);
  const out = join(folder, 'out.pcap');
  const replies = join(folder, 'replies.pcap');
  const lines = replay(input, '--json', '--write', out, '--replies', replies)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.slice(0, 4).map((p) => [p.packet, p.verdict, p.reason]),
    [
      [1, 'forward', undefined],
      [2, 'forward', undefined],
      [3, 'drop', 'not-a-service'],
      [4, 'reply', undefined],
    ],
  );
  assert.deepEqual(lines[4].verdicts, { drop: 1, forward: 2, reply: 1, pass: 0 });
  assert.deepEqual(lines[4].reasons, { 'not-a-service': 1 });
  const sent = readRecords(out);
  assert.equal(sent.length, 2);
  checkEncapsulation(sent[0], inner4, { ttlDecremented: true });
  checkEncapsulation(sent[1], inner6, { ttlDecremented: true });
  assert.equal(lines[0].encapsulatedLength, sent[0].length);
  assert.equal(lines[0].sourcePort, (sent[0][20] << 8) | sent[0][21]);
  assert.equal(lines[0].address, [...decodeOuter(sent[0]).outer.destination].join('.'));
  assert.equal(readRecords(replies).length, 1);
});

test('raw-IP capture, text for people; the same capture gives the same answers every time', () => {
  const input = capture('raw.pcap', 101, [inner4, inner6]);
  const text = replay(input);
  assert.match(text, /1 {2}forward {2}web → workers\/w[12] \(10\.0\.0\.[12]\) {2}141 → 173 bytes, source port \d+/);
  assert.match(text, /2 packets: forward 2/);
  assert.equal(replay(input), text);
  assert.match(replay(input, '--summary'), /^2 packets/);
});

test('what can not be read is an error with its place and an exit code, not a stack', () => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['--import', 'tsx', MAIN, 'replay', ...args], { encoding: 'utf8' });
  const missing = run('--config', CONFIG, join(folder, 'absent.pcap'));
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /error: .*absent\.pcap/);
  const broken = join(folder, 'broken.pcap');
  writeFileSync(broken, Buffer.concat([readFileSync(capture('whole.pcap', 101, [inner4])).subarray(0, 60)]));
  const cut = run('--config', CONFIG, broken);
  assert.equal(cut.status, 1);
  assert.match(cut.stderr, /\d+/);
  const config = run('--config', join(folder, 'absent.yaml'), broken);
  assert.equal(config.status, 78);
});
