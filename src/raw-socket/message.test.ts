import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageVector } from './message.ts';

const SHAPE = { messages: 5, segments: 2, nameBytes: 16, controlBytes: 0 };

test('messages of one piece are what setSegment and useSegments make, on both sides of a 4 GiB boundary', () => {
  for (const base of [0, 0x1000, 0xffff_f000, 0x7f12_ffff_f000, 0x7fff_0000_0000]) {
    const fast = new MessageVector(SHAPE);
    const slow = new MessageVector(SHAPE);
    // Names and pieces have addresses of their own: what differs before differs after.
    const before = fast.int32.map((word, at) => word - slow.int32[at]);
    const whole = fast.wholeMessages(base);
    for (let i = 0; i < SHAPE.messages; i++) {
      const at = i * 0x7ff + (i === 4 ? 0x7fff_0000 : 0);
      slow.setSegment(i, 0, base + at, 60 + i);
      slow.useSegments(i, 1);
      whole(i, at, 60 + i);
    }
    const after = fast.int32.map((word, at) => word - slow.int32[at]);
    assert.deepEqual(after, before, `base ${base.toString(16)}`);
    assert.equal(fast.int32[6], 1, 'one piece, not two');
  }
});
