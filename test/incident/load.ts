// What both ends of the load know: the orders, how big things are, and how bytes are made and checked.

import { createHash } from 'node:crypto';
import { Random } from '../full/random.ts';

export const KIB = 1024;
export const MIB = 1024 * 1024;
/** HTTP/1.1. */
export const POST_PORT = 80;
/** HTTP/2 in clear text, known before (RFC 9113 §3.3). */
export const STREAM_PORT = 81;

const LEAST_BODY = 64 * KIB;
const MOST_BODY = MIB;
const MOST_MESSAGE = 4 * MIB;
/** What a logarithm's sizes come to on average, bytes. */
export const MEAN_BODY = (MOST_BODY - LEAST_BODY) / Math.log(MOST_BODY / LEAST_BODY);
export const MEAN_MESSAGE = (MOST_MESSAGE - 1) / Math.log(MOST_MESSAGE);

interface Load {
  /** Virtual IPs, taken in turn. */
  readonly addresses: readonly string[];
  /** Bytes per second of all senders together; 0 for as fast as they can. */
  readonly rate: number;
  readonly seed: number;
}

export interface PostOrder extends Load {
  readonly kind: 'posts';
  readonly posts: number;
  /** Side by side. */
  readonly connections: number;
  /** A connection is closed after so many, and the next one opened. */
  readonly postsPerConnection: number;
  /** Ends after so many seconds even when posts are left; 0 for never. */
  readonly seconds: number;
}

export interface StreamOrder extends Load {
  readonly kind: 'streams';
  readonly streams: number;
  readonly connections: number;
  /** Streams side by side on one connection. */
  readonly concurrent: number;
  readonly messages: number;
}

export type Order = PostOrder | StreamOrder;

export interface LoadResult {
  readonly kind: Order['kind'];
  /** POSTs or streams that completed with the right hashes. */
  readonly completed: number;
  readonly messages: number;
  readonly connections: number;
  /** Of bodies or messages, as far as they completed. */
  readonly bytes: number;
  readonly smallest: number;
  readonly largest: number;
  readonly milliseconds: number;
  /** The first few in words; empty when there are none. */
  readonly failures: readonly string[];
}

/** A size between `least` and `most`, every doubling as likely as any other. */
function logUniform(random: Random, least: number, most: number): number {
  return Math.round(least * (most / least) ** (random.below(1 << 24) / ((1 << 24) - 1)));
}

/** Size of POST `number`'s body: 64 KiB, then 1 MiB, then anything between, MEAN_BODY on average. */
export function bodySize(random: Random, number: number): number {
  const size = logUniform(random, LEAST_BODY, MOST_BODY);
  return number === 0 ? LEAST_BODY : number === 1 ? MOST_BODY : size;
}

/** Sizes of the messages of stream `number`: from 1 byte to 4 MiB, both in stream 0, MEAN_MESSAGE on average. */
export function messageSizes(random: Random, number: number, messages: number): number[] {
  const sizes = Array.from({ length: messages }, () => logUniform(random, 1, MOST_MESSAGE));
  return number === 0 ? [MOST_MESSAGE, 1, ...sizes.slice(2)] : sizes;
}

const stock = new Random(0x1512).fill(Buffer.allocUnsafe(5 * MIB)) as Buffer;

/**
 * Bytes of a body or message: a piece of the stock, no two that lie near each other beginning at the same place, so that a piece lost,
 * doubled or exchanged with a neighbour's shows in the hash.
 */
export function content(number: number, bytes: number): Buffer {
  const from = (number * 7919) % (stock.length - bytes + 1);
  return stock.subarray(from, from + bytes);
}

export function hashOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** gRPC's frame: a byte that says whether it is compressed, the length, the message. */
export const MESSAGE_HEADER = 5;

export function frame(message: Buffer): Buffer {
  const header = Buffer.alloc(MESSAGE_HEADER);
  header.writeUInt32BE(message.length, 1);
  return header;
}

/** Cuts a stream of bytes into its messages, however they arrive. */
export class MessageReader {
  readonly #onMessage: (message: Buffer) => void;
  #pieces: Buffer[] = [];
  #held = 0;

  constructor(onMessage: (message: Buffer) => void) {
    this.#onMessage = onMessage;
  }

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#held += piece.length;
    while (this.#held >= MESSAGE_HEADER) {
      if (this.#pieces[0].length < MESSAGE_HEADER) this.#pieces = [Buffer.concat(this.#pieces)];
      const whole = MESSAGE_HEADER + this.#pieces[0].readUInt32BE(1);
      if (this.#held < whole) return;
      const all = this.#pieces.length === 1 ? this.#pieces[0] : Buffer.concat(this.#pieces);
      this.#onMessage(all.subarray(MESSAGE_HEADER, whole));
      this.#pieces = all.length === whole ? [] : [all.subarray(whole)];
      this.#held -= whole;
    }
  }

  /** True when nothing is left over. */
  get isComplete(): boolean {
    return this.#held === 0;
  }
}
