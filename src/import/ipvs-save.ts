/**
 * Reads what `ipvsadm-save -n` prints (and rule files written by hand for `ipvsadm-restore`): text → commands with their places. Every
 * problem is told with line and column. What the options mean is ipvsadm(8), and defaults are the program's own (ipvsadm 1.31), which for
 * `-p` are not the manual's.
 */
import { parseAnyAddress } from '../config/address.ts';
import { didYouMean } from '../config/nearest-word.ts';
import { type Given, OPTION_NAMES, optionsOf, type Word, wordsOf } from './ipvs-options.ts';
import type { Place, Problems } from './place.ts';

export type IpvsProtocol = 'tcp' | 'udp' | 'sctp';

/** What a virtual service is called: its address, or a firewall mark. */
export type ServiceName =
  | {
      readonly kind: 'address';
      readonly protocol: IpvsProtocol;
      /** 4 or 16 bytes. */
      readonly address: Uint8Array;
      /** Of a prefix; absent: the whole address. ipvsadm has no prefixes, keepalived's ranges become some. */
      readonly length?: number;
      /** 0: every port. */
      readonly port: number;
    }
  | { readonly kind: 'mark'; readonly mark: number; readonly family: 4 | 6 };

export interface ServiceOptions {
  /** `-s`: a word of the kernel's module names; not restricted to those known here. */
  readonly scheduler: string;
  /** `-b`. */
  readonly flags: readonly string[];
  /** `-p`: seconds; null: not persistent. */
  readonly persistence: number | null;
  /** `-M`: as written, null when it is a whole address. */
  readonly mask: string | null;
  /** `-o`. */
  readonly onePacket: boolean;
  /** `--pe`. */
  readonly engine: string | null;
}

export interface IpvsTunnel {
  readonly type: 'ipip' | 'gue' | 'gre';
  /** UDP port; 0 unless type is gue. */
  readonly port: number;
  readonly checksum: 'none' | 'full' | 'remcsum';
}

export interface ServerOptions {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** As the kernel has it: tunnels and direct routing do not translate, so there it is the service's. */
  readonly port: number;
  /** As written; differs from `port` where ipvsadm itself would put the service's in its place. */
  readonly writtenPort: number;
  readonly forwarding: 'gatewaying' | 'tunnel' | 'masquerading';
  /** Null unless forwarding is tunnel. */
  readonly tunnel: IpvsTunnel | null;
  readonly weight: number;
  /** `-x`, `-y`: connections; 0: none. */
  readonly upper: number;
  readonly lower: number;
}

export type IpvsCommand = { readonly at: Place } & (
  | { readonly does: 'add-service' | 'edit-service'; readonly service: ServiceName; readonly options: ServiceOptions }
  | { readonly does: 'delete-service'; readonly service: ServiceName }
  | { readonly does: 'add-server' | 'edit-server'; readonly service: ServiceName; readonly server: ServerOptions }
  | { readonly does: 'delete-server'; readonly service: ServiceName; readonly address: Uint8Array; readonly port: number }
  | { readonly does: 'clear' }
  /** Said to the kernel, but no rule: timeouts, the synchronisation daemon. */
  | { readonly does: 'aside'; readonly what: string }
);

/** What the program puts in place of a missing value (DEF_SCHED; 360 although the manual says 300). */
const DEFAULTS = { scheduler: 'wlc', persistence: 360 };
const LARGEST_WEIGHT = 2147483647;
/** `-p` takes up to 31 days (MAX_TIMEOUT). */
const LONGEST_PERSISTENCE = 86400 * 31;
const ASIDE: ReadonlySet<string> = new Set(['set', 'start-daemon', 'stop-daemon', 'zero']);
const COMMANDS: ReadonlySet<string> = new Set([
  'add-service',
  'edit-service',
  'delete-service',
  'clear',
  'add-server',
  'edit-server',
  'delete-server',
  'restore',
  'save',
  'list',
  ...ASIDE,
]);
const SERVICE_OPTIONS: ReadonlySet<string> = new Set(['tcp-service', 'udp-service', 'sctp-service', 'fwmark-service']);

/** The commands of `text`, in order. A line with a problem gives no command; its problem is added to `problems`. */
export function parseIpvsSave(text: string, problems: Problems): IpvsCommand[] {
  const commands: IpvsCommand[] = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const words = wordsOf(lines[i]);
    if (words.length === 0 || words[0].text.startsWith('#')) continue;
    if (/^(?:.*\/)?ipvsadm$/.test(words[0].text)) words.shift();
    if (words.length === 0) continue;
    if (words[0].text === 'IP' && words[1]?.text === 'Virtual') {
      const message = 'this is a list (ipvsadm -L or /proc/net/ip_vs), not rules: save them with "ipvsadm-save -n"';
      problems.add({ line: i + 1, column: words[0].column }, 'GD_IMPORT_LIST', message);
      return commands;
    }
    const command = new LineReader(i + 1, problems).read(words);
    if (command !== null) commands.push(command);
  }
  return commands;
}

