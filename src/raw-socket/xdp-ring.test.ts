import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { XdpRing } from './xdp-ring.ts';

/** Two counters, flags, then four words for each of eight entries. */
const LAYOUT = { producerAt: 0, consumerAt: 1, flagsAt: 2, entriesAt: 4, entries: 8 };

test('two sides of a ring agree on what is in it, wherever the counters are, their wrap included', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(0, 5, 0x7ffffffd, -3, -0x80000000),
      fc.array(fc.tuple(fc.nat(8), fc.nat(8)), { maxLength: 20 }),
      (start, steps) => {
        const words = new Int32Array(4 + 8 * 4);
        words[0] = start;
        words[1] = start;
        const producer = new XdpRing(words, LAYOUT, 'producer');
        const consumer = new XdpRing(words, LAYOUT, 'consumer');
        let written = 0;
        let read = 0;
        for (const [give, take] of steps) {
          assert.equal(producer.free(), 8 - (written - read));
          const adds = Math.min(give, producer.free());
          for (let k = 0; k < adds; k++) words[producer.descriptorAt(k)] = written + k;
          producer.next = (producer.next + adds) | 0;
          assert.equal(consumer.waiting(), written - read, 'not before it is submitted');
          producer.submit();
          written += adds;
          assert.equal(consumer.waiting(), written - read);
          const takes = Math.min(take, consumer.waiting());
          for (let k = 0; k < takes; k++) assert.equal(words[consumer.descriptorAt(k)], read + k);
          consumer.next = (consumer.next + takes) | 0;
          consumer.release();
          read += takes;
        }
        // Who comes after goes on there.
        assert.equal(new XdpRing(words, LAYOUT, 'consumer').waiting(), written - read);
      },
    ),
  );
});

test('places are two words, descriptors four; the flag says when the kernel sleeps', () => {
  const words = new Int32Array(64);
  const ring = new XdpRing(words, LAYOUT, 'producer');
  ring.next = 7;
  assert.deepEqual([ring.placeAt(0), ring.placeAt(1)], [4 + 14, 4]);
  assert.deepEqual([ring.descriptorAt(0), ring.descriptorAt(1)], [4 + 28, 4]);
  assert.equal(ring.needsWakeup, false);
  words[2] = 1;
  assert.equal(ring.needsWakeup, true);
});
