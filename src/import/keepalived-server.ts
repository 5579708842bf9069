/** The blocks virtual_server_group, virtual_server and real_server (keepalived.conf(5), "LVS CONFIGURATION") → what IPVS is told by them. */
import { formatAddress, type Prefix } from '../base/address.ts';
import { parsePrefix } from '../config/address.ts';
import { MAX_POOL_BACKENDS } from '../config/schema.ts';
import { prefixesOfRange } from './address-range.ts';
import type { IpvsServer, IpvsService } from './ipvs-rules.ts';
import type { IpvsProtocol, IpvsTunnel, ServerOptions, ServiceName } from './ipvs-save.ts';
import type { Statement, Word } from './keepalived-blocks.ts';
import { CHECKERS, type Checker, type CheckSettings, readChecker, readSetting, type TlsFiles } from './keepalived-check.ts';
import { type CheckedServer, planHealth, type Quorum } from './keepalived-health.ts';
import type { Values } from './keepalived-values.ts';
import type { Note, NoteKind, Told } from './note.ts';
import type { Place } from './place.ts';

/** What the program puts in place of a missing value (keepalived 2.2.7). */
const DEFAULTS = { scheduler: 'wlc', persistence: 360, protocol: 'udp' } as const;
const LARGEST_WEIGHT = 2147483647;
const LONGEST_PERSISTENCE = 86400 * 31;
const FLAGS: ReadonlySet<string> = new Set(['flag-1', 'flag-2', 'flag-3', 'sh-port', 'sh-fallback', 'mh-port', 'mh-fallback']);
/** IP_VS_SVC_F_SCHED1, _SCHED2: what they mean depends on the scheduler. */
const NUMBERED: Readonly<Record<string, string>> = { 'flag-1': 'fallback', 'flag-2': 'port' };
const SCRIPTS: ReadonlySet<string> = new Set(['notify_up', 'notify_down', 'quorum_up', 'quorum_down']);
const SILENT: ReadonlySet<string> = new Set(['smtp_alert', 'snmp_name', 'warmup', 'ha_suspend']);
const METHODS: Readonly<Record<string, ServerOptions['forwarding']>> = { NAT: 'masquerading', DR: 'gatewaying', TUN: 'tunnel' };

interface Method {
  readonly forwarding: ServerOptions['forwarding'];
  readonly tunnel: IpvsTunnel | null;
}

/** Members of a virtual_server_group: prefixes with their port, and marks. */
export type GroupMember =
  | { readonly kind: 'range'; readonly prefixes: readonly Prefix[]; readonly port: number; readonly at: Place }
  | { readonly kind: 'mark'; readonly mark: number; readonly family: 4 | 6 | null; readonly at: Place };

/** `192.0.2.1 80`, `192.0.2.1-10 80`, `192.0.2.250-192.0.3.10`, `192.0.2.8/29 80`, `fwmark 7 inet6`. */
export function readGroup(block: readonly Statement[], values: Values): GroupMember[] {
  return block.flatMap((statement): GroupMember[] => {
    const [first, second, third] = statement.words;
    const at = first.at;
    if (first.text === 'fwmark') {
      const mark = values.number(statement, 1, 0xffffffff);
      const family = third === undefined ? null : third.text === 'inet6' ? 6 : 4;
      return mark === null ? [] : [{ kind: 'mark', mark, family, at }];
    }
    const prefixes = rangeOf(first, values);
    const port = values.port(second);
    return prefixes === null || port === null ? [] : [{ kind: 'range', prefixes, port: port.port, at }];
  });
}

function rangeOf(word: Word, values: Values): readonly Prefix[] | null {
  const { text } = word;
  if (text.includes('/')) {
    const parsed = parsePrefix(text);
    return parsed.value === null ? values.refuse(word, 'GD_IMPORT_ADDRESS', parsed.refusal.message) : [parsed.value];
  }
  const dash = text.indexOf('-');
  const first = values.address(dash < 0 ? word : { ...word, text: text.slice(0, dash) });
  if (first === null) return null;
  if (dash < 0) return [{ bytes: first, length: first.length * 8 }];
  const end = text.slice(dash + 1);
  const last = /[.:]/.test(end) ? values.address({ ...word, text: end }) : withLast(first, end);
  if (last === null || last.length !== first.length || Buffer.compare(last, first) < 0) {
    return values.refuse(word, 'GD_IMPORT_ADDRESS', `"${text}" is not a range of addresses such as 192.0.2.3-10`);
  }
  return prefixesOfRange(first, last);
}

