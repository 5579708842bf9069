/**
 * "The backend can not be reached" in the journal: a line when it begins, with the next step on the host that has to do it, and not more lines
 * than somebody reads when a whole rack is gone.
 */
import { formatAddress } from '../base/address.ts';
import type { Unreachable } from '../host/icmp-quote.ts';
import type { UnreachableNews } from '../host/unreachable.ts';
import type { EventJournal } from '../observe/events.ts';
import type { Encapsulation } from '../pipeline/spec.ts';
import { hasUdp } from '../pipeline/tunnel-kind.ts';

/** Lines in any period of this many seconds, one for the rest not counted. */
const PERIOD = 60;
export const LINES_PER_PERIOD = 20;

/** How packets get to a backend, as the snapshot's names tell it. */
export interface BackendWay {
  readonly encapsulation: Encapsulation;
  readonly ports: readonly number[];
}

export const UNREACHABLE_WORDS: Readonly<Record<Unreachable, string>> = {
  port: 'port unreachable',
  protocol: 'protocol unreachable',
  host: 'host unreachable',
  net: 'network unreachable',
  prohibited: 'administratively prohibited',
};

export class UnreachableJournal {
  readonly #journal: EventJournal;
  #periodEnds = Number.NEGATIVE_INFINITY;
  #lines = 0;
  #untold = 0;

  constructor(journal: EventJournal) {
    this.#journal = journal;
  }

  /** To be called with every poll, with news or without. `now` in seconds. */
  tell(news: readonly UnreachableNews[], wayOf: (id: number) => BackendWay | undefined, now: number): void {
    if (now >= this.#periodEnds) {
      this.#tellRest();
      this.#periodEnds = now + PERIOD;
      this.#lines = 0;
    }
    for (const { tunnel, what, by } of news) {
      const way = wayOf(tunnel.id);
      if (way === undefined) continue;
      if (this.#lines >= LINES_PER_PERIOD) {
        this.#untold++;
        continue;
      }
      this.#lines++;
      const [address, speaker] = [formatAddress(tunnel.address), formatAddress(by)];
      const text = `tunnel packets to backend ${tunnel.pool}/${tunnel.name} (${address}) do not arrive: ${speaker} says "${UNREACHABLE_WORDS[what]}"`;
      const fields = { pool: tunnel.pool, backend: tunnel.name, address, what, by: speaker };
      this.#journal.record('warn', 'backend-unreachable', text, {
        ...fields,
        hint: unreachableHint(what, way, address, speaker),
      });
    }
  }

  #tellRest(): void {
    if (this.#untold === 0) return;
    const text = `tunnel packets to other backends do not arrive either: ${this.#untold} more lines like the last ones`;
    this.#journal.record('warn', 'backend-unreachable', text, { more: this.#untold, hint: 'gue-director status lists them' });
    this.#untold = 0;
  }
}

/** The next step. `address`: the backend's; `speaker`: who sent the message. docs/workers.md has the whole of it. */
export function unreachableHint(what: Unreachable, way: BackendWay, address: string, speaker: string): string {
  const { encapsulation, ports } = way;
  const tunnel = hasUdp(encapsulation)
    ? `UDP port ${ports.join(' and ')}`
    : `IP protocol ${encapsulation === 'gre' ? '47' : '4 and 41'}`;
  switch (what) {
    case 'port':
    case 'protocol':
      return `on the worker: ${hasUdp(encapsulation) ? openPorts(way, address) : openDevice(way, address, what)} (docs/workers.md)`;
    case 'host':
      return `is the worker up, and ${address} its address? ${speaker} does not find it on its link; on that host: ip neigh show ${address}`;
    case 'net':
      return `there is no way to it from ${speaker}; on that host: ip route get ${address}`;
    case 'prohibited':
      return `a firewall at ${speaker} refuses the packets: let ${tunnel} from the tunnel source pass there`;
  }
}

function openPorts({ encapsulation, ports }: BackendWay, address: string): string {
  const six = address.includes(':');
  const add = (port: number, end: string) => `ip ${six ? '-6 ' : ''}fou add port ${port} ${end}`;
  const [port, port6 = port] = ports;
  const load = six ? 'modprobe fou6' : 'modprobe fou';
  if (encapsulation !== 'fou') return `${load}; ${add(port, 'gue')}`;
  if (port6 !== port) return `${load}; ${add(port, 'ipproto 4')}; ${add(port6, 'ipproto 41')}`;
  return `${load}; ${add(port, 'ipproto 4')}, or ipproto 41 for IPv6 packets`;
}

/** With its module loaded a host without a device that takes the packet says "port unreachable" (net/ipv4/tunnel4.c, ip_gre.c). */
function openDevice({ encapsulation }: BackendWay, address: string, what: Unreachable): string {
  const six = address.includes(':');
  const isLoaded = what === 'port';
  if (encapsulation === 'gre') {
    const device = six ? 'ip6gre0' : 'gre0';
    return `${isLoaded ? '' : `modprobe ${six ? 'ip6_gre' : 'ip_gre'}; `}ip link set ${device} up`;
  }
  const device = six
    ? `ip link add gue6 type ip6tnl mode any local ${address} encaplimit none; ip link set gue6 up`
    : 'ip link set tunl0 up; ip link set sit0 up';
  return `${isLoaded ? '' : `modprobe ${six ? 'ip6_tunnel' : 'ipip; modprobe sit'}; `}${device}`;
}
