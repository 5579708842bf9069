/** The schema as JSON Schema (draft-07), for editors: completion, descriptions and errors while typing. */
import { z } from 'zod';
import { configSchema } from './schema.ts';

/** The parts of JSON Schema that ours consists of. */
export interface JsonSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
}

/** What a file may contain (its input side: keys with a default are optional). Built anew at each call. */
export function jsonSchema(): JsonSchema {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, { target: 'draft-07', io: 'input' }) as Record<string, unknown>;
  return { $schema, title: 'gue-director configuration', ...schema } as JsonSchema;
}

/** The keys that may stand in the map at `path` of `data`. A section that names its kind (a driver, a scheme) has the keys of that kind. */
export function keysAt(schema: JsonSchema, path: readonly (string | number)[], data: unknown): string[] {
  return [...new Set(nodesAt(schema, path, data).flatMap((node) => Object.keys(node.properties ?? {})))];
}

/** True when a number with a fraction may stand at `path` of `data`. */
export function takesFractions(schema: JsonSchema, path: readonly (string | number)[], data: unknown): boolean {
  return nodesAt(schema, path, data).some(({ type }) => type === 'number');
}

function nodesAt(schema: JsonSchema, path: readonly (string | number)[], data: unknown): readonly JsonSchema[] {
  let nodes: readonly JsonSchema[] = alternatives(schema, data);
  let value = data;
  for (const step of path) {
    value = (value as Record<string | number, unknown> | null | undefined)?.[step];
    nodes = nodes.flatMap((node) => child(node, step)).flatMap((node) => alternatives(node, value));
  }
  return nodes;
}

function child(node: JsonSchema, step: string | number): JsonSchema[] {
  if (typeof step === 'number') return node.items === undefined ? [] : [node.items];
  const named = node.properties?.[step];
  if (named !== undefined) return [named];
  return typeof node.additionalProperties === 'object' ? [node.additionalProperties] : [];
}

function alternatives(node: JsonSchema, value: unknown): JsonSchema[] {
  const parts = node.oneOf ?? node.anyOf;
  if (parts === undefined) return [node];
  const map = (value ?? {}) as Readonly<Record<string, unknown>>;
  // A map whose key is one alternative's own word (`driver: tun`, `name: katran`) is that alternative.
  const matching = parts.filter((part) =>
    Object.entries(part.properties ?? {}).some(([key, { const: word }]) => word !== undefined && map[key] === word),
  );
  return (matching.length > 0 ? matching : parts).flatMap((part) => alternatives(part, value));
}
