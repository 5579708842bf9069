// `gue-director replay` as a user runs it: captures in, verdicts and captures out, no privilege.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { nodeCommand } from '../../src/demo/cast.ts';
import { MemoryEgress } from '../../src/io/memory/egress.ts';
import { PcapFileIngress } from '../../src/io/pcap-file/ingress.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { type ReplayedPacket, replay as replayHere } from '../../src/replay/replay.ts';
import { packet } from '../builder/packet.ts';
import { checkEncapsulation, decodeOuter } from '../check/outer.ts';

const CLI = nodeCommand('../cli/main')[1];
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

type Time = readonly [seconds: number, nanoseconds: number];

/** A classic pcap file, written by hand: nanoseconds, this machine's byte order, 24 bytes of header and 16 for each record. */
function capture(name: string, linkType: number, frames: readonly Uint8Array[], times: readonly Time[] = []): string {
  const header = new Uint32Array([0xa1b23c4d, 0x00040002, 0, 0, 262144, linkType]);
  const records = frames.flatMap((frame, i) => [
    Buffer.from(new Uint32Array([...(times[i] ?? [1700000000, i]), frame.length, frame.length]).buffer),
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

function readTimes(path: string): Time[] {
  const bytes = readFileSync(path);
  const times: Time[] = [];
  for (let at = 24; at < bytes.length; at += 16 + bytes.readUInt32LE(at + 8)) {
    times.push([bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)]);
  }
  return times;
}

function replay(...args: string[]): string {
  return execFileSync(process.execPath, [...CLI, 'replay', '--config', CONFIG, ...args], { encoding: 'utf8' });
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
  assert.match(text, /1 {2}forward {2}web → workers\/w[12] \(10\.0\.0\.[12]\) {2}141 → 173 bytes, gue, source port \d+/);
  assert.match(text, /2 packets: forward 2/);
  assert.equal(replay(input), text);
  assert.match(replay(input, '--summary'), /^2 packets/);
});

test('segment-and-tell: the packet is forwarded in two, said to be answered, and the answer is among the replies', () => {
  const config = join(folder, 'telling.yaml');
  writeFileSync(config, readFileSync(CONFIG, 'utf8').replace('pool: workers }', 'pool: workers, oversize: segment-and-tell }'));
  const large = packet().ipv4({ dst: '198.51.100.1' }).tcp({ sport: 5555, dport: 443 }).payload(1460).bytes();
  const input = capture('telling.pcap', 101, [inner4, large]);
  const replies = join(folder, 'told.pcap');
  const told = (...args: string[]) =>
    attempt('--config', config, input, ...args)
      .stdout.trim()
      .split('\n');
  const [small, cut] = told('--json', '--replies', replies).map((line) => JSON.parse(line) as ReplayedPacket);
  assert.deepEqual([small.verdict, small.segments, small.answered], ['forward', undefined, undefined]);
  assert.deepEqual([cut.verdict, cut.segments, cut.answered], ['forward', 2, true]);
  assert.deepEqual(
    readRecords(replies).map((reply) => [...reply.subarray(20, 22)]),
    [[3, 4]],
  );
  assert.match(told()[1], /1500 → 1604 bytes in 2 packets, and answered, gue, source port/);
});

/** All that may go wrong is told by its exit code and one line. */
function attempt(...args: string[]): { status: number | null; stderr: string; stdout: string } {
  return spawnSync(process.execPath, [...CLI, 'replay', ...args], { encoding: 'utf8' });
}

test('what leaves has the time of its packet, to the nanosecond; two runs write the same bytes', () => {
  const ping = packet().ipv4({ dst: '198.51.100.1' }).icmp4({ type: 8 }).payload(8).bytes();
  const times: Time[] = [
    [1700000000, 123456789],
    [1700000000, 999999999],
    [1700000700, 1],
    [1600000000, 5],
  ];
  const input = capture('times.pcap', 101, [inner4, ping, inner6, inner4], times);
  const written = ['a', 'b'].map((run) => {
    const out = join(folder, `times-${run}.pcap`);
    const replies = join(folder, `times-replies-${run}.pcap`);
    replay(input, '--summary', '--write', out, '--replies', replies);
    return { out, replies };
  });
  assert.deepEqual(readTimes(written[0].out), [times[0], times[2], times[3]]);
  assert.deepEqual(readTimes(written[0].replies), [times[1]]);
  assert.deepEqual(readFileSync(written[0].out), readFileSync(written[1].out));
  assert.deepEqual(readFileSync(written[0].replies), readFileSync(written[1].replies));
});

test('a source by route is not known here: the file has 0.0.0.0, and that is said', () => {
  const config = join(folder, 'by-route.yaml');
  const text = readFileSync(CONFIG, 'utf8').replace(/ipv4: [0-9.]+/, 'ipv4: by-route');
  writeFileSync(config, text);
  const [input, out] = [capture('by-route.pcap', 101, [inner4]), join(folder, 'by-route-out.pcap')];
  const { status, stderr } = attempt('--config', config, input, '--write', out, '--summary');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^note: outer sources by route .* 0\.0\.0\.0 or :: in \S+by-route-out\.pcap \(pools workers\)\n$/);
  assert.deepEqual([...readRecords(out)[0].subarray(12, 16)], [0, 0, 0, 0]);
  assert.equal(attempt('--config', config, input, '--summary').stderr, '', 'where nothing is written there is nothing to say');
});

