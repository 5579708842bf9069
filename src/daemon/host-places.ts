/** Where in a configuration file stands what the host can not bear: the service of a prefix, the key of a tunnel source. */
import { sameAddress } from '../base/address.ts';
import type { CodedError } from '../base/errors.ts';
import { parseAnyAddress } from '../config/address.ts';
import type { Config } from '../config/config.ts';
import { SourceDocument } from '../config/document.ts';
import type { Path, Problem } from '../config/problem.ts';
import { PlacedError } from '../control/reloader.ts';
import { HostRefusal } from '../host/checks.ts';
import type { Finding } from '../host/finding.ts';

/** The same refusal with file, line and column, where one of its findings has a place; else what came in. */
export function placed(error: unknown, { file, text }: Config): unknown {
  if (!(error instanceof HostRefusal)) return error;
  const document = new SourceDocument(file, text);
  const problems = error.findings.flatMap((finding): Problem[] => {
    const path = placeOf(finding, document.data);
    return path === null ? [] : [document.problem(path, error.code, finding.text)];
  });
  const { code, message, exitCode, hint } = error as CodedError;
  return problems.length === 0 ? error : new PlacedError(code, message, { exitCode, hint, cause: error }, problems);
}

function placeOf({ service, source }: Finding, data: unknown): Path | null {
  const { services, pools, tunnel } = (data ?? {}) as { services?: unknown; pools?: unknown; tunnel?: unknown };
  if (service !== undefined && Array.isArray(services)) {
    const index = services.findIndex((one: { name?: unknown } | null) => one?.name === service);
    if (index >= 0) return ['services', index, 'address'];
  }
  if (source === undefined) return null;
  const holders: [Path, unknown][] = [
    [['tunnel'], tunnel],
    ...Object.entries((pools ?? {}) as Record<string, { tunnel?: unknown } | null>).map(([name, pool]): [Path, unknown] => [
      ['pools', name, 'tunnel'],
      pool?.tunnel,
    ]),
  ];
  for (const [at, value] of holders) {
    const written = (value as { source?: Record<string, unknown> } | null | undefined)?.source ?? {};
    for (const [family, address] of Object.entries(written)) {
      const parsed = typeof address === 'string' ? parseAnyAddress(address).value : null;
      if (parsed !== null && sameAddress(parsed, source)) return [...at, 'source', family];
    }
  }
  return null;
}
