/**
 * Notes of packets that were dropped: the last NOTES_KEPT of each reason, in memory that one forwarding thread writes (pipeline/drop-notes.ts) and main
 * searches (note-search.ts). Who, when and how long; nothing of the payload. One ring for each reason, so that a flood dropped for one reason pushes out no note of another.
 *
 *     | reason 0: begun, done | reason 1: begun, done | … |          notes ever written: all below `done` are whole, none from `begun` on is begun
 *     | reason 0: note 0 … note 1023 | reason 1: … |                 note number n lies at place n mod 1024
 *
 *     note (16 words, a cache line):
 *     | seconds | milliseconds | kind | length | source (4) | destination (4) | ports | service | backend | – |
 *
 * Seconds (unsigned) and milliseconds of the time of day. kind: IP version 4 or 6, or 0 for what is no readable IP packet | protocol << 8 | KIND_ bits.
 * length: bytes of the IP packet as its header says, of the frame where that can not be read. Addresses are words in network order, of IPv4 one. ports: source << 16 |
 * destination. service, backend: ids, −1 for none.
 */
import { DROP_REASON_COUNT } from './drop-reason.ts';

/** Notes of each reason and thread. A power of two. */
export const NOTES_KEPT = 1024;
export const NOTE_WORDS = 16;
/** Words of the header for each reason, and which is which. */
export const COUNT_WORDS = 2;
export const COUNT_BEGUN = 0;
export const COUNT_DONE = 1;
/** Word at which the ring of reason 0 begins: the header, rounded up to whole notes. */
export const NOTES_AT = Math.ceil((DROP_REASON_COUNT * COUNT_WORDS) / NOTE_WORDS) * NOTE_WORDS;
export const RING_WORDS = NOTES_KEPT * NOTE_WORDS;

export const NOTE_SECONDS = 0;
export const NOTE_MILLISECONDS = 1;
export const NOTE_KIND = 2;
export const NOTE_LENGTH = 3;
export const NOTE_SOURCE = 4;
export const NOTE_DESTINATION = 8;
export const NOTE_PORTS = 12;
export const NOTE_SERVICE = 13;
export const NOTE_BACKEND = 14;

export const KIND_HAS_PROTOCOL = 1 << 16;
export const KIND_HAS_PORTS = 1 << 17;

/** Memory for the notes of one thread. Untouched pages cost nothing: a reason that never occurs needs none. */
export function createDropNotes(): SharedArrayBuffer {
  return new SharedArrayBuffer((NOTES_AT + DROP_REASON_COUNT * RING_WORDS) * 4);
}

/** Forgets all notes; nobody may write or read meanwhile. */
export function clearDropNotes(memory: SharedArrayBuffer): void {
  new Int32Array(memory, 0, NOTES_AT).fill(0);
}

/** One packet that was dropped. */
export interface DropNote {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Word of the drop reason. */
  readonly reason: string;
  /** Number of the forwarding thread that received it. */
  readonly thread: number;
  readonly length: number;
  /** Absent, as the rest, where the packet does not say. */
  readonly source?: Uint8Array;
  readonly destination?: Uint8Array;
  /** IANA number. */
  readonly protocol?: number;
  readonly sport?: number;
  readonly dport?: number;
  /** Ids; −1 for none. */
  readonly service: number;
  readonly backend: number;
}
