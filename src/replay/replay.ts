/**
 * `replay`: the packet path over a capture, offline and without privilege. The same stages, batches and tables as the daemon's;
 * only the drivers are files.
 */

import { Arena, BATCH_RECORDS, LARGE_STRIDE } from '../base/arena.ts';
import { Batch } from '../base/batch.ts';
import { createBank } from '../base/counters.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import type { CodedError } from '../base/errors.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_HELD, VERDICTS } from '../base/verdict.ts';
import type { Config } from '../config/config.ts';
import { readQuoted, readTuple, type Tuple, tupleText } from '../explain/tuple.ts';
import type { Egress, Ingress } from '../io/driver.ts';
import { FlowTable } from '../pipeline/flow-table.ts';
import { FragmentHold } from '../pipeline/fragment-hold.ts';
import { FragmentTable } from '../pipeline/fragment-table.ts';
import { Pipeline } from '../pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder, type SnapshotNames } from '../pipeline/snapshot.ts';
import type { Encapsulation, Spec } from '../pipeline/spec.ts';
import { isByRoute, withUnknownSources } from '../pipeline/tunnel-ends.ts';
import { hasUdp, KINDS, mostOverheadOf } from '../pipeline/tunnel-kind.ts';

/** What happened to one packet of the capture; its addresses, protocol and ports (Tuple) as far as it has them. */
export interface ReplayedPacket extends Tuple {
  /** Number in the capture, from 1. */
  readonly packet: number;
  /** Bytes of the frame as captured. */
  readonly length: number;
  readonly verdict: string;
  /** Drop reason; only with verdict drop. */
  readonly reason?: string;
  /** Only with verdict forward: who got it, and what leaves. */
  readonly service?: string;
  readonly pool?: string;
  readonly backend?: string;
  readonly address?: string;
  readonly encapsulation?: Encapsulation;
  /** Of the outer UDP header; absent where the encapsulation has none. */
  readonly sourcePort?: number;
  readonly encapsulatedLength?: number;
  /** Packets that it leaves as; only when more than one. */
  readonly segments?: number;
  /** Of an ICMP error: the packet that it quotes. */
  readonly quoted?: Tuple;
  /** True when its sender is told that it was too big, although it is forwarded. */
  readonly answered?: boolean;
}

export interface ReplaySummary {
  readonly packets: number;
  readonly verdicts: Record<string, number>;
  /** Drops by reason; only reasons that occurred. */
  readonly reasons: Record<string, number>;
  /** Forwarded packets by `pool/backend`. */
  readonly backends: Record<string, number>;
}

/** Fewer than a thread's, so that the records suffice for as many merged frames of 64 KiB on the smallest path. */
const CAPACITY = 32;
/** By number of the batch's column. */
const ENCAPSULATIONS = Object.keys(KINDS).sort(
  (a, b) => KINDS[a as Encapsulation] - KINDS[b as Encapsulation],
) as Encapsulation[];
/** Nothing secret is needed offline, and the same capture must give the same answers every time. */
export const REPLAY_KEY = Int32Array.of(0x72657061, 0x6c61796b);

/** A driver that tells why it could not write what it should have. */
interface Failing {
  readonly failure?: CodedError | null;
}

