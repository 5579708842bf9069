// What a PromQL expression names: metrics with the labels that are asked of them, and the labels that it groups and joins by. No more of the
// language than that; whether an expression is one, promtool says.

export interface Selector {
  readonly metric: string;
  readonly labels: readonly string[];
}

export interface Names {
  readonly selectors: readonly Selector[];
  /** Of by, without, on, ignoring, group_left and group_right. */
  readonly grouping: readonly string[];
}

const GROUPING = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right']);
const WORDS = new Set(['and', 'or', 'unless', 'bool', 'offset', 'atan2', 'inf', 'nan', 'start', 'end']);
const TOKEN = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\[[^\]]*\]|\d[\w.]*|[A-Za-z_:][\w:]*|[{}(),]|\s+|[^\s]/g;

/** Throws RangeError on a metric that is named by a matcher on `__name__` or by none. */
export function namesIn(expression: string): Names {
  const tokens = (expression.match(TOKEN) ?? []).filter((token) => token.trim() !== '');
  const selectors: { metric: string; labels: string[] }[] = [];
  const grouping: string[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    if (token === '{') throw new RangeError(`a selector without a metric in ${expression}`);
    if (!/^[A-Za-z_:]/.test(token) || WORDS.has(token.toLowerCase())) continue;
    const next = tokens[i + 1];
    if (GROUPING.has(token)) {
      if (next !== '(') continue;
      for (i += 2; tokens[i] !== ')'; i++) if (tokens[i] !== ',') grouping.push(tokens[i]);
    } else if (next === '{') {
      const labels: string[] = [];
      for (i += 2; tokens[i] !== '}'; i++) {
        if (/^[A-Za-z_]/.test(tokens[i])) labels.push(tokens[i]);
      }
      if (labels.includes('__name__')) throw new RangeError(`a metric named by a matcher in ${expression}`);
      selectors.push({ metric: token, labels });
    } else if (next !== '(' && !GROUPING.has(next)) {
      selectors.push({ metric: token, labels: [] });
    }
  }
  return { selectors, grouping };
}

const OF_PROMETHEUS = ['job', 'instance'];

/** What is wrong with the names in an expression, as sentences: a metric or label that is not promised. */
export function unknownNames(
  expression: string,
  promised: ReadonlyMap<string, { readonly labels: readonly string[] }>,
): readonly string[] {
  const { selectors, grouping } = namesIn(expression);
  const problems: string[] = [];
  const known = new Set(OF_PROMETHEUS);
  for (const { metric, labels } of selectors) {
    // `up` is Prometheus' own.
    const family =
      metric === 'up' ? { labels: [] } : (promised.get(metric) ?? promised.get(metric.replace(/_(bucket|sum|count)$/, '')));
    if (family === undefined) {
      problems.push(`${metric} does not exist`);
      continue;
    }
    for (const label of family.labels) known.add(label);
    const odd = labels.filter((label) => !OF_PROMETHEUS.includes(label) && !family.labels.includes(label));
    problems.push(...odd.map((label) => `${metric} has no label ${label}`));
  }
  problems.push(
    ...grouping.filter((label) => !known.has(label)).map((label) => `no metric of the expression has a label ${label}`),
  );
  if (selectors.length === 0) problems.push('it names no metric');
  return problems;
}