test('time in the flow table is the capture’s, from its first packet, and never goes back', (t) => {
  const seen: number[] = [];
  const process = Pipeline.prototype.process;
  t.mock.method(Pipeline.prototype, 'process', function (this: Pipeline, ...[batch, now]: Parameters<typeof process>) {
    for (let i = 0; i < batch.count; i++) seen.push(now);
    process.call(this, batch, now);
  });
  const seconds = [1700000000, 1700000000, 1700000601, 1600000000, 1700000602, 4294967295];
  const input = capture(
    'ageing.pcap',
    101,
    seconds.map(() => inner4),
    seconds.map((second) => [second, 0]),
  );
  const ingress = new PcapFileIngress({ path: input });
  replayHere({ config: loadConfig(CONFIG), ingress, egress: new MemoryEgress({ keep: false }) });
  assert.deepEqual(seen, [0, 0, 601, 601, 602, 0x7fffffff]);
});

test('--json names addresses, protocol and ports of every packet that has them, whatever its verdict', () => {
  const ip4 = { src: '192.0.2.7', dst: '198.51.100.1' };
  const ping = packet().ethernet().ipv4(ip4).icmp4({ type: 8 }).payload(8).bytes();
  const other = packet().ethernet().ipv4({ src: '192.0.2.7', dst: '203.0.113.9' }).tcp({ sport: 1025, dport: 443 }).bytes();
  const six = packet().ethernet().ipv6({ src: '2001:db8:1::7', dst: '2001:db8:2::1' }).tcp({ sport: 5556, dport: 443 }).bytes();
  const broken = packet().ethernet().ipv4(ip4).udp({ sport: 53, dport: 443 }).bytes();
  broken[14 + 10] ^= 0xff;
  const later = packet().ethernet().ipv4(ip4).udp({ sport: 53, dport: 443 }).bytes();
  later[14 + 7] = 9;
  const short = other.slice(0, 14 + 22);
  const arp = packet().ethernet({ type: 0x0806 }).payload(46).bytes();
  const input = capture('tuples.pcap', 1, [six, ping, other, broken, later, short, arp]);
  const told: ReplayedPacket[] = [];
  const ingress = new PcapFileIngress({ path: input });
  replayHere({
    config: loadConfig(CONFIG),
    ingress,
    egress: new MemoryEgress({ keep: false }),
    onPacket: (one) => told.push(one),
  });
  const ends = { source: '192.0.2.7', destination: '198.51.100.1' };
  const expected = [
    ['forward', { source: '2001:db8:1::7', destination: '2001:db8:2::1', protocol: 'tcp', sport: 5556, dport: 443 }],
    // An answer is written over its packet; the addresses are those of the packet.
    ['reply', { ...ends, protocol: 'icmp', sport: undefined, dport: undefined }],
    ['drop', { source: '192.0.2.7', destination: '203.0.113.9', protocol: 'tcp', sport: 1025, dport: 443 }],
    ['drop', { ...ends, protocol: 'udp', sport: 53, dport: 443 }],
    ['drop', { ...ends, protocol: 'udp', sport: undefined, dport: undefined }],
    ['drop', { source: '192.0.2.7', destination: '203.0.113.9', protocol: 'tcp', sport: undefined, dport: undefined }],
    ['drop', { source: undefined, destination: undefined, protocol: undefined, sport: undefined, dport: undefined }],
  ];
  assert.deepEqual(
    told.map(({ verdict, source, destination, protocol, sport, dport }) => [
      verdict,
      { source, destination, protocol, sport, dport },
    ]),
    expected,
  );
  const [drop] = replay(input)
    .split('\n')
    .filter((line) => line.includes('not-a-service'));
  assert.match(drop, /tcp 192\.0\.2\.7:1025 → 203\.0\.113\.9:443$/);
});

