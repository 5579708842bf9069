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
  assert.equal(thread.mtu(1), 1500);
  assert.equal(thread.headerBytes(1), 14);
  assert.equal(thread.write(1, view, 40, 0x0800), 26);
  assert.equal(hex(view, 26, 40), '02aabbccddee' + 'ffffffff0102' + '0800');
  main.set(1, { ...HOP, vlan: 0x2005 });
  assert.equal(thread.headerBytes(1), 18);
  assert.equal(thread.write(1, view, 40, 0x86dd), 22);
  assert.equal(hex(view, 22, 40), '02aabbccddee' + 'ffffffff0102' + '81002005' + '86dd');
});

test('without a way main is told once, and no header is written', () => {
  const { main, thread, view } = both();
  assert.equal(main.takeAsked(2), false);
  assert.deepEqual([thread.mtu(2), thread.mtu(2)], [0, 0]);
  assert.equal(thread.write(2, view, 40, 0x0800), -1);
  assert.deepEqual([main.takeAsked(2), main.takeAsked(2)], [true, false]);
  assert.equal(main.takeAsked(1), false, 'nobody asked for its neighbour in the table');
  thread.mtu(2);
  main.set(2, HOP);
  assert.equal(main.takeAsked(2), false, 'answered');
  main.clear(2);
  assert.equal(thread.mtu(2), 0);
});

test('a header that changes while it is written is not sent', () => {
  const { main, thread } = both();
  main.set(0, HOP);
  let writes = 0;
  // A view that lets main come in between two stores.
  const view = new DataView(new ArrayBuffer(64));
  const torn = new Proxy(view, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== 'function') return value;
      return (...parameters: number[]) => {
        if (++writes === 2) main.set(0, { ...HOP, destination: { high: 7, low: 7 } });
        return (value as (...values: number[]) => unknown).apply(target, parameters);
      };
    },
  });
  assert.equal(thread.write(0, torn, 40, 0x0800), -1);
  assert.equal(thread.write(0, view, 40, 0x0800), 26);
  assert.equal(hex(view, 26, 32), '000000070007');
});
