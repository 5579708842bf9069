/** What the schema found wrong → problems in words for the person who wrote the file. */
import type { z } from 'zod';
import { type JsonSchema, jsonSchema, keysAt, takesFractions } from './json-schema.ts';
import { didYouMean } from './nearest-word.ts';
import type { Path, Problem, Severity } from './problem.ts';

type Issue = z.core.$ZodIssue;

/** Plain data of which every part has a place: a document, or a part of one. */
export interface PlacedData {
  readonly data: unknown;
  problem(path: Path, code: string, message: string, severity?: Severity, at?: 'key' | 'value'): Problem;
}

const TYPE_NAME: Readonly<Record<string, string>> = {
  string: 'a text',
  // Said of every number; of those that may have a fraction we say so ourselves.
  number: 'a whole number',
  int: 'a whole number',
  fraction: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of keys',
  record: 'a map of names',
  null: 'null',
};

/** Made for the first problem that needs it: only a wrong file does. */
let schema: JsonSchema | null = null;

/** Problems of all issues, with their places in `document`. */
export function issuesToProblems(issues: readonly Issue[], document: PlacedData): Problem[] {
  return issues.flatMap((issue) => problemsOf(issue, issue.path as Path, document));
}

function problemsOf(issue: Issue, path: Path, document: PlacedData): Problem[] {
  const value = valueAt(document.data, path);
  const missing = value === undefined && path.length > 0;
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(document, path, key));
    case 'invalid_type':
      if (missing) return [missingKey(document, path)];
      return [document.problem(path, 'GD_CONFIG_TYPE', wrongType([expectedType(issue.expected, path, document)], value))];
    case 'invalid_value': {
      if (missing) return [missingKey(document, path)];
      return [document.problem(path, 'GD_CONFIG_CHOICE', wrongChoice(issue.values.map(String), value))];
    }
    case 'too_big':
    case 'too_small':
      return [document.problem(path, 'GD_CONFIG_RANGE', wrongRange(issue, value))];
    case 'invalid_union':
      return unionProblems(issue, path, value, document);
    case 'invalid_key': {
      const key = String(path[path.length - 1]);
      return [document.problem(path, 'GD_CONFIG_NAME', wrongName(key), 'error', 'key')];
    }
    case 'invalid_format':
      return [document.problem(path, 'GD_CONFIG_NAME', wrongName(String(value)))];
    case 'custom': {
      const code = (issue.params as { code?: string } | undefined)?.code ?? 'GD_CONFIG_VALUE';
      return [document.problem(path, code, issue.message)];
    }
    default:
      return [document.problem(path, 'GD_CONFIG_VALUE', issue.message)];
  }
}

function unionProblems(issue: z.core.$ZodIssueInvalidUnion, path: Path, value: unknown, document: PlacedData): Problem[] {
  if (value === undefined && path.length > 0) return [missingKey(document, path)];
  const { discriminator, options } = issue as { discriminator?: string; options?: readonly unknown[] };
  if (discriminator !== undefined) {
    return [document.problem(path, 'GD_CONFIG_CHOICE', wrongChoice((options ?? []).map(String), value))];
  }
  // An alternative whose outer type fits is the one that was meant: speak of what is wrong inside it.
  const meant = issue.errors.find((errors) => errors.every((inner) => inner.path.length > 0));
  if (meant !== undefined) return meant.flatMap((inner) => problemsOf(inner, [...path, ...(inner.path as Path)], document));
  const expected = [...new Set(issue.errors.flatMap((errors) => expectedTypes(errors)))];
  const words = expected.filter((word) => TYPE_NAME[word] === undefined);
  const hint = typeof value === 'string' ? mapHint(path, value) || didYouMean(value, words) : '';
  return [document.problem(path, 'GD_CONFIG_TYPE', `${wrongType(expected, value)}${hint}`)];
}

/** The one word that names something right and can not stand alone. */
function mapHint(path: Path, value: string): string {
  if (path[path.length - 1] !== 'scheme' || value !== 'glb') return '';
  return '; glb needs its keys: scheme: { name: glb, seed: …, hash-key: … }';
}

