/**
 * Fragments: runs behind steer, in batches that have some. First fragments were steered like any packet and note their backend here; later ones, which have
 * no ports, follow it. All first fragments of a batch come before all later ones, whatever their order is.
 *
 *     first   steered ─► own entry: backend, port ─► wakes what was held for it
 *     later   own entry ─► siblings' entries ─► by its addresses, where these decide ─► held until the first one comes
 *
 * What the entries say against a fragment (a duplicate, an overlap) makes it a drop. docs/fragments.md.
 */
import { type Batch, FRAGMENT_FIRST, FRAGMENT_LATER, LOOKUP_FRAGMENT } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_HELD, VERDICT_PASS } from '../base/verdict.ts';
import { fingerprints, hashAddresses4, hashAddresses6 } from '../maglev-hash/index.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { PROTOCOL_SCTP } from '../wire/sctp.ts';
import { noteHops, serves, since, tableBackendOf } from './choice.ts';
import { FlowTuple } from './flow-tuple.ts';
import { fragmentBytes, fragmentIdentification, fragmentStart, isByAddress, moreFragments } from './fragment-facts.ts';
import type { FragmentHold } from './fragment-hold.ts';
import { fragmentRule4, fragmentRule6, RULE_DROP, RULE_HOLD, RULE_NONE } from './fragment-rules.ts';
import { type FragmentTable, NEW_AFTER, TRACK_DUPLICATE, TRACK_OVERLAP } from './fragment-table.ts';
import { H_POOLS, H_SERVICES, P_PREVIOUS_TABLE, POOL_WORDS, S_POOL, SERVICE_WORDS } from './layout.ts';
import { findService4, findService6 } from './service-index.ts';
import type { Snapshot } from './snapshot.ts';

const FRAGMENT = dropReason('fragment');
const DUPLICATE = dropReason('fragment-duplicate');
const OVERLAP = dropReason('fragment-overlap');
const NOT_HELD = dropReason('fragment-not-held');
const NO_BACKEND = dropReason('no-backend');
const NOT_A_SERVICE = dropReason('not-a-service');

/**
 * RFC 8200 §4.5: an IPv6 datagram is known by addresses and identification alone, and its later fragments may name another next header. So all
 * have this one in their key.
 */
const KEY6 = ipv6.NEXT_FRAGMENT;

/** Adds to its thread's counters: later fragments that got a backend, and those of them whose packet only another thread knew. */
export interface FragmentsTally {
  steered: number;
  foundElsewhere: number;
}

