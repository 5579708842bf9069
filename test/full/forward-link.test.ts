import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { forwardLink } from './forward-link.ts';

test(
  'scaled: packets through the director’s AF_XDP sockets and through those of its floor in C',
  needs('namespaces', 'xdp', 'cc'),
  async () => {
    const { passed, figures } = await forwardLink.run('scaled');
    assert.ok(passed, JSON.stringify(figures, null, 2));
  },
);
