/**
 * Tunnel probes: a packet of the service's own protocol, wrapped exactly as traffic is and sent to one worker, whose answer comes back as a client's would:
 * outside the tunnel, from the service address.
 *
 *     director ──── | outer IP | UDP | GUE | our address:reserved port → service | ────► worker
 *              ◄─── | service → our address:reserved port | ────────────────────────────
 *
 * One prober serves all probes of a director: one port guard, a packet socket for each family, one raw way out. While a probe waits, main looks for
 * answers every few milliseconds; while none does, nothing is done at all.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { formatAddress, prefixContains } from '../../base/address.ts';
import { CodedError } from '../../base/errors.ts';
import { AnswerSocket } from '../../host/answer-socket.ts';
import type { Unreachable } from '../../host/icmp-quote.ts';
import { PortGuard, type PortRange } from '../../host/port-guard.ts';
import type { Egress } from '../../io/driver.ts';
import type { ServiceSpec } from '../../pipeline/spec.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import type { Probe, ProbeOutcome, ProbeTarget, Turn } from '../probe.ts';
import type { TunnelCheckSpec } from '../spec.ts';
import { readAnswer } from './answer.ts';
import { outerError } from './causes.ts';
import { Exchange } from './exchange.ts';
import { Exchanges } from './exchanges.ts';
import type { Ends } from './inner-packet.ts';
import { PortTurns } from './port-turns.ts';
import { probeSource } from './source.ts';
import { Wrapper } from './wrapper.ts';

/** Below the source ports of the egress `auto` and above the kernel's ephemeral range. */
export const PROBE_PORTS: PortRange = { base: 61_424, count: 16 };

/** Milliseconds between two looks for answers: soon after something was sent, and later. */
const LOOK_SOON_MS = 2;
const LOOK_LATER_MS = 10;
const SOON_MS = 60;
/** Milliseconds for which an address of ours is believed. */
const SOURCE_MS = 5000;
/** Service addresses that the filter knows at once, within reason. */
const MOST_ADDRESSES = 4096;

/** What ICMP has said about tunnel packets to a backend. */
export interface HeardUnreachable {
  /** Messages so far. */
  readonly count: number;
  /** The last of them. */
  readonly what: Unreachable;
}

export interface TunnelProberOptions {
  /** Whole IP packets (l3). It is the caller's to close, after `close`. */
  readonly egress: Egress;
  /** Outer UDP source ports: those of traffic, so that ICMP about probes is believed. */
  readonly sourcePortBase: number;
  readonly sourcePortMask: number;
  /** Default PROBE_PORTS. */
  readonly ports?: PortRange;
  /** ICMP messages about tunnel packets to this backend; null when none came. */
  readonly unreachable?: (pool: string, backend: string) => HeardUnreachable | null;
  /** Milliseconds of a clock that never goes back. Default performance.now. */
  readonly now?: () => number;
}

/** Works in the network namespace in which it was made. Needs CAP_NET_RAW. */
export class TunnelProber {
  readonly #options: TunnelProberOptions;
  readonly #range: PortRange;
  readonly #now: () => number;
  readonly #wrapper: Wrapper;
  readonly #answers = new AnswerSocket();
  #guard: PortGuard | null = null;
  #addresses = new Map<string, Uint8Array>();
  readonly #running = new Exchanges();
  readonly #sources = new Map<string, { readonly address: Uint8Array; readonly until: number }>();
  #next = randomInt(0x10000);
  /** For datagrams: TCP and ping know their answers by more than a port. */
  readonly #turns = new PortTurns();
  #timer: NodeJS.Timeout | null = null;
  #lastSent = 0;

  constructor(options: TunnelProberOptions) {
    this.#options = options;
    this.#range = options.ports ?? PROBE_PORTS;
    this.#now = options.now ?? (() => performance.now());
    this.#wrapper = new Wrapper(options);
  }

