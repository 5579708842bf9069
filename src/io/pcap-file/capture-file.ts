/** A capture file that packets of a batch are appended to: one write per batch. */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { Batch } from '../../base/batch.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { CodedError } from '../../base/errors.ts';
import { VERDICT_DROP, VERDICT_REPLY } from '../../base/verdict.ts';
import { PCAP_FILE_HEADER_LENGTH, PCAP_RECORD_HEADER_LENGTH, writeFileHeader, writeRecordHeader } from '../../wire/pcap.ts';

const SEND_FAILED = dropReason('send-failed');
const REPLY_FAILED = dropReason('reply-failed');

export class CaptureFile {
  /** What the last failed write said; '' when none failed. */
  lastError = '';
  readonly #descriptor: number;
  #buffer = new Uint8Array(256 * 1024);
  #open = true;

  /** Creates or empties the file and writes its header. Throws CodedError GD_IO_PCAP_WRITE. */
  constructor(path: string, linkType: number) {
    const header = new DataView(new ArrayBuffer(PCAP_FILE_HEADER_LENGTH));
    writeFileHeader(header, 0, linkType);
    const refused = (error: unknown) =>
      new CodedError('GD_IO_PCAP_WRITE', `${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    try {
      this.#descriptor = openSync(path, 'w');
    } catch (error) {
      throw refused(error);
    }
    try {
      this.#writeAll(new Uint8Array(header.buffer), header.byteLength);
    } catch (error) {
      closeSync(this.#descriptor);
      throw refused(error);
    }
  }

  /** Appends the packets (outAt, outLength) whose verdict is `verdict`. When the write fails they become drops, with a reason. */
  write(batch: Batch, verdict: number): void {
    const now = Date.now();
    const seconds = Math.floor(now / 1000);
    const nanoseconds = (now % 1000) * 1e6;
    let need = 0;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] === verdict) need += PCAP_RECORD_HEADER_LENGTH + batch.outLength[i];
    }
    if (need === 0) return;
    if (need > this.#buffer.length) this.#buffer = new Uint8Array(need * 2);
    const view = new DataView(this.#buffer.buffer);
    let at = 0;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== verdict) continue;
      const length = batch.outLength[i];
      writeRecordHeader(view, at, seconds, nanoseconds, length, length);
      this.#buffer.set(batch.arena.bytes.subarray(batch.outAt[i], batch.outAt[i] + length), at + PCAP_RECORD_HEADER_LENGTH);
      at += PCAP_RECORD_HEADER_LENGTH + length;
    }
    try {
      this.#writeAll(this.#buffer, at);
    } catch (error) {
      // Disk full, for one: what was not written was not sent.
      this.lastError = error instanceof Error ? error.message : String(error);
      for (let i = 0; i < batch.count; i++) {
        if (batch.verdict[i] !== verdict) continue;
        batch.verdict[i] = VERDICT_DROP;
        batch.reason[i] = verdict === VERDICT_REPLY ? REPLY_FAILED : SEND_FAILED;
      }
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#descriptor);
  }

  #writeAll(bytes: Uint8Array, length: number): void {
    for (let at = 0; at < length; ) at += writeSync(this.#descriptor, bytes, at, length - at);
  }
}
