/**
 * Classic BPF, the language of SO_ATTACH_FILTER: a program sees each packet before it is copied to a socket and returns how many
 * bytes of it to keep; 0 keeps none. (linux/filter.h, Documentation/networking/filter.rst)
 *
 *     struct sock_filter:  | u16 code | u8 jump-if-true | u8 jump-if-false | u32 k |    8 bytes
 */
import { pin, retain, storeAddress } from './memory.ts';
import { SOL_SOCKET, setStructOption } from './socket.ts';

/** One instruction; jumps count instructions behind this one. */
export interface Instruction {
  readonly code: number;
  readonly jumpTrue: number;
  readonly jumpFalse: number;
  readonly k: number;
}

/** The kernel refuses longer programs (BPF_MAXINSNS). */
export const MAX_INSTRUCTIONS = 4096;
/** What `keep` returns for a whole packet of any size. */
export const KEEP_ALL = 0x40000;
/** `ld` from this offset gives the packet type: 0 to us, 1 broadcast, 2 multicast, 3 to another host, 4 outgoing. */
export const PACKET_TYPE_AT = 0xfffff004;

const plain = (code: number, k: number): Instruction => ({ code, jumpTrue: 0, jumpFalse: 0, k: k >>> 0 });

/** A ← 32, 16 or 8 bits of the packet at a fixed offset, as unsigned big-endian. A load behind the packet's end drops it. */
export const loadWord = (at: number): Instruction => plain(0x20, at);
export const loadHalf = (at: number): Instruction => plain(0x28, at);
export const loadByte = (at: number): Instruction => plain(0x30, at);
/** A ← 16 bits at X + offset. */
export const loadHalfIndexed = (at: number): Instruction => plain(0x48, at);
/** A ← 32 or 8 bits at X + offset. */
export const loadWordIndexed = (at: number): Instruction => plain(0x40, at);
export const loadByteIndexed = (at: number): Instruction => plain(0x50, at);
/** X ← 4 × low nibble of the byte at the offset: the length of an IPv4 header. */
export const loadHeaderLength = (at: number): Instruction => plain(0xb1, at);
export const and = (mask: number): Instruction => plain(0x54, mask);
/** Jump without condition, any distance. */
export const jump = (over: number): Instruction => plain(0x05, over);
export const keep = (bytes: number): Instruction => plain(0x06, bytes);
export const jumpEqual = (k: number, jumpTrue: number, jumpFalse: number): Instruction => ({
  code: 0x15,
  jumpTrue,
  jumpFalse,
  k: k >>> 0,
});
export const jumpGreater = (k: number, jumpTrue: number, jumpFalse: number): Instruction => ({
  code: 0x25,
  jumpTrue,
  jumpFalse,
  k: k >>> 0,
});
export const jumpAtLeast = (k: number, jumpTrue: number, jumpFalse: number): Instruction => ({
  code: 0x35,
  jumpTrue,
  jumpFalse,
  k: k >>> 0,
});
export const jumpAnyBit = (k: number, jumpTrue: number, jumpFalse: number): Instruction => ({
  code: 0x45,
  jumpTrue,
  jumpFalse,
  k: k >>> 0,
});

/** Keeps nothing: closes the receive side of a socket that only sends, or of one that is not ready yet. */
export const KEEP_NOTHING: readonly Instruction[] = [keep(0)];

const SO_ATTACH_FILTER = 26;

/** Attaches a program, in place of the one before, in one step. Throws CodedError when the kernel refuses it. */
export function attachFilter(descriptor: number, program: readonly Instruction[]): void {
  if (program.length > MAX_INSTRUCTIONS) throw new RangeError(`a filter of ${program.length} instructions is too long`);
  const code = pin(program.length * 8);
  program.forEach((instruction, i) => {
    code.uint16[i * 4] = instruction.code;
    code.bytes[i * 8 + 2] = instruction.jumpTrue;
    code.bytes[i * 8 + 3] = instruction.jumpFalse;
    code.int32[i * 2 + 1] = instruction.k | 0;
  });
  // struct sock_fprog: u16 length, 6 bytes of padding, pointer
  const header = pin(16);
  header.uint16[0] = program.length;
  storeAddress(header.int32, 2, code.address);
  setStructOption(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, header.address, 16, 'SO_ATTACH_FILTER');
  retain(code);
  retain(header);
}