/** Stops the reading of one line; what is wrong has been reported. */
class Refused extends Error {}

class LineReader {
  readonly #line: number;
  readonly #problems: Problems;

  constructor(line: number, problems: Problems) {
    this.#line = line;
    this.#problems = problems;
  }

  read(words: readonly Word[]): IpvsCommand | null {
    try {
      const { options, fault } = optionsOf(words);
      if (fault !== null) {
        const meant = didYouMean(fault.at.text.replace(/^-+/, ''), OPTION_NAMES);
        this.#refuse(fault.at, 'GD_IMPORT_OPTION', `${fault.message}${meant}`);
      }
      return this.#command(words[0], options);
    } catch (error) {
      if (error instanceof Refused) return null;
      throw error;
    }
  }

  #refuse(at: Word, code: string, message: string): never {
    this.#problems.add({ line: this.#line, column: at.column }, code, message);
    throw new Refused();
  }

  #command(first: Word, options: readonly Given[]): IpvsCommand {
    const given = new Map<string, Given>();
    for (const option of options) {
      if (given.has(option.name)) this.#refuse(option.at, 'GD_IMPORT_OPTION', `"${option.at.text}" stands here a second time`);
      given.set(option.name, option);
    }
    const commands = options.filter(({ name }) => COMMANDS.has(name));
    if (commands.length === 0) {
      this.#refuse(first, 'GD_IMPORT_COMMAND', 'the line has no command: -A adds a virtual service, -a a real server');
    }
    if (commands.length > 1) {
      this.#refuse(commands[1].at, 'GD_IMPORT_COMMAND', `"${commands[1].at.text}" is a second command in one line`);
    }
    const [{ name: does, at: word }] = commands;
    const at = { line: this.#line, column: word.column };
    if (ASIDE.has(does)) return { at, does: 'aside', what: `--${does}` };
    if (does === 'clear') return { at, does };
    const service = this.#service(word, options, given);
    switch (does) {
      case 'add-service':
      case 'edit-service':
        return { at, does, service, options: this.#serviceOptions(service, given) };
      case 'delete-service':
        return { at, does, service };
      case 'add-server':
      case 'edit-server':
        return { at, does, service, server: this.#server(word, service, given) };
      case 'delete-server': {
        const { address, port } = this.#realServer(word, service, given);
        return { at, does, service, address, port };
      }
      default:
        return this.#refuse(word, 'GD_IMPORT_COMMAND', `"${word.text}" is no rule`);
    }
  }

  #service(command: Word, options: readonly Given[], given: ReadonlyMap<string, Given>): ServiceName {
    const services = options.filter(({ name }) => SERVICE_OPTIONS.has(name));
    if (services.length === 0)
      this.#refuse(command, 'GD_IMPORT_SERVICE', 'no virtual service is named: -t, -u, --sctp-service or -f');
    if (services.length > 1) this.#refuse(services[1].at, 'GD_IMPORT_SERVICE', 'a second virtual service is named in one line');
    const [{ name, values }] = services;
    if (name === 'fwmark-service') {
      const mark = this.#number(values[0], 1, 0xffffffff, 'a firewall mark');
      return { kind: 'mark', mark, family: given.has('ipv6') ? 6 : 4 };
    }
    const { address, port } = this.#endpoint(values[0]);
    const protocol = name.slice(0, name.indexOf('-')) as IpvsProtocol;
    return { kind: 'address', protocol, address, port: port ?? 0 };
  }

  #serviceOptions(service: ServiceName, given: ReadonlyMap<string, Given>): ServiceOptions {
    const value = (name: string) => given.get(name)?.values[0];
    const persistent = given.get('persistent');
    const seconds = persistent?.values[0];
    const scheduler = value('scheduler')?.text ?? DEFAULTS.scheduler;
    const flags = value('sched-flags')?.text.split(',') ?? [];
    return {
      scheduler,
      flags,
      persistence:
        persistent === undefined
          ? null
          : seconds === undefined
            ? DEFAULTS.persistence
            : this.#number(seconds, 1, LONGEST_PERSISTENCE, 'a number of seconds'),
      mask: this.#mask(service, value('netmask')),
      onePacket: given.has('ops'),
      engine: value('pe')?.text ?? null,
    };
  }

  /** Null for a mask of the whole address, which is the default. */
  #mask(service: ServiceName, word: Word | undefined): string | null {
    if (word === undefined) return null;
    const six = service.kind === 'mark' ? service.family === 6 : service.address.length === 16;
    if (six) {
      const bits = this.#number(word, 1, 128, 'a prefix length');
      return bits === 128 ? null : String(bits);
    }
    if (parseAnyAddress(word.text).value?.length !== 4) {
      this.#refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is not an IPv4 netmask such as 255.255.255.0`);
    }
    return word.text === '255.255.255.255' ? null : word.text;
  }

  #realServer(command: Word, service: ServiceName, given: ReadonlyMap<string, Given>): { address: Uint8Array; port: number } {
    const word = given.get('real-server')?.values[0];
    if (word === undefined) this.#refuse(command, 'GD_IMPORT_SERVER', 'no real server is named: -r ADDRESS:PORT');
    const { address, port } = this.#endpoint(word);
    return { address, port: port ?? (service.kind === 'address' ? service.port : 0) };
  }

  #server(command: Word, service: ServiceName, given: ReadonlyMap<string, Given>): ServerOptions {
    const { address, port } = this.#realServer(command, service, given);
    const ways = (['gatewaying', 'ipip', 'masquerading'] as const).filter((way) => given.has(way));
    if (ways.length > 1) {
      const second = given.get(ways[1])!.at;
      this.#refuse(second, 'GD_IMPORT_SERVER', `"${second.text}" is a second way of forwarding`);
    }
    const way = ways[0] ?? 'gatewaying';
    const number = (name: string, most: number, otherwise: number) => {
      const value = given.get(name)?.values[0];
      return value === undefined ? otherwise : this.#number(value, 0, most, `a value of --${name}`);
    };
    const tunnel = this.#tunnel(way === 'ipip', given);
    return {
      address,
      port: service.kind === 'address' && way !== 'masquerading' ? service.port : port,
      writtenPort: port,
      forwarding: way === 'ipip' ? 'tunnel' : way,
      tunnel,
      weight: number('weight', LARGEST_WEIGHT, 1),
      upper: number('u-threshold', 65535, 0),
      lower: number('l-threshold', 65535, 0),
    };
  }

  #tunnel(isTunnel: boolean, given: ReadonlyMap<string, Given>): IpvsTunnel | null {
    const named = [...given.values()].find(({ name }) => name.startsWith('tun-'));
    if (!isTunnel) {
      if (named !== undefined) this.#refuse(named.at, 'GD_IMPORT_SERVER', `"${named.at.text}" needs -i`);
      return null;
    }
    const typeWord = given.get('tun-type')?.values[0];
    const type = typeWord?.text ?? 'ipip';
    if (type !== 'ipip' && type !== 'gue' && type !== 'gre') {
      this.#refuse(typeWord!, 'GD_IMPORT_VALUE', `"${type}" is not a kind of tunnel: ipip, gue or gre`);
    }
    const portWord = given.get('tun-port')?.values[0];
    if (type === 'gue' && portWord === undefined) {
      this.#refuse(typeWord!, 'GD_IMPORT_SERVER', 'a tunnel of type gue needs --tun-port');
    }
    const checksum = given.has('tun-remcsum') ? 'remcsum' : given.has('tun-csum') ? 'full' : 'none';
    return { type, port: type === 'gue' ? this.#number(portWord!, 1, 65535, 'a port') : 0, checksum };
  }

  /** `192.0.2.1:80`, `192.0.2.1`, `[2001:db8::1]:80`, `[2001:db8::1]`; port null when there is none. */
  #endpoint(word: Word): { address: Uint8Array; port: number | null } {
    const { text, column } = word;
    const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text);
    if (match === null) {
      const six = text.includes(':') ? ': an IPv6 address stands in brackets, [2001:db8::1]:80' : '';
      this.#refuse(word, 'GD_IMPORT_ADDRESS', `"${text}" is not ADDRESS:PORT${six}`);
    }
    const host = match[1] ?? match[2];
    const hostWord = { text: host, column: column + (match[1] === undefined ? 0 : 1) };
    const parsed = parseAnyAddress(host);
    if (parsed.value === null) {
      if (/[^0-9a-fA-F.:]/.test(host) && /^[A-Za-z0-9._-]+$/.test(host)) {
        this.#refuse(hostWord, 'GD_IMPORT_NAME', `"${host}" is a name, not an address: save with "ipvsadm-save -n"`);
      }
      this.#refuse(hostWord, 'GD_IMPORT_ADDRESS', parsed.refusal.message);
    }
    if ((parsed.value.length === 16) !== (match[1] !== undefined)) {
      const message = `"${host}": brackets stand around IPv6 addresses, and only around them`;
      this.#refuse(hostWord, 'GD_IMPORT_ADDRESS', message);
    }
    if (match[3] === undefined) return { address: parsed.value, port: null };
    const portWord = { text: match[3], column: column + text.length - match[3].length };
    return { address: parsed.value, port: this.#number(portWord, 0, 65535, 'a port') };
  }

  #number(word: Word, least: number, most: number, what: string): number {
    const value = /^(?:\d{1,10}|0[xX][0-9a-fA-F]{1,8})$/.test(word.text) ? Number(word.text) : Number.NaN;
    if (value >= least && value <= most) return value;
    if (what === 'a port' && /^[a-z][a-z0-9.+_-]*$/i.test(word.text)) {
      this.#refuse(word, 'GD_IMPORT_NAME', `"${word.text}" is the name of a port: save with "ipvsadm-save -n"`);
    }
    this.#refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is not ${what}: a whole number from ${least} to ${most}`);
  }
}
