/** Files that a keepalived.conf includes: names and patterns as glob(3) reads them, and their texts. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readRules } from './read-rules.ts';

/** Where included files come from. */
export interface Files {
  /** Paths that a pattern stands for, sorted; a plain name only when there is such a file. `folder`: where relative ones begin. */
  match(pattern: string, folder: string): readonly string[];
  /** Throws a CodedError. */
  read(path: string): string;
}

/** Texts that `{a,b}` makes of one pattern, at most. */
const MOST_ALTERNATIVES = 256;

/** Of this machine. */
export const DISK: Files = { match: matchPaths, read: (path) => readRules(path).text };

function matchPaths(pattern: string, folder: string): string[] {
  const found = new Set<string>();
  for (const one of alternatives(pattern)) {
    const from = one.startsWith('/') ? '/' : folder;
    for (const path of descend(
      from,
      one.split('/').filter((part) => part !== ''),
    ))
      if (isFile(path)) found.add(path);
  }
  return [...found].sort();
}

function isFile(path: string): boolean {
  try {
    return !statSync(path).isDirectory();
  } catch {
    // A name in a pattern that stands for nothing, or a link to nowhere: no file.
    return false;
  }
}

function descend(folder: string, parts: readonly string[]): string[] {
  if (parts.length === 0) return [folder];
  const [part, ...rest] = parts;
  if (!/[*?[]/.test(part)) return descend(join(folder, part), rest);
  return namesIn(folder)
    .filter((name) => matches(part, name))
    .flatMap((name) => descend(join(folder, name), rest));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    // No folder, or not ours to read: it has nothing for a pattern.
    return [];
  }
}

/** `{a,b}` of the shell, also nested; a brace without its other half stands for itself. */
export function alternatives(pattern: string): string[] {
  let list = [pattern];
  for (let round = 0; round < MOST_ALTERNATIVES; round++) {
    const next = list.flatMap((one) => {
      const innermost = /\{([^{}]*,[^{}]*)\}/.exec(one);
      if (innermost === null) return [one];
      const [before, after] = [one.slice(0, innermost.index), one.slice(innermost.index + innermost[0].length)];
      return innermost[1].split(',').map((word) => `${before}${word}${after}`);
    });
    if (next.length > MOST_ALTERNATIVES) return [pattern];
    if (next.length === list.length && next.every((one, i) => one === list[i])) return next;
    list = [...new Set(next)];
  }
  return list;
}

/** One part of a path: `*`, `?`, `[a-z]`, `[!a]`. A name with a leading dot only for a pattern that has it. Takes pattern × name steps at most. */
export function matches(pattern: string, name: string): boolean {
  if (name.startsWith('.') && !pattern.startsWith('.')) return false;
  const wanted = [...pattern.matchAll(/\*+|\?|\[!?\]?[^\]]*\]|[\s\S]/gu)].map(([one]) => one);
  const letters = [...name];
  let [w, n, star, resume] = [0, 0, -1, 0];
  while (n < letters.length) {
    if (wanted[w]?.startsWith('*')) {
      star = w++;
      resume = n;
    } else if (w < wanted.length && isOne(wanted[w], letters[n])) {
      w++;
      n++;
    } else if (star >= 0) {
      w = star + 1;
      n = ++resume;
    } else return false;
  }
  while (wanted[w]?.startsWith('*')) w++;
  return w === wanted.length;
}

function isOne(wanted: string, letter: string): boolean {
  if (wanted === '?') return true;
  if (wanted.length < 3 || !wanted.startsWith('[')) return wanted === letter;
  const inside = [...wanted.slice(1, -1)];
  const turned = inside[0] === '!';
  if (turned) inside.shift();
  let found = false;
  for (let i = 0; i < inside.length; i++) {
    if (inside[i + 1] === '-' && i + 2 < inside.length) {
      found ||= letter >= inside[i] && letter <= inside[i + 2];
      i += 2;
    } else found ||= letter === inside[i];
  }
  return found !== turned;
}
