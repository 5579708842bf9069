/** Reads a configuration file: text → document with places → schema → checks → compiled. */
import { checkDraft } from './checks/index.ts';
import { compile } from './compile.ts';
import type { Config } from './config.ts';
import { discoveryOf } from './discovery.ts';
import { SourceDocument } from './document.ts';
import { draftOf, salvage } from './draft.ts';
import { issuesToProblems } from './issue.ts';
import { ConfigError } from './problem.ts';
import { configSchema } from './schema.ts';
import { readSource } from './source.ts';

export { ConfigError } from './problem.ts';

/**
 * The configuration in `path`, checked and complete. Touches nothing but this file: no network, no resolver, no device.
 * @throws ConfigError (exit code 78) with every problem that was found, in the order of the file.
 */
export function loadConfig(path: string): Config {
  return loadText(readSource(path), path);
}

/** The same for a text that is already read; `file` is the name that problems bear. */
export function loadText(text: string, file: string): Config {
  const document = new SourceDocument(file, text);
  if (document.problems.length > 0) throw new ConfigError(file, document.problems);
  const parsed = configSchema.safeParse(document.data);
  if (!parsed.success) {
    const problems = issuesToProblems(parsed.error.issues, document);
    throw new ConfigError(file, [...problems, ...checkDraft(salvage(document.data), document)]);
  }
  const problems = checkDraft(draftOf(parsed.data), document);
  if (problems.some((problem) => problem.severity === 'error')) throw new ConfigError(file, problems);
  const config = compile(parsed.data, file, problems);
  return { ...config, text, discovery: discoveryOf(parsed.data, document, config.spec) };
}