  /** The probe of one check (health/probe.ts). */
  probeOf(check: TunnelCheckSpec): Probe {
    return {
      turn: async (target, signal) => this.#turnFor(askedFor(check, target), signal),
      probe: (target, timeoutMs, signal, turn) => this.#probe(check, target, timeoutMs, signal, turn ?? null),
    };
  }

  /** Probes that still run resolve as not answered. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    for (const exchange of this.#running.all()) exchange.giveUp(this.#now());
    this.#running.clear();
    this.#turns.close();
    this.#answers.close();
    this.#guard?.close();
    this.#guard = null;
    this.#wrapper.close();
  }

  /** Resolves to null at once for what needs none. */
  async #turnFor(asked: Asked, signal: AbortSignal): Promise<Turn | null> {
    return asked.service.protocol === ipv4.PROTOCOL_UDP ? this.#turns.take(nameOf(asked), this.#ports(), signal) : null;
  }

  #ports(): readonly number[] {
    this.#guard ??= new PortGuard(this.#range);
    return this.#guard.ports;
  }

  /** Everything is opened before the first wait. */
  async #probe(
    check: TunnelCheckSpec,
    target: ProbeTarget,
    timeoutMs: number,
    signal: AbortSignal,
    given: Turn | null,
  ): Promise<ProbeOutcome> {
    const asked = askedFor(check, target);
    const { service, address } = asked;
    const ports = this.#ports();
    this.#awaitFrom(address);
    const family = address.length === 4 ? 4 : 6;
    const source = check.source?.length === address.length ? check.source : this.#sourceOf(target.backend.address, family);
    const ask = (sourcePort: number) =>
      this.#exchange(check, target, timeoutMs, signal, service, {
        source,
        destination: address,
        sourcePort,
        destinationPort: asked.port,
      });
    if (service.protocol !== ipv4.PROTOCOL_UDP) return ask(this.#nextPort());
    if (given !== null) return ask(given.port);
    const turn = this.#turns.free(nameOf(asked), ports) ?? (await this.#turnFor(asked, signal));
    if (turn === null) return { ok: false, detail: 'ended', milliseconds: 0 };
    try {
      return await ask(turn.port);
    } finally {
      turn.release();
    }
  }

  #exchange(
    check: TunnelCheckSpec,
    target: ProbeTarget,
    timeoutMs: number,
    signal: AbortSignal,
    service: ServiceSpec,
    found: Ends,
  ): Promise<ProbeOutcome> {
    // Looks for answers are some milliseconds apart, and what is answered is answered in time.
    const deadline = this.#now() + Math.max(timeoutMs / 2, timeoutMs - 2 * LOOK_LATER_MS);
    return new Promise<ProbeOutcome>((resolve, reject) => {
      const exchange = new Exchange({
        check,
        target,
        service,
        ends: found,
        timeoutMs,
        deadline,
        heardBefore: this.#heard(target)?.count ?? 0,
        others: this.#running.of(found, service.protocol),
        random: randomBytes(16),
        send: (packet) => this.#send(target, service, packet),
        resolve: (outcome) => resolve(outcome),
        reject,
      });
      this.#running.add(found, service.protocol, exchange);
      signal.addEventListener('abort', () => exchange.giveUp(this.#now()), { once: true });
      exchange.start(this.#now());
      this.#look();
    });
  }

  #send(target: ProbeTarget, service: ServiceSpec, packet: Uint8Array): string | null {
    this.#lastSent = this.#now();
    return this.#wrapper.send(target, service, packet);
  }

  #heard({ pool, backend }: ProbeTarget): HeardUnreachable | null {
    return this.#options.unreachable?.(pool, backend.name) ?? null;
  }

  #awaitFrom(address: Uint8Array): void {
    const text = formatAddress(address);
    if (this.#addresses.has(text)) return;
    if (this.#addresses.size >= MOST_ADDRESSES) this.#addresses = new Map();
    this.#addresses.set(text, address);
    this.#answers.listen(this.#range, [...this.#addresses.values()]);
  }

  #sourceOf(backend: Uint8Array, family: 4 | 6): Uint8Array {
    const key = `${family} ${formatAddress(backend)}`;
    const known = this.#sources.get(key);
    const now = this.#now();
    if (known !== undefined && now < known.until) return known.address;
    if (this.#sources.size >= MOST_ADDRESSES) this.#sources.clear();
    const address = probeSource(backend, family);
    this.#sources.set(key, { address, until: now + SOURCE_MS });
    return address;
  }

  /** The reserved ports in turn. */
  #nextPort(): number {
    const ports = this.#ports();
    this.#next = (this.#next + 1) % ports.length;
    return ports[this.#next];
  }

  #look(): void {
    if (this.#timer !== null || this.#running.isEmpty) return;
    const soon = this.#now() - this.#lastSent < SOON_MS;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#tend();
        this.#look();
      },
      soon ? LOOK_SOON_MS : LOOK_LATER_MS,
    );
  }

  #tend(): void {
    const now = this.#now();
    let failure: unknown = null;
    try {
      this.#answers.poll((view, at, end, state) => {
        const answer = readAnswer(view, at, end, state);
        if (answer !== null) this.#running.deliver(answer, now);
      });
    } catch (error) {
      failure = error;
    }
    for (const exchange of this.#running.all()) {
      if (failure !== null) exchange.fail(failure);
      const heard = this.#heard(exchange.target);
      if (heard !== null && heard.count > exchange.heardBefore) exchange.hint(outerError(heard.what, exchange.target), now);
      exchange.tick(now);
    }
    this.#running.removeClosed();
  }
}

