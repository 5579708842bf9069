/** The PEM files of a check, read again now and then: certificates are renewed while we run. */
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { CodedError } from '../base/errors.ts';
import type { TlsSpec } from './spec.ts';

/** Milliseconds. */
const READ_EVERY = 60_000;

export class TlsFiles {
  readonly #tls: TlsSpec;
  #context: SecureContext | null = null;
  #readAt = 0;

  constructor(tls: TlsSpec) {
    this.#tls = tls;
  }

  /** `now` in milliseconds. Throws GD_HEALTH_TLS_FILE when a file can not be read, or holds no certificate or key. */
  context(now: number): SecureContext {
    if (this.#context !== null && now - this.#readAt < READ_EVERY) return this.#context;
    const { ca, certificate, key } = this.#tls;
    const parts = { ca: read(ca), cert: read(certificate), key: read(key) };
    try {
      this.#context = createSecureContext(Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== null)));
    } catch (error) {
      const names = [ca, certificate, key].filter((path) => path !== null).join(', ');
      throw new CodedError('GD_HEALTH_TLS_FILE', `a TLS check can not use ${names}: ${(error as Error).message}`, {
        hint: `openssl x509 -noout -subject -in ${certificate ?? ca}`,
      });
    }
    this.#readAt = now;
    return this.#context;
  }
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
