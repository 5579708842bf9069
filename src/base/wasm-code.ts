/**
 * WebAssembly written out as expressions, for the few loops over memory that JavaScript can not be fast in: it checks every index against every column, and
 * has no vector instructions. There is nothing to compile or ship: `wasmFunctions` makes the module of these functions' bytes when a thread starts.
 *
 *     set(SUM, add(get(SUM), load16(get(AT), 10)))     sum += the 16 bits, little-endian, at memory[at + 10]
 *
 * Locals are numbers, parameters first. Addresses count from the start of the memory; `offset` is added to them.
 * Codes: https://webassembly.github.io/spec/core/binary/instructions.html
 */

export type Code = readonly number[];

/** Unsigned LEB128. */
export function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}
/** Signed LEB128. */
export function signed(value: number): number[] {
  const rest = value >> 7;
  const done = (rest === 0 && (value & 0x40) === 0) || (rest === -1 && (value & 0x40) !== 0);
  return done ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(rest)];
}

export const get = (local: number): Code => [0x20, local];
export const set = (local: number, value: Code): Code => [...value, 0x21, local];
export const i32 = (value: number): Code => [0x41, ...signed(value | 0)];

type Binary = (a: Code, b: Code) => Code;
const binary =
  (...code: number[]): Binary =>
  (a, b) => [...a, ...b, ...code];
export const equal = binary(0x46);
export const notEqual = binary(0x47);
/** Signed. */
export const less = binary(0x48);
export const greater = binary(0x4a);
export const lessOrEqual = binary(0x4c);
export const add = binary(0x6a);
export const subtract = binary(0x6b);
export const multiply = binary(0x6c);
export const and = binary(0x71);
export const or = binary(0x72);
export const xor = binary(0x73);
export const shiftLeft = binary(0x74);
/** Unsigned. */
export const shiftRight = binary(0x76);
export const anyOf = (...values: readonly Code[]): Code => values.reduce(or);

type Load = (at: Code, offset: number) => Code;
type Store = (at: Code, offset: number, value: Code) => Code;
/** No alignment is promised: on x64 and arm64 it is worth nothing. */
const loading =
  (...code: number[]): Load =>
  (at, offset) => [...at, ...code, 0, ...unsigned(offset)];
const storing =
  (...code: number[]): Store =>
  (at, offset, value) => [...at, ...value, ...code, 0, ...unsigned(offset)];
export const load32 = loading(0x28);
export const load8 = loading(0x2d);
export const load16 = loading(0x2f);
export const store32 = storing(0x36);
export const store8 = storing(0x3a);
export const store16 = storing(0x3b);
export const load64 = loading(0x29);
export const store64 = storing(0x37);
export const loadVector = loading(0xfd, 0x00);
export const storeVector = storing(0xfd, 0x0b);
/** The rest of the vector is 0. */
export const load32Vector = loading(0xfd, 0x5c);
export const load64Vector = loading(0xfd, 0x5d);

export const addLanes = binary(0xfd, 0xae, 0x01);
export const subtractLanes = binary(0xfd, 0xb1, 0x01);
export const multiplyLanes = binary(0xfd, 0xb5, 0x01);
export const equalLanes = binary(0xfd, 0x37);
/** Signed. */
export const lessLanes = binary(0xfd, 0x39);
export const lessOrEqualLanes = binary(0xfd, 0x3d);
export const andLanes = binary(0xfd, 0x4e);
export const xorLanes = binary(0xfd, 0x51);
const orLanes = binary(0xfd, 0x50);
export const anyLanes = (...values: readonly Code[]): Code => values.reduce(orLanes);
const shifting =
  (...code: number[]) =>
  (value: Code, bits: number): Code => [...value, ...i32(bits), ...code];
