// Messages tell people which key of the configuration to change: that key must exist.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type JsonSchema, jsonSchema } from '../../src/config/json-schema.ts';
import { filesBelow, read } from './sources.ts';

/** Dotted paths of all keys, alternatives together, lists and maps by name skipped: `ingress.device`, `pools.tunnel.port`. */
function keysOf(schema: JsonSchema, path = ''): string[] {
  const node = schema as Record<string, unknown>;
  const inner = [
    ...(['anyOf', 'oneOf', 'allOf'] as const).flatMap((word) => (node[word] as JsonSchema[] | undefined) ?? []),
    node.items,
  ]
    .concat(typeof node.additionalProperties === 'object' ? node.additionalProperties : [])
    .filter((one) => one !== undefined && one !== null) as JsonSchema[];
  const own = Object.entries((node.properties as Record<string, JsonSchema> | undefined) ?? {}).flatMap(([key, value]) => {
    const at = path === '' ? key : `${path}.${key}`;
    return [at, ...keysOf(value, at)];
  });
  return [...own, ...inner.flatMap((one) => keysOf(one, path))];
}

const keys = new Set(keysOf(jsonSchema()));

/** Keys in "set tunnel.source", "change metrics.listen", "another name in ingress.device", "leave ingress.mac out". */
function keysNamedIn(line: string): string[] {
  const literals = line.match(/'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*"/g) ?? [];
  return literals.flatMap((text) =>
    [...text.matchAll(/\b(?:set|change|leave|give|add|remove|name in) ([a-z]+(?:\.[A-Za-z][A-Za-z0-9_-]*)+)/g)]
      .map((match) => match[1])
      // What a template fills in is its own business: `tunnel.source.${family}`.
      .filter((key) => !/^net\./.test(key)),
  );
}

test('the rule sees a key that does not exist', () => {
  assert.ok(keys.has('metrics.listen') && keys.has('ingress.device') && keys.has('pools.backends.weight'));
  assert.deepEqual(keysNamedIn("hint: 'ports below 1024: change listen.metrics'"), ['listen.metrics']);
  assert.deepEqual(keysNamedIn('`or set egress.sourcePortBase to a free range`'), ['egress.sourcePortBase']);
  assert.ok(!keys.has('listen.metrics') && !keys.has('egress.sourcePortBase'));
});

test('every key that a message names is a key of the configuration', () => {
  const files = filesBelow('src', '.ts').filter((path) => !path.endsWith('.test.ts'));
  const named = files.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) => keysNamedIn(line).map((key) => ({ key, at: `${path}:${index + 1}` }))),
  );
  assert.ok(named.length >= 5, `${named.length} found`);
  assert.deepEqual(
    named.filter(({ key }) => !keys.has(key)),
    [],
  );
});
