/**
 * Which MTU would spare the director cutting packets: looked at once in WINDOW_SECONDS, said when it has been steady for a minute
 * (docs/oversize.md). Pure; whoever calls brings what was counted.
 */
import { formatAddress } from '../base/address.ts';
import type { PathMtuEntry } from '../host/path-mtu.ts';

/** Seconds between two looks. */
export const WINDOW_SECONDS = 10;
/** Looks in a row that make it steady: a minute. */
const STEADY_WINDOWS = 6;
/** Packets cut in a second that are many, however many were not. */
const MANY_A_SECOND = 10;
/** Part of the packets that is worth a word, when it is at least one packet a second. */
const SHARE = 0.01;
/** Seconds before the same is said again. */
const SILENCE_SECONDS = 3600;

/** What was counted since the last look, for one backend. */
export interface CutSample {
  readonly path: PathMtuEntry;
  /** Packets sent to it. */
  readonly packets: number;
  /** Packets for it that were cut. */
  readonly cuts: number;
  /** Bytes of the largest of those with its outer headers; 0 when none was. */
  readonly largest: number;
}

/** One sentence, and the command that helps. */
export interface Advice {
  readonly text: string;
  readonly hint: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Backends whose packets are too big for the same reason. */
interface Bottleneck {
  readonly path: PathMtuEntry;
  /** `pool/backend`. */
  readonly backends: string[];
  packets: number;
  cuts: number;
}

interface Memory {
  /** Looks in a row that found it. */
  windows: number;
  largest: number;
  /** When it was last said, and what. */
  saidAt: number;
  said: number;
}

export class LinkAdvice {
  readonly #memory = new Map<string, Memory>();
  /** Largest sizes of the last looks by backend id, the newest last. */
  #recent: ReadonlyMap<number, number>[] = [];

  /** To be called every WINDOW_SECONDS. `now` in seconds. */
  look(samples: readonly CutSample[], now: number): Advice[] {
    this.#recent = [...this.#recent, new Map(samples.map(({ path, largest }) => [path.id, largest]))].slice(-STEADY_WINDOWS);
    const found = new Map<string, Bottleneck>();
    const sizes = new Map<string, number>();
    for (const { path, packets, cuts, largest } of samples) {
      const key = keyOf(path);
      const one = found.get(key) ?? { path, backends: [], packets: 0, cuts: 0 };
      one.packets += packets;
      one.cuts += cuts;
      if (cuts > 0) one.backends.push(`${path.pool}/${path.name}`);
      found.set(key, one);
      sizes.set(key, Math.max(sizes.get(key) ?? 0, largest));
    }
    // What is gone, or was quiet, begins anew; but what was said is not said again too soon.
    for (const [key, memory] of this.#memory) {
      if (isMuch(found.get(key))) continue;
      memory.windows = 0;
      memory.largest = 0;
      if (now - memory.saidAt >= SILENCE_SECONDS) this.#memory.delete(key);
    }
    return [...found].flatMap(([key, one]) => (isMuch(one) ? this.#remember(key, one, sizes.get(key) ?? 0, now) : []));
  }

  /** Bytes of the largest packet that was cut for the backend in the last minute; 0 when none was. */
  wanted(id: number): number {
    return Math.max(0, ...this.#recent.map((sizes) => sizes.get(id) ?? 0));
  }

  #remember(key: string, bottleneck: Bottleneck, largest: number, now: number): Advice[] {
    const memory = this.#memory.get(key) ?? { windows: 0, largest: 0, saidAt: -SILENCE_SECONDS, said: 0 };
    this.#memory.set(key, memory);
    memory.windows++;
    memory.largest = Math.max(memory.largest, largest);
    if (memory.windows < STEADY_WINDOWS) return [];
    if (memory.largest <= memory.said && now - memory.saidAt < SILENCE_SECONDS) return [];
    memory.saidAt = now;
    memory.said = memory.largest;
    return [adviceOf(bottleneck, memory.largest)];
  }
}

function isMuch(bottleneck: Bottleneck | undefined): boolean {
  const { packets, cuts } = bottleneck ?? { packets: 0, cuts: 0 };
  return cuts >= MANY_A_SECOND * WINDOW_SECONDS || (cuts >= WINDOW_SECONDS && cuts >= SHARE * packets);
}

/** What is too small: an interface, a route's own MTU, or something on the way that a router told of. */
function keyOf({ source, link, routeMtu, address }: PathMtuEntry): string {
  if (source === 'icmp' || link === null) return `way ${formatAddress(address)}`;
  return routeMtu < link.mtu ? `route ${formatAddress(address)}` : `link ${link.name}`;
}

function adviceOf({ path, backends, cuts }: Bottleneck, wanted: number): Advice {
  const { source, link, routeMtu, mtu, address } = path;
  const to = formatAddress(address);
  const rest = 'and the same on the whole way to the workers, switches included';
  const fields = { backends, wanted, pathMtu: mtu, cutPerSecond: Math.round(cuts / WINDOW_SECONDS), interface: link?.name ?? '' };
  if (source === 'icmp' || link === null) {
    const text = `packets to ${to} are cut all the time: a router on the way carries ${mtu} bytes, ${wanted} would do`;
    const own = link !== null && link.mtu < wanted ? `, and here: ip link set dev ${link.name} mtu ${wanted}` : '';
    return { text, hint: `find the link and raise its MTU to ${wanted}: tracepath -n ${to}${own}`, fields };
  }
  if (routeMtu < link.mtu) {
    const text = `packets to ${to} are cut all the time: its route has an MTU of ${routeMtu} of its own, ${wanted} would do`;
    return { text, hint: `see it: ip route get ${to}; then ip route change … mtu ${wanted}, ${rest}`, fields };
  }
  const text = `packets are cut all the time: the MTU of ${link.name} is ${link.mtu}, ${wanted} would do`;
  return { text, hint: `ip link set dev ${link.name} mtu ${wanted}, ${rest}`, fields };
}
