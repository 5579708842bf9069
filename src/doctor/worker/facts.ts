/** What is known of a worker: facts as the kernel and its tools print them, read and nothing more. */
import { parseAnyAddress } from '../../config/address.ts';

export type Family = 4 | 6;

export interface FactAddress {
  /** 4 or 16 bytes. */
  readonly bytes: Uint8Array;
  readonly prefixLength: number;
  /** Duplicate address detection is not over, or found a duplicate: the address is not in use. */
  readonly usable: boolean;
}

export interface FactLink {
  readonly name: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly loopback: boolean;
  /** Answers no ARP (`arp off`), as tunnel and dummy devices. */
  readonly silent: boolean;
  /** The driver's word: `ipip`, `sit`, `ip6tnl`, `gre`, `ip6gre`, `dummy` …; empty for hardware. */
  readonly kind: string;
  /** What a tunnel device takes: `ipip`, `ip6ip6`, `any` …; empty where it does not say. */
  readonly mode: string;
  /** Takes whatever comes (`external`). */
  readonly external: boolean;
  /** A GRE device takes packets with a checksum (`icsum`), and no others. */
  readonly checksums: boolean;
  readonly addresses: readonly FactAddress[];
}

export interface FouPort {
  readonly family: Family;
  readonly port: number;
  /** `gue`, or the IP protocol number of a FOU port. */
  readonly takes: 'gue' | number;
}

export interface Listener {
  /** 6 or 17. */
  readonly protocol: number;
  readonly family: Family;
  /** 4 or 16 bytes; all zero: every address. */
  readonly address: Uint8Array;
  readonly port: number;
}

/** A `gue-director worker` that runs here, by its command line. */
export interface UserSpaceWorker {
  readonly pid: number;
  readonly device: string;
  /** GUE. */
  readonly port: number;
  readonly fou: readonly { readonly port: number; readonly protocol: number }[];
  readonly ipip: boolean;
  readonly gre: boolean;
}

export type Ruleset =
  | { readonly kind: 'nft'; readonly json: string }
  /** `saved6`: of ip6tables; null: it could not be asked. */
  | { readonly kind: 'iptables'; readonly saved: string; readonly saved6: string | null }
  | { readonly kind: 'unknown'; readonly reason: string; readonly privilege: boolean };

export interface WorkerFacts {
  readonly links: readonly FactLink[];
  /** null: the kernel has no `fou` (the module is not loaded). */
  readonly fou: readonly FouPort[] | null;
  /** Whether a kernel module is there, or can be loaded. */
  canLoad(module: 'fou' | 'fou6'): boolean;
  /** Settings under net/ipv4/conf: `rp_filter`, `arp_ignore`, `arp_announce` of `all` and each interface. */
  setting(name: 'rp_filter' | 'arp_ignore' | 'arp_announce', scope: string): number;
  readonly listeners: readonly Listener[];
  readonly userSpace: readonly UserSpaceWorker[];
  /** True when packets to the address are delivered to this host itself. */
  isLocal(address: Uint8Array): boolean;
  /** There is a way to hosts that nothing more particular is known of. */
  hasDefaultRoute(family: Family): boolean;
  /** The interface of that way; null without one. */
  uplink(family: Family): string | null;
  readonly ruleset: Ruleset;
  /** Packets that reverse path filtering has dropped since the boot (TcpExt IPReversePathFilter). */
  readonly reversePathDrops: number;
  /** Segments and datagrams that came since the boot, and those of them that were dropped for a wrong checksum (InCsumErrors). */
  readonly received: number;
  readonly damaged: number;
}

interface IpLink {
  readonly ifname: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: {
      readonly proto?: string;
      readonly external?: boolean;
      readonly icsum?: boolean;
      readonly mode?: string;
    };
  };
  readonly addr_info?: readonly {
    readonly family: string;
    readonly local?: string;
    readonly prefixlen: number;
    readonly tentative?: boolean;
    readonly dadfailed?: boolean;
  }[];
}

