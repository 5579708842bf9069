/**
 * Messages on a byte stream, for two processes that may be of different versions. Bytes may be cut anywhere; descriptors come with the first byte of
 * their message, so none of them arrives after the end of it.
 *
 *     | 'GDTO' | version u16 | descriptors u16 | bytes of JSON u32 | JSON: { "kind": …, … } |     big endian
 *
 * These twelve bytes are the same in every version.
 */
import { CodedError } from '../../base/errors.ts';

/** Raised when what the two processes say to each other, or what the state means, changes. */
export const PROTOCOL_VERSION = 1;

const MAGIC = 0x4744544f;
const HEADER = 12;
/** Far above what a director has to say; keeps a confused peer from filling our memory. */
const MOST_BYTES = 256 * 1024 * 1024;

/** A message as it travels: JSON, with open descriptors beside it. */
export interface Message {
  readonly kind: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** In the order in which they were sent; whoever takes the message closes them. */
  readonly descriptors: readonly number[];
}

/** Bytes of a message that `descriptors` descriptors go with. */
export function encodeFrame(kind: string, body: object, descriptors: number, version = PROTOCOL_VERSION): Uint8Array {
  const json = Buffer.from(JSON.stringify({ ...body, kind }));
  const frame = new Uint8Array(HEADER + json.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, MAGIC);
  view.setUint16(4, version);
  view.setUint16(6, descriptors);
  view.setUint32(8, json.length);
  frame.set(json, HEADER);
  return frame;
}

/** Puts messages together again from what comes off the stream. After it threw, the stream is of no more use. */
export class FrameReader {
  #bytes = new Uint8Array(0);
  #used = 0;
  #descriptors: number[] = [];

  push(bytes: Uint8Array, descriptors: readonly number[]): void {
    const room = this.#bytes.length - this.#used;
    if (bytes.length > room) {
      const grown = new Uint8Array(Math.max(this.#used + bytes.length, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, this.#used));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
    this.#descriptors.push(...descriptors);
  }

  /** True in the middle of a message. */
  get partial(): boolean {
    return this.#used > 0;
  }

  /** Descriptors that no message has claimed: to be closed when the stream is given up. */
  get unclaimed(): readonly number[] {
    return this.#descriptors;
  }

  /**
   * The next whole message, null while there is none. Throws CodedError: GD_TAKEOVER_VERSION for another version of the protocol, GD_TAKEOVER_MESSAGE for
   * what is none, or came without its descriptors.
   */
  next(): Message | null {
    if (this.#used < HEADER) return null;
    const view = new DataView(this.#bytes.buffer);
    if (view.getUint32(0) !== MAGIC) throw unreadable('it does not begin as one');
    const version = view.getUint16(4);
    if (version !== PROTOCOL_VERSION) {
      throw new CodedError(
        'GD_TAKEOVER_VERSION',
        `the other director hands over by protocol version ${version}, this one by ${PROTOCOL_VERSION}`,
        { hint: 'these two versions can not take over from each other: systemctl restart gue-director' },
      );
    }
    const count = view.getUint16(6);
    const length = view.getUint32(8);
    if (length > MOST_BYTES) throw unreadable(`it claims ${length} bytes`);
    if (this.#used < HEADER + length) return null;
    const text = Buffer.from(this.#bytes.buffer, HEADER, length).toString('utf8');
    if (this.#descriptors.length < count) {
      throw unreadable(`${count} descriptors were sent with it and ${this.#descriptors.length} came`);
    }
    const body = parsed(text);
    const descriptors = this.#descriptors.splice(0, count);
    this.#bytes.copyWithin(0, HEADER + length, this.#used);
    this.#used -= HEADER + length;
    return { kind: body.kind, body, descriptors };
  }
}

function parsed(text: string): { readonly kind: string } & Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw unreadable((error as Error).message);
  }
  const kind = (value as { kind?: unknown } | null)?.kind;
  if (typeof kind !== 'string') throw unreadable('it says not what it is');
  return value as { kind: string };
}

function unreadable(why: string): CodedError {
  return new CodedError('GD_TAKEOVER_MESSAGE', `a message of the other director can not be read: ${why}`, {
    hint: 'systemctl restart gue-director',
  });
}
