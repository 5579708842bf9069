/**
 * `npm run bench -- rings`: what it costs to receive through AF_PACKET, by how packets wait (`ring` of the driver `packet`), and how long they wait. Only
 * receiving: nothing is forwarded. Needs root; two namespaces, a veth pair and a sender in a process of its own on the other end, each kind in turn.
 *
 *     full:   the reader looks every 2 ms, as one that is busy finds it: batches of 64. Its CPU time per packet is what receiving costs.
 *     working: it waits by poll, and is busy for 3 µs with each packet, about what sending costs, at 100,000 packets a second.
 *     woken:  it waits by poll and has nothing to do, for packets that come as fast as the sender can.
 *     quiet:  1,000 packets a second; from sent to received.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createBatch } from '../src/io/open.ts';
import { PacketIngress } from '../src/io/packet/ingress.ts';
import type { RingKind } from '../src/io/packet/ring.ts';
import { boottimeClock } from '../src/raw-socket/clock.ts';
import { pin } from '../src/raw-socket/memory.ts';
import { MessageVector } from '../src/raw-socket/message.ts';
import { openPacketSocket, PACKET_VNET_HEADER } from '../src/raw-socket/packet-socket.ts';
import { PollSet } from '../src/raw-socket/poll.ts';
import { run as command, Namespace } from '../test/host/namespace.ts';

export const name = 'rings';

const KINDS: readonly RingKind[] = ['none', 'frames', 'blocks'];
const SERVICE = [10, 9, 9, 9];
const BATCH = 64;
/** Where in the frame the sender writes when it left: milliseconds since boot, a double. */
const STAMP = 48;
const LOOK_MS = 2;
const WAIT_MS = 100;
const WORK_MS = 0.003;

interface Load {
  readonly load: 'full' | 'working' | 'woken' | 'quiet';
  readonly bytes: number;
  /** Packets a second; 0: as many as go. */
  readonly rate: number;
}

const LOADS: readonly Load[] = [
  { load: 'full', bytes: 64, rate: 0 },
  { load: 'full', bytes: 800, rate: 0 },
  { load: 'full', bytes: 1500, rate: 0 },
  { load: 'working', bytes: 800, rate: 100_000 },
  { load: 'woken', bytes: 800, rate: 0 },
  { load: 'quiet', bytes: 800, rate: 1000 },
];

interface Result {
  readonly packets: number;
  /** CPU time of the reader per packet, and of the sender, in whose time the kernel copies. */
  readonly reader: number;
  readonly sender: number;
  readonly drops: number;
  /** Microseconds from sent to received, sorted. */
  readonly waits: readonly number[];
}

/** The sender's process: `rate` packets a second for `seconds`, then what they cost. */
function send(device: string, bytes: number, rate: number, seconds: number): void {
  const { descriptor } = openPacketSocket({ device, fanoutGroup: null, receiveBuffer: 65_536 });
  const header = pin(PACKET_VNET_HEADER);
  const frames = pin(BATCH * bytes);
  const view = new DataView(frames.bytes.buffer);
  const vector = new MessageVector({ messages: BATCH, segments: 2, nameBytes: 0, controlBytes: 0 });
  const ip = bytes - 14;
  for (let k = 0; k < BATCH; k++) {
    const at = k * bytes;
    frames.bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, ip >> 8, ip & 255, 0, 0, 0x40, 0, 64, 17, 0, 0], at);
    frames.bytes.set([10, 1, 0, 1, ...SERVICE, 8, k, 0x0f, 0xa1, (ip - 20) >> 8, (ip - 20) & 255, 0, 0], at + 26);
    vector.setSegment(k, 0, header.address, PACKET_VNET_HEADER);
    vector.setSegment(k, 1, frames.address + at, bytes);
  }
  const clock = boottimeClock();
  const begin = clock.milliseconds();
  const poll = new PollSet(1);
  const cpu = clock.threadCpuSeconds();
  let sent = 0;
  for (let now = begin; now < begin + seconds * 1000; now = clock.milliseconds()) {
    const due = rate === 0 ? BATCH : Math.min(BATCH, Math.floor(((now - begin) * rate) / 1000) - sent);
    if (due <= 0) {
      poll.wait(1);
      continue;
    }
    for (let k = 0; k < due; k++) view.setFloat64(k * bytes + STAMP, now);
    sent += Math.max(0, vector.send(descriptor, 0, due));
  }
  console.log(JSON.stringify({ sent, cpu: clock.threadCpuSeconds() - cpu }));
}

