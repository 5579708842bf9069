/** A traced packet as it is told: names for numbers, a time of day, hexadecimal bytes. One shape for JSON lines, text and captures. */

import { LINK_RAW_IP } from '../base/batch.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_HELD, VERDICTS } from '../base/verdict.ts';
import { readTuple, type Tuple } from '../explain/tuple.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import type { Encapsulation } from '../pipeline/spec.ts';
import { hasUdp, KINDS } from '../pipeline/tunnel-kind.ts';
import type { VerdictWord } from './filter/expression.ts';
import { familyOf, flagsOf } from './filter/headers.ts';
import { FLAG_NOT_IP, FLAG_PARTIAL_CHECKSUM, LEFT_REPLY, type TraceRecord } from './record.ts';

/** A packet that left. */
export interface LeftPacket {
  /** To a backend by the egress, or back by the ingress. */
  readonly by: 'egress' | 'ingress';
  readonly length: number;
  /** Its first bytes, hexadecimal; its IP header first. */
  readonly bytes: string;
  /** Only of a super-packet that leaves whole (egress tap-offload): bytes of each packet that the kernel cuts it into. */
  readonly cutInto?: readonly number[];
}

/** Addresses, protocol and ports (Tuple) as far as the packet has them. */
export interface TracedPacket extends Tuple {
  readonly kind: 'packet';
  /** Number in this trace, from 1. */
  readonly packet: number;
  /** ISO 8601 with microseconds, UTC. */
  readonly time: string;
  /** Forwarding thread. */
  readonly thread: number;
  /** TCP flags that are set: `syn`, `ack`. */
  readonly flags?: readonly string[];
  /** Bytes of the packet as it came, without link header; of a merged one, all of it. */
  readonly length: number;
  /** Of a super-packet: bytes of payload of each packet that it was merged from. */
  readonly mergedFrom?: number;
  /** Its checksum was left to be completed. */
  readonly partialChecksum?: true;
  /** False for a frame that carries no IP packet: its bytes are not kept. */
  readonly ip?: false;
  readonly verdict: VerdictWord;
  /** Only with verdict drop. */
  readonly reason?: string;
  readonly service?: string;
  readonly pool?: string;
  readonly backend?: string;
  readonly address?: string;
  readonly encapsulation?: Encapsulation;
  /** Of the outer UDP header. */
  readonly sourcePort?: number;
  /** The packet as it came: its first bytes, hexadecimal. */
  readonly bytes: string;
  /** Every packet that left for it, in order. */
  readonly left: readonly LeftPacket[];
}

const ENCAPSULATIONS = Object.keys(KINDS).sort(
  (a, b) => KINDS[a as Encapsulation] - KINDS[b as Encapsulation],
) as Encapsulation[];
const FLAG_WORDS = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'];

/** `epoch`: milliseconds since 1970 when the machine started. `names`: of the record's generation. */
export function toldOf(record: TraceRecord, packet: number, thread: number, epoch: number, names: SnapshotNames): TracedPacket {
  const { bytes, verdict } = record;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const isIp = (record.flags & FLAG_NOT_IP) === 0 && familyOf(view, 0, bytes.length) !== 0;
  const flags = isIp ? flagsOf(view, 0, bytes.length, familyOf(view, 0, bytes.length)) : -1;
  const service = names.services.find(({ id }) => id === record.service);
  const backend = names.backends.find(({ id }) => id === record.backend);
  const encapsulation = ENCAPSULATIONS[record.encapsulation];
  return {
    kind: 'packet',
    packet,
    time: timeText(epoch + record.time),
    thread,
    ...(isIp ? readTuple(view, 0, bytes.length, LINK_RAW_IP) : { ip: false }),
    ...(flags < 0 ? {} : { flags: FLAG_WORDS.filter((_, bit) => ((flags >> bit) & 1) === 1) }),
    length: record.length,
    ...(record.gsoType === 0 ? {} : { mergedFrom: record.gsoSize }),
    ...((record.flags & FLAG_PARTIAL_CHECKSUM) === 0 ? {} : { partialChecksum: true }),
    verdict: verdict === VERDICT_HELD ? 'held' : VERDICTS[verdict],
    ...(verdict === VERDICT_DROP ? { reason: DROP_REASONS[record.reason].word } : {}),
    ...(service === undefined ? {} : { service: service.name, pool: service.pool }),
    ...(backend === undefined ? {} : { pool: backend.pool, backend: backend.name, address: backend.address }),
    ...(verdict === VERDICT_FORWARD
      ? { encapsulation, ...(hasUdp(encapsulation) ? { sourcePort: record.sourcePort } : {}) }
      : {}),
    bytes: hexOf(bytes),
    left: record.left.map(({ kind, length, bytes: first, segments, segmentSize, headers }) => ({
      by: kind === LEFT_REPLY ? 'ingress' : 'egress',
      length,
      bytes: hexOf(first),
      ...(segments > 1 ? { cutInto: cutLengths(length, segments, segmentSize, headers) } : {}),
    })),
  };
}

/** All full but the last. */
function cutLengths(length: number, segments: number, segmentSize: number, headers: number): number[] {
  const full = new Array<number>(segments - 1).fill(headers + segmentSize);
  return [...full, length - (segments - 1) * segmentSize];
}

/** `2026-11-23T14:02:10.123456Z`. */
function timeText(milliseconds: number): string {
  const whole = Math.floor(milliseconds);
  const micros = Math.min(999, Math.floor((milliseconds - whole) * 1000));
  return `${new Date(whole).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}Z`;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

function hexOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** The bytes of a hexadecimal text as `toldOf` makes it. */
export function bytesOfHex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2);
  for (let k = 0; k < bytes.length; k++) bytes[k] = Number.parseInt(text.slice(2 * k, 2 * k + 2), 16);
  return bytes;
}

/** Why a trace ended. */
export type TraceEnd = 'count' | 'seconds' | 'client' | 'hand-over' | 'threads' | 'error' | 'stop';

export interface TraceTally {
  /** Packets that the filter matched. */
  readonly matched: number;
  /** Of these, told. */
  readonly told: number;
  /** Of these, left out: more than the rate allows, or no room because nobody read fast enough. */
  readonly overRate: number;
  readonly noRoom: number;
}

/** What the daemon says, line by line. */
export type TraceLine =
  | {
      readonly kind: 'started';
      readonly filter: string;
      readonly count: number;
      readonly seconds: number;
      readonly rate: number;
      readonly snap: number;
      readonly threads: number;
    }
  | TracedPacket
  /** Once a second while it runs. */
  | ({ readonly kind: 'progress' } & TraceTally)
  /** Something that whoever traces should know. */
  | { readonly kind: 'note'; readonly text: string }
  | ({ readonly kind: 'ended'; readonly why: TraceEnd } & TraceTally);
