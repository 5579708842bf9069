// Who runs on which processor, and how much of it each used: for the benches forward and latency.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { findCommand } from '../../test/needs.ts';

/** Processors for the traffic and for a contender of one thread, so that neither takes the other's; null on a machine with one, or without taskset. */
const PLACES = cpus().length >= 2 && findCommand('taskset') !== null ? { traffic: '0', contender: '1' } : null;
const EVERYWHERE = `0-${cpus().length - 1}`;

/** The command line, kept on the processor of the traffic. */
export function onTrafficProcessor(command: readonly string[]): readonly string[] {
  return PLACES === null ? command : ['taskset', '-c', PLACES.traffic, ...command];
}

/**
 * The thread of a process that was busiest `since` (threadTimes then: before it had anything to forward, or main's start may count for more) has the contender's processor from now
 * on. What else the process has (main, compiler, collector) runs where the kernel likes; `alone`: on the traffic's, where it is not the traffic that limits.
 */
export function giveOwnProcessor(pid: number, since: readonly ThreadTime[], alone = false): void {
  if (PLACES === null) return;
  const before = new Map(since.map(({ thread, seconds }) => [thread, seconds]));
  const used = ({ thread, seconds }: ThreadTime) => seconds - (before.get(thread) ?? 0);
  const busiest = threadTimes(pid).reduce((most, one) => (used(one) > used(most) ? one : most));
  execFileSync('taskset', ['-acp', alone ? PLACES.traffic : EVERYWHERE, String(pid)], { stdio: 'ignore' });
  execFileSync('taskset', ['-cp', PLACES.contender, busiest.thread], { stdio: 'ignore' });
}

export interface ThreadTime {
  readonly thread: string;
  readonly seconds: number;
}

/** Processor time of each thread of a process, to the nanosecond (/proc/PID/task/TID/schedstat, first number). */
export function threadTimes(pid: number): ThreadTime[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => ({
    thread,
    seconds: Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e9,
  }));
}

/** Of all threads; `at`: when, seconds. */
export function processorNow(pid: number): { readonly at: number; readonly seconds: number } {
  return { at: performance.now() / 1000, seconds: threadTimes(pid).reduce((sum, one) => sum + one.seconds, 0) };
}
