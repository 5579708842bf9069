import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { RingReader, RingWriter, ringMemory } from './ring.ts';

test('records come out as they went in and in order, whatever their lengths, until there is no room', () => {
  const lengths = fc.array(fc.record({ write: fc.boolean(), length: fc.integer({ min: 1, max: 12 }).map((n) => n * 8) }), {
    maxLength: 80,
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 16 }).map((n) => n * 8),
      lengths,
      (size, steps) => {
        const memory = ringMemory(size);
        const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
        const waiting: { length: number; mark: number }[] = [];
        let mark = 1;
        for (const { write, length } of steps) {
          if (write) {
            const at = writer.reserve(length);
            // A record that would fill it leaves an empty ring no way to be told from a full one.
            if (at < 0) {
              assert.ok(waiting.length > 0 || length >= size / 2, `no room for ${length} in an empty ring of ${size}`);
              continue;
            }
            for (let k = 4; k < length; k++) writer.view.setUint8(at + k, mark & 0xff);
            writer.commit(at, length);
            waiting.push({ length, mark: mark++ & 0xff });
          } else {
            const at = reader.next();
            const wanted = waiting.shift();
            assert.equal(at >= 0, wanted !== undefined);
            if (wanted === undefined) continue;
            assert.equal(reader.view.getInt32(at, true), wanted.length);
            for (let k = 4; k < wanted.length; k++) assert.equal(reader.view.getUint8(at + k), wanted.mark);
            reader.release();
          }
        }
        for (const { mark: wanted } of waiting) {
          assert.equal(reader.view.getUint8(reader.next() + 4), wanted);
          reader.release();
        }
        assert.equal(reader.next(), -1);
      },
    ),
  );
});

test('what a thread counts is read beside it', () => {
  const memory = ringMemory(64);
  const writer = new RingWriter(memory);
  writer.count(5, 2, 1);
  writer.count(1, 0, 0);
  assert.deepEqual(new RingReader(memory).tally(), { matched: 6, overRate: 2, noRoom: 1 });
});
