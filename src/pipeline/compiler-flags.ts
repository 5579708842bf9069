/**
 * Flags of V8 that the packet path gains a sixth from: how much bytecode TurboFan may inline into one function. Its defaults (460 and 920
 * bytes) leave the fingerprint and half of classify as calls per packet. To be set before the first packet, once per process:
 *
 *     import { setFlagsFromString } from 'node:v8';
 *     for (const flag of COMPILER_FLAGS) setFlagsFromString(flag);
 *
 * Without them everything works, and takes longer (docs/performance.md). Flags that a later V8 does not know are ignored by it.
 */
export const COMPILER_FLAGS: readonly string[] = [
  '--max-inlined-bytecode-size=1500',
  '--max-inlined-bytecode-size-cumulative=4000',
];