/** The fragments of one batch. `siblings`: the other threads' tables. `hold`: where early ones wait; null: they are dropped. */
export function fragmentStage(
  batch: Batch,
  table: FragmentTable,
  siblings: readonly FragmentTable[],
  hold: FragmentHold | null,
): (snapshot: Snapshot, now: number, tally: FragmentsTally) => void {
  const { fragment, lookup, service, verdict, reason, backend, protocol, family, flowHash, networkAt, transportAt } = batch;
  const { rowHash, secondRowHash } = batch;
  const { view } = batch.arena;
  const { canPass } = batch.ingress;
  const tuple = new FlowTuple(view);
  const keyLow = new Int32Array(new ArrayBuffer(batch.capacity * 4));
  const keyHigh = new Int32Array(new ArrayBuffer(batch.capacity * 4));
  const { tuple4, tuple6 } = fingerprints(table.key0, table.key1, keyLow, keyHigh);

  function computeKey(i: number): void {
    const at = networkAt[i];
    const identification = fragmentIdentification(batch, i);
    if (family[i] === 4) {
      const source = view.getInt32(at + ipv4.SOURCE_AT);
      tuple4(source, view.getInt32(at + ipv4.DESTINATION_AT), identification, protocol[i], i);
    } else tuple6(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, identification, KEY6, i);
  }

  function drop(i: number, why: number): void {
    verdict[i] = VERDICT_DROP;
    reason[i] = why;
  }

  function ruleOf(words: Int32Array, i: number): number {
    const at = networkAt[i];
    return family[i] === 4
      ? fragmentRule4(words, view.getInt32(at + ipv4.DESTINATION_AT), protocol[i])
      : fragmentRule6(words, view, at + ipv6.DESTINATION_AT, protocol[i]);
  }

  /** Notes the bytes of packet `i` in its entry; false when the entry speaks against it: then it is a drop. */
  function track(i: number, at: number, now: number): boolean {
    const from = fragmentStart(batch, i);
    const answer = table.track(at, from, from + fragmentBytes(batch, i), !moreFragments(batch, i), now);
    if (answer === TRACK_DUPLICATE) drop(i, DUPLICATE);
    else if (answer === TRACK_OVERLAP) {
      table.spoil(at);
      drop(i, OVERLAP);
    } else if (table.isComplete(at)) table.free(at);
    return answer !== TRACK_DUPLICATE && answer !== TRACK_OVERLAP;
  }

  /** Stands for the flow where its ports are not known. */
  function addressHash(i: number): number {
    const at = networkAt[i];
    return family[i] === 4
      ? hashAddresses4(view.getInt32(at + ipv4.SOURCE_AT), view.getInt32(at + ipv4.DESTINATION_AT), protocol[i])
      : hashAddresses6(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, protocol[i]);
  }

  /** By the addresses alone: the table before the last change, then the current one. */
  function steerByAddress(snapshot: Snapshot, i: number, number: number, now: number): void {
    const words = snapshot.words;
    tuple.fromPacket(batch, i, 0);
    const id = tableBackendOf(batch, i, snapshot, words[H_SERVICES] + number * SERVICE_WORDS, true, now, tuple);
    flowHash[i] = addressHash(i);
    service[i] = number;
    backend[i] = id;
    if (id < 0) drop(i, NO_BACKEND);
    else {
      verdict[i] = VERDICT_FORWARD;
      reason[i] = 0;
    }
  }

  function portOf(i: number): number {
    const kind = protocol[i];
    return kind === ipv4.PROTOCOL_TCP || kind === ipv4.PROTOCOL_UDP || kind === PROTOCOL_SCTP
      ? view.getUint16(transportAt[i] + 2)
      : 0;
  }

  function settleFirst(snapshot: Snapshot, i: number, now: number): void {
    if (lookup[i] === LOOKUP_FRAGMENT) {
      steerByAddress(snapshot, i, service[i], now);
      // Later ones find it by the same hash, unless other services of the address forbid it.
      if (ruleOf(snapshot.words, i) >= 0) return;
    }
    if (verdict[i] !== VERDICT_FORWARD) return;
    computeKey(i);
    const low = keyLow[i];
    const high = keyHigh[i];
    let at = table.find(low, high, now);
    if (at >= 0 && table.isSpoiled(at)) {
      drop(i, OVERLAP);
      return;
    }
    if (at >= 0 && table.hasFirst(at) && now - table.seenAt(at) >= NEW_AFTER) at = -1;
    const isNew = at < 0;
    if (isNew) at = table.insert(low, high, now);
    else if (!track(i, at, now)) return;
    // With this fragment the datagram may have been complete: then its entry is free, and stays so.
    if (isNew || table.find(low, high, now) >= 0) {
      table.noteRows(at, rowHash[i], secondRowHash[i]);
      table.assign(at, backend[i], true, portOf(i), protocol[i], flowHash[i], now);
    }
    if (isNew) track(i, at, now);
    if (hold !== null) hold.wake(low, high);
  }

  /** An entry of this thread for a datagram whose first fragment another one has seen. −1: no thread has. */
  function adopt(low: number, high: number, own: number, now: number, tally: FragmentsTally): number {
    for (let s = 0; s < siblings.length; s++) {
      const sibling = siblings[s];
      if (!sibling.findForeign(low, high, now)) continue;
      const at = own >= 0 ? own : table.insert(low, high, now);
      const { foreignBackend, foreignPort, foreignProtocol, foreignHash } = sibling;
      table.assign(at, foreignBackend, false, foreignPort, foreignProtocol, foreignHash, now);
      table.noteRows(at, sibling.foreignRow, sibling.foreignSecondRow);
      if (sibling.foreignSpoiled) table.spoil(at);
      tally.foundElsewhere++;
      return at;
    }
    return own;
  }

  function settleUnknown(snapshot: Snapshot, i: number, now: number, tally: FragmentsTally): void {
    const words = snapshot.words;
    // A first fragment of these is dropped, also where a service takes any protocol.
    if (protocol[i] === (family[i] === 4 ? ipv4.PROTOCOL_ICMP : ipv6.NEXT_ICMPV6)) {
      drop(i, FRAGMENT);
      return;
    }
    let rule = ruleOf(words, i);
    // Behind the fragment header a further extension header: which protocol it is only the first fragment knows.
    if (rule === RULE_NONE && family[i] === 6 && ipv6.isExtension(protocol[i])) rule = RULE_HOLD;
    if (rule === RULE_NONE) {
      if (canPass) verdict[i] = VERDICT_PASS;
      else drop(i, NOT_A_SERVICE);
      return;
    }
    if (rule === RULE_DROP) {
      drop(i, FRAGMENT);
      return;
    }
    if (rule >= 0 && (isByAddress(words, rule) || agrees(snapshot, i, rule))) {
      steerByAddress(snapshot, i, rule, now);
      if (verdict[i] !== VERDICT_FORWARD) return;
      if (!isByAddress(words, rule)) {
        const at = table.insert(keyLow[i], keyHigh[i], now);
        table.noteRows(at, rowHash[i], secondRowHash[i]);
        table.assign(at, backend[i], false, -1, protocol[i], flowHash[i], now);
        track(i, at, now);
      }
      tally.steered++;
      return;
    }
    if (hold?.add(batch, i, keyLow[i], keyHigh[i], now)) {
      verdict[i] = VERDICT_HELD;
      reason[i] = 0;
    } else drop(i, NOT_HELD);
  }

  /** True when the pool's table before its last change gives the same backend as the current one: no flow of these addresses was moved by it. */
  function agrees(snapshot: Snapshot, i: number, number: number): boolean {
    const words = snapshot.words;
    const serviceAt = words[H_SERVICES] + number * SERVICE_WORDS;
    if (words[words[H_POOLS] + words[serviceAt + S_POOL] * POOL_WORDS + P_PREVIOUS_TABLE] < 0) return true;
    tuple.fromPacket(batch, i, 0);
    // However long ago the change was: second 0 is before it.
    const before = tableBackendOf(batch, i, snapshot, serviceAt, true, 0, tuple);
    return before === tableBackendOf(batch, i, snapshot, serviceAt, false, 0, tuple);
  }

  function settleLater(snapshot: Snapshot, i: number, now: number, tally: FragmentsTally): void {
    const words = snapshot.words;
    computeKey(i);
    const low = keyLow[i];
    const high = keyHigh[i];
    let at = table.find(low, high, now);
    if (siblings.length > 0 && (at < 0 || !table.hasFirst(at))) {
      // What was adopted never becomes whole here: with the same identification again it is another datagram, whose bytes are not duplicates.
      if (at >= 0 && now - table.seenAt(at) >= NEW_AFTER) at = -1;
      at = adopt(low, high, at, now, tally);
    }
    if (at < 0) {
      settleUnknown(snapshot, i, now, tally);
      return;
    }
    if (table.isSpoiled(at)) {
      drop(i, OVERLAP);
      return;
    }
    const kind = table.protocolAt(at);
    const port = table.portAt(at);
    const id = table.backendAt(at);
    const hash = table.hashAt(at);
    const row = table.rowAt(at);
    const secondRow = table.secondRowAt(at);
    const seen = table.seenAt(at);
    const to = networkAt[i];
    let number: number;
    if (port < 0) number = ruleOf(words, i);
    else if (family[i] === 4) number = findService4(words, view.getInt32(to + ipv4.DESTINATION_AT), kind, port);
    else number = findService6(words, view, to + ipv6.DESTINATION_AT, kind, port);
    if (!track(i, at, now)) return;
    if (number < 0) {
      drop(i, NOT_A_SERVICE);
      return;
    }
    service[i] = number;
    protocol[i] = kind;
    flowHash[i] = hash;
    rowHash[i] = row;
    secondRowHash[i] = secondRow;
    const pool = words[words[H_SERVICES] + number * SERVICE_WORDS + S_POOL];
    noteHops(batch, i, snapshot, words[H_POOLS] + pool * POOL_WORDS);
    if (!serves(words, id, pool) || seen < since(words, id)) {
      drop(i, NO_BACKEND);
      return;
    }
    backend[i] = id;
    verdict[i] = VERDICT_FORWARD;
    reason[i] = 0;
    tally.steered++;
  }

  return function fragments(snapshot: Snapshot, now: number, tally: FragmentsTally): void {
    const count = batch.count;
    for (let i = 0; i < count; i++) if (fragment[i] === FRAGMENT_FIRST) settleFirst(snapshot, i, now);
    for (let i = 0; i < count; i++) if (fragment[i] === FRAGMENT_LATER) settleLater(snapshot, i, now, tally);
  };
}
