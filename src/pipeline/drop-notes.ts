/**
 * Writes a note of each packet that is dropped (base/drop-notes.ts has the layout), for whoever asks later what became of a client. Runs only for batches in which
 * something was dropped; one look at the clock for each of them. Headers are read from the packet once more, because a frame that was dropped early has no columns.
 */
import { type Batch, type IngressFacts, LINK_ETHERNET } from '../base/batch.ts';
import type { WallClock } from '../base/clock.ts';
import {
  COUNT_BEGUN,
  COUNT_DONE,
  COUNT_WORDS,
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
} from '../base/drop-notes.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP } from '../base/verdict.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { FragmentHold } from './fragment-hold.ts';
import { beginsWithPorts } from './icmp-quote.ts';
import { H_SERVICES, S_ID, SERVICE_WORDS } from './layout.ts';
import type { Snapshot } from './snapshot.ts';

const LOST_REPLY = dropReason('reply-failed');
const FRAGMENT_TIMEOUT = dropReason('fragment-timeout');
// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const DROP = VERDICT_DROP;
const WORDS = NOTE_WORDS;
const LAST = NOTES_KEPT - 1;
const KEPT = NOTES_KEPT;
const RINGS_AT = NOTES_AT;
const RING = RING_WORDS;
const COUNTS = COUNT_WORDS;
const BEGUN = COUNT_BEGUN;
const DONE = COUNT_DONE;
const SECONDS = NOTE_SECONDS;
const MILLISECONDS = NOTE_MILLISECONDS;
const KIND = NOTE_KIND;
const LENGTH = NOTE_LENGTH;
const SOURCE = NOTE_SOURCE;
const DESTINATION = NOTE_DESTINATION;
const PORTS = NOTE_PORTS;
const SERVICE = NOTE_SERVICE;
const BACKEND = NOTE_BACKEND;
const HAS_PROTOCOL = KIND_HAS_PROTOCOL;
const HAS_PORTS = KIND_HAS_PORTS;
const SERVICE_CELLS = SERVICE_WORDS;
const ID = S_ID;
const HEADER4 = ipv4.HEADER_LENGTH;
const HEADER6 = ipv6.HEADER_LENGTH;
const TOTAL4 = ipv4.TOTAL_LENGTH_AT;
const FRAGMENT4 = ipv4.FRAGMENT_AT;
const OFFSET4 = ipv4.FRAGMENT_OFFSET;
const PROTOCOL4 = ipv4.PROTOCOL_AT;
const SOURCE4 = ipv4.SOURCE_AT;
const DESTINATION4 = ipv4.DESTINATION_AT;
const PAYLOAD6 = ipv6.PAYLOAD_LENGTH_AT;
const SOURCE6 = ipv6.SOURCE_AT;
const DESTINATION6 = ipv6.DESTINATION_AT;

export class DropNotes {
  readonly #notes: Int32Array;
  readonly #clock: WallClock;

  /** `memory`: of createDropNotes, which no other thread writes; a thread that replaces another one goes on in it. */
  constructor(memory: SharedArrayBuffer, clock: WallClock) {
    this.#notes = new Int32Array(memory);
    this.#clock = clock;
  }

  /** Every packet of a finished batch that was dropped, in its order. */
  noteBatch(batch: Batch, snapshot: Snapshot): void {
    const { verdict, reason, service, backend, frameAt, frameLength, networkAt, networkLength, outAt, outLength, count } = batch;
    const { view } = batch.arena;
    const { words } = snapshot;
    const servicesAt = words[H_SERVICES];
    const isEthernet = batch.ingress.link === LINK_ETHERNET;
    const notes = this.#notes;
    const clock = this.#clock;
    clock.read();
    const seconds = clock.seconds;
    const milliseconds = clock.milliseconds;
    // Counts are published once for each run of packets with one reason: an atomic store waits until all stores before it have reached memory.
    let run = -1;
    let number = 0;
    for (let i = 0; i < count; i++) {
      if (verdict[i] !== DROP) continue;
      const why = reason[i];
      if (why !== run) {
        if (run >= 0) publish(notes, run, number);
        run = why;
        number = begin(notes, run, count - i);
      }
      const found = service[i];
      let id = -1;
      let from = frameAt[i];
      let end = (from + frameLength[i]) | 0;
      let at = from;
      if (why === LOST_REPLY) {
        // What was dropped is our answer, which lies over the packet that it answers.
        from = outAt[i];
        end = (from + outLength[i]) | 0;
        at = isEthernet ? ethernet.findNetwork(view, from, end) : from;
      } else if (found >= 0) {
        // Outer headers may have been written over the link header; the packet itself is as it came.
        at = networkAt[i];
        end = (at + networkLength[i]) | 0;
        id = words[servicesAt + found * SERVICE_CELLS + ID];
      } else if (isEthernet) at = ethernet.findNetwork(view, from, end);
      const note = RINGS_AT + run * RING + (number & LAST) * WORDS;
      notes[note + SECONDS] = seconds;
      notes[note + MILLISECONDS] = milliseconds;
      notes[note + SERVICE] = id;
      notes[note + BACKEND] = backend[i];
      describe(notes, note, view, from, at, end);
      number = following(number);
    }
    if (run >= 0) publish(notes, run, number);
  }

