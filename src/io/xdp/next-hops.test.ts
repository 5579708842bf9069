import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NextHops } from './next-hops.ts';

const HOP = { destination: { high: 0x02aabbcc, low: 0xddee }, source: { high: -1, low: 0x0102 }, vlan: null, mtu: 1500 };

/** Main's and a thread's eyes on one memory. */
function both(): { main: NextHops; thread: NextHops; view: DataView } {
  const memory = new SharedArrayBuffer(NextHops.bytesFor(3));
  return { main: new NextHops(memory), thread: new NextHops(memory), view: new DataView(new ArrayBuffer(64)) };
}

const hex = (view: DataView, from: number, to: number) => Buffer.from(view.buffer, from, to - from).toString('hex');

test('a header ends where it is told to, with a tag where there is a VLAN', () => {
  const { main, thread, view } = both();
  main.set(1, HOP);
  assert.equal(thread.take(1), 1500);
  assert.equal(thread.headerBytes, 14);
  assert.equal(thread.write(view, 40, 0x0800), 26);
  assert.equal(hex(view, 26, 40), '02aabbccddee' + 'ffffffff0102' + '0800');
  main.set(1, { ...HOP, vlan: 0x2005 });
  assert.equal(thread.take(1), 1500);
  assert.equal(thread.headerBytes, 18);
  assert.equal(thread.write(view, 40, 0x86dd), 22);
  assert.equal(hex(view, 22, 40), '02aabbccddee' + 'ffffffff0102' + '81002005' + '86dd');
});

test('without a way main is told once', () => {
  const { main, thread } = both();
  assert.equal(main.takeAsked(2), false);
  assert.deepEqual([thread.take(2), thread.take(2)], [0, 0]);
  assert.deepEqual([main.takeAsked(2), main.takeAsked(2)], [true, false]);
  assert.equal(main.takeAsked(1), false, 'nobody asked for its neighbour in the table');
  thread.take(2);
  main.set(2, HOP);
  assert.equal(main.takeAsked(2), false, 'answered');
  main.clear(2);
  assert.equal(thread.take(2), 0);
});

test('a way that changes while it is read is not taken', () => {
  const memory = new SharedArrayBuffer(NextHops.bytesFor(1));
  const main = new NextHops(memory);
  const { load } = Atomics;
  const thread = new NextHops(memory);
  main.set(0, HOP);
  let loads = 0;
  // Main comes in between the two looks at the record's state.
  Atomics.load = ((words: Int32Array, at: number) => {
    if (++loads === 2) {
      Atomics.load = load;
      main.set(0, { ...HOP, destination: { high: 7, low: 7 } });
    }
    return load(words, at);
  }) as typeof Atomics.load;
  try {
    assert.equal(thread.take(0), 0);
  } finally {
    Atomics.load = load;
  }
  assert.equal(loads, 2);
  const view = new DataView(new ArrayBuffer(64));
  assert.equal(thread.take(0), 1500);
  assert.equal(thread.write(view, 40, 0x0800), 26);
  assert.equal(hex(view, 26, 32), '000000070007');
});
