import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { readDropNotes, writeDropNotes } from '../../test/reference/drop-notes.ts';
import { prefixContains } from './address.ts';
import { COUNT_BEGUN, COUNT_DONE, COUNT_WORDS, createDropNotes, type DropNote, NOTES_KEPT } from './drop-notes.ts';
import { DROP_REASONS } from './drop-reason.ts';
import { type NoteSearch, type NotesFound, searchDropNotes } from './note-search.ts';

const ALL: NoteSearch = { from: 0, to: Number.POSITIVE_INFINITY, reason: null, client: null, accepts: null, most: 1000 };
/** Behind 2038: seconds are unsigned. */
const T = 2_200_000_000_000;

/** What searchDropNotes should find, by reading every note. */
function plainSearch(memories: readonly SharedArrayBuffer[], search: NoteSearch): NotesFound {
  const { from, to, reason, client, accepts, most } = search;
  const all: DropNote[] = [];
  const held = readDropNotes(memories, 0, Number.POSITIVE_INFINITY, (note) => all.push(note));
  const isClient = (address?: Uint8Array) => client === null || (address !== undefined && prefixContains(client, address));
  const matches = all
    .filter((note) => reason === null || note.reason === reason)
    .filter(({ source, destination }) => isClient(source) || isClient(destination))
    .filter((note) => accepts === null || accepts(note.service, note.backend, note.time))
    .sort((a, b) => a.time - b.time);
  const inside = (list: DropNote[]) => list.filter(({ time }) => time >= from && time < to);
  const of = (list: DropNote[], word: string) => inside(list).filter((note) => note.reason === word).length;
  return {
    notes: inside(matches).slice(-most),
    matching: inside(matches).length,
    reasons: held
      .filter((one) => reason === null || one.reason === reason)
      .map(({ reason: word, completeSince }) => ({
        reason: word,
        noted: of(all, word),
        matching: of(matches, word),
        completeSince,
      })),
    before: matches.filter(({ time }) => time < from).at(-1) ?? null,
    after: matches.find(({ time }) => time >= to) ?? null,
  };
}

const four = fc.integer({ min: 0, max: 7 }).map((host) => Uint8Array.of(192, 0, 2, host * 36));
const six = fc
  .integer({ min: 0, max: 7 })
  .map((host) => Uint8Array.of(0x20, 1, 0xd, 0xb8, 0xff, 0, 0, 0, 0, 0, 0, 0, host * 36, 0, 0, host));
const ends = fc.oneof(fc.tuple(four, four), fc.tuple(six, six)).map(([source, destination]) => ({ source, destination }));
const id = fc.integer({ min: -1, max: 2 });
const note: fc.Arbitrary<DropNote> = fc
  .record({
    // The clock may go back, and many packets have the same time.
    time: fc.integer({ min: T, max: T + 40 }),
    reason: fc.constantFrom('not-a-service', 'no-backend', 'reply-failed'),
    thread: fc.integer({ min: 0, max: 2 }),
    length: fc.integer({ min: 0, max: 65_535 }),
    ends: fc.option(ends, { nil: undefined }),
    ports: fc.option(fc.record({ protocol: fc.constant(6), sport: fc.nat(65_535), dport: fc.nat(65_535) }), { nil: undefined }),
    service: id,
    backend: id,
  })
  .map(({ ends: addresses, ports, ...rest }) => ({
    ...rest,
    ...(addresses ?? {}),
    ...(addresses === undefined ? {} : (ports ?? {})),
  }));
const prefix = fc
  .oneof(fc.tuple(four, fc.integer({ min: 0, max: 32 })), fc.tuple(six, fc.integer({ min: 0, max: 128 })))
  .map(([address, length]) => {
    const bytes = address.map((byte, b) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * b))));
    return { bytes, length };
  });

test('finds what reading every note finds: window, reason, client, service and backend, the newest, the nearest', () => {
  fc.assert(
    fc.property(
      fc.array(note, { maxLength: 60 }),
      fc.record({
        from: fc.integer({ min: T - 5, max: T + 45 }),
        length: fc.integer({ min: 0, max: 30 }),
        reason: fc.option(fc.constantFrom('not-a-service', 'no-backend', 'not-ip')),
        client: fc.option(prefix),
        service: fc.option(id),
        most: fc.integer({ min: 1, max: 12 }),
      }),
      (notes, { from, length, reason, client, service, most }) => {
        const memories = [createDropNotes(), createDropNotes(), createDropNotes()];
        writeDropNotes(memories, notes);
        const accepts = service === null ? null : (one: number) => one === service;
        const search: NoteSearch = { from, to: from + length, reason, client, accepts, most };
        assert.deepEqual(searchDropNotes(memories, search), plainSearch(memories, search));
      },
    ),
    { numRuns: 200 },
  );
});

test('full rings, and one that is being written: as the plain reader has them', () => {
  const memories = [createDropNotes(), createDropNotes()];
  const flood = Array.from({ length: 3 * NOTES_KEPT }, (_, k): DropNote => {
    const source = Uint8Array.of(10, 0, 0, k & 7);
    return {
      time: T + k,
      reason: 'no-backend',
      thread: k & 1,
      length: 60,
      source,
      destination: source,
      service: k & 3,
      backend: -1,
    };
  });
  writeDropNotes(memories, flood);
  const searches: NoteSearch[] = [
    ALL,
    { ...ALL, from: T + 1500, to: T + 2500, most: 10 },
    { ...ALL, accepts: (service) => service === 1 },
  ];
  const compare = () => {
    for (const search of searches) assert.deepEqual(searchDropNotes(memories, search), plainSearch(memories, search));
  };
  compare();
  const at = DROP_REASONS.findIndex(({ word }) => word === 'no-backend') * COUNT_WORDS;
  const words = new Int32Array(memories[1]);
  words[at + COUNT_BEGUN] += 17;
  compare();
  assert.equal(searchDropNotes(memories, ALL).matching, 2 * NOTES_KEPT - 17);
  // Four thousand million drops later.
  for (const word of [COUNT_BEGUN, COUNT_DONE]) words[at + word] = -NOTES_KEPT + 5;
  compare();
});

test('while rings are full it takes a fraction of what it takes to read them all', () => {
  const memories = [createDropNotes()];
  const reasons = DROP_REASONS.slice(1, 16).map(({ word }) => word);
  writeDropNotes(
    memories,
    Array.from({ length: reasons.length * NOTES_KEPT }, (_, k): DropNote => {
      const source = Uint8Array.of(10, 0, 0, k % 200);
      const reason = reasons[k % reasons.length];
      return { time: T + k, reason, thread: 0, length: 60, source, destination: source, service: 0, backend: -1 };
    }),
  );
  const client = { bytes: Uint8Array.of(10, 0, 0, 7), length: 32 };
  const best = (way: typeof searchDropNotes, search: NoteSearch) => {
    const runs = Array.from({ length: 3 }, () => {
      const begin = performance.now();
      way(memories, search);
      return performance.now() - begin;
    });
    return Math.min(...runs);
  };
  for (const search of [ALL, { ...ALL, client, from: 0, to: 1 }]) {
    const [fast, plain] = [best(searchDropNotes, search), best(plainSearch, search)];
    assert.ok(3 * fast < plain, `${fast.toFixed(1)} and ${plain.toFixed(1)} ms`);
  }
});
