/**
 * A YAML document that remembers where everything stands. The text becomes plain data (objects without prototype, arrays,
 * scalars), and any path into that data can be asked for its line and column.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from 'yaml';
import { formatPath, type Path, type Problem, type Severity } from './problem.ts';

/** Nodes after aliases are followed: far above any real file, far below what a file of nested aliases expands to. */
const MAX_NODES = 2_000_000;
/** The schema is seven levels deep. */
const MAX_DEPTH = 32;

export interface Place {
  readonly line: number;
  readonly column: number;
}

/** What the YAML library calls its errors, in words for people who do not know the library. */
const SYNTAX: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'a tab can not indent; use spaces',
  MULTIPLE_DOCS: 'the file holds several YAML documents (---); a configuration is one',
  BLOCK_AS_IMPLICIT_KEY: 'a second ":" in one line; quote a text that ends with a colon, such as "2001:db8::"',
};

export class SourceDocument {
  readonly file: string;
  /** Plain data; null when the document is empty or could not be read. */
  readonly data: unknown;
  /** Found while reading: syntax, duplicate keys, aliases. */
  readonly problems: readonly Problem[];
  readonly #root: Node | null;
  readonly #lines = new LineCounter();
  readonly #found: Problem[] = [];
  #nodes = 0;

  constructor(file: string, text: string) {
    this.file = file;
    this.problems = this.#found;
    let root: Node | null = null;
    let data: unknown = null;
    try {
      // uniqueKeys is off because the library compares every pair of keys; #readMap finds duplicates with a set.
      const document = parseDocument(text, {
        version: '1.2',
        schema: 'core',
        prettyErrors: false,
        uniqueKeys: false,
        lineCounter: this.#lines,
      });
      // Only the first: what follows a syntax error is mostly its consequence.
      const [first] = [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0]);
      if (first !== undefined)
        this.#report('GD_CONFIG_YAML', `YAML: ${SYNTAX[first.code] ?? lowerFirst(first.message)}`, first.pos[0]);
      root = document.contents as Node | null;
      if (this.#found.length === 0) data = this.#read(root, [], new Map());
    } catch (error) {
      // The parser is recursive: a file of a million "[" ends here.
      if (!(error instanceof RangeError)) throw error;
      this.#report('GD_CONFIG_YAML', 'YAML: nested too deeply', 0);
    }
    this.#root = root;
    this.data = this.#found.length === 0 ? data : null;
    if (this.#found.length === 0 && data === null) {
      this.#report(
        'GD_CONFIG_FILE_EMPTY',
        'the file holds no keys; config/director.yaml of the package is a commented example',
        0,
      );
    }
  }

  /** A problem at `path`: at the key when `at` is 'key', else at the value; at the nearest parent when the path does not exist. */
  problem(path: Path, code: string, message: string, severity: Severity = 'error', at: 'key' | 'value' = 'value'): Problem {
    const place = this.place(path, at);
    return { file: this.file, ...place, path: formatPath(path), message, code, severity };
  }

  place(path: Path, at: 'key' | 'value' = 'value'): Place {
    let node = this.#root;
    let offset = node?.range?.[0] ?? 0;
    for (let i = 0; i < path.length; i++) {
      const inner = followed(node, this.#anchors());
      const step = path[i];
      if (isMap(inner)) {
        const pair = inner.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
        if (pair === undefined) break;
        const key = pair.key as Node;
        const value = pair.value as Node | null;
        const last = i === path.length - 1;
        offset = (last && at === 'key' ? key.range?.[0] : (value?.range?.[0] ?? key.range?.[0])) ?? offset;
        node = value;
      } else if (isSeq(inner) && typeof step === 'number' && step < inner.items.length) {
        node = inner.items[step] as Node | null;
        offset = node?.range?.[0] ?? offset;
      } else break;
    }
    return this.#placeOf(offset);
  }

  #placeOf(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  #report(code: string, message: string, offset: number, path: Path = []): void {
    this.#found.push({ file: this.file, ...this.#placeOf(offset), path: formatPath(path), message, code, severity: 'error' });
  }

  #anchorMap: Map<string, Node> | null = null;

  /** Anchors by name, for places behind an alias; built when the first problem is placed. */
  #anchors(): Map<string, Node> {
    if (this.#anchorMap === null) {
      this.#anchorMap = new Map();
      collectAnchors(this.#root, this.#anchorMap);
    }
    return this.#anchorMap;
  }

  /** `anchors`: those met so far in document order, as YAML defines an alias (a later anchor of the same name replaces it). */
  #read(node: Node | null, path: Path, anchors: Map<string, Node>): unknown {
    if (node === null || node === undefined) return null;
    if (this.#nodes > MAX_NODES) return null;
    if (++this.#nodes > MAX_NODES) {
      this.#report('GD_CONFIG_YAML_ALIAS', `YAML: more than ${MAX_NODES} values once aliases are followed`, node.range?.[0] ?? 0);
      return null;
    }
    if (path.length > MAX_DEPTH) {
      this.#report('GD_CONFIG_YAML', 'YAML: nested too deeply', node.range?.[0] ?? 0, path.slice(0, 1));
      return null;
    }
    if (isAlias(node)) {
      const target = anchors.get(node.source);
      if (target === undefined) {
        this.#report(
          'GD_CONFIG_YAML_ALIAS',
          `YAML: no anchor "&${node.source}" stands before this alias`,
          node.range?.[0] ?? 0,
          path,
        );
        return null;
      }
      return this.#read(target, path, anchors);
    }
    const anchor = (node as { anchor?: string }).anchor;
    let data: unknown;
    if (isScalar(node)) data = node.value;
    else if (isSeq(node)) data = node.items.map((item, index) => this.#read(item as Node | null, [...path, index], anchors));
    else if (isMap(node)) data = this.#readMap(node.items as Pair[], path, anchors);
    // Set after the content: an alias inside its own anchor has no end.
    if (anchor !== undefined) anchors.set(anchor, node);
    return data;
  }

  #readMap(items: readonly Pair[], path: Path, anchors: Map<string, Node>): unknown {
    const data: Record<string, unknown> = Object.create(null);
    const seen = new Set<string>();
    for (const { key, value } of items) {
      const offset = (key as Node | null)?.range?.[0] ?? 0;
      if (!isScalar(key) || key.value === null || (typeof key.value !== 'string' && typeof key.value !== 'number')) {
        this.#report('GD_CONFIG_YAML', 'YAML: a key must be a text', offset, path);
        continue;
      }
      const name = String(key.value);
      const at = [...path, name];
      if (seen.has(name)) this.#report('GD_CONFIG_DUPLICATE_KEY', `the key "${name}" stands here a second time`, offset, at);
      seen.add(name);
      // The schema library skips this name without a word.
      if (name === '__proto__') this.#report('GD_CONFIG_UNKNOWN_KEY', 'unknown key "__proto__"', offset, at);
      data[name] = this.#read(value as Node | null, at, anchors);
    }
    return data;
  }
}

function followed(node: Node | null, anchors: Map<string, Node>): Node | null {
  return isAlias(node) ? (anchors.get(node.source) ?? null) : node;
}

function collectAnchors(node: unknown, anchors: Map<string, Node>): void {
  const anchor = (node as { anchor?: string } | null)?.anchor;
  if (anchor !== undefined) anchors.set(anchor, node as Node);
  if (isMap(node)) for (const pair of node.items) collectAnchors(pair.value, anchors);
  else if (isSeq(node)) for (const item of node.items) collectAnchors(item, anchors);
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
