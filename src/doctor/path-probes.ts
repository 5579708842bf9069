/**
 * The way to each backend, tried: pings with DF, short and as long as the tunnel packet of a client's full packet, and a datagram of that length to the tunnel port.
 *
 *     short ping   long ping   datagram           what it means
 *     answered     answered    silence            good
 *     answered     silence     silence            long packets vanish: a black hole; a ladder of sizes says from where on
 *     any          any         EMSGSIZE           a router on the way has a smaller MTU and says so
 *     any          any         ECONNREFUSED       nobody unwraps at that port
 *     any          any         EHOSTUNREACH …     a router, or our own kernel, finds no way
 *     silence      silence     silence            the host is off, or pings are filtered
 */
import { setTimeout as delay } from 'node:timers/promises';
import { sameAddress } from '../base/address.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { EchoSocket } from '../host/echo-socket.ts';
import { listLinks } from '../host/links.ts';
import { listNeighbours } from '../host/neighbours.ts';
import { type Route, routeTo } from '../host/routes.ts';
import { followPaths, type Vanishing } from './last-hop.ts';
import { TunnelSocket } from './tunnel-socket.ts';

/** A client's full packet on the Internet and Ethernet. */
const CLIENT_MTU = 1500;
/** Milliseconds that answers are waited for: twice what a kernel waits before it asks for a neighbour's address again. After so many a question is asked once more. */
const PATIENCE = 2200;
const AGAIN_AFTER = 500;
const LADDER_PATIENCE = 600;
const LOOK_EVERY = 20;
/** What ICMP says about a datagram comes as fast as the answer to a ping, give or take this. */
const AFTERWARDS = 80;
/** Also what our own kernel says at the end of an earlier question for the neighbour's address, when the host is back meanwhile: asked again before it is believed. */
const NEIGHBOUR_GONE = 'EHOSTUNREACH';
/** Targets that are asked at once, and milliseconds until the next ones: replies must find room in a socket's buffer. */
const AT_ONCE = 32;
const PAUSE = 2;
/** Silent backends to which the way is followed, and the port of those without one: the first of traceroute's. */
const MOST_FOLLOWED = 8;
const ANY_PORT = 33_434;
/** A director with more backends has the first ones probed: the time and packets of a look are bounded. */
const MOST_TARGETS = 512;
/** Below the long one; what links on the way to a cloud, a VPN or a provider have. */
const LADDER = [1280, 1320, 1360, 1380, 1400, 1420, 1436, 1450, 1460, 1472, 1480, 1492, 1500, 1514, 1520];

export interface Target {
  readonly pool: string;
  readonly name: string;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** Bytes in front of the inner packet. */
  readonly overhead: number;
  readonly encapsulation: string;
  /** UDP port of the tunnel, null where there is no UDP. */
  readonly port: number | null;
}

export interface Tried extends Target {
  readonly route: Route | null;
  /** Bytes of the long packets: what the director would send; 0 when nothing was sent. */
  readonly size: number;
  /** Whether pings were answered; null: none could be sent for want of a privilege. */
  readonly short: boolean | null;
  readonly long: boolean | null;
  /** Bytes of the largest ping that was answered; 0 when none was, or none but the short. */
  readonly largest: number;
  /** What ICMP said about the datagram, by the kernel's name; null: nothing. */
  readonly refused: string | null;
  /** Bytes that the kernel believes to fit the way now. */
  readonly learned: number;
  /** The address that was to be resolved on the link and was not; null: it is known, or needs not be. */
  readonly unresolved: Uint8Array | null;
  /** Where packets vanish, when the backend is silent; null when it is not, or was not looked for. */
  readonly vanishing: Vanishing | null;
}

export interface Probed {
  readonly tried: readonly Tried[];
  /** Targets beyond what one look takes. */
  readonly left: number;
}

interface Probe {
  readonly target: Target;
  readonly route: Route | null;
  readonly size: number;
  readonly socket: TunnelSocket | null;
  readonly answered: Set<number>;
  refused: string | null;
}

/** Bytes of the tunnel packets that the director would send to it at most: a client's full one, as far as the way is believed to take it. */
function sizeOf({ overhead }: Target, route: Route | null): number {
  return route === null || route.mtu === 0 ? 0 : Math.min(CLIENT_MTU + overhead, route.mtu);
}

function distinct(targets: readonly Target[]): Target[] {
  return [...new Map(targets.map((target) => [`${target.address.join('.')} ${target.port}`, target])).values()];
}

/** Takes up to three seconds. Sends a few packets to each target, no more than five long ones unless some vanish. Throws CodedError when the kernel gives no sockets. */
export async function probePaths(all: readonly Target[]): Promise<Probed> {
  const targets = distinct(all);
  const links = listLinks();
  const probes = targets.slice(0, MOST_TARGETS).map((target): Probe => {
    const route = routeTo(target.address, links);
    const size = sizeOf(target, route);
    const socket = target.port === null || size === 0 ? null : new TunnelSocket(target.address, target.port, size);
    return { target, route, size, socket, answered: new Set(), refused: null };
  });
  let echo: Pings | null = null;
  try {
    echo = openPings(probes);
    await round(probes, echo);
    const vanishing = echo === null ? [] : probes.filter(isVanishing);
    if (echo !== null && vanishing.length > 0) await climb(vanishing, echo);
    const tried = conclude(probes, echo !== null);
    return { tried: await withVanishing(tried), left: targets.length - probes.length };
  } finally {
    echo?.close();
    for (const { socket } of probes) socket?.close();
  }
}