export const shiftLanesLeft = shifting(0xfd, 0xab, 0x01);
/** Signed, unsigned. */
export const shiftLanesSigned = shifting(0xfd, 0xac, 0x01);
export const shiftLanesRight = shifting(0xfd, 0xad, 0x01);
/** The bits of `a` where `mask` has ones, of `b` elsewhere. */
export const mixLanes = (mask: Code, a: Code, b: Code): Code => [...a, ...b, ...mask, 0xfd, 0x52];
/** 1 when any bit is set. */
export const someLane = (value: Code): Code => [...value, 0xfd, 0x53];
/** The number in all four lanes; the four numbers, one in each. */
export const lanesOf = (value: number): Code => fourLanes(value, value, value, value);
export const fourLanes = (...values: number[]): Code => [0xfd, 0x0c, ...new Uint8Array(Int32Array.from(values).buffer)];
export const splat = (value: Code): Code => [...value, 0xfd, 0x11];
/** Four bytes as four lanes. */
export const load8Lanes = (at: Code, offset: number): Code => [
  ...load32Vector(at, offset),
  ...[0xfd, 0x89, 0x01, 0xfd, 0xa9, 0x01], // i16x8.extend_low_i8x16_u, i32x4.extend_low_i16x8_u
];
/** Four words from four places, which are the lanes of `places`. */
export const gather = (places: Code, offset = 0): Code =>
  [3, 2, 1, 0]
    .flatMap((l) => lane(places, l))
    .concat(
      zeroVector,
      [0, 1, 2, 3].flatMap((l) => [0xfd, 0x56, 0, ...unsigned(offset), l]),
    );
type StoreLane = (at: Code, offset: number, value: Code, number: number) => Code;
const storingLane =
  (code: number, parts: number): StoreLane =>
  (at, offset, value, number) => [...at, ...value, 0xfd, code, 0, ...unsigned(offset), number * parts];
export const storeLane32 = storingLane(0x5a, 1);
/** The lower half of a lane. */
export const storeLane16 = storingLane(0x59, 2);
/** The lower half of the vector. */
export const storeHalf = (at: Code, offset: number, value: Code): Code => storingLane(0x5b, 1)(at, offset, value, 0);
export const withLane = (lanes: Code, number: number, value: Code): Code => [...lanes, ...value, 0xfd, 0x1c, number];
/** Eight lanes of 16 bits; what is larger becomes 0xffff. */
export const narrowed = (value: Code): Code => [...value, ...value, 0xfd, 0x86, 0x01];
/** 1 when no lane is 0. */
export const everyLane = (value: Code): Code => [...value, 0xfd, 0xa3, 0x01];
/** swapped16 of each lane, none of which is above 0xffff. */
export const swappedLanes = (lanes: number): Code =>
  andLanes(anyLanes(shiftLanesLeft(get(lanes), 8), shiftLanesRight(get(lanes), 8)), lanesOf(0xffff));
/** i32x4: sums of the pairs of unsigned 16-bit lanes. */
export const sumPairs = (value: Code): Code => [...value, 0xfd, 0x7f];
/** The upper eight bytes in place of the lower ones. */
export const upperHalf = (value: Code): Code => [
  ...[...value, ...value, 0xfd, 0x0d],
  ...Array.from({ length: 16 }, (_, b) => (b + 8) & 15),
];
export const lane = (value: Code, number: number): Code => [...value, 0xfd, 0x1b, number];
/** Bytes of two vectors by their numbers: 0–15 those of `a`, 16–31 those of `b`. */
const shuffled = (a: Code, b: Code, places: readonly number[]): Code => [...a, ...b, 0xfd, 0x0d, ...places];
/** Lanes of two vectors by their numbers: 0–3 those of `a`, 4–7 those of `b`. */
export const pickLanes = (a: Code, b: Code, ...numbers: number[]): Code =>
  shuffled(
    a,
    b,
    numbers.flatMap((n) => [0, 1, 2, 3].map((byte) => n * 4 + byte)),
  );
/** Each lane with its four bytes in the other order. */
export const turnedLanes = (value: Code): Code => shuffled(value, value, [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12]);
/** The lowest byte of each lane, as a word. */
export const lowBytes = (value: Code): Code => lane(shuffled(value, value, [0, 4, 8, 12, ...new Array(12).fill(0)]), 0);
/** The vectors in the locals `a`, `b`, `c`, `d` as the rows of a square are changed for its columns; `t`, `u`: locals to do it in. */
export const transpose = (a: number, b: number, c: number, d: number, t: number, u: number): Code => [
  ...set(t, pickLanes(get(a), get(b), 0, 4, 1, 5)),
  ...set(u, pickLanes(get(c), get(d), 0, 4, 1, 5)),
  ...set(b, pickLanes(get(a), get(b), 2, 6, 3, 7)),
  ...set(d, pickLanes(get(c), get(d), 2, 6, 3, 7)),
  ...set(a, pickLanes(get(t), get(u), 0, 1, 4, 5)),
  ...set(t, pickLanes(get(t), get(u), 2, 3, 6, 7)),
  ...set(c, pickLanes(get(b), get(d), 0, 1, 4, 5)),
  ...set(d, pickLanes(get(b), get(d), 2, 3, 6, 7)),
  ...set(b, get(t)),
];
export const zeroVector: Code = [0xfd, 0x0c, ...new Array(16).fill(0)];

