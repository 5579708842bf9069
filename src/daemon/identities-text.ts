/**
 * What the flow table's ids mean, as plain data that JSON can hold. A thousand pools of the same workers name them once, as a roster; columns are written as runs
 * [first, step, how many], of which ids that were given together need one:
 *
 *     rosters:  [[name, …], "address in hexadecimal …"]
 *     piece:    [pool, roster, runs of ids, runs of sinces, [[name, address, id, since, gone], …]]
 *     table:    [scheme, size, seed, roster, runs of weights, runs of states, runs of ids, runs of sinces]
 *     pool:     [name, current table, previous table or null, changed at]
 */
import type { Member, PoolPiece } from '../pipeline/backend-identities.ts';
import type { SavedPool, SavedTable } from '../pipeline/pool-history.ts';
import type { SavedChanges, SavedState } from '../pipeline/snapshot.ts';
import type { BackendState, SchemeSpec } from '../pipeline/spec.ts';

type Runs = readonly number[];
type WrittenRoster = readonly [names: readonly string[], addresses: string];
type WrittenGone = readonly [name: string, address: string, id: number, since: number, gone: number];
type WrittenPiece = readonly [pool: string, roster: number, ids: Runs, sinces: Runs, gone: readonly WrittenGone[]];
type WrittenTable = readonly [
  SchemeSpec,
  size: number,
  seed: number,
  roster: number,
  weights: Runs,
  states: Runs,
  ids: Runs,
  sinces: Runs,
];
type WrittenPool = readonly [name: string, current: WrittenTable, previous: WrittenTable | null, changedAt: number];

export interface WrittenState {
  readonly rosters: readonly WrittenRoster[];
  readonly backends: { readonly next: number; readonly pieces: readonly WrittenPiece[] };
  readonly services: SavedState['services'];
  readonly pools: readonly WrittenPool[];
}

export interface WrittenChanges extends Omit<WrittenState, 'services'> {
  readonly services: SavedChanges['services'];
  /** Pools without piece, and without tables. */
  readonly forgotten: readonly string[];
  readonly gone: readonly string[];
}

const STATES: readonly BackendState[] = ['active', 'draining', 'down'];
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
/** In front of a run's first value: what a run needs. */
const RUN = 3;

export function writtenState({ backends, services, pools }: SavedState): WrittenState {
  const rosters = new Rosters();
  const written = pools.map((pool) => writtenPool(pool, rosters));
  const pieces = backends.pools.map((piece) => writtenPiece(piece, rosters));
  return { rosters: rosters.list, backends: { next: backends.next, pieces }, services, pools: written };
}

export function writtenChanges({ backends, services, pools, gone }: SavedChanges): WrittenChanges {
  const { forgotten } = backends;
  const state = writtenState({ backends, services, pools });
  return { ...state, services, forgotten, gone };
}

/** Throws RangeError or TypeError on what can not have been written. */
export function savedState({ rosters, backends, services, pools }: WrittenState): SavedState {
  const members = rosters.map(rosterOf);
  const pieces = backends.pieces.map((piece) => pieceOf(piece, members));
  return { backends: { next: backends.next, pools: pieces }, services, pools: pools.map((pool) => poolOf(pool, members)) };
}

/** The same. */
export function savedChanges({ forgotten, gone, services, ...state }: WrittenChanges): SavedChanges {
  const { backends, pools } = savedState({ ...state, services });
  return { backends: { ...backends, forgotten }, services, pools, gone };
}

/** Each list of members once, whoever has it. */
class Rosters {
  readonly list: WrittenRoster[] = [];
  /** Mostly they are the same object. */
  readonly #known = new Map<readonly Member[], number>();
  readonly #byText = new Map<string, number>();

  numberOf(members: readonly Member[]): number {
    const known = this.#known.get(members);
    if (known !== undefined) return known;
    const names = new Array<string>(members.length);
    let text = '';
    let addresses = '';
    for (let i = 0; i < members.length; i++) {
      const { name, address } = members[i];
      names[i] = name;
      text += `${name}\0`;
      addresses += i === 0 ? hexOf(address) : ` ${hexOf(address)}`;
    }
    text += addresses;
    let number = this.#byText.get(text);
    if (number === undefined) {
      number = this.list.push([names, addresses]) - 1;
      this.#byText.set(text, number);
    }
    this.#known.set(members, number);
    return number;
  }
}