/** A packet of the capture, which may come back out of its order: an early fragment. */
interface Origin {
  readonly packet: number;
  readonly length: number;
  readonly tuple: Tuple & { readonly quoted?: Tuple };
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** Times of the flow table are int32. */
const LATEST = 0x7fffffff;

export interface ReplayOptions {
  readonly config: Config;
  readonly ingress: Ingress & Failing;
  readonly egress: Egress & Failing;
  /** Bytes of the largest outer packet on the way to every backend. Absent: any size. */
  readonly pathMtu?: number;
  /** Called once per packet, in order; for a fragment that came before the first one of its packet when that has come, or did not. */
  readonly onPacket?: (packet: ReplayedPacket) => void;
}

/**
 * Runs every packet of `ingress` through the path and sends what is forwarded to `egress`; time is the capture's. The caller closes both.
 * Throws the CodedError of a driver that could not write (GD_IO_PCAP_WRITE), when the packets of that batch have been told.
 */
export function replay(options: ReplayOptions): ReplaySummary {
  const { config, ingress, egress, onPacket } = options;
  const parts = new SnapshotBuilder().build(withUnknownSources(config.spec));
  const snapshot = new Snapshot(parts);
  const { fragments } = config;
  const hold = new FragmentHold({
    bytes: fragments.holdBytes,
    frames: fragments.holdPackets,
    perSource: fragments.holdPerSource,
    timeout: fragments.holdTimeout,
  });
  const pipeline = new Pipeline({
    fragments: new FragmentTable(fragments.entries, REPLAY_KEY, fragments.timeout),
    hold,
    snapshot,
    flows: new FlowTable(config.flows.entries, REPLAY_KEY),
    bank: createBank(),
    sourcePortBase: egress.facts.sourcePortBase,
    sourcePortMask: egress.facts.sourcePortMask,
    ...(options.pathMtu === undefined ? {} : { pathMtu: pathMtuOf(parts.names, options.pathMtu) }),
    trainsNeedChecksum: egress.facts.trainsNeedChecksum,
    outerFragments: egress.facts.outerFragments,
  });
  const batch = new Batch(Arena.inProcess(CAPACITY, LARGE_STRIDE, BATCH_RECORDS), ingress.facts);
  const backends = new Map(parts.names.backends.map((backend) => [backend.id, backend]));
  const verdicts: Record<string, number> = Object.fromEntries(VERDICTS.map((word) => [word, 0]));
  const reasons: Record<string, number> = {};
  const perBackend: Record<string, number> = Object.fromEntries(parts.names.backends.map((b) => [`${b.pool}/${b.name}`, 0]));
  const origins: Origin[] = [];
  const held = new Map<number, Origin>();
  let packets = 0;
  let heldPackets = 0;
  let began = 0;
  let now = 0;

  const tell = (origin: Origin, told: Omit<ReplayedPacket, 'packet' | 'length'>): void => {
    verdicts[told.verdict]++;
    if (told.reason !== undefined) reasons[told.reason] = (reasons[told.reason] ?? 0) + 1;
    if (told.backend !== undefined) perBackend[`${told.pool}/${told.backend}`]++;
    onPacket?.({ packet: origin.packet, length: origin.length, ...told });
  };
  hold.onLost = (number) => {
    const origin = held.get(number) as Origin;
    held.delete(number);
    tell(origin, { verdict: VERDICTS[VERDICT_DROP], ...origin.tuple, reason: 'fragment-timeout' });
  };

  /** What is in the batch goes its way; `origins` says what it is. */
  const pass = (): void => {
    pipeline.process(batch, now);
    egress.send(batch);
    ingress.reply(batch);
    pipeline.account(batch);
    for (let i = 0; i < batch.count; i++) {
      const origin = origins[i];
      if (batch.verdict[i] === VERDICT_HELD) {
        held.set(heldPackets++, origin);
        continue;
      }
      const told: { -readonly [K in keyof ReplayedPacket]?: ReplayedPacket[K] } = { ...origin.tuple };
      if (batch.verdict[i] === VERDICT_DROP) told.reason = DROP_REASONS[batch.reason[i]].word;
      else if (batch.verdict[i] === VERDICT_FORWARD) {
        const backend = backends.get(batch.backend[i]);
        if (backend === undefined)
          throw new Error(`packet ${origin.packet} went to backend ${batch.backend[i]}, which the snapshot does not name`);
        told.service = config.spec.services[batch.service[i]].name;
        told.pool = backend.pool;
        told.backend = backend.name;
        told.address = backend.address;
        const encapsulation = ENCAPSULATIONS[batch.encapsulation[i]];
        told.encapsulation = encapsulation;
        if (hasUdp(encapsulation)) told.sourcePort = batch.sourcePort[i];
        told.encapsulatedLength = batch.outLength[i];
        if (batch.segmentCount[i] > 1) told.segments = batch.segmentCount[i];
        if (batch.answerTo.subarray(0, batch.answers).includes(i)) told.answered = true;
      }
      tell(origin, { verdict: VERDICTS[batch.verdict[i]], ...told });
    }
    const failure = egress.failure ?? ingress.failure ?? null;
    if (failure !== null) throw failure;
  };

  while (ingress.receive(batch) > 0) {
    const times = batch.captureTimes;
    const seconds = times?.seconds[0] ?? 0;
    if (packets === 0) began = seconds;
    // A record may be older than the one before it; time in the flow table never goes back.
    now = Math.min(Math.max(now, seconds - began), LATEST);
    for (let i = 0; i < batch.count; i++) {
      const at = batch.frameAt[i];
      const length = batch.frameLength[i];
      const tuple = onPacket === undefined ? {} : readTuple(batch.arena.view, at, at + length, ingress.facts.link);
      const quoted = onPacket === undefined ? null : readQuoted(batch.arena.view, at, at + length, ingress.facts.link);
      packets++;
      origins[i] = {
        packet: packets,
        length,
        tuple: quoted === null ? tuple : { ...tuple, quoted },
        seconds,
        nanoseconds: times?.nanoseconds[i] ?? 0,
      };
    }
    pass();
    while (pipeline.release(batch, now) > 0) {
      for (let i = 0; i < batch.count; i++) {
        const origin = held.get(hold.numbers[i]) as Origin;
        held.delete(hold.numbers[i]);
        origins[i] = origin;
        if (times === null) continue;
        times.seconds[i] = origin.seconds;
        times.nanoseconds[i] = origin.nanoseconds;
      }
      pass();
    }
  }
  // The capture is over: what waits waits in vain.
  hold.expire(LATEST);
  return { packets, verdicts, reasons, backends: perBackend };
}

/** The memory in which a daemon has each backend's path MTU: the same for all. */
export function pathMtuOf(names: SnapshotNames, bytes: number): Int32Array {
  return new Int32Array(Math.max(0, ...names.backends.map(({ id }) => id)) + 1).fill(bytes);
}

/** Pools with backends whose outer source is that of their route, which is known only where the director runs: here it is 0.0.0.0 or ::. */
export function poolsByRoute(spec: Spec): string[] {
  return spec.pools.filter((pool) => pool.backends.some((backend) => isByRoute(pool, backend))).map(({ name }) => name);
}

/** Bytes of the largest inner packet that every tunnel of `spec` can carry whole when the way to each backend carries `pathMtu`. */
export function innerMtuOf(spec: Spec, pathMtu: number): number {
  const overheads = spec.pools.flatMap(({ tunnel: own, backends }) =>
    backends.map(({ address, tunnel = own }) => mostOverheadOf(tunnel, address.length)),
  );
  return pathMtu - Math.max(0, ...overheads);
}

/** One line of text for a packet: `17  forward  web → workers/w1 (10.0.0.1)  60 → 92 bytes, gue, source port 51234  tcp … → …`. */
export function replayedText(packet: ReplayedPacket): string {
  const head = `${String(packet.packet).padStart(6)}  ${packet.verdict.padEnd(7)}`;
  const tuple = tupleText(packet);
  const about = packet.quoted === undefined ? '' : tupleText(packet.quoted);
  const tail = (tuple === '' ? '' : `  ${tuple}`) + (about === '' ? '' : `  about ${about}`);
  if (packet.reason !== undefined) return `${head}  ${packet.reason}  (${packet.length} bytes)${tail}`;
  if (packet.backend === undefined) return `${head}  (${packet.length} bytes)${tail}`;
  const route = `${packet.service} → ${packet.pool}/${packet.backend} (${packet.address})`;
  const parts = packet.segments === undefined ? '' : ` in ${packet.segments} packets`;
  const answered = packet.answered === true ? ', and answered' : '';
  const size = `${packet.length} → ${packet.encapsulatedLength} bytes${parts}${answered}`;
  const port = packet.sourcePort === undefined ? '' : `, source port ${packet.sourcePort}`;
  return `${head}  ${route}  ${size}, ${packet.encapsulation}${port}${tail}`;
}
