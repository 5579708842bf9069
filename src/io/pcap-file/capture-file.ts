/** A capture file that packets of a batch are appended to: one write per batch. */
import { closeSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import type { Batch } from '../../base/batch.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { CodedError } from '../../base/errors.ts';
import { segmentBytes } from '../../base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_REPLY } from '../../base/verdict.ts';
import { PCAP_FILE_HEADER_LENGTH, PCAP_RECORD_HEADER_LENGTH, writeFileHeader, writeRecordHeader } from '../../wire/pcap.ts';

const SEND_FAILED = dropReason('send-failed');
const REPLY_FAILED = dropReason('reply-failed');

export class CaptureFile {
  /** errno of the last write that failed; 0 when none did. */
  lastErrno = 0;
  readonly #path: string;
  readonly #descriptor: number;
  /** Not a pipe or a terminal: what was written can be taken back. */
  readonly #regular: boolean;
  /** Bytes of the file header and of whole records. */
  #length = 0;
  /** Ends inside a record that could not be taken back: whatever followed would be read as its rest. */
  #torn = false;
  #failure: Error | null = null;
  #buffer = new Uint8Array(256 * 1024);
  #open = true;

  /** Creates or empties the file and writes its header. Throws CodedError GD_IO_PCAP_WRITE. */
  constructor(path: string, linkType: number) {
    this.#path = path;
    try {
      this.#descriptor = openSync(path, 'w');
    } catch (error) {
      throw writeError(path, error as Error);
    }
    this.#regular = fstatSync(this.#descriptor).isFile();
    const header = new DataView(new ArrayBuffer(PCAP_FILE_HEADER_LENGTH));
    writeFileHeader(header, 0, linkType);
    if (this.#append(new Uint8Array(header.buffer), header.byteLength) < header.byteLength) {
      closeSync(this.#descriptor);
      throw writeError(path, this.#failure!);
    }
    this.#length = header.byteLength;
  }

  /** GD_IO_PCAP_WRITE of the last write that failed, null when none did. */
  get failure(): CodedError | null {
    return this.#failure === null ? null : writeError(this.#path, this.#failure);
  }

  /**
   * Appends the packets (outAt, outLength) whose verdict is `verdict`, with the time of their capture, or of now where they are live.
   * When the write fails, the file keeps the records that are whole; the other packets become drops, with a reason.
   */
  write(batch: Batch, verdict: number): void {
    let need = 0;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] === verdict) need += recordBytes(batch, i);
    }
    if (need === 0) return;
    if (need > this.#buffer.length) this.#buffer = new Uint8Array(need * 2);
    this.#layOut(batch, verdict);
    const written = this.#torn ? 0 : this.#append(this.#buffer, need);
    if (written === need) this.#length += need;
    else this.#giveUp(batch, verdict, written);
  }

  /** Appends the batch's answers, each with the time of the packet that it answers. What can not be written is counted in `answersLost`. */
  writeAnswers(batch: Batch): void {
    let need = 0;
    for (let a = 0; a < batch.answers; a++) need += PCAP_RECORD_HEADER_LENGTH + batch.answerLength[a];
    if (need > this.#buffer.length) this.#buffer = new Uint8Array(need * 2);
    const view = new DataView(this.#buffer.buffer);
    const now = batch.captureTimes === null ? Date.now() : 0;
    let at = 0;
    for (let a = 0; a < batch.answers; a++) {
      const length = batch.answerLength[a];
      const bytes = batch.arena.bytes.subarray(batch.answerAt[a], batch.answerAt[a] + length);
      at = this.#layRecord(view, at, batch, batch.answerTo[a], now, bytes);
    }
    const written = this.#torn ? 0 : this.#append(this.#buffer, need);
    let whole = 0;
    for (let a = 0, end = 0; a < batch.answers; a++) {
      end += PCAP_RECORD_HEADER_LENGTH + batch.answerLength[a];
      if (end <= written) whole = end;
      else batch.answersLost++;
    }
    this.#keepWhole(whole, written);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#descriptor);
  }

  /** The records of the batch into the buffer. */
  #layOut(batch: Batch, verdict: number): void {
    const now = batch.captureTimes === null ? Date.now() : 0;
    const view = new DataView(this.#buffer.buffer);
    let at = 0;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== verdict) continue;
      for (let k = 0; k < batch.segmentCount[i]; k++) at = this.#layRecord(view, at, batch, i, now, segmentBytes(batch, i, k));
    }
  }

  /** One record of packet `i`'s time, or of `now` (milliseconds) where packets are live, at `at`. Returns where the next one goes. */
  #layRecord(view: DataView, at: number, batch: Batch, i: number, now: number, bytes: Uint8Array): number {
    const times = batch.captureTimes;
    const seconds = times === null ? Math.floor(now / 1000) : times.seconds[i];
    const nanoseconds = times === null ? (now % 1000) * 1e6 : times.nanoseconds[i];
    writeRecordHeader(view, at, seconds, nanoseconds, bytes.length, bytes.length);
    this.#buffer.set(bytes, at + PCAP_RECORD_HEADER_LENGTH);
    return at + PCAP_RECORD_HEADER_LENGTH + bytes.length;
  }

  /** Bytes that were written: fewer than `length` when the kernel refused the rest, and then it is kept why. */
  #append(bytes: Uint8Array, length: number): number {
    let at = 0;
    try {
      // At a place, not where the last write ended: after one that was taken back that is behind the end.
      while (at < length) at += writeSync(this.#descriptor, bytes, at, length - at, this.#regular ? this.#length + at : null);
    } catch (error) {
      this.#remember(error as NodeJS.ErrnoException);
    }
    return at;
  }

  /** Of the batch's records only `written` bytes got into the file: ends it with the last whole one; the other packets are not sent. */
  #giveUp(batch: Batch, verdict: number, written: number): void {
    let end = 0;
    let whole = 0;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== verdict) continue;
      end += recordBytes(batch, i);
      if (end <= written) {
        whole = end;
        continue;
      }
      batch.verdict[i] = VERDICT_DROP;
      batch.reason[i] = verdict === VERDICT_REPLY ? REPLY_FAILED : SEND_FAILED;
    }
    this.#keepWhole(whole, written);
  }

  /** Of the `written` bytes of the last append, `whole` bytes are whole records: the file ends with the last of them. */
  #keepWhole(whole: number, written: number): void {
    this.#length += whole;
    if (written === whole) return;
    this.#torn = !this.#regular;
    if (this.#torn) return;
    try {
      ftruncateSync(this.#descriptor, this.#length);
    } catch (error) {
      this.#torn = true;
      this.#remember(error as NodeJS.ErrnoException);
    }
  }

  #remember(error: NodeJS.ErrnoException): void {
    // libuv's numbers are negative.
    this.lastErrno = Math.abs(error.errno ?? 0);
    this.#failure = error;
  }
}

/** Bytes of the records of packet `i`: one for each segment. */
function recordBytes(batch: Batch, i: number): number {
  return batch.segmentCount[i] * PCAP_RECORD_HEADER_LENGTH + batch.outLength[i];
}

function writeError(path: string, error: Error): CodedError {
  return new CodedError('GD_IO_PCAP_WRITE', `${path}: ${error.message}`, { cause: error });
}