function expectedType(expected: string, path: Path, document: PlacedData): string {
  schema ??= jsonSchema();
  return expected === 'number' && takesFractions(schema, path, document.data) ? 'fraction' : expected;
}

function expectedTypes(errors: readonly Issue[]): string[] {
  return errors.flatMap((error) => {
    if (error.code === 'invalid_type') return [error.expected];
    // A choice of words beside a number: the words themselves are what may stand there.
    if (error.code === 'invalid_value') return error.values.map(String);
    if (error.code === 'invalid_union') return error.errors.flatMap(expectedTypes);
    return [];
  });
}

function unknownKey(document: PlacedData, path: Path, key: string): Problem {
  schema ??= jsonSchema();
  const known = keysAt(schema, path, document.data);
  const merge = key === '<<' ? ': merge keys are not part of YAML 1.2' : '';
  const hint = belongsUnderTunnel(path, key, known, document) || didYouMean(key, known) || `; known here: ${known.join(', ')}`;
  return document.problem([...path, key], 'GD_CONFIG_UNKNOWN_KEY', `unknown key "${key}"${merge || hint}`, 'error', 'key');
}

/** A key of a tunnel, written beside `tunnel` and not in it. */
function belongsUnderTunnel(path: Path, key: string, known: readonly string[], document: PlacedData): string {
  if (!known.includes('tunnel') || !keysAt(schema!, [...path, 'tunnel'], document.data).includes(key)) return '';
  return `; it belongs under tunnel: "tunnel: { ${key}: … }"`;
}

function missingKey(document: PlacedData, path: Path): Problem {
  return document.problem(path, 'GD_CONFIG_MISSING_KEY', `the key "${String(path[path.length - 1])}" is missing`);
}

function wrongType(expected: readonly string[], value: unknown): string {
  const wanted = expected.filter((type) => type !== 'null').map((type) => TYPE_NAME[type] ?? type);
  const numeric = ['int', 'number', 'fraction'].some((type) => expected.includes(type));
  const kinds = [...new Set(wanted)].join(', ').replace(/, ([^,]*)$/, ' or $1');
  if (value === null) return `has no value; it must be ${kinds}`;
  if (typeof value === 'number' && numeric) return `must be a whole number, not ${value}`;
  let hint = '';
  if (typeof value === 'number' && expected.includes('string')) hint = '; put it in quotes';
  if (typeof value === 'string' && numeric && /^\d+(\.\d+)?$/.test(value)) hint = '; remove the quotes';
  return `must be ${kinds}, not ${describe(value)}${hint}`;
}

function wrongChoice(choices: readonly string[], value: unknown): string {
  const list = choices.length === 1 ? `"${choices[0]}"` : `one of ${choices.join(', ')}`;
  const hint = typeof value === 'string' && choices.length > 1 ? didYouMean(value, choices) : '';
  return `must be ${list}, not ${describe(value)}${hint}`;
}

function wrongRange(issue: z.core.$ZodIssueTooBig | z.core.$ZodIssueTooSmall, value: unknown): string {
  const big = issue.code === 'too_big';
  const limit = big ? issue.maximum : issue.minimum;
  if (issue.origin === 'array') {
    if (!big && Number(limit) === 1) return 'the list is empty; it must have at least one entry';
    return `the list has ${(value as unknown[]).length} entries; it must have at ${big ? 'most' : 'least'} ${limit}`;
  }
  if (issue.origin === 'string') {
    if (!big && Number(limit) === 1) return 'the text is empty';
    return `the text must have at ${big ? 'most' : 'least'} ${limit} characters`;
  }
  return `must be at ${big ? 'most' : 'least'} ${limit}, not ${String(value)}`;
}

function wrongName(name: string): string {
  if (name === '') return 'the name is empty';
  return `"${shortened(name)}" is not a name: 1 to 63 letters, digits, ".", "_" or "-", beginning with a letter or digit`;
}

function describe(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  if (typeof value === 'string') return `"${shortened(value)}"`;
  return `the ${typeof value} ${String(value)}`;
}

function shortened(text: string): string {
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

function valueAt(data: unknown, path: Path): unknown {
  let value = data;
  for (const step of path) value = (value as Record<string | number, unknown> | null | undefined)?.[step];
  return value;
}
