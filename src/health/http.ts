/** Checks `http` and `https`: one request on a connection of its own, no redirects, and of the answer no more than is needed. */
import { type ClientRequest, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest, type RequestOptions as SecureRequestOptions } from 'node:https';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { formatAddress } from '../base/address.ts';
import type { CodedError } from '../base/errors.ts';
import { attempt, type End, errorWords } from './attempt.ts';
import { bodyObjection, MOST_BODY } from './body.ts';
import type { Probe } from './probe.ts';
import type { HttpCheckSpec } from './spec.ts';
import { TlsFiles } from './tls-files.ts';

const USUAL_PORT = { http: 80, https: 443 } as const;
/** Bytes of the headers of an answer. */
const MOST_HEADERS = 16_384;

/** `stale`: as TlsFiles has it. */
export function httpProbe(check: HttpCheckSpec, stale?: (error: CodedError) => void): Probe {
  const files = check.tls === null ? null : new TlsFiles(check.tls, stale);
  return {
    probe: ({ backend }, timeoutMs, signal) =>
      attempt({ timeoutMs, signal }, (end, fail) => {
        const request = open(check, formatAddress(backend.address), files);
        request.on('response', (response) => judge(response, check, end, fail));
        request.on('upgrade', (_, socket) => {
          socket.destroy();
          end(false, 'HTTP upgrade, which nobody asked for');
        });
        request.on('error', (error) => {
          const words = wordsOf(error);
          if (words === null) fail(error);
          else end(false, words);
        });
        request.end();
        return () => request.destroy();
      }),
  };
}

function open(check: HttpCheckSpec, address: string, files: TlsFiles | null): ClientRequest {
  const { type, port, method, path, host } = check;
  const bracketed = address.includes(':') ? `[${address}]` : address;
  const options: RequestOptions = {
    host: address,
    port,
    method,
    path,
    agent: false,
    setHost: false,
    maxHeaderSize: MOST_HEADERS,
    headers: {
      host: host ?? (port === USUAL_PORT[type] ? bracketed : `${bracketed}:${port}`),
      'user-agent': 'gue-director',
      accept: '*/*',
      connection: 'close',
      ...(method === 'POST' ? { 'content-length': 0 } : {}),
    },
  };
  if (files === null || check.tls === null) return httpRequest(options);
  const { verify, serverName } = check.tls;
  const secure: SecureRequestOptions & Pick<ConnectionOptions, 'secureContext'> = {
    ...options,
    secureContext: files.context(Date.now()),
    rejectUnauthorized: verify,
    // An address is no server name (RFC 6066 §3); without a name the address is what the certificate must be for.
    servername: serverName ?? nameOf(host),
  };
  return httpsRequest(secure);
}

/** The name in a header Host; empty when it is an address. */
function nameOf(host: string | null): string {
  const name = host?.replace(/:\d+$/, '') ?? '';
  return name.startsWith('[') || isIP(name) !== 0 ? '' : name;
}

function judge(response: IncomingMessage, { status, body }: HttpCheckSpec, end: End, fail: (error: unknown) => void): void {
  // It ends with an error when we close the connection; without a listener that would end the process.
  response.on('error', () => end(false, 'connection closed before the end of the answer'));
  const code = response.statusCode ?? 0;
  if (!status.some(({ from, to }) => code >= from && code <= to)) {
    end(false, `HTTP ${code}, wanted ${status.map(({ from, to }) => (from === to ? from : `${from}-${to}`)).join(', ')}`);
    return;
  }
  if (body === null) {
    end(true, `HTTP ${code}`);
    return;
  }
  const pieces: Buffer[] = [];
  let length = 0;
  const look = (): void => {
    try {
      const objection = bodyObjection(Buffer.concat(pieces).subarray(0, MOST_BODY), body);
      end(objection === null, objection === null ? `HTTP ${code}, the body is as wanted` : `HTTP ${code}, but ${objection}`);
    } catch (error) {
      fail(error);
    }
  };
  response.on('data', (piece: Buffer) => {
    pieces.push(piece);
    length += piece.length;
    if (length >= MOST_BODY) look();
  });
  response.on('end', look);
}

function wordsOf(error: Error): string | null {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (error.message === 'socket hang up') return 'connection closed before the answer';
  if (code.startsWith('HPE_')) return `the answer is not HTTP: ${error.message.replace(/^Parse Error: /, '')}`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `certificate for another name: ${(error as { reason?: string }).reason}`;
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') return `TLS failed: ${tlsReason(error)}`;
  if (isCertificateError(code)) return `certificate refused: ${error.message}`;
  return errorWords(error);
}

/** The codes of X509_verify_cert_error_string as Node names them (src/crypto/crypto_common.cc). */
function isCertificateError(code: string): boolean {
  return /CERT|^UNABLE_TO_|^CRL_|^INVALID_CA$|^PATH_LENGTH_EXCEEDED$|^INVALID_PURPOSE$|^HOSTNAME_MISMATCH$/.test(code);
}

function tlsReason(error: Error): string {
  const { reason, message } = error as Error & { reason?: string };
  return reason ?? message.split('\n', 1)[0].slice(0, 120);
}
