import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LONGEST_QUERY, responseCode, writeQuery } from './dns.ts';

/** The bytes of a query, written behind three others. */
function query(name: string, type: number, identifier = 0x1234): { view: DataView; end: number; hex: string } {
  const view = new DataView(new ArrayBuffer(3 + LONGEST_QUERY));
  const end = writeQuery(view, 3, identifier, name, type);
  return { view, end, hex: Buffer.from(view.buffer, 3, end - 3).toString('hex') };
}

test('queries byte for byte (RFC 1035 §4.1)', () => {
  const example = '076578616d706c65036f726700';
  assert.equal(query('example.org', 1).hex, `1234 0100 0001 0000 0000 0000 ${example} 0001 0001`.replaceAll(' ', ''));
  assert.equal(query('example.org.', 28, 0xffff).hex, `ffff 0100 0001 0000 0000 0000 ${example} 001c 0001`.replaceAll(' ', ''));
  assert.equal(query('.', 2).hex, '1234 0100 0001 0000 0000 0000 00 0002 0001'.replaceAll(' ', ''));
});

test('the longest name, and names that are none', () => {
  // 3 × (1 + 63) + (1 + 61) + 1 = 255 bytes.
  const longest = [63, 63, 63, 61].map((length) => 'x'.repeat(length)).join('.');
  assert.equal(query(longest, 1).end, 3 + LONGEST_QUERY);
  for (const wrong of [`${longest}x`, 'a..b', '.a', 'x'.repeat(64), `${longest}.a`]) {
    assert.throws(() => query(wrong, 1), RangeError, wrong);
  }
});

test('responses: code, other identifiers and questions, case, damage', () => {
  const { view, end } = query('Example.org', 1);
  const answer = (change: (bytes: DataView) => void): number => {
    const copy = new DataView(view.buffer.slice(0));
    copy.setUint16(3 + 2, 0x8180);
    change(copy);
    return responseCode(copy, 3, end, view, 3, end);
  };
  assert.equal(
    answer(() => {}),
    0,
  );
  for (let rcode = 0; rcode < 16; rcode++)
    assert.equal(
      answer((copy) => copy.setUint16(5, 0x8180 | rcode)),
      rcode,
    );
  const lower = 'e'.charCodeAt(0);
  assert.equal(
    answer((copy) => copy.setUint8(3 + 13, lower)),
    0,
    'letters of either case',
  );
  const refused: Readonly<Record<string, (copy: DataView) => void>> = {
    'a query, no response': (copy) => copy.setUint16(5, 0x0100),
    'another opcode': (copy) => copy.setUint16(5, 0x8980),
    'another identifier': (copy) => copy.setUint8(3, 0),
    'another name': (copy) => copy.setUint8(3 + 14, 0x79),
    'another type': (copy) => copy.setUint16(end - 4, 2),
    'two questions': (copy) => copy.setUint16(3 + 4, 2),
    'no question, and no error': (copy) => copy.setUint16(3 + 4, 0),
  };
  for (const [what, change] of Object.entries(refused)) assert.equal(answer(change), -1, what);
  assert.equal(
    answer((copy) => {
      copy.setUint16(3 + 4, 0);
      copy.setUint16(5, 0x8181);
    }),
    1,
    'FORMERR has no question',
  );
  const whole = new DataView(view.buffer.slice(0));
  whole.setUint16(5, 0x8180);
  for (let cut = 3; cut < end; cut++) assert.equal(responseCode(whole, 3, cut, view, 3, end), -1, `cut at ${cut}`);
});
