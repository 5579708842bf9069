// The user-space worker alone: real TCP from a client's kernel, wrapped here, unwrapped by the worker's own funnel into the kernel of a server.
// Only the funnel is on the clock: processor time of its receiving, merging and writing, and of everything that the kernel does inside those
// calls, up to the server's socket. With and without merging, fed with trains (UDP_SEGMENT) and with single datagrams, in turn.
//
//     iperf3 ──► enc0 (TUN) ──► wrap ──veth──► socket ──► Funnel ──► gw0 (TUN) ──► iperf3
//        ▲                      not timed      └────── timed ──────┘                  │
//        └──────────────────────────────────── veth ◄────────────────────────────────┘

import { type ChildProcess, spawn } from 'node:child_process';
import { openDatagramSocket, receiveTrains } from '../src/raw-socket/datagram.ts';
import { closeDescriptor } from '../src/raw-socket/file.ts';
import { openTunQueue } from '../src/raw-socket/tun.ts';
import { GUE } from '../src/worker/decapsulate.ts';
import { Funnel } from '../src/worker/funnel.ts';
import { Tally } from '../src/worker/tally.ts';
import { ip } from '../test/builder/addresses.ts';
import { run as command, Namespace, setSysctl } from '../test/host/namespace.ts';
import { PORT, TrainSender } from '../test/lab/train-sender.ts';
import { findCommand } from '../test/needs.ts';
import { Device } from '../test/oracle/kernel.ts';

const SERVICE = '10.9.0.1';
const CLIENT = '10.60.0.1';
const WORKER = '10.60.0.2';
/** Packets wrapped before the funnel gets its turn. */
const BURST = 128;

interface Way {
  readonly trains: boolean;
  readonly gro: boolean;
}

interface Measured {
  readonly nanoseconds: number;
  readonly tally: Tally;
  readonly messages: number;
}

const isRunning = (child: ChildProcess) => child.exitCode === null && child.signalCode === null;
const processorTime = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

async function measure({ trains, gro }: Way, seconds: number): Promise<Measured> {
  const client = new Namespace();
  const worker = new Namespace();
  const undo: (() => void)[] = [() => client.close(), () => worker.close()];
  try {
    client.connect('v0', worker, 'v1');
    const [wire, sender] = client.inside(() => {
      for (const device of ['all', 'v0']) setSysctl(`net/ipv4/conf/${device}/rp_filter`, 0);
      command('ip link set v0 mtu 1600');
      command(`ip address add ${CLIENT}/24 dev v0`);
      const device = new Device({ name: 'enc0', kind: 'tun', offload: 0, headerBytes: 0 });
      command('ip link set enc0 mtu 1500 txqueuelen 10000 up');
      command(`ip route add ${SERVICE} dev enc0 src ${CLIENT}`);
      return [device, new TrainSender(WORKER, trains ? 44 : 1)] as const;
    });
    undo.push(
      () => wire.close(),
      () => sender.close(),
    );
    const { socket, device, server } = worker.inside(() => {
      command('ip link set v1 mtu 1600');
      command(`ip address add ${WORKER}/24 dev v1`);
      command(`ip address add ${SERVICE}/32 dev lo`);
      const made = {
        socket: openDatagramSocket(ip(WORKER), PORT, 8 << 20),
        device: openTunQueue('gw0'),
        server: spawn('iperf3', ['-s', '-1'], { stdio: 'ignore' }),
      };
      for (const name of ['all', 'gw0']) setSysctl(`net/ipv4/conf/${name}/rp_filter`, 0);
      command('ip link set gw0 up');
      return made;
    });
    undo.push(
      () => server.kill(),
      () => closeDescriptor(socket),
      () => closeDescriptor(device),
    );
    if (gro) receiveTrains(socket);
    const inlet = { socket, payload: GUE, withIpv4Header: false } as const;
    const tally = new Tally();
    const funnel = new Funnel(device, tally, gro);
    undo.push(() => funnel.close());
    await new Promise((resolve) => setTimeout(resolve, 300));

    const child = client.inside(() => spawn('iperf3', ['-c', SERVICE, '-t', String(seconds)], { stdio: 'ignore' }));
    undo.push(() => child.kill());
    const started = performance.now();
    let spent = 0;
    let messages = 0;
    while (isRunning(child)) {
      const packets: Uint8Array[] = [];
      for (let packet = wire.read(); packet !== null; packet = packets.length < BURST ? wire.read() : null) {
        if (packet[0] >> 4 === 4) packets.push(packet);
      }
      if (packets.length === 0) {
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      sender.send(packets);
      const before = processorTime();
      for (let moved = funnel.move(inlet); moved > 0; moved = funnel.move(inlet)) messages += moved;
      spent += processorTime() - before;
      if (performance.now() - started > (seconds + 5) * 1000) throw new Error('iperf3 does not come to an end');
    }
    if (child.exitCode !== 0) throw new Error(`iperf3 ended with exit code ${child.exitCode}`);
    return { nanoseconds: spent * 1000, tally, messages };
  } finally {
    for (const step of undo.reverse()) step();
  }
}

export const name = 'worker';

export async function run({ quick }: { quick: boolean }) {
  if (findCommand('iperf3') === null) throw new Error('iperf3 is not installed; apt-get install iperf3');
  const rounds = quick ? 1 : 3;
  const rows: Record<string, string | number>[] = [];
  for (const trains of [true, false]) {
    const cost: Record<string, number[]> = { on: [], off: [] };
    const last: Record<string, Measured> = {};
    for (let round = 0; round < rounds; round++) {
      for (const gro of [true, false]) {
        const measured = await measure({ trains, gro }, quick ? 1 : 3);
        const word = gro ? 'on' : 'off';
        cost[word].push(measured.nanoseconds / measured.tally.injectedBytes);
        last[word] = measured;
      }
    }
    const median = (list: number[]) => list.toSorted((a, b) => a - b)[list.length >> 1];
    for (const word of ['on', 'off']) {
      const { tally, messages } = last[word];
      rows.push({
        'datagrams arrive': trains ? 'in trains' : 'singly',
        merging: word,
        'CPU-s per GB': median(cost[word]).toFixed(2),
        'against off': (median(cost.off) / median(cost[word])).toFixed(2),
        'datagrams per message': (tally.received / messages).toFixed(1),
        'segments per packet written': (tally.injected / (tally.injected - tally.merged + tally.superPackets)).toFixed(1),
        refused: tally.deviceRefused,
      });
    }
  }
  return { name, rows };
}
