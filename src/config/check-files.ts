/**
 * Files that a configuration's health checks will read: `check` says which of them are of no use. Warnings: a configuration may be checked where they are
 * not, and a director starts without them (health/tls-files.ts).
 */
import type { TlsSpec } from '../health/spec.ts';
import type { Config } from './config.ts';
import { SourceDocument } from './document.ts';
import type { Problem } from './problem.ts';

/** What is wrong with the files, at the keys of `text` (that of the configuration) that name them; `objections` looks at those of one check. */
export function fileProblems(
  config: Config,
  text: string,
  objections: (tls: TlsSpec) => readonly (readonly [key: string, message: string])[],
): readonly Problem[] {
  const wanted = [...config.health].flatMap(([pool, { checks }]) =>
    checks.flatMap((check, i) =>
      check.type === 'https' && check.tls !== null ? [{ at: ['pools', pool, 'health', 'checks', i], tls: check.tls }] : [],
    ),
  );
  if (wanted.length === 0) return [];
  const document = new SourceDocument(config.file, text);
  return wanted.flatMap(({ at, tls }) =>
    objections(tls).map(([key, message]) => document.problem([...at, key], 'GD_CONFIG_HEALTH_TLS_FILE', message, 'warning')),
  );
}
