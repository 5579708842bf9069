/**
 * The instructions of eBPF, as a program of ours is written: typed, jumps to names, maps by name. `assemble` makes bytes of them.
 * (RFC 9669; linux/bpf.h)
 *
 *     struct bpf_insn:  | u8 opcode | u4 dst, u4 src | s16 offset | s32 immediate |    8 bytes; a wide load is two of them
 *
 * r0 is what a call answers and the program's own answer, r1–r5 are parameters and lost in a call, r6–r9 stay, r10 is the stack's end, read only.
 */

export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
/** Bytes of a load or store. */
export type Size = 1 | 2 | 4 | 8;
export type Comparison = '==' | '!=' | '>' | '>=' | '<' | '<=' | '&';
export type Arithmetic = '+=' | '-=' | '*=' | '/=' | '|=' | '&=' | '<<=' | '>>=' | '%=' | '^=' | '=';

/** One instruction; `target` is the label it jumps to, `map` the map whose descriptor a wide load holds. */
export interface BpfInstruction {
  readonly kind: 'instruction';
  readonly opcode: number;
  readonly destination: number;
  readonly source: number;
  readonly offset: number;
  readonly immediate: number;
  readonly target?: string;
  readonly map?: string;
}

export interface BpfLabel {
  readonly kind: 'label';
  readonly name: string;
}

/** What a program is written in. */
export type BpfItem = BpfInstruction | BpfLabel;

/** Classes, the low three bits of an opcode. */
export const CLASS_LOAD_IMMEDIATE = 0x00;
export const CLASS_LOAD = 0x01;
export const CLASS_STORE_IMMEDIATE = 0x02;
export const CLASS_STORE = 0x03;
export const CLASS_ALU = 0x04;
export const CLASS_JUMP = 0x05;
export const CLASS_JUMP32 = 0x06;
export const CLASS_ALU64 = 0x07;
/** Bit 3 of arithmetic and jumps: the operand is a register, not the immediate. */
export const OPERAND_REGISTER = 0x08;
/** Mode bits of loads and stores by register and offset. */
export const MODE_MEMORY = 0x60;

export const SIZE_CODES: Readonly<Record<Size, number>> = { 4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18 };
export const ARITHMETIC_CODES: Readonly<Record<Arithmetic, number>> = {
  '+=': 0x00,
  '-=': 0x10,
  '*=': 0x20,
  '/=': 0x30,
  '|=': 0x40,
  '&=': 0x50,
  '<<=': 0x60,
  '>>=': 0x70,
  '%=': 0x90,
  '^=': 0xa0,
  '=': 0xb0,
};
/** Unsigned comparisons. */
export const COMPARISON_CODES: Readonly<Record<Comparison, number>> = {
  '==': 0x10,
  '>': 0x20,
  '>=': 0x30,
  '&': 0x40,
  '!=': 0x50,
  '<': 0xa0,
  '<=': 0xb0,
};
export const OPCODE_GOTO = 0x05;
export const OPCODE_CALL = 0x85;
export const OPCODE_EXIT = 0x95;
/** Two instructions long: a 64-bit constant, or a map. */
export const OPCODE_WIDE = 0x18;
/** What a wide load's source field says its immediate is: a map's descriptor, and the address of an array map's first value (Linux ≥ 5.2). */
export const WIDE_MAP = 1;
export const WIDE_MAP_VALUE = 2;

function instruction(opcode: number, fields: Partial<Omit<BpfInstruction, 'kind' | 'opcode'>>): BpfInstruction {
  return { kind: 'instruction', opcode, destination: 0, source: 0, offset: 0, immediate: 0, ...fields };
}

/** A value that is a register's content: `r(3)`. Plain numbers are immediates. */
export interface Content {
  readonly register: Register;
}

export const r = (register: Register): Content => ({ register });

/** `set(6, '=', r(1))`, `set(2, '+=', 14)`: 64-bit arithmetic. Immediates are signed 32-bit, extended by their sign. */
export function set(destination: Register, operation: Arithmetic, value: Content | number): BpfInstruction {
  const opcode = CLASS_ALU64 | ARITHMETIC_CODES[operation];
  return typeof value === 'number'
    ? instruction(opcode, { destination, immediate: value })
    : instruction(opcode | OPERAND_REGISTER, { destination, source: value.register });
}

/** Loads `size` bytes, without sign, from the address in `base` plus `offset`. */
export function load(size: Size, destination: Register, base: Register, offset: number): BpfInstruction {
  return instruction(CLASS_LOAD | MODE_MEMORY | SIZE_CODES[size], { destination, source: base, offset });
}

/** Stores `size` bytes of a register, or of an immediate, at the address in `base` plus `offset`. */
export function store(size: Size, base: Register, offset: number, value: Content | number): BpfInstruction {
  const rest = MODE_MEMORY | SIZE_CODES[size];
  return typeof value === 'number'
    ? instruction(CLASS_STORE_IMMEDIATE | rest, { destination: base, offset, immediate: value })
    : instruction(CLASS_STORE | rest, { destination: base, offset, source: value.register });
}

export function label(name: string): BpfLabel {
  return { kind: 'label', name };
}

export function goto(target: string): BpfInstruction {
  return instruction(OPCODE_GOTO, { target });
}

/** Jumps to `target` when the comparison holds: unsigned, 64 bits. `&`: any common bit. */
export function when(left: Register, comparison: Comparison, right: Content | number, target: string): BpfInstruction {
  const opcode = CLASS_JUMP | COMPARISON_CODES[comparison];
  return typeof right === 'number'
    ? instruction(opcode, { destination: left, immediate: right, target })
    : instruction(opcode | OPERAND_REGISTER, { destination: left, source: right.register, target });
}

/** Calls a helper of the kernel by its number (enum bpf_func_id). */
export function call(helper: number): BpfInstruction {
  return instruction(OPCODE_CALL, { immediate: helper });
}

export function exit(): BpfInstruction {
  return instruction(OPCODE_EXIT, {});
}

/** The map of that name, for a helper's parameter. */
export function loadMap(destination: Register, map: string): BpfInstruction {
  return instruction(OPCODE_WIDE, { destination, source: WIDE_MAP, map });
}

/** Address of the first value of the array map of that name: reading it needs no call. */
export function loadMapValue(destination: Register, map: string): BpfInstruction {
  return instruction(OPCODE_WIDE, { destination, source: WIDE_MAP_VALUE, map });
}

/** Helpers that programs here call. */
export const HELPER_MAP_LOOKUP = 1;
export const HELPER_REDIRECT_MAP = 51;
