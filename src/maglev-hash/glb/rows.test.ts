import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { EMPTY_SLOT } from '../permutation.ts';
import { sipKey } from '../siphash.ts';
import { GLB_DEFAULT_FIELDS, GlbHash, glbSourcePort } from './packet-hash.ts';
import { buildGlbRows, GLB_ROWS, type GlbMember } from './rows.ts';

const key = (text: string) => sipKey(Uint8Array.from(Buffer.from(text, 'hex')));
const member = (address: string): GlbMember => ({
  address: Uint8Array.from(address.split('.').map(Number)),
  active: true,
  healthy: true,
});
const FLOW_KEY = key('12345678901234561234567890123456');
const SEED = key('34567890123456783456789012345678');
const THREE = ['1.2.3.4', '2.3.4.5', '3.4.5.6'].map(member);

test('all rows of a table of three, by their digest', () => {
  const { primary, secondary } = buildGlbRows(THREE, SEED);
  assert.deepEqual([...primary.subarray(0, 8)], [0, 0, 2, 0, 1, 2, 2, 0]);
  assert.deepEqual([...secondary.subarray(0, 8)], [1, 1, 1, 2, 2, 0, 0, 2]);
  const pairs = new Uint32Array(2 * GLB_ROWS);
  for (let row = 0; row < GLB_ROWS; row++) pairs.set([primary[row], secondary[row]], 2 * row);
  assert.equal(
    createHash('sha256').update(new Uint8Array(pairs.buffer)).digest('hex'),
    'b73bca68d35edbc392e67cc44b849a849cf52a812980928ed628bf28bbdb1053',
  );
});

test('rows by number: the order of four', () => {
  const members = ['1.1.1.1', '1.1.1.2', '1.1.1.3', '1.1.1.4'].map(member);
  const { primary, secondary } = buildGlbRows(members, key('49a3d861d661ae5ab06ed9326871a2f5'));
  const first = (row: number) => [primary[row], secondary[row]];
  assert.deepEqual(
    [first(0), first(0xffff), first(0xbb44)],
    [
      [3, 2],
      [0, 1],
      [3, 0],
    ],
  );
});

test('a member that may not be first changes places with an active one', () => {
  const row = 23741;
  const of = (change: Partial<GlbMember>, other: Partial<GlbMember> = {}) => {
    const rows = buildGlbRows([THREE[0], { ...THREE[1], ...other }, { ...THREE[2], ...change }], SEED);
    return [rows.primary[row], rows.secondary[row]];
  };
  assert.deepEqual(of({}), [2, 1]);
  assert.deepEqual(of({ healthy: false }), [1, 2]);
  assert.deepEqual(of({ active: false }), [1, 2]);
  assert.deepEqual(of({ healthy: false }, { active: false }), [2, 1]);
  // GLB asks for the secondary's state, not for its health.
  assert.deepEqual(of({ healthy: false }, { healthy: false }), [1, 2]);
});

test('nobody, and one alone', () => {
  assert.ok(buildGlbRows([], SEED).primary.every((slot) => slot === EMPTY_SLOT));
  const { primary, secondary } = buildGlbRows([THREE[0]], SEED);
  assert.ok(primary.every((slot) => slot === 0) && secondary.every((slot) => slot === EMPTY_SLOT));
  assert.throws(() => buildGlbRows(Array(257).fill(THREE[0]), SEED), /at most 256 members, not 257/);
});

test('packet hashes, rows and source ports', () => {
  const view = new DataView(Uint8Array.of(10, 11, 12, 13, 1, 1, 1, 1, 45678 >> 8, 45678 & 255, 0, 80).buffer);
  const bySource = new GlbHash(FLOW_KEY, GLB_DEFAULT_FIELDS);
  const low = bySource.hash(view, 0, 4, 8);
  assert.deepEqual([bySource.words[1] >>> 0, low >>> 0, low & 0xffff], [0x008972f1, 0x657a5cbd, 23741]);
  assert.deepEqual(
    [45678, 45679, 45680].map((port) => glbSourcePort(low, port)),
    [61139, 61138, 61133],
  );
  const withPort = new GlbHash(FLOW_KEY, { ...GLB_DEFAULT_FIELDS, sourcePort: true });
  assert.equal(withPort.hash(view, 0, 4, 8) & 0xffff, 10730);
  const view6 = new DataView(new ArrayBuffer(36));
  Buffer.from('fd9179d3d62100000000000000001234', 'hex').forEach((byte, at) => {
    view6.setUint8(at, byte);
  });
  assert.equal(bySource.hash(view6, 0, 16, 32) & 0xffff, 6541);
});
