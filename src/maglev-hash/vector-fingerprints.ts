/**
 * Fingerprints (half-siphash.ts) and flow hashes (flow-hash.ts), four flows at a time, and two fours in step: JavaScript has no vector instructions, WebAssembly has. A round is fourteen
 * instructions that wait for one another, and a flow has seven rounds or thirteen: done one by one they were a fifth of the packet path (IPv4 10 ns of 48),
 * four at a time they are a third of that.
 *
 * Flows are laid out in columns of WebAssembly memory, a word of the message in each:
 *
 *     column 0–7   addresses: IPv4 source in 0 and destination in 1; IPv6 source in 0–3, destination in 4–7
 *     column 8     ports
 *     column 9     length of the message and protocol: 13 << 24 | protocol for IPv4, 37 << 24 | protocol for IPv6
 *     column 10    fingerprint, low word
 *     column 11    fingerprint, high word
 *     column 12    flow hash (flow-hash.ts)
 *     column 13    slot in the table that was last asked for
 *
 * They lie where the caller says (who has other code that writes them there), or in one memory per thread, because each takes gigabytes of addresses: what is in that one
 * is of use until the next batch of any pipeline of the thread.
 */
import { signed, unsigned, type WasmFunction, wasmFunctions, wasmMemory } from '../base/wasm-code.ts';
import { hashTuple4, hashTuple6 } from './flow-hash.ts';
import { fingerprints } from './half-siphash.ts';

// Constants of flow-hash.ts and mix.ts, which are written down there; the test holds both together.
const START = 0xa4093822 | 0;
const START_DESTINATION = 0x299f31d0;
const PROTOCOL = 0x082efa99;
const CROSS = 0x7feb352d;
const ABSORB = 0xac4c1b51 | 0;
const MIX0 = 0x7feb352d;
const MIX1 = 0x846ca68b | 0;

/** Flows at a time, and so packets of a batch; a multiple of 8. */
const LANES = 256;
const COLUMN_BYTES = LANES * 4;
const PORTS = 8;
const TAIL = 9;
const LOW = 10;
const HIGH = 11;
const HASH = 12;
const SLOT = 13;
const COLUMNS = 14;
/** Bytes of all columns. */
export const LANES_BYTES = COLUMNS * COLUMN_BYTES;

export const TAIL4 = 13 << 24;
export const TAIL6 = 37 << 24;

export interface FlowLanes {
  /** Address words 0–7, ports, tail: what is hashed. Values as read big-endian. */
  readonly addresses: readonly Int32Array[];
  readonly ports: Int32Array;
  readonly tail: Int32Array;
  /** What comes of it: the fingerprints, and the flow hash of `hashTuple4` or `hashTuple6`. */
  readonly low: Int32Array;
  readonly high: Int32Array;
  readonly hash: Int32Array;
  /** Of the first `count` lanes those whose tail is IPv4's or, in `run6`, IPv6's; the others are kept by `run6`, and without meaning after `run4`. */
  readonly run4: (count: number) => void;
  readonly run6: (count: number) => void;
  /** `slotOf` of the flow hashes of the first `count` lanes, for a table of `size` slots. null where they would be computed one by one, needed or not. */
  readonly slots: Int32Array;
  readonly runSlots: ((count: number, seed: number, size: number) => void) | null;
}

/** Memory that `wasmMemory` made, and a multiple of 16 in it from where on LANES_BYTES are nobody else's. */
export interface LaneMemory {
  readonly buffer: ArrayBufferLike;
  readonly at: number;
}

// Parameters, then locals.
const [COUNT, KEY0, KEY1, AT] = [0, 1, 2, 3];
const [V0, V1, V2, V3, WORD, H, D] = [4, 5, 6, 7, 8, 9, 10];
/** Locals of the second group of four lie so much further on. */
const GROUP = 7;
const [SPLAT0, SPLAT1, BY_16, BY_8] = [18, 19, 20, 21];
const GROUP_BYTES = 16;
/** Flows of one turn of the loop. */
const TURN = 8;