test('a file that can not take all is an error with its errno, and ends with its last whole record', () => {
  // 100 packets of 173 bytes and 16 of header; a file may have 8 × 512 bytes, which ends inside a record.
  const input = capture(
    'many.pcap',
    101,
    Array.from({ length: 100 }, () => inner4),
  );
  const ping = packet().ipv4({ dst: '198.51.100.1' }).icmp4({ type: 8 }).payload(100).bytes();
  const pings = capture(
    'pings.pcap',
    101,
    Array.from({ length: 100 }, () => ping),
  );
  for (const [option, from, length] of [
    ['--write', input, 173],
    ['--replies', pings, 128],
  ] as const) {
    const out = join(folder, `limited${option}.pcap`);
    const run = spawnSync(
      'sh',
      [
        ...['-c', 'ulimit -f 8 && exec "$@"', 'sh', process.execPath, ...CLI, 'replay'],
        ...['--config', CONFIG, from, option, out],
      ],
      { encoding: 'utf8', env: { ...process.env, TSX_DISABLE_CACHE: '1' } },
    );
    assert.equal(run.status, 1, run.stderr);
    assert.match(run.stderr, new RegExp(`error: .*limited${option}\\.pcap: EFBIG.*\\[GD_IO_PCAP_WRITE\\]`));
    const whole = Math.floor((4096 - 24) / (16 + length));
    assert.equal(statSync(out).size, 24 + whole * (16 + length), 'not cut inside a record');
    assert.equal(readRecords(out).length, whole);
    // What got into the file is not called dropped.
    assert.equal(run.stdout.match(/ (forward|reply) /g)?.length, whole);
  }
});

test('an output never replaces the capture, the configuration or the other output', () => {
  const input = capture('precious.pcap', 101, [inner4]);
  const before = readFileSync(input);
  symlinkSync(input, join(folder, 'link.pcap'));
  const fresh = join(folder, 'fresh.pcap');
  for (const args of [
    ['--write', input],
    ['--replies', join(folder, 'link.pcap')],
    ['--write', CONFIG],
    ['--write', fresh, '--replies', fresh],
  ]) {
    const { status, stderr } = attempt('--config', CONFIG, input, ...args);
    assert.equal(status, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, /GD_CLI_SAME_FILE/);
  }
  assert.deepEqual(readFileSync(input), before);
  assert.equal(existsSync(fresh), false);
  assert.match(replay(input, '--summary', '--write', '/dev/null', '--replies', '/dev/null'), /forward 1/);
});

test('what can not be read is an error with its place and an exit code, not a stack', () => {
  const missing = attempt('--config', CONFIG, join(folder, 'absent.pcap'));
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /error: .*absent\.pcap/);
  const broken = join(folder, 'broken.pcap');
  writeFileSync(broken, Buffer.concat([readFileSync(capture('whole.pcap', 101, [inner4])).subarray(0, 60)]));
  const cut = attempt('--config', CONFIG, broken);
  assert.equal(cut.status, 1);
  assert.match(cut.stderr, /\d+/);
  const config = attempt('--config', join(folder, 'absent.yaml'), broken);
  assert.equal(config.status, 78);
});