/** The first address with another last number: decimal up to 255, with IPv6 hexadecimal up to ffff. */
function withLast(first: Uint8Array, end: string): Uint8Array | null {
  const last = first.slice();
  if (first.length === 4) {
    if (!/^\d{1,3}$/.test(end) || Number(end) > 255) return null;
    last[3] = Number(end);
    return last;
  }
  if (!/^[0-9a-fA-F]{1,4}$/.test(end)) return null;
  new DataView(last.buffer).setUint16(14, Number.parseInt(end, 16));
  return last;
}

/** Groups of ranges could make any number of them; a configuration has at most 8,192. */
const MOST_SERVICES = 8192;

export interface Surroundings {
  /** Services so far, of all virtual servers. */
  readonly count: { services: number };
  readonly groups: ReadonlyMap<string, readonly GroupMember[]>;
  readonly tls: TlsFiles;
  readonly values: Values;
  /** About what is left out whole. */
  readonly notes: Note[];
}

/** The services of one virtual_server: one, or those of its group. What is wrong has been reported, and then there may be none. */
export function readVirtualServer(statement: Statement, surroundings: Surroundings): IpvsService[] {
  return new VirtualServerReader(statement, surroundings).read();
}

interface ServerDraft {
  readonly at: Place;
  readonly address: Uint8Array;
  readonly port: { readonly port: number; readonly missing: boolean };
  readonly method: Method | null;
  readonly weight: number;
  readonly upper: number;
  readonly lower: number;
  readonly inhibits: boolean | null;
  readonly settings: CheckSettings;
  readonly checkers: readonly Statement[];
  /** By the port that they ask; services of one group differ in it. */
  readonly read: Map<number, readonly Checker[]>;
  readonly told: Told[];
}

type Settings = { -readonly [key in keyof CheckSettings]: CheckSettings[key] };

class VirtualServerReader {
  readonly #statement: Statement;
  readonly #surroundings: Surroundings;
  readonly #values: Values;
  readonly #told: Told[] = [];
  readonly #settings: Settings = {};
  readonly #flags: string[] = [];
  readonly #servers: ServerDraft[] = [];
  #scheduler: string = DEFAULTS.scheduler;
  #method: Method = { forwarding: 'masquerading', tunnel: null };
  #protocol: IpvsProtocol | null = null;
  #persistence: number | null = null;
  #mask: string | null = null;
  #engine: string | null = null;
  #onePacket = false;
  #inhibits = false;
  #family: 4 | 6 | null = null;
  #quorum: Quorum | null = null;

  constructor(statement: Statement, surroundings: Surroundings) {
    this.#statement = statement;
    this.#surroundings = surroundings;
    this.#values = surroundings.values;
  }

  read(): IpvsService[] {
    const { words, block } = this.#statement;
    if (block === null) {
      this.#values.refuse(words[0], 'GD_IMPORT_SERVICE', 'a virtual_server needs a block { … }');
      return [];
    }
    for (const one of block) this.#read(one);
    const title = words.map(({ text }) => text).join(' ');
    const { count, notes } = this.#surroundings;
    if (this.#servers.length > MAX_POOL_BACKENDS) {
      const message = `${this.#servers.length} real servers; a pool has at most ${MAX_POOL_BACKENDS}`;
      this.#values.refuse(words[0], 'GD_IMPORT_SERVICE', message);
      return [];
    }
    if (this.#servers.length === 0) {
      const message = `${title}: it has no real servers, and keepalived ignores it`;
      notes.push({ kind: 'left-out', code: 'GD_IMPORT_NO_SERVERS', message, at: words[0].at, service: title, server: '' });
      return [];
    }
    const names = this.#names();
    const before = count.services;
    count.services += names.length;
    if (count.services > MOST_SERVICES) {
      const message = `more than ${MOST_SERVICES} services, each range counted as its prefixes`;
      if (before <= MOST_SERVICES) this.#values.refuse(words[0], 'GD_IMPORT_SERVICE', message);
      return [];
    }
    return names.map((name) => this.#service(name, title));
  }

  #tell(kind: NoteKind, code: string, message: string, at: Place, told = this.#told): void {
    told.push({ kind, code, message, at });
  }

