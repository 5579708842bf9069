import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { trailText } from '../../src/cli/render/explain.ts';
import { paintFor } from '../../src/cli/render/paint.ts';
import { loadText } from '../../src/config/load.ts';
import { flowFrame, hexFrame } from '../../src/explain/question.ts';
import type { Trail } from '../../src/explain/trail.ts';
import { answerOffline, explainCapture } from '../../src/replay/explained.ts';
import { writeCapture } from '../reference/capture-file.ts';

const CONFIG = loadText(
  `services:
  - { name: web, address: 198.51.100.1, protocol: tcp, port: 443, pool: web, oversize: segment }
  - { name: rest, address: 198.51.100.0/24, protocol: tcp, port: all, pool: web }
  - { name: dns, address: 198.51.100.1, protocol: udp, port: 53, pool: web }
  - { name: empty, address: 198.51.100.9, protocol: udp, port: 53, pool: idle }
pools:
  web:
    backends:
      - { name: w1, address: 10.0.0.1 }
      - { name: w2, address: 10.0.0.2 }
      - { name: w3, address: 10.0.0.3, state: draining }
  idle: { backends: [{ name: off, address: 10.0.0.4, state: down }] }
tunnel: { source: { ipv4: 10.0.0.254 } }
`,
  'explain.yaml',
);

const FLOW = 'tcp 192.0.2.7:40000 198.51.100.1:443';
const ask = (text: string, wishes = {}, without: string | null = null) =>
  answerOffline(CONFIG, flowFrame(text, wishes), 1500, without);
const textOf = (trail: Trail) => trailText(trail, paintFor({ isTTY: false }, {}));

test('a packet of a service: the whole trail, and its bytes come through the same path again', () => {
  const trail = ask(FLOW);
  assert.equal(trail.verdict, 'forward');
  assert.equal(trail.service.matched?.name, 'web');
  assert.deepEqual(
    trail.service.shadowed.map(({ name }) => name),
    ['rest'],
  );
  assert.deepEqual(
    trail.service.near.map(({ name, but }) => [name, but]),
    [],
  );
  assert.deepEqual([trail.flow?.by, trail.flow?.entry, trail.flow?.effect], ['flow', null, 'created']);
  assert.equal(trail.choice?.from, 'table');
  assert.equal(trail.choice?.table?.backend, `web/${trail.choice?.backend}`);
  assert.deepEqual(trail.sent?.lengths, [72]);
  assert.deepEqual(trail.sent?.offsets, {
    outerNetwork: 0,
    outerTransport: 20,
    tunnel: 28,
    innerNetwork: 32,
    innerTransport: 52,
    end: 72,
  });
  assert.deepEqual(trail.sent?.tunnelLength, { least: 12, is: 12 });
  // What leaves is our own tunnel packet: sent to us, nobody takes it.
  const back = answerOffline(CONFIG, hexFrame(trail.sent?.bytes as string), 1500, null);
  assert.equal(back.reason?.word, 'not-a-service');
  const text = textOf(trail);
  assert.match(text, /^tcp 192\.0\.2\.7:40000 → 198\.51\.100\.1:443: forwarded to web\/w[12] \(10\.0\.0\.[12]\)\n/);
  assert.match(text, /rest \(tcp 198\.51\.100\.0\/24\) would take it too; the narrower one goes before/);
  assert.match(text, /\| outer IP \| UDP \| GUE \| inner IP \| inner transport and payload \|/);
  assert.match(text, /slot \d+, says web\/w[12]/);
});

test('what is dropped says why, and which services nearly take it', () => {
  const port = ask('udp 192.0.2.7:40000 198.51.100.1:54');
  assert.equal(port.reason?.word, 'not-a-service');
  assert.deepEqual(
    port.service.near.map(({ name, but }) => [name, but]),
    [
      ['rest', 'it takes tcp, this is udp'],
      ['dns', 'it takes port 53, this is port 54'],
    ],
  );
  assert.match(textOf(port), /not dns \(udp 198\.51\.100\.1\/32 port 53\): it takes port 53, this is port 54/);
  assert.match(textOf(port), /docs\/drop-reasons\.md#not-a-service/);
  const nobody = ask('udp 192.0.2.7:40000 198.51.100.9:53');
  assert.deepEqual([nobody.reason?.word, nobody.choice?.from, nobody.choice?.backend], ['no-backend', 'nobody', null]);
  assert.match(textOf(nobody), /none of pool idle may serve/);
});

test('size: whole, cut, answered, as the policy says', () => {
  assert.deepEqual([ask(FLOW, { length: 1468 }).size?.becomes, ask(FLOW, { length: 1468 }).sent?.lengths], ['whole', [1500]]);
  const cut = ask(FLOW, { length: 1500 });
  assert.equal(cut.size?.becomes, 'segments');
  assert.equal(cut.sent?.lengths.length, 2);
  assert.match(textOf(cut), /in 2 packets\n[\s\S]*path MTU 1500, so 1468 inside \(oversize: segment\): cut into 2 segments/);
  const answered = ask('udp 192.0.2.7:1 198.51.100.1:53', { length: 1500 });
  assert.deepEqual([answered.verdict, answered.size?.answered, answered.sent], ['reply', true, null]);
});

test('without a backend: its flows move, those of others stay', () => {
  let moved = 0;
  for (let port = 1000; port < 1040; port++) {
    const flow = `tcp 192.0.2.7:${port} 198.51.100.1:443`;
    const told = ask(flow, {}, 'web/w1');
    assert.equal(told.without?.moves, told.choice?.backend === 'w1', flow);
    assert.equal(told.without?.trail.choice?.backend, 'w2');
    if (told.without?.moves) moved++;
  }
  assert.ok(moved > 5 && moved < 35, `${moved}`);
  assert.throws(() => ask(FLOW, {}, 'web/w9'), { code: 'GD_EXPLAIN_BACKEND', exitCode: 2 });
});

test('a capture: one flow table for all of it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-explain-'));
  try {
    const path = join(folder, 'in.pcap');
    const frames = ['syn', 'ack', 'ack'].map((flags) => flowFrame(FLOW, { flags }).frame);
    writeCapture(path, frames);
    const trails: Trail[] = [];
    explainCapture(CONFIG, path, 1500, (packet, trail) => {
      assert.equal(packet, trails.length + 1);
      trails.push(trail);
    });
    assert.deepEqual(
      trails.map(({ flow, choice }) => [flow?.effect, choice?.from, flow?.entry?.confirmed]),
      [
        ['none', 'table', undefined],
        ['created', 'table', undefined],
        ['refreshed', 'entry', false],
      ],
    );
    assert.equal(new Set(trails.map(({ choice }) => choice?.backend)).size, 1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a damaged packet is forwarded as it came, and said to be damaged', () => {
  const packet = flowFrame(FLOW, {}).frame.slice();
  packet[36] ^= 1;
  const told = answerOffline(CONFIG, hexFrame(Buffer.from(packet).toString('hex'), 'ip'), 1500, null);
  assert.deepEqual([told.verdict, told.packet.checksumWrong], ['forward', true]);
  assert.match(textOf(told), /^ +its tcp checksum is wrong: damaged before it came here/m);
  assert.equal(ask(FLOW).packet.checksumWrong, false);
  assert.doesNotMatch(textOf(ask(FLOW)), /wrong/);
});
