// The rows of docs/configuration.md as the schema gives them: `| key | value | default | meaning |`.

import type { JsonSchema } from '../../src/config/json-schema.ts';

export interface KeyRow {
  /** `pools.<name>.backends[].weight`; keys of a driver or scheme as `ingress(tun).device`. */
  readonly key: string;
  readonly row: string;
}

/** One row for each key, in the order of the schema. */
export function keyRows(schema: JsonSchema): KeyRow[] {
  return rowsOf(schema, '');
}

function rowsOf(schema: JsonSchema, at: string): KeyRow[] {
  const rows: KeyRow[] = [];
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const key = at === '' ? name : `${at}.${name}`;
    if (child.const === undefined) rows.push({ key, row: rowOf(key, child, schema.required?.includes(name) ?? false) });
    rows.push(...below(child, key));
  }
  return rows;
}

/** `list`: '[]' behind a key that is a list of maps of several kinds. */
function below(schema: JsonSchema, key: string, list = ''): KeyRow[] {
  if (schema.items?.properties !== undefined) return rowsOf(schema.items, `${key}[]`);
  if (schema.items?.oneOf !== undefined) return below(schema.items, key, '[]');
  if (typeof schema.additionalProperties === 'object') return rowsOf(schema.additionalProperties, `${key}.<name>`);
  const kinds = schema.oneOf ?? schema.anyOf?.find(({ oneOf }) => oneOf !== undefined)?.oneOf;
  if (kinds !== undefined) {
    return kinds.flatMap((part) => {
      const [word, kind] = Object.entries(part.properties ?? {}).find(([, child]) => child.const !== undefined) ?? [];
      const inside = `${key}(${kind?.const})${list}`;
      return [
        { key: inside, row: `| \`${key}${list}\`, \`${word}: ${kind?.const}\` | | | ${part.description} |` },
        ...rowsOf(part, inside),
      ];
    });
  }
  return rowsOf(mapAmong(schema) ?? schema, key);
}

/** The map among the kinds of value that a key may have: `off` or a map. */
function mapAmong(schema: JsonSchema): JsonSchema | undefined {
  return schema.anyOf?.find(({ properties }) => properties !== undefined);
}

function rowOf(key: string, schema: JsonSchema, required: boolean): string {
  const isMap =
    (schema.properties ?? schema.oneOf ?? mapAmong(schema)) !== undefined || typeof schema.additionalProperties === 'object';
  const standard = schema.default === undefined || isMap ? '' : `\`${String(schema.default)}\``;
  return `| \`${key}\` | ${valueText(schema)} | ${required ? '**required**' : standard} | ${schema.description} |`;
}

function valueText(schema: JsonSchema & { minimum?: number; maximum?: number }): string {
  if (schema.enum !== undefined) return schema.enum.map((word) => `\`${String(word)}\``).join(', ');
  const parts = schema.anyOf ?? [];
  if (parts.length > 0) {
    const kinds = parts.flatMap((part) => valueText(part).split(', '));
    return [...new Set(kinds)].join(', ');
  }
  const { minimum, maximum } = schema;
  if (schema.type === 'number') return `${minimum}–${maximum}`;
  if (schema.type === 'integer') {
    const bounded = minimum !== undefined && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER;
    return bounded ? `${minimum}–${maximum}` : 'number';
  }
  if (schema.type === 'array') return 'list';
  if (schema.type === 'object' || schema.oneOf !== undefined) return 'map';
  if (schema.type === 'boolean') return '`true`, `false`';
  return schema.type === 'null' ? '`null`' : 'text';
}