async function measure(
  near: Namespace,
  far: Namespace,
  ring: RingKind,
  { load, bytes, rate }: Load,
  seconds: number,
): Promise<Result> {
  const service = { prefix: { bytes: Uint8Array.from(SERVICE), length: 32 }, protocol: 17, portFrom: 4001, portTo: 4001 };
  const ingress = far.inside(() => new PacketIngress({ device: 'vb', services: [service], ring }));
  const { batch, release } = createBatch(ingress, BATCH);
  const poll = new PollSet(1);
  if (load !== 'full') poll.add(ingress.descriptor);
  const clock = boottimeClock();
  const options = ['--import', 'tsx', fileURLToPath(import.meta.url), `--send=va,${bytes},${rate},${seconds}`];
  const child = near.inside(() => spawn(process.execPath, options, { stdio: ['ignore', 'pipe', 'inherit'] }));
  let said = '';
  child.stdout.on('data', (data) => {
    said += data;
  });
  const closed = once(child, 'close');
  const waits: number[] = [];
  let packets = 0;
  // Until the first packet comes, the sender's process starts.
  while (ingress.receive(batch) === 0) await new Promise((go) => setTimeout(go, 1));
  const begin = clock.milliseconds();
  const cpu = clock.threadCpuSeconds();
  while (clock.milliseconds() < begin + seconds * 900) {
    for (let count = ingress.receive(batch); count > 0; count = ingress.receive(batch)) {
      packets += count;
      if (load === 'working') for (const until = clock.milliseconds() + count * WORK_MS; clock.milliseconds() < until; );
      if (load !== 'quiet') continue;
      const now = clock.milliseconds();
      for (let i = 0; i < count; i++) waits.push((now - batch.arena.view.getFloat64(batch.frameAt[i] + STAMP)) * 1000);
    }
    poll.wait(load === 'full' ? LOOK_MS : WAIT_MS);
  }
  const reader = clock.threadCpuSeconds() - cpu;
  await closed;
  const { sent, cpu: sender } = JSON.parse(said) as { sent: number; cpu: number };
  const drops = ingress.statistics().kernelDrops;
  ingress.close();
  release();
  waits.sort((a, b) => a - b);
  return { packets, reader: (reader / packets) * 1e9, sender: (sender / sent) * 1e9, drops, waits };
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

export async function run({ quick }: { quick: boolean }) {
  const near = new Namespace();
  const far = new Namespace();
  const rows: Record<string, string | number>[] = [];
  try {
    near.connect('va', far, 'vb');
    far.inside(() => command('ip link set vb address 02:00:00:00:00:02'));
    for (const load of LOADS) {
      const results = new Map<RingKind, Result[]>(KINDS.map((kind) => [kind, []]));
      for (let round = 0; round < (quick ? 1 : 5); round++) {
        for (const kind of KINDS) results.get(kind)?.push(await measure(near, far, kind, load, quick ? 0.5 : 1));
      }
      for (const [ring, of] of results) {
        const times = of.flatMap(({ waits }) => waits).sort((a, b) => a - b);
        const waited =
          times.length === 0
            ? {}
            : { 'p50 µs': Math.round(median(times)), 'p99 µs': Math.round(times[Math.floor(times.length * 0.99)]) };
        rows.push({
          load: `${load.load}, ${load.bytes} bytes`,
          ring,
          'reader ns/packet': Math.round(median(of.map(({ reader }) => reader))),
          'sender ns/packet': Math.round(median(of.map(({ sender }) => sender))),
          packets: of.reduce((sum, { packets }) => sum + packets, 0),
          ...waited,
        });
      }
    }
  } finally {
    near.close();
    far.close();
  }
  return { name, rows };
}

const order = process.argv.map((word) => /^--send=(\w+),(\d+),(\d+),([\d.]+)$/.exec(word)).find((found) => found !== null);
if (order != null) send(order[1], Number(order[2]), Number(order[3]), Number(order[4]));
