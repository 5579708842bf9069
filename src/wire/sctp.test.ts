import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c } from './crc32c.ts';
import * as sctp from './sctp.ts';

test('CRC32c: the vectors of RFC 3720 §B.4', () => {
  const of = (bytes: Uint8Array) => ~crc32c(new DataView(bytes.buffer), 0, bytes.length, -1) >>> 0;
  assert.equal(of(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(of(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(of(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assert.equal(of(Uint8Array.from(Buffer.from('123456789'))), 0xe3069283);
});

test('the checksum of a packet does not depend on what its field holds, and stands in it lowest byte first', () => {
  const packet = Uint8Array.from({ length: 60 }, (_, i) => i);
  const view = new DataView(packet.buffer);
  const value = sctp.computeChecksum(view, 0, 60);
  sctp.setChecksum(view, 0, value);
  assert.equal(sctp.computeChecksum(view, 0, 60), value);
  assert.equal(sctp.checksum(view, 0), value);
  const zeroed = packet.slice();
  zeroed.fill(0, 8, 12);
  assert.equal(~crc32c(new DataView(zeroed.buffer), 0, 60, -1) | 0, value);
  assert.equal(packet[8], value & 0xff);
});