const vector = (code: number) => [0xfd, ...unsigned(code)];
const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const constant = (value: number) => [0x41, ...signed(value)];
const splat = vector(0x11);
const xor = vector(0x51);
const or = vector(0x50);
const and = vector(0x4e);
const multiply = vector(0xb5);
const add = vector(0xae);
const shiftLeft = vector(0xab);
const shiftRight = vector(0xad);
const equal = vector(0x37);
const select = vector(0x52);
/** v128.load and v128.store align=4 of a column, at the address AT of the first column's flow, of group `g`. */
const loadColumn = (column: number, g: number) => [
  ...get(AT),
  ...vector(0x00),
  2,
  ...unsigned(column * COLUMN_BYTES + g * GROUP_BYTES),
];
const storeColumn = (column: number, g: number, value: readonly number[]) => [
  ...[...get(AT), ...value],
  ...[...vector(0x0b), 2, ...unsigned(column * COLUMN_BYTES + g * GROUP_BYTES)],
];

type Step = (g: number) => number[];
/** A step of both groups: neither waits for the other, so the processor has something to do while one waits for itself. */
const both = (step: Step) => [...step(0), ...step(1)];
const of = (v: number, g: number) => v + g * GROUP;
/** v = v + other */
const plus =
  (v: number, other: number): Step =>
  (g) => [...get(of(v, g)), ...get(of(other, g)), ...add, ...set(of(v, g))];
const exclusive =
  (v: number, other: number): Step =>
  (g) => [...get(of(v, g)), ...get(of(other, g)), ...xor, ...set(of(v, g))];
/** Where the bytes of each lane come from when it is rotated to the left by so many bytes. */
const rotation = (bytes: number) => Array.from({ length: 16 }, (_, b) => (b & ~3) | ((b - bytes) & 3));
/** v rotated to the left by whole bytes: one instruction with the places of the bytes in a register, not three. `places`: BY_16 or BY_8. */
const turned =
  (v: number, places: number): Step =>
  (g) => [...get(of(v, g)), ...get(places), ...vector(0x0e), ...set(of(v, g))];
/** v = (v rotated to the left by `bits`) ^ other */
const rotated =
  (v: number, bits: number, other: number): Step =>
  (g) => [
    ...[...get(of(v, g)), ...constant(bits), ...shiftLeft],
    ...[...get(of(v, g)), ...constant(32 - bits), ...shiftRight],
    ...[...or, ...get(of(other, g)), ...xor, ...set(of(v, g))],
  ];
/** The round of half-siphash.ts. */
const ROUND: readonly Step[] = [
  plus(V0, V1),
  plus(V2, V3),
  rotated(V1, 5, V0),
  turned(V3, BY_8),
  exclusive(V3, V2),
  turned(V0, BY_16),
  plus(V2, V1),
  plus(V0, V3),
  rotated(V1, 13, V2),
  rotated(V3, 7, V0),
  turned(V2, BY_16),
];
const round = ROUND.flatMap(both);
const absorbed = (column: number) => [
  ...both((g) => [...loadColumn(column, g), ...set(of(WORD, g))]),
  ...both(exclusive(V3, WORD)),
  ...round,
  ...both(exclusive(V0, WORD)),
];
/** v = splat of a key word ^ a constant. */
const keyed =
  (v: number, splatted: number, word: number): Step =>
  (g) => [...get(splatted), ...constant(word), ...splat, ...xor, ...set(of(v, g))];

const splatted = (value: number) => [...constant(value), ...splat];
/** h = h ^ (h >>> bits) */
const folded =
  (h: number, bits: number): Step =>
  (g) => [...get(of(h, g)), ...get(of(h, g)), ...constant(bits), ...shiftRight, ...xor, ...set(of(h, g))];
const multiplied =
  (h: number, by: number): Step =>
  (g) => [...get(of(h, g)), ...splatted(by), ...multiply, ...set(of(h, g))];