/** The lower sixteen bits of `local` with their bytes in the other order; of what is above them nothing is left. */
export const swapped16 = (local: number): Code =>
  or(and(shiftLeft(get(local), i32(8)), i32(0xff00)), and(shiftRight(get(local), i32(8)), i32(0xff)));

export const when = (condition: Code, body: Code, otherwise: Code = []): Code => [
  ...[...condition, 0x04, 0x40, ...body],
  ...(otherwise.length === 0 ? [] : [0x05, ...otherwise]),
  0x0b,
];
/** Of two values, which are both computed. */
export const choose = (condition: Code, a: Code, b: Code): Code => [...a, ...b, ...condition, 0x1b];
export const leave = (value: Code): Code => [...value, 0x0f];
export const repeatWhile = (condition: Code, body: Code): Code => [
  ...[0x03, 0x40], // loop
  ...when(condition, [...body, 0x0c, 0x01]), // br to the loop
  0x0b,
];

/** A function from int32 numbers to one int32. */
export interface WasmFunction {
  readonly name: string;
  readonly parameters: number;
  /** Locals behind the parameters: so many of 32 bits, then so many vectors. */
  readonly words: number;
  readonly vectors: number;
  readonly body: Code;
}

/** What we use of the engine's WebAssembly: the language's own declarations come with a browser's only. */
declare const WebAssembly:
  | undefined
  | {
      validate(bytes: Uint8Array): boolean;
      Module: new (bytes: Uint8Array) => object;
      Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
      Instance: new (module: object, imports: object) => { readonly exports: Record<string, unknown> };
    };

const I32 = 0x7f;
const V128 = 0x7b;
const PAGE = 65536;

const counted = (items: readonly Code[]): Code => [...unsigned(items.length), ...items.flat()];
const sized = (bytes: Code): Code => [...unsigned(bytes.length), ...bytes];
const section = (id: number, bytes: Code): Code => [id, ...sized(bytes)];
const named = (text: string): Code => sized(Array.from(text, (letter) => letter.charCodeAt(0)));

/** The module of `functions`, which imports its memory as `arena.memory`. */
export function moduleBytes(functions: readonly WasmFunction[]): Uint8Array {
  const types = functions.map(({ parameters }) => [0x60, parameters, ...new Array(parameters).fill(I32), 1, I32]);
  const bodies = functions.map(({ words, vectors, body }) => sized([2, words, I32, vectors, V128, ...body, 0x0b]));
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic, version 1
    ...section(1, counted(types)),
    ...section(2, counted([[...named('arena'), ...named('memory'), 0x02, 0x00, 0x01]])), // a memory of one page or more
    ...section(3, counted(functions.map((_, f) => unsigned(f)))),
    ...section(7, counted(functions.map(({ name }, f) => [...named(name), 0x00, ...unsigned(f)]))),
    ...section(10, counted(bodies)),
  ]);
}

/** The memory behind a buffer that `wasmMemory` made. */
const memories = new WeakMap<ArrayBufferLike, object>();

/**
 * Zeroed memory of at least `bytes` bytes that `wasmFunctions` can reach, which V8 never moves; null where the engine has no vectors, or no room: such a memory
 * reserves gigabytes of addresses, so a limit on them (ulimit -v) leaves us without.
 */
export function wasmMemory(bytes: number): ArrayBuffer | null {
  if (typeof WebAssembly === 'undefined' || !WebAssembly.validate(moduleBytes([VECTORS]))) return null;
  const pages = Math.ceil(bytes / PAGE);
  try {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    memories.set(memory.buffer, memory);
    return memory.buffer;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** The functions over the memory of `buffer`, by their names; null when `wasmMemory` did not make it. An address behind its end throws WebAssembly.RuntimeError. */
export function wasmFunctions(
  buffer: ArrayBufferLike,
  functions: readonly WasmFunction[],
): Record<string, (...values: number[]) => number> | null {
  const memory = memories.get(buffer);
  if (typeof WebAssembly === 'undefined' || memory === undefined) return null;
  const instance = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes(functions)), { arena: { memory } });
  return instance.exports as Record<string, (...values: number[]) => number>;
}

/** A function with vector instructions, to ask whether the engine has them. */
const VECTORS: WasmFunction = {
  name: 'vectors',
  parameters: 0,
  words: 0,
  vectors: 0,
  body: lane(upperHalf(sumPairs(load64Vector(i32(0), 0))), 0),
};
