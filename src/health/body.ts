/** What a body must say. A regular expression runs under a time limit: the bytes it meets are the worker's. */
import { createContext, Script } from 'node:vm';
import type { BodySpec } from './spec.ts';

/** Of a body that is looked at. */
export const MOST_BODY = 65_536;
/** Milliseconds that a regular expression may run, on the thread that does everything but forwarding. */
const LONGEST_MATCH = 50;

const script = new Script('pattern.test(text)');
const context = createContext({ pattern: /^/u, text: '' });

/** null when the body is as wanted, else why not. */
export function bodyObjection(body: Uint8Array, wanted: BodySpec): string | null {
  const text = Buffer.from(body).toString('utf8');
  if ('contains' in wanted) {
    return text.includes(wanted.contains) ? null : `the body does not contain ${JSON.stringify(wanted.contains)}`;
  }
  context.pattern = new RegExp(wanted.matches, 'u');
  context.text = text;
  try {
    return script.runInContext(context, { timeout: LONGEST_MATCH }) === true
      ? null
      : `the body does not match /${wanted.matches}/`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    return `the pattern /${wanted.matches}/ took longer than ${LONGEST_MATCH} ms`;
  } finally {
    context.text = '';
  }
}