  /** Fragments that waited in vain are dropped behind no batch: from now on `hold` tells of each. */
  watch(hold: FragmentHold, link: IngressFacts['link']): void {
    const isEthernet = link === LINK_ETHERNET;
    const notes = this.#notes;
    const clock = this.#clock;
    hold.onLost = (_number, _timedOut, view, from, length) => {
      const end = from + length;
      clock.read();
      const number = begin(notes, FRAGMENT_TIMEOUT, 1);
      const note = RINGS_AT + FRAGMENT_TIMEOUT * RING + (number & LAST) * WORDS;
      notes[note + SECONDS] = clock.seconds;
      notes[note + MILLISECONDS] = clock.milliseconds;
      notes[note + SERVICE] = -1;
      notes[note + BACKEND] = -1;
      describe(notes, note, view, from, isEthernet ? ethernet.findNetwork(view, from, end) : from, end);
      publish(notes, FRAGMENT_TIMEOUT, following(number));
    };
  }
}

/** Says that up to `most` notes of a reason are about to be written; the number of the first. */
function begin(notes: Int32Array, reason: number, most: number): number {
  const at = reason * COUNTS;
  const number = notes[at + DONE];
  Atomics.store(notes, at + BEGUN, (number + most) | 0);
  return number;
}

/** The number behind `number`. Full stays full: behind 2^32 the count goes on at that of a full ring, whose next place is the same. */
function following(number: number): number {
  return number === -1 ? KEPT : (number + 1) | 0;
}

/** Notes below `number` are whole. */
function publish(notes: Int32Array, reason: number, number: number): void {
  const at = reason * COUNTS;
  Atomics.store(notes, at + DONE, number);
  Atomics.store(notes, at + BEGUN, number);
}

/** Kind, length and 5-tuple. `from`, `end`: of the frame; `at`: of the IP packet, −1 for none. */
function describe(notes: Int32Array, note: number, view: DataView, from: number, at: number, end: number): void {
  const version = at < 0 || at >= end ? 0 : view.getUint8(at) >> 4;
  if (version === 4 && end - at >= HEADER4) note4(notes, note, view, at, end);
  else if (version === 6 && end - at >= HEADER6) note6(notes, note, view, at, end);
  else {
    notes[note + KIND] = 0;
    notes[note + LENGTH] = end - from;
  }
}

function note4(notes: Int32Array, note: number, view: DataView, at: number, end: number): void {
  const protocol = view.getUint8(at + PROTOCOL4);
  notes[note + LENGTH] = view.getUint16(at + TOTAL4);
  notes[note + SOURCE] = view.getInt32(at + SOURCE4);
  notes[note + DESTINATION] = view.getInt32(at + DESTINATION4);
  const header = (view.getUint8(at) & 15) << 2;
  const isFirst = (view.getUint16(at + FRAGMENT4) & OFFSET4) === 0;
  const hasPorts = isFirst && header >= HEADER4 && notePorts(notes, note, view, protocol, at + header, end);
  notes[note + KIND] = 4 | (protocol << 8) | HAS_PROTOCOL | (hasPorts ? HAS_PORTS : 0);
}

function note6(notes: Int32Array, note: number, view: DataView, at: number, end: number): void {
  notes[note + LENGTH] = HEADER6 + view.getUint16(at + PAYLOAD6);
  for (let w = 0; w < 4; w++) {
    notes[note + SOURCE + w] = view.getInt32(at + SOURCE6 + 4 * w);
    notes[note + DESTINATION + w] = view.getInt32(at + DESTINATION6 + 4 * w);
  }
  const found = ipv6.findTransport6(view, at, end);
  if (found < 0) {
    notes[note + KIND] = 6;
    return;
  }
  const protocol = ipv6.transportProtocol(found);
  const transport = at + ipv6.transportOffset(found);
  const hasPorts = !ipv6.isLaterFragment(found) && notePorts(notes, note, view, protocol, transport, end);
  notes[note + KIND] = 6 | (protocol << 8) | HAS_PROTOCOL | (hasPorts ? HAS_PORTS : 0);
}

/** The word with both ports, where the protocol has them and the packet is so long. */
function notePorts(notes: Int32Array, note: number, view: DataView, protocol: number, at: number, end: number): boolean {
  if (!beginsWithPorts(protocol) || at + 4 > end) return false;
  notes[note + PORTS] = view.getInt32(at);
  return true;
}
