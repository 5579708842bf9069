import assert from 'node:assert/strict';
import { test } from 'node:test';
import { peerVectors } from './peers/vectors.ts';
import { peers } from './peers.ts';

const absent = peerVectors() === null ? 'the vectors of peers are not beside the repository: ../shared/peers' : false;

test(`scaled: ${peers.claim}`, { skip: absent }, async () => {
  const { passed, figures } = await peers.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
