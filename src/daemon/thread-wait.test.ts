import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryIngress } from '../io/memory/ingress.ts';
import { EventDescriptor } from '../raw-socket/event.ts';
import { ThreadWait } from './thread-wait.ts';

test('a notice ends one wait, also one that comes after its mail was read', () => {
  const wake = EventDescriptor.create();
  const waiting = new ThreadWait(new MemoryIngress({ frames: [] }), EventDescriptor.over(wake.descriptor));
  const timed = (): number => {
    const before = performance.now();
    waiting.wait(60);
    return performance.now() - before;
  };
  assert.ok(timed() > 50, 'nothing there: the whole time');
  for (let round = 0; round < 3; round++) {
    // The mail word of this notice was seen, and the mail read, before: nobody will read mail because of it.
    wake.notify();
    assert.ok(timed() < 50, 'the notice ends the wait');
    assert.ok(timed() > 50, 'and is over');
  }
  wake.close();
});
