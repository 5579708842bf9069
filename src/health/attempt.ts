/** The frame of a probe that uses a socket: begins, ends once, by its answer, its time or its end, and leaves nothing open. */
import { performance } from 'node:perf_hooks';
import { noAnswer } from './check-run.ts';
import type { ProbeOutcome } from './probe.ts';

/** Ends the attempt; only the first call counts. */
export type End = (ok: boolean, detail: string) => void;

export interface Attempt {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** When the time is over without an end; by default bad, "no answer within 1 s". */
  readonly silence?: (end: End) => void;
}

/** Characters of what a check found. */
const MOST_DETAIL = 200;

/** Some of it is a worker's own words, a certificate's name for one, and all of it is printed on terminals: without control characters, and not long. */
function printable(detail: string): string {
  const clean = detail.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\ufffd');
  return clean.length <= MOST_DETAIL ? clean : `${clean.slice(0, MOST_DETAIL - 1)}…`;
}

/**
 * Runs one attempt. `begin` opens what it needs and returns what closes it again, which is called exactly once. Rejects what `begin` throws, and what
 * it hands to `fail`: faults of our own.
 */
export function attempt(
  { timeoutMs, signal, silence }: Attempt,
  begin: (end: End, fail: (error: unknown) => void) => () => void,
): Promise<ProbeOutcome> {
  return new Promise((resolve, reject) => {
    const from = performance.now();
    let close: (() => void) | null = null;
    let over = false;
    const finish = (settle: () => void): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', ended);
      close?.();
      settle();
    };
    const end: End = (ok, detail) =>
      finish(() => resolve({ ok, detail: printable(detail), milliseconds: performance.now() - from }));
    const ended = (): void => end(false, 'ended');
    const timer = setTimeout(() => (silence ?? ((e: End) => e(false, noAnswer(timeoutMs / 1000))))(end), timeoutMs);
    signal.addEventListener('abort', ended);
    if (signal.aborted) {
      ended();
      return;
    }
    try {
      const opened = begin(end, (error) => finish(() => reject(error as Error)));
      close = opened;
      if (over) opened();
    } catch (error) {
      finish(() => reject(error as Error));
    }
  });
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection reset',
  EHOSTUNREACH: 'host unreachable',
  EHOSTDOWN: 'host unreachable',
  ENETUNREACH: 'network unreachable',
  ETIMEDOUT: 'no answer from the host',
  EPROTO: 'no TLS',
};

/** What an error of a socket says about the worker; null: nothing, the fault is ours (no descriptor, no port, a firewall of this host). */
export function errorWords(error: unknown): string | null {
  const { code = '' } = error as NodeJS.ErrnoException;
  return WORDS[code] ?? null;
}

/** Bytes as people read them, at most `most`: text in quotes, or hexadecimal. */
export function excerpt(bytes: Uint8Array, most = 40): string {
  const part = bytes.subarray(0, most);
  const more = bytes.length > most ? '…' : '';
  const isText = part.every((byte) => (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x0d);
  return isText
    ? `${JSON.stringify(Buffer.from(part).toString('latin1'))}${more}`
    : `${Buffer.from(part).toString('hex')}${more}`;
}

/** `answer` is long enough to say whether it begins with `wanted`: true or false; null while it is not. */
export function beginsWith(answer: Uint8Array, wanted: Uint8Array): boolean | null {
  const length = Math.min(answer.length, wanted.length);
  for (let i = 0; i < length; i++) if (answer[i] !== wanted[i]) return false;
  return answer.length >= wanted.length ? true : null;
}
