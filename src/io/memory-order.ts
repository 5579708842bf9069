/** The order in which memory that others write is read, where the processor does not keep it by itself. */
import { arch } from 'node:process';

/** x64 lets no load and no store pass an earlier load; other processors do. */
const LOADS_MOVE = arch !== 'x64';
const fence = new Int32Array(new SharedArrayBuffer(4));

/**
 * Everything that was read before is read before anything that is read or written behind. An atomic load holds back what comes behind it, an atomic store waits
 * for what was before it, and the two keep their order. (Two calls, 10 ns: once for a batch, or where it must be, not for each word.)
 */
export function settleLoads(): void {
  if (!LOADS_MOVE) return;
  Atomics.store(fence, 0, 0);
  Atomics.load(fence, 0);
}
