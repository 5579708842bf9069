/** The PEM files of a check, read again now and then: certificates are renewed while we run. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { CodedError } from '../base/errors.ts';
import type { TlsSpec } from './spec.ts';

/** Milliseconds; the second while what was read last is of no use. */
const READ_EVERY = 60_000;
const READ_AGAIN = 5000;

export class TlsFiles {
  readonly #tls: TlsSpec;
  readonly #stale: (error: CodedError) => void;
  #context: SecureContext | null = null;
  #readAt = 0;
  #failed = false;

  /** `stale`: files that were good before are not now, and what they held goes on being used; told at each such reading. */
  constructor(tls: TlsSpec, stale: (error: CodedError) => void = () => {}) {
    this.#tls = tls;
    this.#stale = stale;
  }

  /** `now` in milliseconds. Throws GD_HEALTH_TLS_FILE when files that never were good can not be read, or hold no certificate or key. */
  context(now: number): SecureContext {
    if (this.#context !== null && now - this.#readAt < (this.#failed ? READ_AGAIN : READ_EVERY)) return this.#context;
    this.#readAt = now;
    try {
      this.#context = readContext(this.#tls);
      this.#failed = false;
    } catch (error) {
      if (this.#context === null || !(error instanceof CodedError)) throw error;
      this.#failed = true;
      this.#stale(error);
    }
    return this.#context;
  }
}

type Paths = Pick<TlsSpec, 'ca' | 'certificate' | 'key'>;

/** What the files hold. Throws GD_HEALTH_TLS_FILE. */
export function readContext(paths: Paths): SecureContext {
  const ca = readRoots(paths.ca);
  return contextOf(paths, { ca, cert: read(paths.certificate), key: read(paths.key) });
}

/** What is wrong with the files, by the key that names them; empty when they are of use. */
export function tlsObjections(paths: Paths): (readonly [key: keyof Paths, message: string])[] {
  const { ca, certificate, key } = paths;
  const found = [
    ...objection('ca', () => readRoots(ca)),
    ...objection('certificate', () => read(certificate)),
    ...objection('key', () => read(key)),
  ];
  return found.length > 0 ? found : objection('certificate', () => readContext({ ca: null, certificate, key }));
}

function objection(key: keyof Paths, act: () => unknown): (readonly [keyof Paths, string])[] {
  try {
    act();
    return [];
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return [[key, error.message]];
  }
}

function contextOf({ certificate, key }: Paths, parts: Readonly<Record<'ca' | 'cert' | 'key', Buffer | null>>): SecureContext {
  try {
    return createSecureContext(Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== null)));
  } catch (error) {
    throw unusable(`${certificate}, ${key}`, error, `openssl x509 -noout -subject -in ${certificate}`);
  }
}

/** OpenSSL takes a file without a certificate in it for no roots at all, in silence. */
function readRoots(path: string | null): Buffer | null {
  const bytes = read(path);
  if (bytes === null) return null;
  try {
    new X509Certificate(bytes);
    return bytes;
  } catch (error) {
    throw unusable(`${path}`, error, `openssl x509 -noout -subject -in ${path}`);
  }
}

function unusable(names: string, error: unknown, hint: string): CodedError {
  return new CodedError('GD_HEALTH_TLS_FILE', `a TLS check can not use ${names}: ${(error as Error).message}`, { hint });
}

function read(path: string | null): Buffer | null {
  if (path === null) return null;
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CodedError('GD_HEALTH_TLS_FILE', `a TLS check can not read ${path}: ${code}`, { hint: `ls -l ${path}` });
  }
}