function writtenPiece({ pool, present, ids, sinces, gone }: PoolPiece, rosters: Rosters): WrittenPiece {
  const left = gone.map((one): WrittenGone => [one.name, hexOf(one.address), one.id, one.since, one.gone]);
  return [pool, rosters.numberOf(present), runsOf(ids), runsOf(sinces), left];
}

function writtenPool({ name, current, previous, changedAt }: SavedPool, rosters: Rosters): WrittenPool {
  return [name, writtenTable(current, rosters), previous === null ? null : writtenTable(previous, rosters), changedAt];
}

function writtenTable({ scheme, tableSize, seed, backends, ids, sinces }: SavedTable, rosters: Rosters): WrittenTable {
  const weights = new Int32Array(backends.length);
  const states = new Int32Array(backends.length);
  for (let i = 0; i < backends.length; i++) {
    weights[i] = backends[i].weight;
    states[i] = STATES.indexOf(backends[i].state);
  }
  const roster = rosters.numberOf(backends);
  return [scheme, tableSize, seed, roster, runsOf(weights), runsOf(states), runsOf(ids), runsOf(sinces)];
}

function runsOf(column: Int32Array): number[] {
  const runs: number[] = [];
  for (let at = 0; at < column.length; ) {
    const step = at + 1 < column.length ? column[at + 1] - column[at] : 0;
    let end = at + 1;
    while (end < column.length && column[end] - column[end - 1] === step) end++;
    runs.push(column[at], step, end - at);
    at = end;
  }
  return runs;
}

function columnOf(runs: Runs, length: number): Int32Array {
  const column = new Int32Array(length);
  let at = 0;
  for (let r = 0; r < runs.length; r += RUN) {
    const [first, step, count] = [runs[r], runs[r + 1], runs[r + 2]];
    if (![first, step, count].every(Number.isInteger) || count < 1 || at + count > length)
      throw new RangeError('a column of another length');
    for (let i = 0; i < count; i++) column[at++] = first + step * i;
  }
  if (at !== length) throw new RangeError('a column of another length');
  return column;
}

function rosterOf([names, addresses]: WrittenRoster): Member[] {
  const texts = addresses === '' ? [] : addresses.split(' ');
  if (texts.length !== names.length) throw new RangeError('a roster of another length');
  return names.map((name, i) => ({ name, address: bytesOf(texts[i]) }));
}

function memberList(rosters: readonly (readonly Member[])[], number: number): readonly Member[] {
  const members = rosters[number];
  if (members === undefined) throw new RangeError(`there is no roster ${number}`);
  return members;
}

function pieceOf([pool, roster, ids, sinces, gone]: WrittenPiece, rosters: readonly (readonly Member[])[]): PoolPiece {
  const present = memberList(rosters, roster);
  const left = gone.map(([name, address, id, since, at]) => ({ name, address: bytesOf(address), id, since, gone: at }));
  return { pool, present, ids: columnOf(ids, present.length), sinces: columnOf(sinces, present.length), gone: left };
}

function poolOf([name, current, previous, changedAt]: WrittenPool, rosters: readonly (readonly Member[])[]): SavedPool {
  return { name, current: tableOf(current, rosters), previous: previous === null ? null : tableOf(previous, rosters), changedAt };
}

function tableOf(
  [scheme, tableSize, seed, roster, weights, states, ids, sinces]: WrittenTable,
  rosters: readonly (readonly Member[])[],
): SavedTable {
  const members = memberList(rosters, roster);
  const { length } = members;
  const [weight, state] = [columnOf(weights, length), columnOf(states, length)];
  const backends = members.map((member, i) => {
    const known = STATES[state[i]];
    if (known === undefined) throw new RangeError(`there is no state ${state[i]}`);
    return { ...member, weight: weight[i], state: known };
  });
  return { scheme, tableSize, seed, backends, ids: columnOf(ids, length), sinces: columnOf(sinces, length) };
}

function hexOf(bytes: Uint8Array): string {
  if (bytes.length === 4) return HEX[bytes[0]] + HEX[bytes[1]] + HEX[bytes[2]] + HEX[bytes[3]];
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** The bytes of an address. Throws RangeError on what is none. */
export function bytesOf(hex: string): Uint8Array {
  if (!/^(?:[0-9a-f]{8}|[0-9a-f]{32})$/.test(hex)) throw new RangeError(`no address: ${hex}`);
  return Uint8Array.from(hex.match(/../g) as string[], (pair) => Number.parseInt(pair, 16));
}
