/** Starts the file of a forwarding thread: the compiled one in production, the TypeScript source when main itself runs from source. */
import { Worker } from 'node:worker_threads';
import type { ThreadStart } from './thread-protocol.ts';

const fromSource = import.meta.url.endsWith('.ts');
/** Node 22.18 and later run TypeScript by themselves. */
const stripsTypes = Boolean((process.features as { typescript?: unknown }).typescript);
const ENTRY = new URL(fromSource ? './forwarding-thread.ts' : './forwarding-thread.js', import.meta.url);

/**
 * MiB of room for young objects; V8 would make it 48 while the modules load, and has a thread that allocates nothing keep them. Each thread holds 4 MB less so.
 */
const YOUNG_MIB = 6;

/** Starts a thread. Console output of it never appears: what it has to say comes as messages and as the events of the Worker. */
export function spawnThread(start: ThreadStart): Worker {
  const options = {
    workerData: start,
    transferList: [start.mail],
    name: `forward-${start.number}`,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB },
  };
  if (!fromSource || stripsTypes) return new Worker(ENTRY, options);
  // Source on a Node that can not strip types: tsx, which registers itself in the main thread only (measured, 4.23), is
  // registered by hand in the thread.
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const script = `import(${tsx}).then(({ register }) => { register(); return import(${JSON.stringify(ENTRY.href)}); })`;
  return new Worker(script, { ...options, eval: true });
}
