// What the notes of dropped packets (src/base/drop-notes.ts) should hold: for each reason a list, of which only the last `kept` stay. And two plain hands: one that reads
// every note as an object (src/base/note-search.ts makes none for what nobody asked for), one that writes notes.

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
} from '../../src/base/drop-notes.ts';
import { DROP_REASON_COUNT, DROP_REASONS } from '../../src/base/drop-reason.ts';

export class NoteLists {
  readonly lists = new Map<string, DropNote[]>();
  readonly #kept: number;

  constructor(kept: number) {
    this.#kept = kept;
  }

  add(note: DropNote): void {
    const list = this.lists.get(note.reason) ?? [];
    list.push(note);
    if (list.length > this.#kept) list.shift();
    this.lists.set(note.reason, list);
  }

  within(from: number, to: number): DropNote[] {
    return [...this.lists.values()].flat().filter(({ time }) => time >= from && time < to);
  }
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

/** Writes `notes` behind those that `memories` hold, each to its thread and reason, in their order. */
export function writeDropNotes(memories: readonly SharedArrayBuffer[], notes: readonly DropNote[]): void {
  for (const note of notes) {
    const words = new Int32Array(memories[note.thread]);
    const reason = DROP_REASONS.findIndex(({ word }) => word === note.reason);
    const number = words[reason * COUNT_WORDS + COUNT_DONE];
    const at = NOTES_AT + reason * RING_WORDS + (number % NOTES_KEPT) * NOTE_WORDS;
    const address = (to: number, bytes: Uint8Array = new Uint8Array()) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      for (let b = 0; b < bytes.length; b += 4) words[at + to + b / 4] = view.getInt32(b);
    };
    words[at + NOTE_SECONDS] = Math.floor(note.time / 1000);
    words[at + NOTE_MILLISECONDS] = note.time % 1000;
    const version = note.source === undefined ? 0 : note.source.length === 4 ? 4 : 6;
    const protocol = note.protocol === undefined ? 0 : (note.protocol << 8) | KIND_HAS_PROTOCOL;
    words[at + NOTE_KIND] = version | protocol | (note.sport === undefined ? 0 : KIND_HAS_PORTS);
    words[at + NOTE_LENGTH] = note.length;
    address(NOTE_SOURCE, note.source);
    address(NOTE_DESTINATION, note.destination);
    words[at + NOTE_PORTS] = ((note.sport ?? 0) << 16) | (note.dport ?? 0);
    words[at + NOTE_SERVICE] = note.service;
    words[at + NOTE_BACKEND] = note.backend;
    words[reason * COUNT_WORDS + COUNT_BEGUN] = number + 1;
    words[reason * COUNT_WORDS + COUNT_DONE] = number + 1;
  }
}