/** `ip -j -d address show`. Throws SyntaxError on what is not JSON. */
export function parseLinks(json: string): FactLink[] {
  return (JSON.parse(json) as IpLink[])
    .filter(({ ifname }) => ifname !== undefined)
    .map(({ ifname, mtu, flags, linkinfo, addr_info = [] }) => ({
      name: ifname,
      mtu,
      up: flags.includes('UP'),
      loopback: flags.includes('LOOPBACK'),
      silent: flags.includes('NOARP'),
      kind: linkinfo?.info_kind ?? '',
      mode: linkinfo?.info_data?.proto ?? linkinfo?.info_data?.mode ?? '',
      external: linkinfo?.info_data?.external === true,
      checksums: linkinfo?.info_data?.icsum === true,
      addresses: addr_info.flatMap(({ local, prefixlen, tentative, dadfailed }): FactAddress[] => {
        const bytes = local === undefined ? null : parseAnyAddress(local).value;
        return bytes === null ? [] : [{ bytes, prefixLength: prefixlen, usable: tentative !== true && dadfailed !== true }];
      }),
    }));
}

/** `ip fou show`, which lists both families: `port 6080 gue`, `port 6084 ipproto 4 local 10.0.0.1`, `port 6080 gue -6`. */
export function parseFou(text: string): FouPort[] {
  return text.split('\n').flatMap((line): FouPort[] => {
    const port = /^port (\d+)\b/.exec(line);
    if (port === null) return [];
    const protocol = / ipproto (\d+)/.exec(line);
    const family = / -6\b/.test(line) ? 6 : 4;
    return [{ family, port: Number(port[1]), takes: protocol === null ? 'gue' : Number(protocol[1]) }];
  });
}

const LISTENING = '0A';

/** /proc/net/tcp, udp, tcp6, udp6: sockets that take what comes from anybody. Words of the address are those of the processor, little end first. */
export function parseSockets(text: string, protocol: number, family: Family): Listener[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line): Listener[] => {
      const found = /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) ([0-9A-F]+):([0-9A-F]{4}) ([0-9A-F]{2})/.exec(line);
      if (found === null) return [];
      const [, local, port, , remotePort, state] = found;
      if (protocol === 6 ? state !== LISTENING : remotePort !== '0000') return [];
      const address = Uint8Array.from(Buffer.from(local, 'hex')).map((_, i, bytes) => bytes[i - (i % 4) + 3 - (i % 4)]);
      return [{ protocol, family, address, port: Number.parseInt(port, 16) }];
    });
}

/** The arguments of a process (/proc/PID/cmdline); null when it is no `gue-director worker`. */
export function parseWorker(pid: number, commandLine: string): UserSpaceWorker | null {
  const words = commandLine.split('\0').filter((word) => word !== '');
  const program = words.findIndex((word) => /(^|\/)(gue-director|cli\/main\.[jt]s)$/.test(word));
  if (program < 0 || words[program + 1] !== 'worker') return null;
  const rest = words.slice(program + 2).flatMap((word) => (/^--[a-z-]+=/.test(word) ? word.split(/=(.*)/s, 2) : [word]));
  const values = (flag: string) => rest.flatMap((word, i) => (word === flag && rest[i + 1] !== undefined ? [rest[i + 1]] : []));
  return {
    pid,
    device: values('--device').at(-1) ?? 'gw0',
    port: Number(values('--port').at(-1) ?? 6080),
    fou: values('--fou').map((value) => {
      const [port, protocol] = value.split('=').map(Number);
      return { port, protocol };
    }),
    ipip: rest.includes('--ipip'),
    gre: rest.includes('--gre'),
  };
}

/** A counter of /proc/net/netstat: names in one line, values in the next. 0 where the kernel does not count it. */
export function netstatCounter(text: string, group: string, name: string): number {
  const [names, values] = text.split('\n').filter((line) => line.startsWith(`${group}:`));
  const at = names?.split(' ').indexOf(name) ?? -1;
  return at < 0 ? 0 : Number(values.split(' ')[at]);
}
