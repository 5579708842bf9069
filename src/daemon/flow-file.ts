/**
 * The file that the flow table lies in, so that flows stay where they are when the director ends, also by a crash, and another one starts.
 *
 *     word  0  magic, layout version, buckets, checksum of words 0–2 and 4–15        | a page of 4 KiB |
 *           4  boot id (entries tell time in seconds since boot)
 *           8  id of this file, which its identities name (flow-identities.ts)
 *          12  secret key of the fingerprints
 *          16  regions in use, how it was left (1: in use, 2: closed)
 *          20  for 1, 2, 4 … 64 regions: 0 never in use, −1 in use, else the second when they were left
 *     byte 4096  buckets (pipeline/flow-table.ts)
 *
 * It is one process's at a time, by its lock. A file that does not fit is made anew in its place; its length is never changed while
 * somebody has it mapped.
 */
import { randomFillSync } from 'node:crypto';
import { closeSync, readFileSync, readSync } from 'node:fs';
import { CodedError } from '../base/errors.ts';
import { checkGeometry, type FlowGeometry, MOST_REGIONS, regionsFor } from '../pipeline/flow-regions.ts';
import { BUCKET_BYTES, CONFIRMED_IDLE, FlowTable } from '../pipeline/flow-table.ts';
import {
  lengthOf,
  type MappedRange,
  mapCopy,
  mapFile,
  openLocked,
  refill,
  share,
  unlock,
  unmap,
  viewMapped,
} from '../raw-socket/mapped-file.ts';
import { arrayBuckets, type FlowMemory, KEY_WORDS } from './flow-memory.ts';

export const HEADER_BYTES = 4096;
const MAGIC = 0x54466467; // "gdFT"
/** To be raised with every change of this layout, of an entry's, and of how fingerprints are made. */
const VERSION = 1;

const F_MAGIC = 0;
const F_VERSION = 1;
const F_BUCKETS = 2;
const F_SUM = 3;
const F_BOOT = 4;
const F_ID = 8;
const F_KEY = 12;
const F_REGIONS = 16;
const F_LEFT = 17;
const F_HISTORY = 20;
const LEFT_OPEN = 1;
const LEFT_CLOSED = 2;
const HISTORY_WORDS = Math.log2(MOST_REGIONS) + 1;
/** For so long after a number of regions was left, entries are looked for where it had them. Seconds. */
const REMEMBERED = 3600;
const IN_USE = -1;

/** What must be known to pick up a file. */
export interface FlowFileOptions {
  readonly entries: number;
  readonly threads: number;
  /** Seconds since boot. */
  readonly now: number;
}

/** What became of the entries that were there. */
export interface PickedUp {
  readonly entries: number;
  readonly confirmed: number;
  /** The one before had no time to say good-bye. */
  readonly afterCrash: boolean;
  /** The file had another size: entries were moved. */
  readonly resized: boolean;
}

export class FlowFile {
  readonly path: string;
  /** Of the open file, whose lock goes with it when it is passed to another process. */
  readonly descriptor: number;
  #range: MappedRange;
  #words: Int32Array;
  #memory: FlowMemory;

  /** What is written is seen by nobody else yet. */
  #copied: boolean;

  private constructor(path: string, descriptor: number, geometry: FlowGeometry, copied = false) {
    this.path = path;
    this.descriptor = descriptor;
    checkGeometry(geometry);
    this.#copied = copied;
    const bytes = HEADER_BYTES + geometry.buckets * BUCKET_BYTES;
    this.#range = copied ? mapCopy(descriptor, bytes) : mapFile(descriptor, bytes);
    this.#words = new Int32Array(viewMapped(this.#range));
    this.#memory = this.#memoryOf(geometry);
  }

