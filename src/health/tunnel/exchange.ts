/** One probe on its way: its client (TCP, datagram or ping), its deadline, and what is said when it is over. */
import { CodedError } from '../../base/errors.ts';
import type { ServiceSpec } from '../../pipeline/spec.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import type { ProbeOutcome, ProbeTarget } from '../probe.ts';
import type { TunnelCheckSpec } from '../spec.ts';
import type { Answer } from './answer.ts';
import { innerError, seconds, silence } from './causes.ts';
import { DatagramClient } from './datagram-client.ts';
import { httpQuestion } from './http-question.ts';
import { type Ends, echoPacket, tcpPacket, udpPacket } from './inner-packet.ts';
import { type Conclusion, FAR, TcpClient } from './tcp-client.ts';

/** Milliseconds for which an answer is still waited for after ICMP has said that there will be none: a forger must not be believed against the worker. */
const GRACE_MS = 150;
/** Longest time before a packet is sent once more: RFC 6298 §2.1. */
const MOST_RETRY_MS = 1000;
/** TTL of the packet that the worker's own addresses take: whoever forwards it instead says so, and it goes nowhere. */
const LAST_HOP = 1;
const HOPS = 64;

export interface ExchangeOptions {
  readonly check: TunnelCheckSpec;
  readonly target: ProbeTarget;
  readonly service: ServiceSpec;
  readonly ends: Ends;
  readonly timeoutMs: number;
  /** Milliseconds of the caller's clock. */
  readonly deadline: number;
  /** ICMP messages about tunnel packets to this backend that came before. */
  readonly heardBefore: number;
  /** Those of the same addresses and ports that run already. */
  readonly others: readonly Exchange[];
  /** 16 bytes that nobody can guess. */
  readonly random: Uint8Array;
  /** Sends an inner packet through the tunnel; returns null, or the reason for which it did not leave. */
  readonly send: (packet: Uint8Array) => string | null;
  readonly resolve: (outcome: ProbeOutcome) => void;
  readonly reject: (error: unknown) => void;
}

