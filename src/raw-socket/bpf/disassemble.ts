/** A program's bytes as text, in the words of the kernel's verifier (kernel/bpf/disasm.c): what a log of its can be held against. */
import { INSTRUCTION_BYTES } from './assemble.ts';
import {
  ARITHMETIC_CODES,
  CLASS_ALU64,
  CLASS_JUMP,
  CLASS_LOAD,
  CLASS_STORE,
  CLASS_STORE_IMMEDIATE,
  COMPARISON_CODES,
  HELPER_MAP_LOOKUP,
  HELPER_REDIRECT_MAP,
  MODE_MEMORY,
  OPCODE_CALL,
  OPCODE_EXIT,
  OPCODE_GOTO,
  OPCODE_WIDE,
  OPERAND_REGISTER,
  SIZE_CODES,
  WIDE_MAP,
  WIDE_MAP_VALUE,
} from './instruction.ts';

const swapped = (codes: Readonly<Record<string, number>>) => new Map(Object.entries(codes).map(([word, code]) => [code, word]));
const ARITHMETIC = swapped(ARITHMETIC_CODES);
const COMPARISONS = swapped(COMPARISON_CODES);
const SIZES = new Map(Object.entries(SIZE_CODES).map(([bytes, code]) => [code, `u${Number(bytes) * 8}`]));
const HELPERS = new Map([
  [HELPER_MAP_LOOKUP, 'bpf_map_lookup_elem'],
  [HELPER_REDIRECT_MAP, 'bpf_redirect_map'],
]);

const signed = (value: number) => (value < 0 ? `${value}` : `+${value}`);

/** One line per instruction, numbered as the verifier does. `names`: of descriptors that maps have. Unknown opcodes are shown as such. */
export function disassemble(bytes: Uint8Array, names: ReadonlyMap<number, string> = new Map()): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lines: string[] = [];
  for (let slot = 0; slot * INSTRUCTION_BYTES < bytes.length; slot++) {
    const at = slot * INSTRUCTION_BYTES;
    const opcode = view.getUint8(at);
    lines.push(`${slot}: (${opcode.toString(16).padStart(2, '0')}) ${describe(view, at, slot, names)}`);
    if (opcode === OPCODE_WIDE) slot++;
  }
  return lines;
}

function describe(view: DataView, at: number, slot: number, names: ReadonlyMap<number, string>): string {
  const opcode = view.getUint8(at);
  const registers = view.getUint8(at + 1);
  const destination = `r${registers & 15}`;
  const source = `r${registers >> 4}`;
  const offset = view.getInt16(at + 2, true);
  const immediate = view.getInt32(at + 4, true);
  const operand = (opcode & OPERAND_REGISTER) !== 0 ? source : `${immediate}`;
  const code = opcode & 0xf0;
  const to = `goto ${slot + 1 + offset}`;
  if (opcode === OPCODE_WIDE) return `${destination} = ${wide(registers >> 4, immediate, view.getInt32(at + 12, true), names)}`;
  if (opcode === OPCODE_GOTO) return to;
  if (opcode === OPCODE_EXIT) return 'exit';
  if (opcode === OPCODE_CALL) return `call ${HELPERS.get(immediate) ?? 'helper'}#${immediate}`;
  switch (opcode & 7) {
    case CLASS_ALU64: {
      const word = ARITHMETIC.get(code);
      if (word !== undefined) return `${destination} ${word} ${operand}`;
      break;
    }
    case CLASS_JUMP: {
      const word = COMPARISONS.get(code);
      if (word !== undefined) return `if ${destination} ${word} ${operand} ${to}`;
      break;
    }
    default: {
      const size = SIZES.get(opcode & 0x18);
      if ((opcode & 0xe0) !== MODE_MEMORY || size === undefined) break;
      if ((opcode & 7) === CLASS_LOAD) return `${destination} = *(${size} *)(${source} ${signed(offset)})`;
      if ((opcode & 7) === CLASS_STORE) return `*(${size} *)(${destination} ${signed(offset)}) = ${source}`;
      if ((opcode & 7) === CLASS_STORE_IMMEDIATE) return `*(${size} *)(${destination} ${signed(offset)}) = ${immediate}`;
    }
  }
  return 'unknown';
}

function wide(kind: number, low: number, high: number, names: ReadonlyMap<number, string>): string {
  const name = names.get(low) ?? `descriptor ${low}`;
  if (kind === WIDE_MAP) return `map ${name}`;
  if (kind === WIDE_MAP_VALUE) return `value of map ${name} +${high >>> 0}`;
  return `0x${(((BigInt(high) & 0xffffffffn) << 32n) | (BigInt(low) & 0xffffffffn)).toString(16)}`;
}
