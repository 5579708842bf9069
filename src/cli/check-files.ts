/**
 * Files that a configuration's checks will read: `check` says which of them are of no use. Warnings: a configuration may be checked where they are not, and
 * a director starts without them (health/tls-files.ts).
 */
import type { Config } from '../config/config.ts';
import type { Problem } from '../config/problem.ts';

/** What is wrong with the files, at the keys that name them. */
export async function fileProblems(config: Config): Promise<readonly Problem[]> {
  const wanted = [...config.health].flatMap(([pool, { checks }]) =>
    checks.flatMap((check, i) =>
      check.type === 'https' && check.tls !== null ? [{ at: ['pools', pool, 'health', 'checks', i], tls: check.tls }] : [],
    ),
  );
  if (wanted.length === 0) return [];
  const { SourceDocument } = await import('../config/document.ts');
  const { readSource } = await import('../config/source.ts');
  const { tlsObjections } = await import('../health/tls-files.ts');
  const document = new SourceDocument(config.file, readSource(config.file));
  return wanted.flatMap(({ at, tls }) =>
    tlsObjections(tls).map(([key, message]) =>
      document.problem([...at, key], 'GD_CONFIG_HEALTH_TLS_FILE', message, 'warning'),
    ),
  );
}
