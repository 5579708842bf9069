/**
 * The line between two directors, one of which takes over from the other: messages with open descriptors, each waited for no longer than it may
 * take. The socket can not join Node's event loop, so it is looked at every millisecond while somebody waits.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError } from '../../base/errors.ts';
import { receiveWithDescriptors, sendWithDescriptors } from '../../raw-socket/descriptor-passing.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { peerOf } from '../../raw-socket/unix-socket.ts';
import { encodeFrame, FrameReader, type Message } from './frame.ts';

const LOOK_EVERY = 1;
/** Milliseconds that the other side has to read what we send. */
const SEND_PATIENCE = 10_000;

export class Channel {
  readonly #socket: number;
  readonly #reader = new FrameReader();
  #open = true;
  #ended = false;

  /** `socket`: a connected unix stream socket; it is closed with the channel. */
  constructor(socket: number) {
    this.#socket = socket;
  }

  /** Process id at the other end; 0 when it can not be seen. */
  get peer(): number {
    return peerOf(this.#socket).process;
  }

  /** Sends a message. Throws CodedError GD_RAW_SOCKET_PEER_GONE, GD_TAKEOVER_SLOW when the other side does not read. */
  async send(kind: string, body: object = {}, descriptors: readonly number[] = []): Promise<void> {
    const frame = encodeFrame(kind, body, descriptors.length);
    const deadline = Date.now() + SEND_PATIENCE;
    let sent = 0;
    while (sent < frame.length) {
      const went = sendWithDescriptors(this.#socket, frame.subarray(sent), sent === 0 ? descriptors : []);
      sent += went;
      if (went > 0) continue;
      if (Date.now() > deadline) throw slow(`it does not read (${kind})`);
      await sleep(LOOK_EVERY);
    }
  }

  /**
   * The next message, which must be of one of `kinds`. Throws CodedError: GD_TAKEOVER_SLOW after `patience` milliseconds, GD_RAW_SOCKET_PEER_GONE when the other
   * process ended (in the middle of a message too), GD_TAKEOVER_REFUSED with its own words when it says `refuse`, GD_TAKEOVER_MESSAGE for anything else.
   */
  async expect(kinds: readonly string[], patience: number): Promise<Message> {
    const deadline = Date.now() + patience;
    for (;;) {
      const message = this.poll();
      if (message !== null) {
        if (kinds.includes(message.kind)) return message;
        for (const descriptor of message.descriptors) closeDescriptor(descriptor);
        if (message.kind === 'refuse') throw refusal(message.body);
        throw new CodedError('GD_TAKEOVER_MESSAGE', `the other director says ${message.kind} and not ${kinds.join(' or ')}`);
      }
      if (Date.now() > deadline) throw slow(`it did not say ${kinds.join(' or ')} within ${patience} ms`);
      await sleep(LOOK_EVERY);
    }
  }

  /** A message if one is there, without waiting. Throws as `expect` does. */
  poll(): Message | null {
    for (;;) {
      const message = this.#reader.next();
      if (message !== null) return message;
      if (this.#ended) throw gone(this.#reader.partial);
      const received = receiveWithDescriptors(this.#socket);
      if (received === null) return null;
      if (received.bytes.length === 0) this.#ended = true;
      else this.#reader.push(received.bytes, received.descriptors);
    }
  }

  /** Ends the line; the other side finds out at once. Descriptors that nobody took are closed. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const descriptor of this.#reader.unclaimed) closeDescriptor(descriptor);
    closeDescriptor(this.#socket);
  }
}

/** An error as one director says it to the other. */
export function refusalOf(error: unknown): { code: string; message: string; hint: string; exitCode: number } {
  const coded = error instanceof CodedError ? error : null;
  const message = error instanceof Error ? error.message : String(error);
  return { code: coded?.code ?? 'GD_TAKEOVER_REFUSED', message, hint: coded?.hint ?? '', exitCode: coded?.exitCode ?? 1 };
}

function refusal(body: Readonly<Record<string, unknown>>): CodedError {
  const { message, hint, exitCode } = body;
  return new CodedError('GD_TAKEOVER_REFUSED', typeof message === 'string' ? message : 'the other director refuses', {
    hint: typeof hint === 'string' ? hint : '',
    exitCode: typeof exitCode === 'number' ? exitCode : 1,
  });
}

function slow(what: string): CodedError {
  return new CodedError('GD_TAKEOVER_SLOW', `the other director takes too long: ${what}`, {
    hint: 'the old one goes on as before; look at the logs of both',
  });
}

function gone(partial: boolean): CodedError {
  return new CodedError('GD_RAW_SOCKET_PEER_GONE', `the other director is gone${partial ? ', in the middle of a message' : ''}`, {
    hint: 'look at its log',
  });
}
