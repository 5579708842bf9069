/**
 * Finds notes of dropped packets (drop-notes.ts). While something is wrong every ring is full, and whoever asks then must not stop main, which does more than answer: so
 * notes are judged by their words where they lie, and only the newest that match become objects. One pass over rings that are copied one after the other:
 *
 *     time in the window? ─ yes → counted → client's address? service, backend? → counted, and kept among the newest
 *                         └ no, but nearer to it than what was found → the same two questions → kept as the nearest
 */
import type { Prefix } from './address.ts';
import {
  COUNT_BEGUN,
  COUNT_DONE,
  COUNT_WORDS,
  type DropNote,
  KIND_HAS_PORTS,
  KIND_HAS_PROTOCOL,
  NOTE_BACKEND,
  NOTE_DESTINATION,
  NOTE_KIND,
  NOTE_LENGTH,
  NOTE_MILLISECONDS,
  NOTE_PORTS,
  NOTE_SECONDS,
  NOTE_SERVICE,
  NOTE_SOURCE,
  NOTE_WORDS,
  NOTES_AT,
  NOTES_KEPT,
  RING_WORDS,
} from './drop-notes.ts';
import { DROP_REASON_COUNT, DROP_REASONS } from './drop-reason.ts';
import { NewestNotes } from './newest-notes.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const WORDS = NOTE_WORDS;
const LAST = NOTES_KEPT - 1;
const SECONDS = NOTE_SECONDS;
const MILLISECONDS = NOTE_MILLISECONDS;
const KIND = NOTE_KIND;
const SOURCE = NOTE_SOURCE;
const DESTINATION = NOTE_DESTINATION;
const SERVICE = NOTE_SERVICE;
const BACKEND = NOTE_BACKEND;

export interface NoteSearch {
  /** Milliseconds since 1970; the window is [from, to). */
  readonly from: number;
  readonly to: number;
  /** Word of the one reason that matters; null: all. */
  readonly reason: string | null;
  /** Only packets from or to an address within; null: all. */
  readonly client: Prefix | null;
  /** Whether a note of this service and backend (ids, −1 for none), of this time (milliseconds since 1970), matters; null: all do. */
  readonly accepts: ((service: number, backend: number, time: number) => boolean) | null;
  /** Notes that are given at most. */
  readonly most: number;
}

export interface NotesFound {
  /** The newest that match, oldest first; of the same time by reason and thread. */
  readonly notes: readonly DropNote[];
  /** All that match. */
  readonly matching: number;
  /** Each reason of which notes are held, in the order of their numbers. */
  readonly reasons: readonly ReasonFound[];
  /** The last one before the window that matches, and the first one behind it. */
  readonly before: DropNote | null;
  readonly after: DropNote | null;
}

export interface ReasonFound {
  readonly reason: string;
  /** In the window, whoever's; and those of them that match. */
  readonly noted: number;
  readonly matching: number;
  /** Notes before this were pushed out by newer ones; null: none was. */
  readonly completeSince: number | null;
}

/**
 * Searches the notes in `memories` (by thread). The threads may be writing: a note that may have been overwritten while it was copied is left out.
 */
export function searchDropNotes(memories: readonly SharedArrayBuffer[], search: NoteSearch): NotesFound {
  const { from, to, accepts } = search;
  const client = search.client === null ? null : wordsOf(search.client);
  const newest = new NewestNotes(search.most);
  const before = new NewestNotes(1);
  const after = new NewestNotes(1, -1);
  const threads = memories.map((memory) => new Int32Array(memory));
  const reasons: ReasonFound[] = [];
  const copy = new Int32Array(RING_WORDS);
  let all = 0;
  for (let reason = 0; reason < DROP_REASON_COUNT; reason++) {
    const { word } = DROP_REASONS[reason];
    if (search.reason !== null && search.reason !== word) continue;
    let [noted, matching] = [0, 0];
    let isHeld = false;
    let completeSince: number | null = null;
    for (let thread = 0; thread < threads.length; thread++) {
      const done = Atomics.load(threads[thread], reason * COUNT_WORDS + COUNT_DONE);
      if (done === 0) continue;
      isHeld = true;
      const whole = copyRing(threads[thread], reason, done, copy);
      let oldest = Number.POSITIVE_INFINITY;
      for (let k = whole - 1; k >= 0; k--) {
        const at = ((done - whole + k) & LAST) * WORDS;
        const time = (copy[at + SECONDS] >>> 0) * 1000 + copy[at + MILLISECONDS];
        if (time < oldest) oldest = time;
        const kept = time < from ? before : time >= to ? after : newest;
        const order = (reason * threads.length + thread) * NOTES_KEPT + k;
        if (kept === newest) noted++;
        else if (!kept.wants(time, order)) continue;
        if (client !== null && !isFromOrTo(client, copy, at)) continue;
        if (accepts !== null && !accepts(copy[at + SERVICE], copy[at + BACKEND], time)) continue;
        if (kept === newest) matching++;
        if (kept.wants(time, order)) kept.keep(time, order, copy, at);
      }
      if (isFull(done)) completeSince = Math.max(completeSince ?? oldest, oldest);
    }
    if (isHeld) reasons.push({ reason: word, noted, matching, completeSince });
    all += matching;
  }
  const objects = (kept: NewestNotes) =>
    kept.list((words, at, order) => {
      const ring = Math.floor(order / NOTES_KEPT);
      return noteOf(words, at, Math.floor(ring / threads.length), ring % threads.length);
    });
  return { notes: objects(newest), matching: all, reasons, before: objects(before)[0] ?? null, after: objects(after)[0] ?? null };
}