export class Exchange {
  readonly target: ProbeTarget;
  readonly #options: ExchangeOptions;
  readonly #client: TcpClient | DatagramClient;
  readonly heardBefore: number;
  #startedAt = 0;
  #hint: string | null = null;
  readonly #giveUpAt: number;
  /** Milliseconds until which an answer is waited for that contradicts the hint. */
  #hintEnds = Infinity;
  #isDecided = false;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    this.target = options.target;
    this.heardBefore = options.heardBefore;
    this.#giveUpAt = options.deadline;
    this.#client = this.#clientFor(options.service.protocol);
  }

  /** It is decided, and nothing will be sent any more. */
  get isClosed(): boolean {
    return this.#isDecided && this.#client.isClosed;
  }

  start(now: number): void {
    this.#startedAt = now;
    this.#client.start(now);
  }

  /** An answer between the right addresses and ports; whether it is an answer to this one, the client finds out. */
  take(answer: Answer, now: number): void {
    if (this.#client.isClosed) return;
    if (answer.kind === 'error') {
      if (this.#isQuoted(answer.quoted.word)) this.hint(innerError(answer), now);
    } else if (this.#client instanceof TcpClient) {
      if (answer.kind === 'tcp') this.#client.take(answer, now);
    } else {
      this.#client.take(answer);
    }
    this.#look(now);
  }

  /** Somebody has said why there will be no answer: not long is waited for one. */
  hint(detail: string, now: number): void {
    if (this.#hint !== null) return;
    this.#hint = detail;
    this.#hintEnds = now + GRACE_MS;
  }

  /** A worker that has answered once unwraps what comes, whatever anybody says: it has its whole time. */
  get #ends(): number {
    const client = this.#client;
    return client instanceof TcpClient && client.wasAnswered ? this.#giveUpAt : Math.min(this.#giveUpAt, this.#hintEnds);
  }

  tick(now: number): void {
    if (!this.#isDecided && now >= this.#ends) this.giveUp(now);
    else this.#client.tick(now);
    this.#look(now);
  }

  /** Ends it, answered or not. */
  giveUp(now: number): void {
    this.#look(now);
    const detail = this.#complaint();
    this.#client.abandon();
    if (!this.#isDecided) this.#decide({ ok: false, detail }, now);
  }

  #complaint(): string {
    const { timeoutMs, ends } = this.#options;
    const client = this.#client;
    // A worker that has answered once unwraps what comes.
    if (client instanceof TcpClient && client.wasAnswered) return `${client.awaited} within ${seconds(timeoutMs)}`;
    return this.#hint ?? silence(client.awaited, timeoutMs, ends.destination);
  }

  /** A fault of our own. */
  fail(error: unknown): void {
    this.#client.abandon();
    if (this.#isDecided) return;
    this.#isDecided = true;
    this.#options.reject(error);
  }

  #look(now: number): void {
    const { conclusion } = this.#client;
    if (conclusion !== null && !this.#isDecided) this.#decide(conclusion, now);
  }

  #decide({ ok, detail }: Conclusion, now: number): void {
    this.#isDecided = true;
    this.#options.resolve({ ok, detail, milliseconds: now - this.#startedAt });
  }

  #isQuoted(word: number): boolean {
    if (this.#client instanceof TcpClient) return this.#client.isOurs(word);
    const { service, random } = this.#options;
    if (service.protocol === ipv4.PROTOCOL_UDP) return true;
    return word === ((this.#options.ends.sourcePort << 16) | sequenceOf(random)) >>> 0;
  }

  #send(packet: Uint8Array): void {
    const reason = this.#options.send(packet);
    if (reason === null || this.#isDecided) return;
    const { pool, backend } = this.target;
    // No way to the worker is a fact about the worker: it gets no traffic either.
    if (reason === 'send-unreachable') {
      this.hint(`our own kernel has no way to ${backend.name} (${reason})`, this.#startedAt);
      return;
    }
    const message = `pool ${pool}, backend ${backend.name}: the probe did not leave (${reason})`;
    queueMicrotask(() => this.fail(new CodedError('GD_HEALTH_TUNNEL_SEND', message, { hint: 'see docs/drop-reasons.md' })));
  }

  #clientFor(protocol: number): TcpClient | DatagramClient {
    const { check, ends, target, timeoutMs, others, random } = this.#options;
    const retryMs = Math.min(MOST_RETRY_MS, timeoutMs / 2);
    // Where the outer header takes the inner one's TTL, a TTL of 1 would end at the first router.
    const hops = target.tunnel.headers?.ttl === 'copy' ? HOPS : LAST_HOP + (check.hops ?? 0);
    if (protocol === ipv4.PROTOCOL_TCP) {
      const question = check.http == null ? null : httpQuestion(check.http, ends.destination, ends.destinationPort);
      const emit = (segment: Parameters<typeof tcpPacket>[1]) => this.#send(tcpPacket(ends, segment, hops));
      return new TcpClient({ initialSequence: freeSequence(random, others), question, emit, retryMs });
    }
    if (protocol === ipv4.PROTOCOL_UDP) {
      const { send = new Uint8Array(0), expect = null } = check;
      return new DatagramClient({
        emit: () => this.#send(udpPacket(ends, send, hops)),
        awaited: 'no answer to the datagram',
        judge: (answer) => (answer.kind === 'udp' ? judgeDatagram(answer.payload, expect) : null),
        retryMs,
      });
    }
    const sequence = sequenceOf(random);
    return new DatagramClient({
      emit: () => this.#send(echoPacket(ends, sequence, random, hops)),
      awaited: 'no answer to ping',
      judge: (answer) => {
        if (answer.kind !== 'echo' || answer.sequence !== sequence || !equal(answer.payload, random)) return null;
        return { ok: true, detail: 'ping answered' };
      },
      retryMs,
    });
  }

  /** Numbers that this one's connection may use are far from `sequence`. */
  isFarFrom(sequence: number): boolean {
    return !(this.#client instanceof TcpClient) || this.#client.isFarFrom(sequence);
  }
}

function sequenceOf(random: Uint8Array): number {
  return (random[0] << 8) | random[1];
}

/** Connections with the same addresses and ports, to different workers, are told apart by their numbers. */
function freeSequence(random: Uint8Array, others: readonly Exchange[]): number {
  const view = new DataView(random.buffer, random.byteOffset, random.length);
  let sequence = view.getUint32(4);
  while (others.some((other) => !other.isFarFrom(sequence))) sequence = (sequence + 2 * FAR) >>> 0;
  return sequence;
}

function judgeDatagram(payload: Uint8Array, expect: Uint8Array | null): Conclusion {
  const ok = expect === null || (payload.length >= expect.length && equal(payload.subarray(0, expect.length), expect));
  return { ok, detail: ok ? 'datagram answered' : 'the answer does not begin with the expected bytes' };
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
