/**
 * One file with backends, read and checked by itself: a list, in YAML or JSON, of two kinds of entries.
 *
 *     - { name: web-1, address: 198.51.100.1, weight: 2 }            a backend, as in the configuration
 *     - targets: ["198.51.100.2", "198.51.100.3:6081"]               a group, as Prometheus' file_sd has it
 *       labels: { weight: "2" }
 */
import { formatAddress } from '../base/address.ts';
import { parseAnyAddress } from './address.ts';
import { SourceDocument } from './document.ts';
import { issuesToProblems, type PlacedData } from './issue.ts';
import { ConfigError, type Path, type Problem } from './problem.ts';
import { type BackendSection, backendSchema } from './schema.ts';
import { readSource } from './source.ts';

/** Characters: ten thousand backends have a tenth of it. */
export const MOST_TEXT = 8 * 1024 * 1024;

/** A file as it was read: its backends, each with its place. */
export interface DiscoveredFile {
  readonly file: string;
  readonly text: string;
  readonly backends: readonly FoundBackend[];
  readonly document: SourceDocument;
}

interface FoundBackend {
  readonly at: Path;
  readonly value: BackendSection;
}

/** Reads and checks one file by itself. Throws ConfigError with every problem. */
export function readDiscoveryFile(file: string): DiscoveredFile {
  try {
    return parseDiscoveryText(readSource(file), file);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(
      file,
      error.problems.map((problem) => ({ ...problem, message: worded(problem) })),
    );
  }
}

/** What is said of a configuration's own file, said of one with backends. */
function worded({ code, message }: Problem): string {
  if (code === 'GD_CONFIG_FILE_MISSING') return 'the file does not exist';
  if (code === 'GD_CONFIG_FILE_EMPTY') return 'the file is empty; a list without backends is written []';
  return message;
}

/** The same for a text that is already read. */
export function parseDiscoveryText(text: string, file: string): DiscoveredFile {
  if (text.length > MOST_TEXT) {
    const message = `the file has ${text.length} characters; one with backends may have ${MOST_TEXT}`;
    const problem: Problem = { file, line: 1, column: 1, path: '', message, code: 'GD_CONFIG_FILE_TOO_BIG', severity: 'error' };
    throw new ConfigError(file, [problem]);
  }
  const document = new SourceDocument(file, text);
  if (document.problems.length > 0) throw new ConfigError(file, document.problems);
  const { data } = document;
  if (!Array.isArray(data)) {
    const message = 'a file with backends is a list: "- { name: …, address: … }" for each, or [] for none';
    throw new ConfigError(file, [document.problem([], 'GD_CONFIG_TYPE', message)]);
  }
  const problems: Problem[] = [];
  const backends = data.flatMap((entry: unknown, i) =>
    isMap(entry) && 'targets' in entry ? fromGroup(entry, [i], document, problems) : fromBackend(entry, i, document, problems),
  );
  if (problems.length > 0) throw new ConfigError(file, problems);
  return { file, text, backends, document };
}

function fromBackend(entry: unknown, index: number, document: SourceDocument, problems: Problem[]): FoundBackend[] {
  const parsed = backendSchema.safeParse(entry);
  if (parsed.success) return [{ at: [index], value: parsed.data }];
  // Where a configuration has what stands in this file: the words that are known there are known here.
  const view: PlacedData = {
    data: { pools: { x: { backends: document.data } } },
    problem: (path, ...rest) => document.problem(path.slice(3), ...rest),
  };
  const issues = parsed.error.issues.map((issue) => ({ ...issue, path: ['pools', 'x', 'backends', index, ...issue.path] }));
  problems.push(...issuesToProblems(issues as typeof parsed.error.issues, view));
  return [];
}

function fromGroup(
  entry: Readonly<Record<string, unknown>>,
  at: Path,
  document: SourceDocument,
  problems: Problem[],
): FoundBackend[] {
  const refuse = (path: Path, code: string, message: string, where: 'key' | 'value' = 'value') => {
    problems.push(document.problem([...at, ...path], code, message, 'error', where));
    return [];
  };
  const strange = Object.keys(entry).find((key) => key !== 'targets' && key !== 'labels');
  if (strange !== undefined) {
    return refuse([strange], 'GD_CONFIG_UNKNOWN_KEY', `unknown key "${strange}"; a group has targets and labels`, 'key');
  }
  const { targets, labels = {} } = entry;
  if (!Array.isArray(targets)) return refuse(['targets'], 'GD_CONFIG_TYPE', 'must be a list of addresses');
  if (!isMap(labels)) return refuse(['labels'], 'GD_CONFIG_TYPE', 'must be a map of texts');
  for (const [name, value] of Object.entries(labels)) {
    if (typeof value !== 'string') return refuse(['labels', name], 'GD_CONFIG_TYPE', 'must be a text; put it in quotes');
  }
  const alone = targets.length === 1;
  return targets.flatMap((target: unknown, i) => {
    if (typeof target !== 'string')
      return refuse(['targets', i], 'GD_CONFIG_TYPE', 'must be a text: an address, or address:port');
    return fromTarget(target, labels as Record<string, string>, alone, [...at, 'targets', i], at, document, problems);
  });
}

/** Labels that mean something here; the others are for whoever else reads the file. */
const LABELS: Readonly<Record<string, string>> = { name: 'name', weight: 'weight', state: 'state', server_id: 'server-id' };

function fromTarget(
  target: string,
  labels: Readonly<Record<string, string>>,
  alone: boolean,
  place: Path,
  group: Path,
  document: SourceDocument,
  problems: Problem[],
): FoundBackend[] {
  const { address, port } = splitTarget(target);
  const section: Record<string, unknown> = { name: nameOf(address), address };
  if (port !== null) section.tunnel = { port };
  const from = new Map<string, Path>();
  for (const [label, key] of Object.entries(LABELS)) {
    // What one backend only can have is not given to several.
    if (labels[label] === undefined || (!alone && (key === 'name' || key === 'server-id'))) continue;
    section[key] = key === 'weight' && /^\d{1,9}$/.test(labels[label]) ? Number(labels[label]) : labels[label];
    from.set(key, [...group, 'labels', label]);
  }
  const parsed = backendSchema.safeParse(section);
  if (parsed.success) return [{ at: place, value: parsed.data }];
  const view: PlacedData = {
    data: section,
    problem: (path, ...rest) => document.problem(from.get(String(path[0])) ?? place, ...rest),
  };
  problems.push(...issuesToProblems(parsed.error.issues, view));
  return [];
}

/** `198.51.100.1`, `198.51.100.1:6080`, `2001:db8::1`, `[2001:db8::1]:6080`. */
function splitTarget(target: string): { address: string; port: number | null } {
  const match = /^\[([^\]]*)\](?::(\d{1,6}))?$/.exec(target) ?? /^([^:]*):(\d{1,6})$/.exec(target);
  return match === null
    ? { address: target, port: null }
    : { address: match[1], port: match[2] === undefined ? null : Number(match[2]) };
}

/** A name made of an address, the same however it is written: `198.51.100.1`, `2001-db8--1`. */
function nameOf(address: string): string {
  const bytes = parseAnyAddress(address).value;
  const text = bytes === null ? address : formatAddress(bytes);
  const name = text.replaceAll(':', '-');
  return name.startsWith('-') ? `0${name}` : name;
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