  #read(statement: Statement): void {
    if (readSetting(statement, this.#settings, this.#values)) return;
    const [{ text: keyword, at }] = statement.words;
    switch (keyword) {
      case 'lb_algo':
      case 'lvs_sched':
        this.#scheduler = this.#values.text(statement, 'a scheduler') ?? DEFAULTS.scheduler;
        return;
      case 'lb_kind':
      case 'lvs_method':
        this.#method = this.#methodOf(statement) ?? this.#method;
        return;
      case 'ops':
        this.#onePacket = true;
        return;
      case 'protocol':
        this.#protocol = this.#protocolOf(statement);
        return;
      case 'persistence_timeout':
        this.#persistence =
          statement.words.length === 1 ? DEFAULTS.persistence : this.#values.number(statement, 1, LONGEST_PERSISTENCE);
        return;
      case 'persistence_granularity':
        this.#mask = this.#values.text(statement, 'a netmask');
        return;
      case 'persistence_engine':
        this.#engine = this.#values.text(statement, 'an engine');
        return;
      case 'ip_family':
        this.#family = this.#values.text(statement, 'inet or inet6') === 'inet6' ? 6 : 4;
        return;
      case 'quorum': {
        const weight = this.#values.number(statement, 1, 0xffffffff);
        if (weight !== null) this.#quorum = { at, weight };
        return;
      }
      case 'inhibit_on_failure':
        this.#inhibits = this.#values.flag(statement);
        return;
      case 'real_server':
        this.#realServer(statement);
        return;
      case 'sorry_server': {
        const where = statement.words.slice(1).map(({ text }) => text);
        const message = `${['sorry_server', ...where].join(' ')}: there is no server of last resort; with minimum-healthy and below-minimum: unready a service that has too few is not ready, so routing can lead to another director`;
        this.#tell('left-out', 'GD_IMPORT_SORRY_SERVER', message, at);
        return;
      }
      case 'sorry_server_inhibit':
      case 'sorry_server_lvs_method':
        return;
      default:
        if (FLAGS.has(keyword)) this.#flags.push(this.#flag(keyword));
        else this.#other(statement, 'virtual_server', this.#told);
    }
  }

  #flag(keyword: string): string {
    const numbered = NUMBERED[keyword];
    return numbered !== undefined && /^[ms]h$/.test(this.#scheduler) ? `${this.#scheduler}-${numbered}` : keyword;
  }

  #other({ words }: Statement, block: string, told: Told[]): void {
    const [{ text: keyword, at }] = words;
    if (SILENT.has(keyword)) return;
    if (keyword === 'hysteresis') {
      const weight = words[1]?.text ?? '';
      const message = `hysteresis ${weight}: there is none; the pool is good again with the first server that makes the quorum, and lost with the first that is missing`;
      if (weight !== '0') this.#tell('differs', 'GD_IMPORT_QUORUM', message, at, told);
      return;
    }
    if (keyword === 'omega') {
      const message =
        'omega: nothing is told when the director is stopped, as no program is run; routers see that it is not ready';
      this.#tell('remark', 'GD_IMPORT_QUORUM', message, at, told);
      return;
    }
    if (SCRIPTS.has(keyword)) {
      const message = `${keyword}: no program is run; follow the metrics and the journal of events`;
      this.#tell('left-out', 'GD_IMPORT_SCRIPT', message, at, told);
    } else this.#tell('left-out', 'GD_IMPORT_KEYWORD', `${keyword}: it is not known what this means in a ${block}`, at, told);
  }

