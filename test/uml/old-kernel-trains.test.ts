// Linux before 6.11 refuses to cut a message for a device without checksum offload (EIO), and before 6.9 one of more than 64 segments
// (EINVAL). User-Mode Linux is such a kernel: trains must leave there all the same.
//
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { showModules } from './guest.ts';

const dist = resolve(import.meta.dirname, '../../dist');

/** What the guest's Node runs: one train of `segments` segments, 1,000 bytes each, between two single packets. */
const program = `
import { createBank, counterAt, SEND_ERRORS_AT } from '${dist}/base/counters.js';
import { SEND_ERRORS } from '${dist}/base/send-error.js';
import { RECORD_STRIDE } from '${dist}/base/arena.js';
import { createBatch } from '${dist}/io/open.js';
import { UdpEgress } from '${dist}/io/udp/egress.js';
const bank = createBank();
const egress = new UdpEgress({ sourcePorts: 1, bank });
const facts = { link: 2, hopDone: true, canPass: false, headerVerified: true };
const { batch } = createBatch({ facts }, 3);
const { bytes, view, recordsAt } = batch.arena;
const HEADERS = 32;
function outer(at, payload) {
  bytes.fill(0, at, at + HEADERS);
  bytes.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2], at);
  view.setUint16(at + 20, 61440);
  view.setUint16(at + 22, 6080);
  view.setUint16(at + 24, payload + 12);
  view.setUint16(at + 26, 0xffff);
}
function send(segments) {
  batch.count = 3;
  for (let i = 0; i < 3; i++) {
    const at = i === 1 ? recordsAt : batch.frameAt[i];
    batch.outAt[i] = at;
    batch.outerTransportAt[i] = at + 20;
    batch.tunnelAt[i] = at + 28;
    batch.outerFamily[i] = 4;
    batch.sourcePort[i] = 61440;
    batch.outLength[i] = HEADERS + 500;
    batch.verdict[i] = 1;
    batch.recordAt[i] = -1;
    batch.segmentCount[i] = 1;
    outer(at, 500);
  }
  batch.recordAt[1] = recordsAt;
  batch.segmentCount[1] = segments;
  for (let k = 0; k < segments; k++) {
    outer(recordsAt + k * RECORD_STRIDE, 900);
    batch.pieceHeader[k] = HEADERS;
    batch.pieceAt[k] = batch.frameAt[1];
    batch.pieceLength[k] = 900;
  }
  egress.send(batch);
  const errors = SEND_ERRORS.filter((_, n) => bank[SEND_ERRORS_AT + n] !== 0);
  console.log('sent ' + [segments, [...batch.verdict.subarray(0, 3)].join(''), bank[counterAt('refused_trains_total')], errors].join(' '));
}
for (const segments of process.argv.slice(2)) send(Number(segments));
`;

/** Datagrams that came to the far end's device. */
const count = 'awk \'$1 == "vb:" { print "arrived", $3 }\' /proc/net/dev';

function script(file: string): string {
  return [
    '#!/bin/sh',
    'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; export TMPDIR=/run',
    'modprobe veth; echo kernel $(uname -r)',
    'ip link set lo up; ip link add va type veth peer name vb; ip link set vb up; ip link set va up',
    'ip addr add 10.77.0.1/24 dev va; ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev va',
    // Cut before it leaves, so that the far end counts datagrams.
    'ethtool -K va gso off tx-udp-segmentation off > /dev/null',
    count,
    `${process.execPath} ${file} 45 65`,
    count,
    'ethtool -K va tx off > /dev/null',
    `${process.execPath} ${file} 45 1`,
    count,
    'echo o > /proc/sysrq-trigger; sleep 5',
    '',
  ].join('\n');
}

test(
  'on Linux 6.1 trains leave: cut by the kernel, and segment by segment where the device has no checksum offload',
  needs('root', 'uml'),
  async (t) => {
    showModules();
    const folder = mkdtempSync(join(tmpdir(), 'gue-director-trains-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'send.mjs');
    writeFileSync(file, program);
    const init = join(folder, 'init.sh');
    writeFileSync(init, script(file), { mode: 0o755 });
    const kernel = ['mem=512M', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${init}`, 'con=null', 'con0=fd:0,fd:1', 'quiet'];
    // Without IPv6, which would talk on the wire by itself.
    const child = spawn('linux.uml', [...kernel, 'ipv6.disable=1', `uml_dir=${folder}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: folder },
    });
    const limit = setTimeout(() => child.kill('SIGKILL'), 90_000);
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    await once(child, 'close');
    clearTimeout(limit);
    // Segments, verdicts, trains refused so far, errors.
    assert.deepEqual(
      said.match(/^sent .*$/gm)?.map((line) => line.trim()),
      ['sent 45 111 0', 'sent 65 111 0', 'sent 45 111 1', 'sent 1 111 1'],
      said,
    );
    const arrived = said.match(/^arrived \d+/gm)?.map((line) => Number(line.slice(8))) ?? [];
    assert.equal(arrived[1] - arrived[0], 45 + 2 + 65 + 2, said);
    assert.equal(arrived[2] - arrived[1], 45 + 2 + 1 + 2, said);
  },
);
