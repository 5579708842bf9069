import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from './assemble.ts';
import { disassemble } from './disassemble.ts';
import { call, exit, goto, label, load, loadMap, loadMapValue, r, set, store, when } from './instruction.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex').match(/.{16}/g);

test('instructions are the bytes of RFC 9669', () => {
  const program = [
    set(1, '=', 5),
    set(6, '=', r(1)),
    set(2, '+=', -4),
    load(1, 3, 7, 12),
    load(8, 3, 7, -8),
    store(4, 10, -4, 32),
    store(2, 10, -6, r(3)),
    call(1),
    exit(),
  ];
  assert.deepEqual(hex(assemble(program)), [
    'b701000005000000',
    'bf16000000000000',
    '07020000fcffffff',
    '71730c0000000000',
    '7973f8ff00000000',
    '620afcff20000000',
    '6b3afaff00000000',
    '8500000001000000',
    '9500000000000000',
  ]);
});

test('jumps count from the instruction behind them, and a wide load for two', () => {
  const program = [
    label('top'),
    when(1, '==', 7, 'end'),
    loadMap(1, 'ports'),
    when(2, '>', r(8), 'end'),
    goto('top'),
    label('end'),
    exit(),
  ];
  const bytes = assemble(program, { ports: 9 });
  assert.deepEqual(hex(bytes), [
    '1501040007000000',
    '1811000009000000',
    '0000000000000000',
    '2d82010000000000',
    '0500fbff00000000',
    '9500000000000000',
  ]);
  assert.deepEqual(disassemble(bytes, new Map([[9, 'ports']])), [
    '0: (15) if r1 == 7 goto 5',
    '1: (18) r1 = map ports',
    '3: (2d) if r2 > r8 goto 5',
    '4: (05) goto 0',
    '5: (95) exit',
  ]);
});

test('what can not be a program is refused', () => {
  assert.throws(() => assemble([goto('nowhere')]), /no label "nowhere"/);
  assert.throws(() => assemble([label('a'), label('a')]), /two labels "a"/);
  assert.throws(() => assemble([loadMapValue(1, 'gone')]), /no map "gone"/);
  assert.throws(() => assemble([load(4, 1, 1, 40000)]), /beyond 16 bits/);
  assert.throws(() => assemble([set(1, '=', 2 ** 32)]), /beyond 32 bits/);
  assert.deepEqual(disassemble(Uint8Array.of(0xff, 0, 0, 0, 0, 0, 0, 0)), ['0: (ff) unknown']);
});
