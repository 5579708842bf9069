// A validator for the part of JSON Schema that grafana-dashboard.schema.json is written in. A keyword that it does not know is an error: nothing
// is accepted because it was not looked at.

export type Schema = Readonly<Record<string, unknown>>;

const KNOWN = new Set(
  '$schema $defs $ref title description type const enum required properties additionalProperties items minItems maxItems minimum maximum minLength pattern oneOf'.split(
    ' ',
  ),
);

/** What is wrong with `value`, a line each with its place; empty when it is valid. Throws RangeError on a schema that it can not read. */
export function problemsOf(schema: Schema, value: unknown, root: Schema = schema, at = '$'): string[] {
  for (const keyword of Object.keys(schema)) if (!KNOWN.has(keyword)) throw new RangeError(`${keyword} is not understood`);
  if (typeof schema.$ref === 'string') return problemsOf(resolved(root, schema.$ref), value, root, at);
  if (Array.isArray(schema.oneOf)) return ofOne(schema.oneOf as Schema[], value, root, at);
  if ('const' in schema && schema.const !== value) return [`${at} is not ${JSON.stringify(schema.const)}`];
  if (Array.isArray(schema.enum) && !schema.enum.includes(value))
    return [`${at}: ${JSON.stringify(value)} is none of ${schema.enum}`];
  if (typeof schema.type === 'string' && !isOf(schema.type, value)) return [`${at} is no ${schema.type}`];
  if (typeof value === 'string') return ofText(schema, value, at);
  if (typeof value === 'number') return ofNumber(schema, value, at);
  if (Array.isArray(value)) return ofList(schema, value, root, at);
  if (typeof value === 'object' && value !== null) return ofObject(schema, value as Schema, root, at);
  return [];
}

function resolved(root: Schema, reference: string): Schema {
  const found = (root.$defs as Record<string, Schema> | undefined)?.[reference.replace('#/$defs/', '')];
  if (found === undefined) throw new RangeError(`${reference} is not defined`);
  return found;
}

function isOf(type: string, value: unknown): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return typeof value === type;
}

/** Exactly one fits; otherwise the problems of the one that comes closest, which is the one with the fewest. */
function ofOne(choices: readonly Schema[], value: unknown, root: Schema, at: string): string[] {
  const found = choices.map((choice) => problemsOf(choice, value, root, at));
  const fitting = found.filter((problems) => problems.length === 0).length;
  if (fitting === 1) return [];
  return fitting > 1
    ? [`${at} fits several`]
    : found.reduce((least, problems) => (problems.length < least.length ? problems : least));
}

function ofText({ minLength, pattern }: Schema, value: string, at: string): string[] {
  if (typeof minLength === 'number' && value.length < minLength) return [`${at} is too short`];
  return typeof pattern === 'string' && !new RegExp(pattern).test(value) ? [`${at}: ${value} is not like ${pattern}`] : [];
}

function ofNumber({ minimum, maximum }: Schema, value: number, at: string): string[] {
  if (typeof minimum === 'number' && value < minimum) return [`${at} is less than ${minimum}`];
  return typeof maximum === 'number' && value > maximum ? [`${at} is more than ${maximum}`] : [];
}

function ofList({ minItems, maxItems, items }: Schema, value: readonly unknown[], root: Schema, at: string): string[] {
  if (typeof minItems === 'number' && value.length < minItems) return [`${at} has fewer than ${minItems}`];
  if (typeof maxItems === 'number' && value.length > maxItems) return [`${at} has more than ${maxItems}`];
  return items === undefined ? [] : value.flatMap((item, i) => problemsOf(items as Schema, item, root, `${at}[${i}]`));
}

function ofObject(schema: Schema, value: Schema, root: Schema, at: string): string[] {
  const { required = [], properties = {}, additionalProperties } = schema;
  const named = properties as Record<string, Schema>;
  const missing = (required as string[]).filter((key) => !(key in value)).map((key) => `${at} has no ${key}`);
  const inside = Object.entries(value).flatMap(([key, one]) => {
    const own = Object.hasOwn(named, key) ? named[key] : additionalProperties;
    if (own === false) return [`${at} has ${key}, which is not known`];
    return typeof own === 'object' ? problemsOf(own as Schema, one, root, `${at}.${key}`) : [];
  });
  return [...missing, ...inside];
}
