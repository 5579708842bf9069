/** Bytes of a program: labels become distances, map names descriptors. */
import { type BpfInstruction, type BpfItem, OPCODE_WIDE } from './instruction.ts';

export const INSTRUCTION_BYTES = 8;

/** Slots of 8 bytes that an instruction takes. */
function slots(item: BpfItem): number {
  if (item.kind === 'label') return 0;
  return item.opcode === OPCODE_WIDE ? 2 : 1;
}

/**
 * The program as the kernel takes it (little-endian machines). `maps`: descriptor of each map that it names. Throws RangeError for an unknown or doubled label, a map
 * without descriptor, an offset or distance beyond 16 bits, an immediate beyond 32.
 */
export function assemble(items: readonly BpfItem[], maps: Readonly<Record<string, number>> = {}): Uint8Array {
  const places = new Map<string, number>();
  let length = 0;
  for (const item of items) {
    if (item.kind === 'label') {
      if (places.has(item.name)) throw new RangeError(`two labels "${item.name}"`);
      places.set(item.name, length);
    }
    length += slots(item);
  }
  const bytes = new Uint8Array(length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const item of items) {
    if (item.kind === 'label') continue;
    write(view, at, item, distance(item, at, places), immediateOf(item, maps));
    at += slots(item);
  }
  return bytes;
}

/** Jumps count from the instruction behind them. */
function distance(item: BpfInstruction, at: number, places: ReadonlyMap<string, number>): number {
  if (item.target === undefined) return item.offset;
  const place = places.get(item.target);
  if (place === undefined) throw new RangeError(`no label "${item.target}"`);
  return place - at - 1;
}

function immediateOf(item: BpfInstruction, maps: Readonly<Record<string, number>>): number {
  if (item.map === undefined) return item.immediate;
  const descriptor = maps[item.map];
  if (descriptor === undefined) throw new RangeError(`no map "${item.map}"`);
  return descriptor;
}

function write(view: DataView, slot: number, item: BpfInstruction, offset: number, immediate: number): void {
  if (offset !== (offset << 16) >> 16) throw new RangeError(`offset ${offset} at instruction ${slot} is beyond 16 bits`);
  if (immediate !== (immediate | 0) && immediate !== immediate >>> 0) {
    throw new RangeError(`immediate ${immediate} at instruction ${slot} is beyond 32 bits`);
  }
  const at = slot * INSTRUCTION_BYTES;
  view.setUint8(at, item.opcode);
  view.setUint8(at + 1, (item.source << 4) | item.destination);
  view.setInt16(at + 2, offset, true);
  view.setInt32(at + 4, immediate, true);
}