/** mix.ts, `absorb`: h = absorb(h, column). */
const mixedIn = (h: number, column: number) => [
  ...both((g) => [...get(of(h, g)), ...loadColumn(column, g), ...xor, ...set(of(h, g))]),
  ...both(multiplied(h, ABSORB)),
  ...both(folded(h, 15)),
];
/** mix.ts, `mix32`. */
const finished = [folded(H, 16), multiplied(H, MIX0), folded(H, 15), multiplied(H, MIX1), folded(H, 16)].flatMap(both);
/** H = START ^ protocol × PROTOCOL */
const begun = both((g) => [
  ...[...loadColumn(TAIL, g), ...splatted(0xff), ...and, ...splatted(PROTOCOL), ...multiply],
  ...[...splatted(START), ...xor, ...set(of(H, g))],
]);
/** flow-hash.ts, `hashTuple4`. */
const hash4 = [...begun, ...[0, 1, PORTS].flatMap((column) => mixedIn(H, column)), ...finished];
/** flow-hash.ts, `hashTuple6`: sources and destinations in chains of their own, then the one into the other. */
const hash6 = [
  ...begun,
  ...both((g) => [...splatted(START_DESTINATION), ...set(of(D, g))]),
  ...[0, 1, 2, 3].flatMap((w) => [...mixedIn(H, w), ...mixedIn(D, w + 4)]),
  ...both(multiplied(D, CROSS)),
  ...both((g) => [...get(of(H, g)), ...get(of(D, g)), ...xor, ...set(of(H, g))]),
  ...both(multiplied(H, ABSORB)),
  ...both(folded(H, 15)),
  ...mixedIn(H, PORTS),
  ...finished,
];

/** The code of a function (count, key0, key1, at): for the flows from `at` on, TURN of them at a time. */
function overFlows(code: readonly number[]): number[] {
  return [
    ...[...get(COUNT), ...constant(2), 0x74, ...get(AT), 0x6a, ...set(COUNT)], // where the flows end: (count << 2) + at
    ...[...get(KEY0), ...splat, ...set(SPLAT0)],
    ...[...get(KEY1), ...splat, ...set(SPLAT1)],
    ...[...vector(0x0c), ...rotation(2), ...set(BY_16)],
    ...[...vector(0x0c), ...rotation(1), ...set(BY_8)],
    ...[0x03, 0x40], // loop
    ...[...get(AT), ...get(COUNT), 0x49, 0x04, 0x40], // if at < count
    ...code,
    ...[...get(AT), ...constant(TURN * 4), 0x6a, ...set(AT)],
    ...[0x0c, 0x01], // br to the loop
    ...[0x0b, 0x0b], // end of if, loop
    ...get(COUNT),
  ];
}

/**
 * Fingerprints and flow hashes. `columns`: of the fingerprint's message, in their order;
 * `flowHash`: leaves the flow hash in H; `result`: what is stored of a value in a column.
 */
function body(
  columns: readonly number[],
  flowHash: readonly number[],
  result: (value: readonly number[], column: number, g: number) => number[],
): number[] {
  const outcome = (v: number, w: number, column: number) =>
    both((g) => storeColumn(column, g, result([...get(of(v, g)), ...get(of(w, g)), ...xor], column, g)));
  const hash = [
    ...flowHash,
    ...both((g) => storeColumn(HASH, g, result(get(of(H, g)), HASH, g))),
    ...both((g) => [...get(SPLAT0), ...set(of(V0, g))]),
    ...both((g) => [...get(SPLAT1), ...set(of(V1, g))]),
    ...both(keyed(V2, SPLAT0, 0x6c796765)),
    ...both(keyed(V3, SPLAT1, 0x74656462)),
    ...columns.flatMap(absorbed),
    ...both((g) => [...get(of(V2, g)), ...constant(0xff), ...splat, ...xor, ...set(of(V2, g))]),
    ...[...round, ...round, ...round],
    ...outcome(V1, V3, LOW),
    ...outcome(V0, V2, HIGH),
  ];
  return overFlows(hash);
}

const body4 = () => body([0, 1, PORTS, TAIL], hash4, (value) => [...value]);
/** Lanes of IPv4 keep what they have. */
const body6 = () =>
  body([0, 1, 2, 3, 4, 5, 6, 7, PORTS, TAIL], hash6, (value, column, g) => {
    const isIpv6 = [...loadColumn(TAIL, g), ...constant(24), ...shiftRight, ...constant(TAIL6 >> 24), ...splat, ...equal];
    return [...value, ...loadColumn(column, g), ...isIpv6, ...select];
  });

/** The four lanes of 64 bits that two vectors of 32-bit lanes give when they are multiplied, lower two or upper two: i64x2.extmul_low_i32x4_u, extmul_high. */
const products = (a: readonly number[], b: readonly number[], upper: boolean) => [...a, ...b, ...vector(upper ? 0xdf : 0xde)];
/** Of two such vectors the upper halves: i8x16.shuffle. */
const upperWords = [...vector(0x0d), ...[4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31]];

