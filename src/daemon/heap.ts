/**
 * V8's collections, made when the director knows better than V8 that there is something to collect.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { trimAllocator } from '../raw-socket/memory.ts';

/** Without options everything, at once. Node 20 takes whatever options there are for those of a minor collection (measured, V8 11.3). */
type Collect = (options?: { readonly type: 'minor' }) => void;

let found: Collect | null = null;

/**
 * V8's own function, which scripts do not see unless it is asked for by a flag; a context made afterwards has it. The flag is one for all threads, and stays: taken back by one
 * of them, another's new context was found without the function.
 */
function collector(): Collect {
  if (found === null) {
    setFlagsFromString('--expose-gc');
    found = runInNewContext('gc') as Collect;
  }
  return found;
}

/** Collects this thread's young objects, at once: at most a millisecond. */
export function collectYoung(): void {
  collector()({ type: 'minor' });
}

/**
 * Collects everything of this thread, at once: 5 ms of a heap of 8 MB. For a forwarding thread that is about to begin: what loading it left is gone then, and the marking that V8
 * began meanwhile is at its end. Left to itself it goes on for as long as the thread has no reason to allocate, which makes every store of a pointer dearer, and ends in a
 * pause of some milliseconds when many packets have passed.
 */
export function collectAll(): void {
  collector()();
}

/**
 * Collects everything of this thread, in a task of its own (about 100 ms of a heap of 40 MB: for main, which handles no packet), and gives the memory that is empty then back
 * to the system: most of it room for young objects that V8 once made larger, and what C's allocator keeps. The former is what a developer's "collect garbage" does, and no other
 * function of Node; a Node built without inspector collects, and gives it back when V8 comes to it.
 */
export function collectAndShrink(): void {
  if (!process.features.inspector) {
    setImmediate(() => {
      collector()();
      trimAllocator();
    });
    return;
  }
  const { Session } = process.getBuiltinModule('node:inspector');
  const session = new Session();
  session.connect();
  // Not inside the answer: there it would wait for itself, for ever.
  session.post('HeapProfiler.collectGarbage', () =>
    setImmediate(() => {
      session.disconnect();
      trimAllocator();
    }),
  );
}