function isVanishing({ answered, size, refused }: Probe): boolean {
  return answered.has(0) && !answered.has(size) && refused === null;
}

/** Requests with a token of 16 bits for each probe and size. */
class Pings {
  readonly #socket: EchoSocket;
  readonly #asked: { readonly probe: Probe; readonly size: number }[] = [];

  constructor(largest: number) {
    this.#socket = new EchoSocket({ largest, dontFragment: true });
  }

  /** `size` 0: the shortest. What the kernel refuses is as good as unanswered. Throws CodedError, EXIT.PRIVILEGE. */
  ask(probe: Probe, size: number): void {
    this.#asked.push({ probe, size });
    this.#socket.ask(probe.target.address, (this.#asked.length - 1) & 0xffff, size);
  }

  listen(): void {
    for (const token of this.#socket.heard()) {
      const asked = this.#asked[token];
      asked?.probe.answered.add(asked.size);
    }
  }

  close(): void {
    this.#socket.close();
  }
}

/** null without the privilege to ping. */
function openPings(probes: readonly Probe[]): Pings | null {
  const pings = new Pings(Math.max(0, ...probes.map(({ size }) => size)));
  try {
    const first = probes.find(({ size }) => size > 0);
    if (first !== undefined) pings.ask(first, 0);
    return pings;
  } catch (error) {
    pings.close();
    if (error instanceof CodedError && error.exitCode === EXIT.PRIVILEGE) return null;
    throw error;
  }
}

function ask(probe: Probe, pings: Pings | null): void {
  if (probe.size === 0) return;
  if (pings !== null && !probe.answered.has(0)) pings.ask(probe, 0);
  if (pings !== null && !probe.answered.has(probe.size)) pings.ask(probe, probe.size);
  probe.refused ??= probe.socket?.send(probe.size) ?? null;
}

function listen(probes: readonly Probe[], pings: Pings | null): void {
  pings?.listen();
  for (const probe of probes) probe.refused ??= probe.socket?.heard() ?? null;
}

async function askAll(targets: readonly Probe[], probes: readonly Probe[], pings: Pings | null): Promise<void> {
  for (const [i, probe] of targets.entries()) {
    ask(probe, pings);
    if ((i + 1) % AT_ONCE !== 0) continue;
    await delay(PAUSE);
    listen(probes, pings);
  }
}

/** Whether it is worth another look. */
function isOpen({ size, answered, refused }: Probe, again: boolean): boolean {
  return size > 0 && (!(answered.has(0) && answered.has(size)) || (refused === NEIGHBOUR_GONE && !again));
}

async function round(probes: readonly Probe[], pings: Pings | null): Promise<void> {
  await askAll(probes, probes, pings);
  const since = Date.now();
  let again = false;
  let answeredAt = 0;
  while (Date.now() - since < PATIENCE) {
    await delay(LOOK_EVERY);
    listen(probes, pings);
    const open = probes.filter((probe) => isOpen(probe, again));
    if (pings !== null && open.length === 0) {
      answeredAt ||= Date.now();
      if (Date.now() - answeredAt >= AFTERWARDS) return;
    }
    if (!again && Date.now() - since >= AGAIN_AFTER) {
      again = true;
      for (const probe of open) if (probe.refused === NEIGHBOUR_GONE) probe.refused = null;
      await askAll(open, probes, pings);
    }
  }
}

async function climb(probes: readonly Probe[], pings: Pings): Promise<void> {
  const since = Date.now();
  for (const probe of probes) for (const size of LADDER) if (size < probe.size) pings.ask(probe, size);
  while (Date.now() - since < LADDER_PATIENCE) {
    await delay(LOOK_EVERY);
    listen(probes, pings);
  }
}

function conclude(probes: readonly Probe[], pinged: boolean): Tried[] {
  const links = listLinks();
  const neighbours = listNeighbours();
  return probes.map(({ target, route, size, answered, refused }) => {
    const hop = route?.type === 'unicast' ? (route.gateway ?? target.address) : null;
    const missing = neighbours.find(
      ({ address, interfaceIndex, linkAddress }) =>
        hop !== null && linkAddress === null && interfaceIndex === route?.interfaceIndex && sameAddress(address, hop),
    );
    return {
      ...target,
      route,
      size,
      short: pinged ? answered.has(0) : null,
      long: pinged ? answered.has(size) : null,
      largest: Math.max(0, ...answered),
      refused,
      learned: routeTo(target.address, links)?.mtu ?? 0,
      unresolved: missing?.address ?? null,
      vanishing: null,
    };
  });
}

const gatewayOf = ({ route }: Tried) => route?.gateway ?? null;

/** Follows the way to those that say nothing at all, the first of them where there are many. */
async function withVanishing(tried: readonly Tried[]): Promise<Tried[]> {
  const silent = tried
    .filter(({ size, short, refused, unresolved }) => size > 0 && short === false && refused === null && unresolved === null)
    .slice(0, MOST_FOLLOWED);
  if (silent.length === 0) return [...tried];
  const answers = await followPaths(
    silent.map((one) => {
      const gateway = gatewayOf(one);
      const beside = tried.find((other) => {
        const its = gatewayOf(other);
        return other.short === true && gateway !== null && its !== null && sameAddress(gateway, its);
      });
      return { address: one.address, port: one.port ?? ANY_PORT, beside: beside?.address ?? null };
    }),
  );
  const found = new Map(silent.map((one, i) => [one, answers[i]]));
  return tried.map((one) => ({ ...one, vanishing: found.get(one) ?? null }));
}
