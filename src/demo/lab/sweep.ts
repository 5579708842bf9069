/** Taking namespaces down, also those that a killed process left behind. Only names of the form `gd-<pid>-…` are ever touched. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execute } from './command.ts';

const DIRECTORY = '/run/netns';
const NAME = /^gd-(\d+)-/;
/** How long processes in a namespace get between SIGTERM and SIGKILL. */
const PATIENCE_MS = 2000;

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** Names of all lab namespaces on this machine, with the process that made them. */
export function labNamespaces(): { name: string; owner: number }[] {
  if (!existsSync(DIRECTORY)) return [];
  return readdirSync(DIRECTORY).flatMap((name) => {
    const owner = NAME.exec(name)?.[1];
    return owner === undefined ? [] : [{ name, owner: Number(owner) }];
  });
}

/** Where programs in the namespace keep their sockets and files; goes with it. */
export function runtimeDirectoryOf(name: string): string {
  return join(tmpdir(), `${name}-run`);
}

function isPresent(name: string): boolean {
  return existsSync(`${DIRECTORY}/${name}`);
}

/** Runs `ip netns <verb> <name>`. A namespace that another sweep removes at the same time is no failure. */
function onNamespace(verb: 'pids' | 'delete', name: string): string {
  try {
    return execute('ip', ['netns', verb, name]);
  } catch (error) {
    if (isPresent(name)) throw error;
    return '';
  }
}

function processesIn(names: readonly string[]): number[] {
  return names.flatMap((name) => onNamespace('pids', name).split(/\s+/).filter(Boolean).map(Number));
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/**
 * Ends the processes inside the named namespaces and deletes the namespaces; devices vanish with them. Synchronous, safe in an
 * `exit` handler, and content with names that are gone already.
 */
export function removeNamespaces(names: readonly string[]): void {
  const present = names.filter(isPresent);
  if (present.length === 0) return;
  let pids = processesIn(present);
  if (pids.length > 0) {
    signalAll(pids, 'SIGTERM');
    for (let waited = 0; pids.length > 0 && waited < PATIENCE_MS; waited += 20) {
      sleep(20);
      pids = processesIn(present);
    }
    signalAll(pids, 'SIGKILL');
  }
  for (const name of present) {
    onNamespace('delete', name);
    rmSync(runtimeDirectoryOf(name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

/** Removes namespaces whose maker is dead, or bears our own pid from an earlier life. Returns the names removed. */
export function sweep(ownNames: ReadonlySet<string> = new Set()): string[] {
  const names = labNamespaces()
    .filter(({ name, owner }) => (owner === process.pid ? !ownNames.has(name) : !isAlive(owner)))
    .map(({ name }) => name);
  removeNamespaces(names);
  return names;
}
