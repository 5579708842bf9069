import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as glb from './glb.ts';
import * as gue from './gue.ts';

test('the bytes that GLB director writes', () => {
  // Its header in front of an IPv6 packet, with the hops 3.4.5.6, 3.4.5.6 and 2.3.4.5.
  const expected = '0429000000000003030405060304050602030405';
  const view = new DataView(new ArrayBuffer(20 + 4));
  gue.write(view, 4, gue.PROTOCOL_IPV6);
  glb.write(view, 4, 3);
  for (const [k, hop] of [0x06050403, 0x06050403, 0x05040302].entries()) glb.setHop(view, 4, k, hop);
  assert.equal(Buffer.from(view.buffer, 4).toString('hex'), expected);
  assert.equal(glb.hopCount(view, 4), 3);
  assert.equal(gue.headerLength(view, 4), 4 + glb.extraLength(3));
  assert.equal(gue.flags(view, 4), 0);
});

test('without hops there is private data all the same', () => {
  const view = new DataView(new ArrayBuffer(8));
  gue.write(view, 0, gue.PROTOCOL_IPV4);
  glb.write(view, 0, 0);
  assert.equal(Buffer.from(view.buffer).toString('hex'), '0104000000000000');
});