  /**
   * Opens the file at `path` and takes its lock. What is there and fits waits for `pickUp`, or `renew`; otherwise the file is made anew at once.
   * `why`: the reason for that, empty when there was nothing. `fits`: it waits. Throws GD_FLOW_FILE_HELD while another process has it,
   * GD_RAW_SOCKET_FILE when it can not be had.
   */
  static open(path: string, { entries, threads, now }: FlowFileOptions): { file: FlowFile; fits: boolean; why: string } {
    const descriptor = openLocked(path);
    if (descriptor === null) {
      throw new CodedError('GD_FLOW_FILE_HELD', `another director has the flow table file ${path}`, {
        hint: 'give each director a runtime directory of its own (RUNTIME_DIRECTORY), or set flows.file',
      });
    }
    try {
      const { why, found } = examine(descriptor, now);
      if (found !== null) {
        const geometry = geometryOf(found.buckets, threads, found.history, now);
        return { file: new FlowFile(path, descriptor, geometry), fits: true, why };
      }
      const buckets = arrayBuckets(entries);
      refill(descriptor, HEADER_BYTES + buckets * BUCKET_BYTES);
      const file = new FlowFile(path, descriptor, geometryOf(buckets, threads, [], now));
      file.#initialize(now);
      return { file, fits: false, why };
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  /**
   * The file of another process that still has it in use, which has passed its descriptor. Until `begin`, what is written stays in copies of this
   * process, so threads may warm up on it. Its size stays as it is. Throws GD_FLOW_FILE_UNFIT.
   */
  static openShared(path: string, descriptor: number, { threads, now }: Omit<FlowFileOptions, 'entries'>): FlowFile {
    const { why, found } = examine(descriptor, now);
    if (found === null) throw new CodedError('GD_FLOW_FILE_UNFIT', `the flow table file ${path} can not be shared: ${why}`);
    return new FlowFile(path, descriptor, geometryOf(found.buckets, threads, found.history, now), true);
  }

  /** Which file this is, for its identities. */
  get id(): string {
    const bytes = new Uint8Array(this.#words.buffer as ArrayBuffer, F_ID * 4, 16);
    return Buffer.from(bytes).toString('hex');
  }

  get memory(): FlowMemory {
    return this.#memory;
  }

  get #history(): number[] {
    return Array.from(this.#words.subarray(F_HISTORY, F_HISTORY + HISTORY_WORDS));
  }

  /** Forgets everything: an empty table, with a new id and a new key. */
  renew({ entries, threads, now }: FlowFileOptions): void {
    this.#resize(arrayBuckets(entries), threads, now);
    this.#initialize(now);
  }

  /** Over zeros. */
  #initialize(now: number): void {
    const words = this.#words;
    const { geometry } = this.#memory;
    words[F_VERSION] = VERSION;
    words[F_BUCKETS] = geometry.buckets;
    words.set(bootId(), F_BOOT);
    randomFillSync(words.subarray(F_ID, F_KEY + KEY_WORDS));
    words[F_SUM] = sumOf(words);
    words[F_MAGIC] = MAGIC;
    this.#memory = this.#memoryOf(geometry);
    this.begin(now);
  }

  /**
   * Takes over what is there: entries that can be of no flow are cleared (`idLimit`: one above the highest backend id that was ever given), and when
   * the table is to have another size the others move.
   */
  pickUp({ entries, threads, now }: FlowFileOptions, idLimit: number): PickedUp {
    const buckets = arrayBuckets(entries);
    const resized = buckets !== this.#words[F_BUCKETS];
    const afterCrash = this.#words[F_LEFT] !== LEFT_CLOSED;
    const live = this.#whole().scrub(now, idLimit);
    if (resized) {
      const head = this.#words.slice(0, F_KEY + KEY_WORDS);
      const moving = liveEntries(this.#entryWords());
      this.#resize(buckets, threads, now);
      head[F_BUCKETS] = buckets;
      head[F_SUM] = sumOf(head);
      this.#words.set(head);
      this.#memory = this.#memoryOf(geometryOf(buckets, threads, [], now));
      const table = this.#whole();
      for (const [low, high, backend, seen, confirmed] of moving) table.insert(low, high, backend, seen, confirmed);
      // All of them stand as a single thread would have put them.
      this.#words[F_HISTORY] = now;
    }
    this.#memory = this.#memoryOf(geometryOf(buckets, threads, this.#history, now));
    this.begin(now);
    return { ...live, afterCrash, resized };
  }

  /**
   * From here on the table is ours: notes how it is cut. Of a shared file: what was written until now is thrown away; to be called while no thread of
   * ours looks at it, and before one writes.
   */
  begin(now: number): void {
    if (this.#copied) share(this.descriptor, this.#range);
    this.#copied = false;
    const words = this.#words;
    const { regions } = this.#memory.geometry;
    for (let k = 0; k < HISTORY_WORDS; k++) {
      if (1 << k === regions) words[F_HISTORY + k] = IN_USE;
      else if (words[F_HISTORY + k] === IN_USE) words[F_HISTORY + k] = now;
    }
    words[F_REGIONS] = regions;
    words[F_LEFT] = LEFT_OPEN;
  }

  /**
   * Lets go of the file, which stays, and of its lock, unless another process was given the descriptor. `handedOver`: it was, and has it in use. The
   * memory stays mapped until this process ends: a thread that did not stop in time may still look at it.
   */
  close(now: number, { handedOver = false } = {}): void {
    if (!handedOver) {
      this.#words[F_HISTORY + Math.log2(this.#memory.geometry.regions)] = now;
      this.#words[F_LEFT] = LEFT_CLOSED;
      unlock(this.descriptor);
    }
    closeSync(this.descriptor);
  }

  /** Lets go of a file that could not be made what it must be. Nothing of it may be looked at any more. */
  abandon(): void {
    unlock(this.descriptor);
    closeSync(this.descriptor);
  }

  #memoryOf(geometry: FlowGeometry): FlowMemory {
    const key = new Int32Array(new SharedArrayBuffer(KEY_WORDS * 4));
    key.set(this.#words.subarray(F_KEY, F_KEY + KEY_WORDS));
    const { address, bytes } = this.#range;
    return { geometry, key, memory: { address: address + HEADER_BYTES, bytes: bytes - HEADER_BYTES } };
  }

  #entryWords(): Int32Array {
    return this.#words.subarray(HEADER_BYTES / 4);
  }

  /** The whole array as one table, as a single thread has it. */
  #whole(): FlowTable {
    const words = this.#entryWords();
    return new FlowTable(words.length / 4, this.#memory.key, words);
  }

  /** All zeros, `buckets` large. Before any thread has the memory: nobody may look at the range that was. */
  #resize(buckets: number, threads: number, now: number): void {
    const bytes = HEADER_BYTES + buckets * BUCKET_BYTES;
    unmap(this.#range);
    refill(this.descriptor, bytes);
    this.#range = mapFile(this.descriptor, bytes);
    this.#words = new Int32Array(viewMapped(this.#range));
    this.#memory = this.#memoryOf(geometryOf(buckets, threads, [], now));
  }
}

/** Why the file can not be picked up, or what its header says. */
function examine(descriptor: number, now: number) {
  const unfit = (why: string) => ({ why, found: null });
  const length = lengthOf(descriptor);
  if (length === 0) return unfit('');
  const words = new Int32Array(HEADER_BYTES / 4);
  if (readSync(descriptor, words, 0, HEADER_BYTES, 0) < HEADER_BYTES) return unfit('it is too short');
  if (words[F_MAGIC] !== MAGIC) return unfit('it is no flow table, or was not finished');
  if (words[F_VERSION] !== VERSION) return unfit(`its layout is version ${words[F_VERSION]}, not ${VERSION}`);
  if (words[F_SUM] !== sumOf(words)) return unfit('its header is damaged');
  if (bootId().some((word, i) => words[F_BOOT + i] !== word)) return unfit('it is from before the machine was started');
  const buckets = words[F_BUCKETS];
  if (length !== HEADER_BYTES + buckets * BUCKET_BYTES) return unfit(`its length of ${length} bytes is wrong`);
  const history = Array.from(words.subarray(F_HISTORY, F_HISTORY + HISTORY_WORDS));
  if (history.some((second) => second < IN_USE || second > now)) return unfit('its header is damaged');
  return { why: '', found: { buckets, history } };
}

function geometryOf(buckets: number, threads: number, history: readonly number[], now: number): FlowGeometry {
  const regions = regionsFor(threads);
  let finest = regions;
  let recutUntil = 0;
  history.forEach((second, k) => {
    if (second !== IN_USE && (second === 0 || now - second >= REMEMBERED)) return;
    finest = Math.max(finest, 1 << k);
    // After that time who went elsewhere gives way to anybody.
    if (1 << k !== regions) recutUntil = Math.max(recutUntil, (second === IN_USE ? now : second) + CONFIRMED_IDLE);
  });
  return { buckets, regions, finest, recutUntil };
}

/** The kernel's random number of this boot, as four words. */
function bootId(): Int32Array {
  const hex = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim().replaceAll('-', '');
  return new Int32Array(Uint8Array.from(Buffer.from(hex, 'hex')).buffer);
}

/** FNV-1a over the words that stay as they are. */
function sumOf(words: Int32Array): number {
  let sum = 0x811c9dc5;
  for (let i = 0; i < F_KEY + KEY_WORDS; i++) if (i !== F_SUM && i !== F_MAGIC) sum = Math.imul(sum ^ words[i], 0x01000193);
  return sum | 0;
}

/** [low, high, backend, last seen, confirmed] of every entry; confirmed ones last, because these are not to give way. */
function liveEntries(words: Int32Array): [number, number, number, number, boolean][] {
  const found: [number, number, number, number, boolean][] = [];
  for (let at = 0; at < words.length; at += 4) {
    const state = words[at + 2];
    if (state === 0) continue;
    found.push([words[at], words[at + 1], (state & 0xffffff) - 1, words[at + 3], (state & (1 << 24)) !== 0]);
  }
  return found.sort((a, b) => Number(a[4]) - Number(b[4]) || a[3] - b[3]);
}