/** What is asked. */
interface Asked {
  readonly service: ServiceSpec;
  readonly address: Uint8Array;
  /** 0 where there are no ports. */
  readonly port: number;
}

function nameOf({ address, port }: Asked): string {
  return `${formatAddress(address)} ${port}`;
}

/** What is asked of whom, of the services of the backend's pool. Throws CodedError GD_HEALTH_TUNNEL_SERVICE when the check names none of them. */
function askedFor(check: TunnelCheckSpec, { pool, services }: ProbeTarget): Asked {
  const { address } = check;
  const fits =
    address === null
      ? services
      : services.filter(({ prefix }) => prefix.bytes.length === address.length && prefixContains(prefix, address));
  const hasPort = ({ portFrom, portTo }: ServiceSpec) => check.port === null || (check.port >= portFrom && check.port <= portTo);
  // Of a prefix that nobody names an address of, its first one is asked, when there is nothing else.
  const isOne = ({ prefix }: ServiceSpec) => address !== null || prefix.length === prefix.bytes.length * 8;
  const all = fits.filter(hasPort);
  const candidates = all.some(isOne) ? all.filter(isOne) : all;
  const isDatagram = check.http == null && ((check.send?.length ?? 0) > 0 || (check.expect ?? null) !== null);
  const wanted = isDatagram ? ipv4.PROTOCOL_UDP : ipv4.PROTOCOL_TCP;
  const service = candidates.find(({ protocol }) => protocol === wanted) ?? candidates[0];
  if (service === undefined) {
    const what = [address === null ? [] : [formatAddress(address)], check.port === null ? [] : [`port ${check.port}`]].flat();
    const text = what.length === 0 ? 'pool serves no service' : `no service has ${what.join(' ')}`;
    throw new CodedError('GD_HEALTH_TUNNEL_SERVICE', `pool ${pool}, tunnel check: ${text}`, {
      hint: 'name the address and port of a service of this pool in the check',
    });
  }
  const ported = service.protocol === ipv4.PROTOCOL_TCP || service.protocol === ipv4.PROTOCOL_UDP;
  // A service on every port begins with 0, which is none.
  const port = ported ? (check.port ?? Math.max(1, service.portFrom)) : 0;
  return { service, address: address ?? service.prefix.bytes, port };
}
