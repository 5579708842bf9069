/** Reads a configuration file as text, with every way that this can fail told apart. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { ConfigError, type Problem } from './problem.ts';

/** A file of 4,000 backends has about 0.3 MiB; something of this size is not a configuration. */
export const MAX_FILE_BYTES = 16 * 1024 * 1024;

/**
 * Text of the file (UTF-8; a byte order mark is dropped).
 * @throws ConfigError with one problem: GD_CONFIG_FILE_MISSING, _UNREADABLE, _TOO_BIG, _ENCODING, _EMPTY.
 */
export function readSource(file: string): string {
  const bytes = readBytes(file);
  const bad = invalidUtf8At(bytes);
  if (bad >= 0) {
    const before = bytes.subarray(0, bad);
    const line = before.reduce((lines, byte) => lines + (byte === 0x0a ? 1 : 0), 1);
    const column = new TextDecoder().decode(before.subarray(before.lastIndexOf(0x0a) + 1)).length + 1;
    const hex = bytes[bad].toString(16).padStart(2, '0');
    throw refused(file, 'GD_CONFIG_FILE_ENCODING', `is not UTF-8 text: byte 0x${hex} at offset ${bad}`, line, column);
  }
  const text = new TextDecoder('utf-8').decode(bytes);
  if (text.trim() === '') {
    throw refused(file, 'GD_CONFIG_FILE_EMPTY', 'is empty; config/director.yaml of the package is a commented example');
  }
  return text;
}

function readBytes(file: string): Uint8Array {
  let descriptor: number;
  try {
    refuseWaiting(file);
    descriptor = openSync(file, 'r');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const errno = (error as NodeJS.ErrnoException).code;
    if (errno === 'ENOENT' || errno === 'ENOTDIR') {
      throw refused(file, 'GD_CONFIG_FILE_MISSING', 'does not exist; name the file with --config FILE');
    }
    throw refused(file, 'GD_CONFIG_FILE_UNREADABLE', `can not be opened: ${errno ?? String(error)}`);
  }
  try {
    const status = fstatSync(descriptor);
    if (status.isDirectory()) throw refused(file, 'GD_CONFIG_FILE_UNREADABLE', 'is a directory');
    if (status.size > MAX_FILE_BYTES) throw tooBig(file, `has ${status.size} bytes`);
    return readAll(descriptor, file);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const errno = (error as NodeJS.ErrnoException).code;
    throw refused(file, 'GD_CONFIG_FILE_UNREADABLE', `can not be read: ${errno ?? String(error)}`);
  } finally {
    closeSync(descriptor);
  }
}

/** What this process was started with, by its name: `check /dev/stdin` at the end of a pipe, `check <(generate)`. */
const INHERITED = /^\/(?:dev\/(?:stdin|fd\/\d+)|proc\/self\/fd\/\d+)$/;

/** Opening a named pipe waits until somebody opens its other end, which may be never. */
function refuseWaiting(file: string): void {
  if (!statSync(file).isFIFO() || INHERITED.test(file)) return;
  throw refused(file, 'GD_CONFIG_FILE_UNREADABLE', 'is a named pipe, whose reader waits for a writer; use a file or /dev/stdin');
}

/** To its end, whatever it is: a device tells no size, and some have no end. */
function readAll(descriptor: number, file: string): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (let total = 0; ; ) {
    const piece = new Uint8Array(64 * 1024);
    const length = readSync(descriptor, piece);
    if (length === 0) return Buffer.concat(pieces, total);
    pieces.push(piece.subarray(0, length));
    total += length;
    if (total > MAX_FILE_BYTES) throw tooBig(file, `has more than ${MAX_FILE_BYTES} bytes`);
  }
}

function tooBig(file: string, what: string): ConfigError {
  return refused(file, 'GD_CONFIG_FILE_TOO_BIG', `${what}; a configuration may have ${MAX_FILE_BYTES}`);
}

function refused(file: string, code: string, message: string, line = 1, column = 1): ConfigError {
  const problem: Problem = { file, line, column, path: '', message: `the file ${message}`, code, severity: 'error' };
  return new ConfigError(file, [problem]);
}

/** Offset of the first byte that is not well-formed UTF-8 (RFC 3629 §4), −1 when all are. */
function invalidUtf8At(bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; ) {
    const lead = bytes[i];
    if (lead < 0x80) {
      i++;
      continue;
    }
    const length = lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
    if (length === 0 || i + length > bytes.length) return i;
    const second = bytes[i + 1];
    // The second byte is narrower after E0 (overlong), ED (surrogates), F0 (overlong) and F4 (above U+10FFFF).
    const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    if (second < low || second > high) return i;
    for (let k = 2; k < length; k++) if ((bytes[i + k] & 0xc0) !== 0x80) return i;
    i += length;
  }
  return -1;
}
