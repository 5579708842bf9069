import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomShape, superPacket } from '../../test/builder/super-packet.ts';
import { Random } from '../../test/full/random.ts';
import { naiveSum } from '../../test/reference/checksum.ts';
import { segmentSlowly, transportOf } from '../../test/reference/segment.ts';
import { innerSum } from './local-checksum.ts';

test('the sum from headers alone is the sum of every byte', () => {
  const random = new Random(11);
  for (let n = 0; n < 200; n++) {
    const shape = randomShape(random, n % 2 === 0 ? 4 : 6, n % 4 < 2 ? 6 : 17);
    const packet = superPacket({ ...shape, payload: shape.payload % 6000 });
    for (const segment of segmentSlowly(packet, shape.segmentSize)) {
      const { at, protocol } = transportOf(segment);
      // Only the headers: the payload may lie elsewhere.
      const headers = segment.slice(0, at + 8);
      const value = innerSum(new DataView(headers.buffer), 0, at, segment.length, protocol);
      // 0 and 0xffff are the two forms of zero.
      assert.equal(value % 0xffff, naiveSum(segment, 0, segment.length, 0) % 0xffff, JSON.stringify(shape));
      assert.ok(value >= 0 && value <= 0xffff);
    }
  }
});
