// What becomes of packets that the kernel refuses because the way out has just become smaller.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena } from '../base/arena.ts';
import { Batch, LINK_RAW_IP } from '../base/batch.ts';
import { decrementTtl, incrementTtl } from '../wire/ipv4.ts';
import { WayOut } from './way-out.ts';

const INGRESS = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true } as const;

/** A batch with one packet of `size` bytes to backend 3, 198.51.100.7. */
function refused(size: number): Batch {
  const batch = new Batch(Arena.inProcess(1), INGRESS);
  batch.count = 1;
  batch.backend[0] = 3;
  batch.outLength[0] = size;
  batch.outerFamily[0] = 4;
  batch.outerNetworkAt[0] = batch.frameAt[0];
  batch.arena.bytes.set([198, 51, 100, 7], batch.frameAt[0] + 16);
  return batch;
}

test('a smaller route is learned and worth another try; the same size, or none, is not', () => {
  const pathMtu = new Int32Array(8).fill(1600);
  let mtu = 1600;
  const asked: string[] = [];
  const way = new WayOut(pathMtu, (address) => {
    asked.push([...address].join('.'));
    return mtu;
  });
  assert.equal(way.isNarrower(refused(1552), 0, 1), false, 'nothing is known that would help');
  mtu = 1500;
  assert.equal(way.isNarrower(refused(1552), 0, 1), false, 'asked once a second');
  assert.equal(way.isNarrower(refused(1552), 0, 2), true);
  assert.equal(pathMtu[3], 1500);
  assert.equal(way.isNarrower(refused(1552), 0, 2), true, 'known by now');
  assert.equal(way.isNarrower(refused(1500), 0, 3), false, 'it fits already: the kernel has another reason');
  assert.deepEqual(asked, ['198.51.100.7', '198.51.100.7', '198.51.100.7']);
  assert.deepEqual([...pathMtu], [1600, 1600, 1600, 1500, 1600, 1600, 1600, 1600]);
});

test('no route and no answer change nothing', () => {
  const pathMtu = new Int32Array(8);
  assert.equal(new WayOut(pathMtu, () => 0).isNarrower(refused(1552), 0, 1), false);
  const silent = new WayOut(pathMtu, () => {
    throw new Error('no netlink');
  });
  assert.equal(silent.isNarrower(refused(1552), 0, 1), false);
  assert.equal(pathMtu[3], 0);
});

test('a hop that was counted is taken back, whatever the checksum', () => {
  const view = new DataView(new ArrayBuffer(20));
  for (let sum = 0; sum < 0xffff; sum++) {
    view.setUint8(8, 64);
    view.setUint16(10, sum);
    decrementTtl(view, 0);
    incrementTtl(view, 0);
    assert.deepEqual([view.getUint8(8), view.getUint16(10)], [64, sum]);
  }
});
