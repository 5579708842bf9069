/**
 * One arena of C's allocator for all threads. glibc gives each thread one of its own, up to eight for each processor (malloc/arena.c), so that many that allocate at
 * once do not wait for each other. Here none allocates for a packet; V8's helpers do, which compile and collect: megabytes for a moment, and between them small pieces that
 * stay. In an arena of its own each helper spreads those thinner and thinner, until there is one on every page and no page can be given back: an hour of reloads, checks and
 * scrapes took a director from 25 to 35 MiB of it, with one arena it stays at 14 (docs/running.md).
 *
 * Whoever runs is told by the environment only: glibc reads it before the first line of a program.
 */

const ARENAS = 'MALLOC_ARENA_MAX';

/** What an environment wants besides, for a process that is about to be executed in it: nothing when somebody has settled the matter. */
export function allocatorSettings(environment: NodeJS.ProcessEnv): Readonly<Record<string, string>> {
  const isSettled = environment[ARENAS] !== undefined || (environment.GLIBC_TUNABLES ?? '').includes('glibc.malloc.arena_max');
  return isSettled ? {} : { [ARENAS]: '1' };
}

/** Whether this process runs without a setting that it wants. */
export function wantsAllocatorSettings(environment: NodeJS.ProcessEnv = process.env): boolean {
  return Object.keys(allocatorSettings(environment)).length > 0;
}
