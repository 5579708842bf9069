// A director after another over the same file, in a folder of the test's own: no network, no privilege.

import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EventJournal } from '../observe/events.ts';
import { createLog } from '../observe/log.ts';
import { flowRegions } from '../pipeline/flow-regions.ts';
import type { FlowTable } from '../pipeline/flow-table.ts';
import { H_POOLS, P_PREVIOUS_TABLE, P_PREVIOUS_UNTIL } from '../pipeline/layout.ts';
import type { SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { unlock } from '../raw-socket/mapped-file.ts';
import { FlowFile } from './flow-file.ts';
import { FlowKeeper, type FlowKeeperOptions } from './flow-keeper.ts';
import { flowWords } from './flow-memory.ts';

const START = 5000;

function spec(names: readonly string[]): Spec {
  return {
    services: [],
    pools: [
      {
        name: 'web',
        tableSize: 251,
        seed: 1,
        tunnel: { encapsulation: 'gue', port: 6080, source4: Uint8Array.of(198, 51, 100, 1), source6: null, checksum: 'auto' },
        backends: names.map((name) => ({
          name,
          address: Uint8Array.of(198, 51, 100, 10 + name.charCodeAt(0)),
          weight: 1,
          state: 'active' as const,
        })),
      },
    ],
  };
}

class Rig {
  readonly path: string;
  readonly folder: string;
  #sources: FlowKeeper[] = [];

  constructor(t: TestContext) {
    this.folder = mkdtempSync(join(tmpdir(), 'gue-director-flows-'));
    this.path = join(this.folder, 'flows');
    t.after(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  /** A director at second `now`, opened. */
  start(now: number, options: Partial<FlowKeeperOptions> = {}) {
    const journal = new EventJournal(createLog({ level: 'silent', format: 'json', write: () => {} }));
    const clock = { seconds: () => now };
    const keeper = new FlowKeeper({ entries: 4096, threads: 1, file: this.path, clock, journal, ...options });
    keeper.open();
    this.#sources.push(keeper);
    return { keeper, said: journal.since().map(({ level, text }) => `${level}: ${text}`), events: journal };
  }
}

function table(keeper: FlowKeeper, thread = 0): { own: FlowTable; others: FlowTable[] } {
  const { memory } = keeper;
  return flowRegions(flowWords(memory), memory.key, memory.geometry, thread);
}

/** Backend of a flow as a thread sees it. */
function find(keeper: FlowKeeper, flow: number, thread = 0): number {
  const { own, others } = table(keeper, thread);
  return [own, ...others].map((one) => one.findForeign(Math.imul(flow, 0x9e3779b1), flow)).find((id) => id >= 0) ?? -1;
}

function fill(keeper: FlowKeeper, flows: number, now: number, thread = 0): void {
  const { own } = table(keeper, thread);
  for (let flow = 1; flow <= flows; flow++) own.insert(Math.imul(flow, 0x9e3779b1), flow, flow % 3, now, flow % 2 === 0);
}

const ids = ({ names }: SnapshotParts) => Object.fromEntries(names.backends.map(({ name, id }) => [name, id]));

test('flows, their key and whom they mean outlive the director, stopped or killed', (t) => {
  const rig = new Rig(t);
  const first = rig.start(START);
  assert.deepEqual(first.said, ['info: a flow table file was made']);
  assert.deepEqual(ids(first.keeper.build(spec(['a', 'b', 'c']), START)), { a: 0, b: 1, c: 2 });
  fill(first.keeper, 100, START);
  assert.equal(statSync(rig.path).mode & 0o777, 0o600);
  assert.equal(statSync(`${rig.path}.identities`).mode & 0o777, 0o600);
  assert.ok(statSync(rig.path).blocks * 512 >= 4096 * 16, 'all of it is allocated');
  const key = first.keeper.memory.key;
  first.keeper.close();
  const second = rig.start(START + 5);
  assert.deepEqual(second.said, ['info: the flow table of the director before was picked up']);
  assert.deepEqual(second.keeper.memory.key, key);
  for (let flow = 1; flow <= 100; flow++) assert.equal(find(second.keeper, flow), flow % 3);
  // b is gone, d is new: nobody is given b's number.
  const parts = second.keeper.build(spec(['a', 'c', 'd']), START + 5);
  assert.deepEqual(ids(parts), { a: 0, c: 2, d: 3 });
  const words = new Int32Array(parts.root);
  const poolAt = words[H_POOLS];
  assert.ok(words[poolAt + P_PREVIOUS_TABLE] >= 0, 'the table of the director before answers for flows without an entry');
  assert.equal(words[poolAt + P_PREVIOUS_UNTIL], START + 5 + 3600);
  // Killed: the lock is gone, nothing else is done.
  unlock((second.keeper.file as FlowFile).descriptor);
  const third = rig.start(START + 9);
  assert.deepEqual(third.said, ['info: the flow table of the director before was picked up, which did not stop cleanly']);
  const unchanged = new Int32Array(third.keeper.build(spec(['a', 'c', 'd']), START + 9).root);
  assert.equal(
    unchanged[unchanged[H_POOLS] + P_PREVIOUS_UNTIL],
    START + 5 + 3600,
    'a table that did not change is not changed again',
  );
  assert.equal(find(third.keeper, 77), 77 % 3);
  third.keeper.close();
});

test('a director beside another does without, and says so', (t) => {
  const rig = new Rig(t);
  const first = rig.start(START);
  const second = rig.start(START);
  assert.match(second.said.join(), /^warn: flows will not outlive this process: another director has the flow table file/);
  assert.equal(second.keeper.file, null);
  fill(second.keeper, 10, START);
  assert.equal(find(first.keeper, 3), -1);
  second.keeper.close();
  first.keeper.close();
});

test('what can not be picked up is made anew, and the reason said', (t) => {
  const rig = new Rig(t);
  const identities = `${rig.path}.identities`;
  const patch = (at: number, ...bytes: number[]) => {
    const content = readFileSync(rig.path);
    content.set(bytes, at);
    writeFileSync(rig.path, content);
  };
  const wrongs: readonly [string, () => void, RegExp][] = [
    ['another program’s', () => writeFileSync(rig.path, 'x'.repeat(100_000)), /no flow table/],
    ['cut', () => truncateSync(rig.path, 50_000), /length of 50000 bytes is wrong/],
    ['almost nothing', () => truncateSync(rig.path, 100), /too short/],
    ['another version', () => patch(4, 77), /layout is version 77, not 1/],
    ['a bit of the key', () => patch(49, 1, 2, 3), /header is damaged/],
    ['impossible regions', () => patch(83, 0x7f), /header is damaged/],
    ['another boot', () => rebooted(rig.path), /from before the machine was started/],
    ['without identities', () => rmSync(identities), /identities are missing/],
    ['with another file’s', () => writeFileSync(identities, foreign(identities)), /identities are of another file/],
    ['with damaged ones', () => writeFileSync(identities, readFileSync(identities, 'utf8').replace('"web', '"wed')), /damaged/],
    ['with half of them', () => truncateSync(identities, 60), /identities are damaged/],
  ];
  for (const [what, spoil, reason] of wrongs) {
    rmSync(rig.path, { force: true });
    const before = rig.start(START);
    before.keeper.build(spec(['a', 'b', 'c']), START);
    fill(before.keeper, 50, START);
    before.keeper.close();
    spoil();
    const after = rig.start(START + 1);
    assert.match(after.said.join(), new RegExp(`^warn: the flow table file could not be picked up, .*${reason.source}`), what);
    for (let flow = 1; flow <= 50; flow++) assert.equal(find(after.keeper, flow), -1, what);
    assert.deepEqual(ids(after.keeper.build(spec(['c']), START + 1)), { c: 0 });
    fill(after.keeper, 50, START + 1);
    after.keeper.close();
    const again = rig.start(START + 2);
    assert.match(
      again.said.join(),
      /^info: the flow table of the director before was picked up$/,
      `${what}: the one that was made is whole`,
    );
    again.keeper.close();
  }
});

/** A word of the boot id is another, and the header's sum right all the same. */
function rebooted(path: string): void {
  const content = readFileSync(path);
  const words = new Int32Array(content.buffer, content.byteOffset, 16);
  words[4] ^= 1;
  let sum = 0x811c9dc5;
  for (const i of [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) sum = Math.imul(sum ^ words[i], 0x01000193);
  words[3] = sum | 0;
  writeFileSync(path, content);
}

function foreign(identities: string): string {
  return readFileSync(identities, 'utf8').replace(/"file":"../, '"file":"zz');
}

test('what is not ours, or is no file, is left alone: memory does', (t) => {
  const rig = new Rig(t);
  const target = join(rig.folder, 'target');
  writeFileSync(target, 'precious');
  symlinkSync(target, rig.path);
  const linked = rig.start(START);
  assert.match(linked.said.join(), /^warn: flows will not outlive this process: can not use .*: ELOOP/);
  assert.equal(readFileSync(target, 'utf8'), 'precious');
  linked.keeper.close();
  const nowhere = rig.start(START, { file: join(rig.folder, 'not', 'there') });
  assert.match(nowhere.said.join(), /^warn: flows will not outlive this process: .*ENOENT/);
  nowhere.keeper.close();
  const off = rig.start(START, { file: 'off' });
  assert.deepEqual(off.said, []);
  fill(off.keeper, 5, START);
  assert.equal(find(off.keeper, 5), 2);
  off.keeper.close();
});

test('a mode that others could read by is set right', (t) => {
  const rig = new Rig(t);
  rig.start(START).keeper.close();
  chmodSync(rig.path, 0o666);
  rig.start(START).keeper.close();
  assert.equal(statSync(rig.path).mode & 0o777, 0o600);
});

test('threads 1 → 4 → 2 → 4: every thread finds every flow; an hour later nobody looks where four had them', (t) => {
  const rig = new Rig(t);
  let now = START;
  const flows = 60;
  for (const threads of [1, 4, 2, 4]) {
    const { keeper } = rig.start(now, { threads });
    keeper.build(spec(['a', 'b', 'c']), now);
    if (now === START) fill(keeper, flows, now);
    for (let thread = 0; thread < threads; thread++) {
      for (let flow = 1; flow <= flows; flow++) {
        const id = find(keeper, flow, thread);
        assert.equal(id, flow % 3);
        // As a packet that came to this thread would leave it.
        if (flow % threads === thread) table(keeper, thread).own.insert(Math.imul(flow, 0x9e3779b1), flow, id, now, true);
      }
    }
    keeper.close();
    now += 10;
  }
  const geometry = (at: number, threads: number) => {
    const { keeper } = rig.start(at, { threads });
    const { regions, finest, recutUntil = 0 } = keeper.memory.geometry;
    keeper.close();
    return [regions, finest, Math.max(0, recutUntil - at)];
  };
  // For ten minutes after the change flows that come from elsewhere take the place of those that went.
  assert.deepEqual(geometry(now, 1), [1, 4, 590]);
  assert.deepEqual(geometry(now + 300, 1), [1, 4, 290]);
  assert.deepEqual(geometry(now + 3500, 1), [1, 4, 0]);
  assert.deepEqual(geometry(now + 3700, 1), [1, 1, 0]);
  assert.deepEqual(geometry(now + 3701, 8), [8, 8, 599]);
});

test('another number of entries: flows move to where they are found', (t) => {
  const rig = new Rig(t);
  let now = START;
  for (const [entries, threads] of [
    [4096, 2],
    [65_536, 1],
    [2048, 4],
    [1024, 1],
  ] as const) {
    const { keeper, said } = rig.start(now, { entries, threads });
    keeper.build(spec(['a', 'b', 'c']), now);
    if (now === START) fill(keeper, 300, now, 1);
    else assert.match(said.join(), /^info: the flow table of the director before was picked up/);
    assert.equal(keeper.memory.geometry.buckets, entries / 4);
    assert.equal(statSync(rig.path).size, 4096 + entries * 16);
    for (let flow = 1; flow <= 300; flow++) assert.equal(find(keeper, flow, threads - 1), flow % 3, `${entries} entries`);
    keeper.close();
    now += 10;
  }
});

test('the file of a director that still has it: nothing changes before its heir begins, and the lock stays', (t) => {
  const rig = new Rig(t);
  const old = rig.start(START, { threads: 2 });
  old.keeper.build(spec(['a', 'b', 'c']), START);
  fill(old.keeper, 40, START);
  const file = old.keeper.file as FlowFile;
  const before = readFileSync(rig.path);
  const heir = FlowFile.openShared(rig.path, file.descriptor, { threads: 4, now: START + 1 });
  // What its threads leave when they warm up is theirs alone, and gone when it begins.
  const words = flowWords(heir.memory);
  const [first] = words;
  words.fill(7);
  assert.deepEqual(readFileSync(rig.path), before);
  assert.deepEqual(heir.memory.geometry, { buckets: 1024, regions: 4, finest: 4, recutUntil: START + 1 + 600 });
  assert.deepEqual(heir.memory.key, file.memory.key);
  heir.begin(START + 1);
  assert.equal(words[0], first);
  assert.notDeepEqual(readFileSync(rig.path), before);
  fill(old.keeper, 1, START + 1);
  assert.equal(words.includes(Math.imul(1, 0x9e3779b1)), true, 'both see the same memory');
  assert.ok(existsSync(rig.path));
  assert.match(rig.start(START + 1).said.join(), /another director has/);
  heir.close(START + 2);
});

test('an heir that begins and comes to nothing: what ids mean here is written again, and the next one picks flows up with it', (t) => {
  const rig = new Rig(t);
  const old = rig.start(START).keeper;
  old.build(spec(['a', 'b', 'c']), START);
  fill(old, 30, START);
  const identities = () => readFileSync(`${rig.path}.identities`, 'utf8');
  const before = identities();
  const journal = new EventJournal(createLog({ level: 'silent', format: 'json', write: () => {} }));
  const heir = new FlowKeeper({ entries: 4096, threads: 1, file: rig.path, clock: { seconds: () => START + 1 }, journal });
  heir.open(openSync(rig.path, 'r+'));
  // Its configuration has another backend, whose number means nobody here, and another table.
  heir.build(spec(['a', 'b', 'x']), START + 1);
  assert.equal(identities(), before);
  heir.begin();
  assert.notEqual(identities(), before);
  heir.leave();
  heir.close();
  old.rewrite();
  assert.equal(identities(), before);
  unlock((old.file as FlowFile).descriptor);
  const next = rig.start(START + 2).keeper;
  const parts = next.build(spec(['a', 'b', 'c', 'd']), START + 2);
  assert.deepEqual(ids(parts), { a: 0, b: 1, c: 2, d: 3 });
  for (let flow = 1; flow <= 30; flow++) assert.equal(find(next, flow), flow % 3);
  next.close();
});