/** Counts of 2^31 and more are negative; the writer never lets one fall below NOTES_KEPT again. */
function isFull(done: number): boolean {
  return done < 0 || done >= NOTES_KEPT;
}

/** Copies a ring of which `done` notes were written, and returns how many of its newest are whole. */
function copyRing(notes: Int32Array, reason: number, done: number, copy: Int32Array): number {
  const at = NOTES_AT + reason * RING_WORDS;
  copy.set(notes.subarray(at, at + RING_WORDS));
  if (!isFull(done)) return done;
  // What was begun since may lie over the oldest ones of the copy.
  const lost = (Atomics.load(notes, reason * COUNT_WORDS + COUNT_BEGUN) - done) | 0;
  return Math.max(0, NOTES_KEPT - (lost < 0 ? NOTES_KEPT : lost));
}

/** A prefix as a note's words can be compared with it. */
interface PrefixWords {
  /** IP version. */
  readonly version: number;
  readonly words: Int32Array;
  readonly masks: Int32Array;
}

function wordsOf({ bytes, length }: Prefix): PrefixWords {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const words = Int32Array.from({ length: bytes.length >> 2 }, (_, w) => view.getInt32(4 * w));
  const masks = words.map((_, w) => {
    const bits = Math.min(32, Math.max(0, length - 32 * w));
    // A shift by 32 is one by 0.
    return bits === 0 ? 0 : -1 << (32 - bits);
  });
  return { version: bytes.length === 4 ? 4 : 6, words, masks };
}

/** What we answered, or a router said about a client's packet, comes to the client's address or is about it. */
function isFromOrTo(prefix: PrefixWords, notes: Int32Array, at: number): boolean {
  if ((notes[at + KIND] & 0xff) !== prefix.version) return false;
  return isWithin(prefix, notes, at + SOURCE) || isWithin(prefix, notes, at + DESTINATION);
}

function isWithin({ words, masks }: PrefixWords, notes: Int32Array, at: number): boolean {
  for (let w = 0; w < words.length; w++) if (((notes[at + w] ^ words[w]) & masks[w]) !== 0) return false;
  return true;
}

function noteOf(notes: Int32Array, at: number, reason: number, thread: number): DropNote {
  const kind = notes[at + KIND];
  const version = kind & 0xff;
  const ports = notes[at + NOTE_PORTS];
  const address = (from: number): Uint8Array => {
    const bytes = new Uint8Array(version === 4 ? 4 : 16);
    const view = new DataView(bytes.buffer);
    for (let b = 0; b < bytes.length; b += 4) view.setInt32(b, notes[at + from + (b >> 2)]);
    return bytes;
  };
  return {
    time: (notes[at + SECONDS] >>> 0) * 1000 + notes[at + MILLISECONDS],
    reason: DROP_REASONS[reason].word,
    thread,
    length: notes[at + NOTE_LENGTH],
    ...(version === 0 ? {} : { source: address(SOURCE), destination: address(DESTINATION) }),
    ...((kind & KIND_HAS_PROTOCOL) === 0 ? {} : { protocol: (kind >>> 8) & 0xff }),
    ...((kind & KIND_HAS_PORTS) === 0 ? {} : { sport: ports >>> 16, dport: ports & 0xffff }),
    service: notes[at + SERVICE],
    backend: notes[at + BACKEND],
  };
}