/** flow-hash.ts, `slotOf`: (hash ^ seed) mixed, times the size, above 32 bits. Here KEY0 is the seed and KEY1 the size. */
const slots = (): number[] =>
  overFlows([
    ...both((g) => [...loadColumn(HASH, g), ...get(SPLAT0), ...xor, ...set(of(H, g))]),
    ...finished,
    ...both((g) => {
      const [h, size] = [get(of(H, g)), get(SPLAT1)];
      return storeColumn(SLOT, g, [...products(h, size, false), ...products(h, size, true), ...upperWords]);
    }),
  ]);

/** (count, key0, key1, at) → nothing of meaning. */
const LOCALS = { parameters: 4, words: 0, vectors: 18 } as const;
const functions = (): readonly WasmFunction[] => [
  { name: 'slots', ...LOCALS, body: slots() },
  { name: 'run4', ...LOCALS, body: body4() },
  { name: 'run6', ...LOCALS, body: body6() },
];

/** This thread's own memory for lanes; null where the engine has no vectors, or no room; undefined until somebody asks. */
let own: LaneMemory | null | undefined;

function ownMemory(): LaneMemory | null {
  const buffer = wasmMemory(LANES_BYTES);
  return buffer === null ? null : { buffer, at: 0 };
}

/**
 * The lanes of this thread with the fingerprints under a key, for `lanes` flows at a time. `memory`: where they are to lie; null, or no WebAssembly memory: in memory of the thread's own, or
 * wherever there is room. `vectors`: false for tests of what other engines do.
 */
export function flowLanes(
  key0: number,
  key1: number,
  lanes: number,
  memory: LaneMemory | null = null,
  vectors = true,
): FlowLanes {
  if (vectors && lanes <= LANES) {
    const there = memory === null ? null : vectorLanes(memory, key0, key1);
    if (there !== null) return there;
    if (own === undefined) own = ownMemory();
    const made = own === null ? null : vectorLanes(own, key0, key1);
    if (made !== null) return made;
  }
  const columns = Array.from({ length: COLUMNS }, () => new Int32Array(new ArrayBuffer(lanes * 4)));
  return oneByOne(columns, key0, key1);
}

function named(columns: readonly Int32Array[]) {
  const [ports, tail, low, high, hash, slots] = columns.slice(PORTS);
  return { addresses: columns.slice(0, PORTS), ports, tail, low, high, hash, slots };
}

/** null when `buffer` is no WebAssembly memory. */
function vectorLanes({ buffer, at }: LaneMemory, key0: number, key1: number): FlowLanes | null {
  const hashers = wasmFunctions(buffer, functions());
  if (hashers === null) return null;
  const { run4, run6, slots } = hashers;
  const columns = Array.from({ length: COLUMNS }, (_, c) => new Int32Array(buffer, at + c * COLUMN_BYTES, LANES));
  return {
    ...named(columns),
    run4: (count) => {
      run4(count, key0, key1, at);
    },
    run6: (count) => {
      run6(count, key0, key1, at);
    },
    runSlots: (count, seed, size) => {
      slots(count, seed, size, at);
    },
  };
}

function oneByOne(columns: readonly Int32Array[], key0: number, key1: number): FlowLanes {
  const lanes = named(columns);
  const { addresses, ports, tail, low, high, hash } = lanes;
  const [source, destination] = addresses;
  const { tuple4, tuple6 } = fingerprints(key0, key1, low, high);
  const view = new DataView(new ArrayBuffer(32));
  return {
    ...lanes,
    run4(count) {
      for (let i = 0; i < count; i++) {
        if (tail[i] >> 24 !== TAIL4 >> 24) continue;
        tuple4(source[i], destination[i], ports[i], tail[i] & 0xff, i);
        hash[i] = hashTuple4(source[i], destination[i], ports[i], tail[i] & 0xff);
      }
    },
    run6(count) {
      for (let i = 0; i < count; i++) {
        if (tail[i] >> 24 !== TAIL6 >> 24) continue;
        for (let w = 0; w < PORTS; w++) view.setInt32(w * 4, addresses[w][i]);
        tuple6(view, 0, 16, ports[i], tail[i] & 0xff, i);
        hash[i] = hashTuple6(view, 0, 16, ports[i], tail[i] & 0xff);
      }
    },
    runSlots: null,
  };
}
