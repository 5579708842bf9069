/** A capture file read through a window that moves forward with its reader: what it holds does not grow with the file. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { CodedError } from '../../base/errors.ts';
import { CaptureInMemory, type CaptureSource } from '../../wire/capture-source.ts';
import { formatError, truncatedError } from '../../wire/pcap.ts';

const WINDOW = 1 << 20;
/** Bytes of one record at most: 256 of the largest packets that there are. Whoever claims more lies, and is not believed with memory. */
const MOST_RECORD = 16 << 20;

export class CaptureWindow implements CaptureSource {
  readonly size: number;
  bytes = new Uint8Array(WINDOW);
  view = new DataView(this.bytes.buffer);
  readonly #name: string;
  readonly #descriptor: number;
  /** Offset in the file of the window's first byte, and how many bytes of it are the file's. */
  #from = 0;
  #filled = 0;

  /** `descriptor` is a regular file's of `size` bytes, and stays its opener's. */
  constructor(descriptor: number, size: number, name: string) {
    this.#descriptor = descriptor;
    this.size = size;
    this.#name = name;
  }

  /** Throws CodedError GD_WIRE_CAPTURE_FORMAT, GD_WIRE_CAPTURE_TRUNCATED when the file has become shorter, or GD_IO_PCAP_READ. */
  reach(at: number, length: number): number {
    const place = at - this.#from;
    if (place >= 0 && place + length <= this.#filled) return place;
    return this.#load(at, length);
  }

  #load(at: number, length: number): number {
    if (length > MOST_RECORD) throw formatError(this.#name, at, `a record of ${length} bytes; up to ${MOST_RECORD} are read`);
    const place = at - this.#from;
    const kept = place >= 0 && place < this.#filled ? this.bytes.subarray(place, this.#filled) : new Uint8Array(0);
    let into = this.bytes;
    if (into.length < length) {
      into = new Uint8Array(Math.max(length, 2 * into.length));
      this.view = new DataView(into.buffer);
    }
    into.set(kept);
    this.bytes = into;
    this.#from = at;
    this.#filled = kept.length;
    while (this.#filled < length) {
      const read = this.#read();
      if (read === 0) throw truncatedError(this.#name, at, 'the file has become shorter since it was opened');
      this.#filled += read;
    }
    return 0;
  }

  #read(): number {
    const { bytes } = this;
    try {
      return readSync(this.#descriptor, bytes, this.#filled, bytes.length - this.#filled, this.#from + this.#filled);
    } catch (error) {
      throw readError(this.#name, error as Error);
    }
  }
}

/**
 * The file's bytes: through a window where it is a regular file, which stays open until `close`; all of them, kept in memory, where it is a pipe, which can be
 * read only once. Throws CodedError GD_IO_PCAP_READ.
 */
export function openCaptureFile(path: string): { source: CaptureSource; close(): void } {
  let descriptor = -1;
  try {
    descriptor = openSync(path, 'r');
    const file = fstatSync(descriptor);
    if (!file.isFile()) {
      const source = new CaptureInMemory(readFileSync(descriptor));
      closeSync(descriptor);
      return { source, close() {} };
    }
    const source = new CaptureWindow(descriptor, file.size, path);
    return { source, close: closeOnce(descriptor) };
  } catch (error) {
    if (descriptor >= 0) closeSync(descriptor);
    throw readError(path, error as Error);
  }
}

function closeOnce(descriptor: number): () => void {
  let isOpen = true;
  return () => {
    if (isOpen) closeSync(descriptor);
    isOpen = false;
  };
}

function readError(path: string, cause: Error): CodedError {
  return new CodedError('GD_IO_PCAP_READ', `${path}: ${cause.message}`, { cause });
}