  #protocolOf(statement: Statement): IpvsProtocol | null {
    const word = this.#values.word(statement, 1, 'TCP, UDP or SCTP');
    if (word === null) return null;
    if (/^(TCP|UDP|SCTP)$/.test(word.text)) return word.text.toLowerCase() as IpvsProtocol;
    return this.#values.refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is none of TCP, UDP and SCTP`);
  }

  /** `NAT`, `DR`, `TUN type gue port 6080 csum`. */
  #methodOf(statement: Statement): Method | null {
    const word = this.#values.word(statement, 1, 'NAT, DR or TUN');
    if (word === null) return null;
    const forwarding = Object.hasOwn(METHODS, word.text) ? METHODS[word.text] : undefined;
    if (forwarding === undefined) {
      return this.#values.refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is none of NAT, DR and TUN`);
    }
    if (forwarding !== 'tunnel') return { forwarding, tunnel: null };
    const { words } = statement;
    let type: IpvsTunnel['type'] = 'ipip';
    let port = 0;
    let checksum: IpvsTunnel['checksum'] = 'none';
    for (let i = 2; i < words.length; i++) {
      const { text } = words[i];
      const next = words[i + 1];
      if (text === 'type' && next !== undefined && /^(ipip|gue|gre)$/.test(next.text)) {
        type = next.text as IpvsTunnel['type'];
        i++;
      } else if (text === 'port' && next !== undefined) {
        port = this.#values.numberOf(next, 1, 65535, 'a port') ?? 0;
        i++;
      } else if (/^(nocsum|csum|remcsum)$/.test(text)) {
        checksum = text === 'csum' ? 'full' : text === 'remcsum' ? 'remcsum' : 'none';
      } else {
        const wanted = 'type ipip, gue port NUMBER or gre, then nocsum, csum or remcsum';
        return this.#values.refuse(words[i], 'GD_IMPORT_VALUE', `"${text}" does not belong to a tunnel: ${wanted}`);
      }
    }
    if (type === 'gue' && port === 0) return this.#values.refuse(word, 'GD_IMPORT_SERVER', 'a tunnel of type gue needs a port');
    return { forwarding, tunnel: { type, port: type === 'gue' ? port : 0, checksum } };
  }

  #realServer(statement: Statement): void {
    const values = this.#values;
    const word = values.word(statement, 1, 'an address');
    const address = word === null ? null : values.address(word);
    const port = values.port(statement.words[2]);
    const { at } = statement.words[0];
    if (address === null || port === null) return;
    let method: Method | null = null;
    let [weight, upper, lower] = [1, 0, 0];
    let inhibits: boolean | null = null;
    const settings: Settings = {};
    const checkers: Statement[] = [];
    const told: Told[] = [];
    for (const one of statement.block ?? []) {
      if (readSetting(one, settings, values)) continue;
      const keyword = one.words[0].text;
      if (keyword === 'weight') weight = values.number(one, 0, LARGEST_WEIGHT) ?? 1;
      else if (keyword === 'lb_kind' || keyword === 'lvs_method') method = this.#methodOf(one);
      else if (keyword === 'uthreshold') upper = values.number(one, 0, 0xffffffff) ?? 0;
      else if (keyword === 'lthreshold') lower = values.number(one, 0, 0xffffffff) ?? 0;
      else if (keyword === 'inhibit_on_failure') inhibits = values.flag(one);
      else if (CHECKERS.has(keyword)) checkers.push(one);
      else this.#other(one, 'real_server', told);
    }
    this.#servers.push({ at, address, port, method, weight, upper, lower, inhibits, settings, checkers, read: new Map(), told });
  }

  /** What it is called: its address, its mark, or all of its group. */
  #names(): { name: ServiceName; at: Place }[] {
    const [head, first, second] = this.#statement.words;
    const values = this.#values;
    const at = head.at;
    if (first === undefined) {
      values.refuse(head, 'GD_IMPORT_SERVICE', 'a virtual_server is an address with its port, fwmark NUMBER, or group NAME');
      return [];
    }
    if (first.text === 'fwmark') {
      if (second === undefined) values.refuse(first, 'GD_IMPORT_VALUE', 'fwmark needs a number');
      const mark = second === undefined ? null : values.numberOf(second, 1, 0xffffffff, 'a firewall mark');
      return mark === null ? [] : [{ name: { kind: 'mark', mark, family: this.#familyOfMark(null) }, at }];
    }
    if (first.text === 'group') {
      const members = second === undefined ? undefined : this.#surroundings.groups.get(second.text);
      if (members === undefined) {
        values.refuse(second ?? first, 'GD_IMPORT_GROUP', `there is no virtual_server_group "${second?.text ?? ''}"`);
        return [];
      }
      return members.flatMap((member) => {
        if (member.kind === 'mark') {
          return [
            { name: { kind: 'mark', mark: member.mark, family: this.#familyOfMark(member.family) } as const, at: member.at },
          ];
        }
        return member.prefixes.map(({ bytes, length }) => ({
          name: this.#addressName(bytes, length, member.port),
          at: member.at,
        }));
      });
    }
    const address = values.address(first);
    const port = values.port(second);
    return address === null || port === null ? [] : [{ name: this.#addressName(address, address.length * 8, port.port), at }];
  }

  #addressName(address: Uint8Array, length: number, port: number): ServiceName {
    const protocol = this.#protocol ?? DEFAULTS.protocol;
    return { kind: 'address', protocol, address, ...(length < address.length * 8 ? { length } : {}), port };
  }

  #familyOfMark(own: 4 | 6 | null): 4 | 6 {
    if (own !== null) return own;
    if (this.#family !== null) return this.#family;
    const sixes = this.#servers.filter(({ address }) => address.length === 16).length;
    return sixes > 0 && sixes === this.#servers.length ? 6 : 4;
  }

  #service({ name, at }: { name: ServiceName; at: Place }, title: string): IpvsService {
    const told = [...this.#told];
    if (this.#protocol === null && name.kind === 'address') {
      const message = 'no protocol is named: keepalived 2 takes UDP, where older ones took TCP';
      this.#tell('remark', 'GD_IMPORT_PROTOCOL', message, at, told);
    }
    let persistence = this.#persistence;
    if (persistence === null && name.kind === 'address' && name.port === 0) persistence = DEFAULTS.persistence;
    const seen = new Set<string>();
    const drafts = this.#servers.filter((draft) => {
      const text = `${formatAddress(draft.address)} ${this.#portOf(draft, name)}`;
      if (!seen.has(text)) return seen.add(text);
      const message = `real_server ${text} stands here twice; keepalived takes the first alone`;
      this.#tell('remark', 'GD_IMPORT_SAME_SERVER', message, draft.at, told);
      return false;
    });
    const checked = drafts.map((draft): CheckedServer => {
      const { at: where, weight, inhibits } = draft;
      return { at: where, weight, inhibits: inhibits ?? this.#inhibits, checkers: this.#checkersOf(draft, name) };
    });
    const { health, told: toldOfChecks, ofServers } = planHealth(checked, this.#quorum);
    return {
      at,
      name,
      title: at === this.#statement.words[0].at ? title : `${title}: ${memberText(name)}`,
      told: [...told, ...toldOfChecks],
      ...(health === null ? {} : { health }),
      options: {
        scheduler: this.#scheduler,
        flags: this.#flags,
        persistence,
        mask: this.#mask === '255.255.255.255' || this.#mask === '128' ? null : this.#mask,
        onePacket: this.#onePacket,
        engine: this.#engine,
      },
      servers: drafts.map((draft, i) => this.#serverOf(draft, name, ofServers[i])),
    };
  }

  /** As IPVS has it: only masquerading translates ports. */
  #portOf({ port, method }: ServerDraft, name: ServiceName): number {
    const own = name.kind === 'address' ? name.port : 0;
    const { forwarding } = method ?? this.#method;
    return port.missing || (forwarding !== 'masquerading' && name.kind === 'address') ? own : port.port;
  }

  #checkersOf(draft: ServerDraft, name: ServiceName): readonly Checker[] {
    const own = name.kind === 'address' ? name.port : 0;
    const server = { address: draft.address, port: draft.port.missing ? own : draft.port.port };
    const known = draft.read.get(server.port);
    if (known !== undefined) return known;
    const { tls } = this.#surroundings;
    const settings = { ...this.#settings, ...draft.settings };
    const checkers = draft.checkers.map((one) => readChecker(one, server, settings, tls, this.#values));
    draft.read.set(server.port, checkers);
    return checkers;
  }

  #serverOf(draft: ServerDraft, name: ServiceName, told: readonly Told[]): IpvsServer {
    const { address, weight, upper, lower, at } = draft;
    const port = this.#portOf(draft, name);
    return {
      address,
      port,
      writtenPort: draft.port.missing ? port : draft.port.port,
      ...(draft.method ?? this.#method),
      weight,
      upper,
      lower,
      at,
      lastWeight: weight,
      told: [...draft.told, ...told],
    };
  }
}

function memberText(name: ServiceName): string {
  if (name.kind === 'mark') return `fwmark ${name.mark}`;
  const { address, length, port } = name;
  return `${formatAddress(address)}${length === undefined ? '' : `/${length}`} ${port}`;
}
