/**
 * A TCP client of one connection and one question, no more than a health check needs, bounded in time and memory. It knows no clock and no network: segments
 * to send go to `emit`, answers come by `take`, time by `tick`.
 *
 *     SYN ──────────────►
 *         ◄────────────── SYN-ACK                acknowledges our random number: nobody else knows it
 *     ACK + question ───►                        without a question: ACK + FIN
 *         ◄────────────── answer
 *     FIN ──────────────►                        what we ask for is known
 *         ◄────────────── FIN                    waited for a moment; a worker that closes before us, or not at all, gets a RST
 *     ACK ──────────────►                        so that it never keeps anything of the connection (TIME-WAIT)
 *
 * What does not carry exactly the numbers that this connection is at is not from our worker and changes nothing (RFC 9293 §3.10.7, RFC 5961).
 */
import * as tcp from '../../wire/tcp.ts';
import type { TcpAnswer } from './answer.ts';
import { type Segment, WINDOW } from './inner-packet.ts';

/** What the check says, in one sentence without a full stop. */
export interface Conclusion {
  readonly ok: boolean;
  readonly detail: string;
}

export interface Question {
  /** Bytes to send, at most one segment. */
  readonly bytes: Uint8Array;
  /** What is missing when time is over: `no HTTP answer`. */
  readonly awaited: string;
  /** What came so far, at most MOST_RECEIVED bytes; `isAll`: the worker has closed, or no more will be kept. null: more is needed. */
  judge(received: Uint8Array, isAll: boolean): Conclusion | null;
}

export interface TcpClientOptions {
  /** Random, unsigned 32 bits. */
  readonly initialSequence: number;
  /** null: an accepted connection is enough. */
  readonly question: Question | null;
  readonly emit: (segment: Segment) => void;
  /** Milliseconds after which SYN or question is sent once more. */
  readonly retryMs: number;
}

/** Bytes of an answer that are kept. */
export const MOST_RECEIVED = 16 * 1024;
/** More numbers than a connection uses. */
export const FAR = 0x1_0000;
/** Milliseconds that the worker has to close after us. */
const LINGER_MS = 200;
const NOTHING = new Uint8Array(0);

export class TcpClient {
  readonly #options: TcpClientOptions;
  readonly #first: number;
  #state: 'syn' | 'open' | 'closing' | 'closed' = 'syn';
  /** Next number of ours, and the highest that the worker has acknowledged. */
  #next: number;
  #acknowledged: number;
  /** The worker's first number, and the next that we expect. */
  #theirFirst = 0;
  #expected = 0;
  #received: Uint8Array = NOTHING;
  #theyClosed = false;
  #retryAt = 0;
  #retried = false;
  #lingerUntil = 0;
  #conclusion: Conclusion | null = null;

  constructor(options: TcpClientOptions) {
    this.#options = options;
    this.#first = options.initialSequence >>> 0;
    this.#next = (this.#first + 1) >>> 0;
    this.#acknowledged = this.#first;
  }

  /** null while it is not known. */
  get conclusion(): Conclusion | null {
    return this.#conclusion;
  }

  /** Nothing will be sent any more and nothing is listened to. */
  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** What is waited for, for people. */
  get awaited(): string {
    return this.#state === 'syn' ? 'no answer to SYN' : `SYN answered, ${this.#options.question?.awaited ?? 'nothing more'}`;
  }

  get wasAnswered(): boolean {
    return this.#state !== 'syn';
  }

