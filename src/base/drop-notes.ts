/**
 * Notes of packets that were dropped: the last NOTES_KEPT of each reason, in memory that one forwarding thread writes (pipeline/drop-notes.ts) and main
 * reads. Who, when and how long; nothing of the payload. One ring for each reason, so that a flood dropped for one reason pushes out no note of another.
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
import { DROP_REASON_COUNT, DROP_REASONS } from './drop-reason.ts';

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

/** What is held of one reason. */
export interface NotesHeld {
  readonly reason: string;
  /** Oldest and newest note, milliseconds since 1970. */
  readonly oldest: number;
  readonly newest: number;
  /** Notes before this were pushed out by newer ones; null: none was. */
  readonly completeSince: number | null;
}

/**
 * Calls `visit` for each note in `memories` (by thread) whose time lies in [from, to), milliseconds since 1970, by reason and thread in the order in which they were
 * written, and returns what is held of each reason that has notes. The threads may be writing: a note that may have been overwritten while it was read is left out.
 */
export function readDropNotes(
  memories: readonly SharedArrayBuffer[],
  from: number,
  to: number,
  visit: (note: DropNote) => void,
): NotesHeld[] {
  const held: NotesHeld[] = [];
  const words = memories.map((memory) => new Int32Array(memory));
  for (let reason = 0; reason < DROP_REASON_COUNT; reason++) {
    let oldest = Number.POSITIVE_INFINITY;
    let newest = Number.NEGATIVE_INFINITY;
    let completeSince: number | null = null;
    words.forEach((notes, thread) => {
      const ring = readRing(notes, reason);
      if (ring === null) return;
      const { copy, numbers, isFull } = ring;
      let first = Number.POSITIVE_INFINITY;
      for (const number of numbers) {
        const at = (number & (NOTES_KEPT - 1)) * NOTE_WORDS;
        const time = timeOf(copy, at);
        first = Math.min(first, time);
        newest = Math.max(newest, time);
        if (time >= from && time < to) visit(noteOf(copy, at, reason, thread));
      }
      oldest = Math.min(oldest, first);
      if (isFull) completeSince = Math.max(completeSince ?? first, first);
    });
    if (newest >= oldest) held.push({ reason: DROP_REASONS[reason].word, oldest, newest, completeSince });
  }
  return held;
}

/** A copy of one ring, and the numbers of the notes in it that are whole; null when there is none. */
function readRing(notes: Int32Array, reason: number): { copy: Int32Array; numbers: number[]; isFull: boolean } | null {
  const done = Atomics.load(notes, reason * COUNT_WORDS + COUNT_DONE);
  if (done === 0) return null;
  const at = NOTES_AT + reason * RING_WORDS;
  const copy = notes.slice(at, at + RING_WORDS);
  // What was begun since may lie over the oldest ones of the copy.
  const lost = (Atomics.load(notes, reason * COUNT_WORDS + COUNT_BEGUN) - done) | 0;
  // Counts of 2^31 and more are negative; the writer never lets one fall below NOTES_KEPT again.
  const isFull = done < 0 || done >= NOTES_KEPT;
  const whole = isFull ? Math.max(0, NOTES_KEPT - (lost < 0 ? NOTES_KEPT : lost)) : done;
  const numbers = Array.from({ length: whole }, (_, k) => (done - whole + k) | 0);
  return { copy, numbers, isFull };
}

function timeOf(notes: Int32Array, at: number): number {
  return (notes[at + NOTE_SECONDS] >>> 0) * 1000 + notes[at + NOTE_MILLISECONDS];
}

function noteOf(notes: Int32Array, at: number, reason: number, thread: number): DropNote {
  const kind = notes[at + NOTE_KIND];
  const version = kind & 0xff;
  const ports = notes[at + NOTE_PORTS];
  const address = (from: number): Uint8Array => {
    const bytes = new Uint8Array(version === 4 ? 4 : 16);
    const view = new DataView(bytes.buffer);
    for (let b = 0; b < bytes.length; b += 4) view.setInt32(b, notes[at + from + (b >> 2)]);
    return bytes;
  };
  return {
    time: timeOf(notes, at),
    reason: DROP_REASONS[reason].word,
    thread,
    length: notes[at + NOTE_LENGTH],
    ...(version === 0 ? {} : { source: address(NOTE_SOURCE), destination: address(NOTE_DESTINATION) }),
    ...((kind & KIND_HAS_PROTOCOL) === 0 ? {} : { protocol: (kind >>> 8) & 0xff }),
    ...((kind & KIND_HAS_PORTS) === 0 ? {} : { sport: ports >>> 16, dport: ports & 0xffff }),
    service: notes[at + NOTE_SERVICE],
    backend: notes[at + NOTE_BACKEND],
  };
}