  /** Numbers of a connection that begins with `sequence` can not be taken for this one's. */
  isFarFrom(sequence: number): boolean {
    return (sequence - this.#first) >>> 0 >= FAR && (this.#first - sequence) >>> 0 >= FAR;
  }

  /** The number by which an ICMP error that quotes a segment of ours is known. */
  isOurs(sequence: number): boolean {
    return (sequence - this.#first) >>> 0 <= (this.#next - this.#first) >>> 0;
  }

  /** True when an answer with this acknowledgement number can be this connection's. */
  acknowledges(number: number): boolean {
    return (number - this.#first - 1) >>> 0 <= (this.#next - this.#first - 1) >>> 0;
  }

  start(now: number): void {
    this.#retryAt = now + this.#options.retryMs;
    this.#send(tcp.SYN, this.#first, NOTHING);
  }

  /** An answer between the right addresses and ports. */
  take(answer: TcpAnswer, now: number): void {
    if (this.#state === 'syn') this.#takeFirst(answer, now);
    else if (this.#state !== 'closed') this.#takeNext(answer, now);
  }

  tick(now: number): void {
    if (this.#state === 'closing' && now >= this.#lingerUntil) {
      this.#reset();
      return;
    }
    if (this.#retried || now < this.#retryAt || this.#state === 'closed' || this.#state === 'closing') return;
    this.#retried = true;
    if (this.#state === 'syn') this.#send(tcp.SYN, this.#first, NOTHING);
    else this.#ask();
  }

  /** Time is over: whatever the worker keeps of this connection, it may forget. */
  abandon(): void {
    if (this.#state !== 'closed') this.#reset();
  }

  #takeFirst({ flags, sequence, acknowledgement }: TcpAnswer, now: number): void {
    if ((flags & tcp.ACK) === 0 || acknowledgement !== this.#next) return;
    if ((flags & tcp.RST) !== 0) {
      this.#conclusion = { ok: false, detail: 'connection refused' };
      this.#state = 'closed';
      return;
    }
    if ((flags & (tcp.SYN | tcp.FIN)) !== tcp.SYN) return;
    this.#theirFirst = sequence;
    this.#expected = (sequence + 1) >>> 0;
    this.#acknowledged = this.#next;
    this.#state = 'open';
    const { question, retryMs } = this.#options;
    if (question === null) {
      this.#conclude({ ok: true, detail: 'SYN answered' }, now);
      return;
    }
    this.#next = (this.#next + question.bytes.length) >>> 0;
    this.#retried = false;
    this.#retryAt = now + retryMs;
    this.#ask();
  }

  #ask(): void {
    const bytes = this.#options.question?.bytes ?? NOTHING;
    this.#send(tcp.ACK | tcp.PSH, (this.#first + 1) >>> 0, bytes);
  }

  #takeNext(answer: TcpAnswer, now: number): void {
    const { flags, sequence, acknowledgement, payload, payloadLength } = answer;
    if ((flags & tcp.ACK) === 0 || !this.acknowledges(acknowledgement)) return;
    if ((flags & tcp.RST) !== 0) {
      if (sequence !== this.#expected) return;
      this.#conclusion ??= { ok: false, detail: `connection reset, ${this.#options.question?.awaited ?? 'nothing more'}` };
      this.#state = 'closed';
      return;
    }
    if ((flags & tcp.SYN) !== 0) {
      // Our ACK was lost.
      if (sequence === this.#theirFirst && acknowledgement === (this.#first + 1) >>> 0) this.#repeat();
      return;
    }
    const isFin = (flags & tcp.FIN) !== 0;
    const ahead = (sequence - this.#expected) | 0;
    // Behind what we have, or a gap before it: say where we are; the worker sends it again. Far away: not our worker.
    if (ahead > WINDOW || ahead < -MOST_RECEIVED - WINDOW) return;
    if (((acknowledgement - this.#acknowledged) | 0) > 0) this.#acknowledged = acknowledgement;
    if (ahead !== 0) {
      if (payloadLength > 0 || isFin) this.#acknowledge();
      return;
    }
    if (this.#state === 'closing' && payloadLength > 0) {
      // Nobody reads it any more (RFC 2525 §2.17).
      this.#expected = (this.#expected + payload.length) >>> 0;
      this.#reset();
      return;
    }
    const room = MOST_RECEIVED - this.#received.length;
    this.#expected = (this.#expected + payload.length) >>> 0;
    if (payload.length > 0) this.#received = joined(this.#received, payload.subarray(0, room));
    if (isFin && payload.length === payloadLength) {
      this.#expected = (this.#expected + 1) >>> 0;
      this.#theyClosed = true;
    }
    const wasOpen = this.#state === 'open';
    if (wasOpen) this.#judge(now);
    // What concludes it is acknowledged by our FIN.
    if (wasOpen && this.#state !== 'open') return;
    if (this.#state === 'closing' && isFin) {
      // Both have closed at once: the worker would keep the connection for a while yet (TIME-WAIT).
      if (this.#acknowledged !== this.#next) {
        this.#reset();
        return;
      }
      this.#acknowledge();
      this.#state = 'closed';
    } else if ((payload.length > 0 || isFin) && this.#state !== 'closed') {
      this.#acknowledge();
    }
  }

  #judge(now: number): void {
    const isAll = this.#theyClosed || this.#received.length >= MOST_RECEIVED;
    const conclusion = this.#options.question?.judge(this.#received, isAll) ?? null;
    if (conclusion !== null) this.#conclude(conclusion, now);
  }

  /** Known; what follows is good manners. */
  #conclude(conclusion: Conclusion, now: number): void {
    this.#conclusion = conclusion;
    // Whoever closes first keeps the connection for a while (TIME-WAIT), unless it is told that it need not.
    if (this.#theyClosed) {
      this.#reset();
      return;
    }
    this.#state = 'closing';
    this.#lingerUntil = now + LINGER_MS;
    this.#send(tcp.ACK | tcp.FIN, this.#next, NOTHING);
    this.#next = (this.#next + 1) >>> 0;
  }

  #repeat(): void {
    if (this.#state === 'open') this.#ask();
    else this.#send(tcp.ACK | tcp.FIN, (this.#next - 1) >>> 0, NOTHING);
  }

  #acknowledge(): void {
    this.#send(tcp.ACK, this.#next, NOTHING);
  }

  #reset(): void {
    const known = this.#state !== 'syn';
    this.#send(known ? tcp.RST | tcp.ACK : tcp.RST, this.#next, NOTHING);
    this.#state = 'closed';
  }

  #send(flags: number, sequence: number, payload: Uint8Array): void {
    const acknowledgement = (flags & tcp.ACK) === 0 ? 0 : this.#expected;
    this.#options.emit({ flags, sequence, acknowledgement, payload });
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}
