/** The checkers of a real server (HTTP_GET, TCP_CHECK, …) → checks of a pool, and what of them has no equal. */
import { formatAddress, sameAddress } from '../base/address.ts';
import type { PlannedCheck } from './health-plan.ts';
import type { Statement, Word } from './keepalived-blocks.ts';
import type { Values } from './keepalived-values.ts';
import type { NoteKind, Told } from './note.ts';
import type { Place } from './place.ts';

/** Settings that a virtual server hands to its real servers, and these to their checkers. Seconds; undefined: nobody said. */
export interface CheckSettings {
  readonly connectTimeout?: number;
  readonly retry?: number;
  readonly delayBeforeRetry?: number;
  readonly delayLoop?: number;
  readonly alpha?: boolean;
  readonly virtualhost?: string;
}

export interface Checker {
  /** `HTTP_GET`. */
  readonly keyword: string;
  readonly at: Place;
  /** One for each url; none when there is nothing like it here. */
  readonly checks: readonly PlannedCheck[];
  /** Seconds between two runs, after which one fails, and between two tries of a failed one. */
  readonly interval: number;
  readonly timeout: number;
  readonly retryDelay: number;
  /** How many more tries a failed one has. */
  readonly retry: number;
  readonly alpha: boolean;
  readonly told: readonly Told[];
}

/** Of the whole file: the block SSL. */
export interface TlsFiles {
  readonly certificate: string | null;
  readonly key: string | null;
}

export const CHECKERS: ReadonlySet<string> = new Set([
  'HTTP_GET',
  'SSL_GET',
  'TCP_CHECK',
  'SMTP_CHECK',
  'DNS_CHECK',
  'MISC_CHECK',
  'BFD_CHECK',
  'UDP_CHECK',
  'PING_CHECK',
  'FILE_CHECK',
]);

/** Words of checkers that change nothing here, beside those that are read below. */
const SILENT: ReadonlySet<string> = new Set(['warmup', 'log_all_failures', 'fast_recovery', 'http_protocol', 'host', 'name']);
const WITHOUT_EQUAL: Readonly<Record<string, string>> = {
  MISC_CHECK: 'a program decided: nothing is run here; let the worker answer it by HTTP, and check that',
  BFD_CHECK: 'there is no BFD here; a check of type tunnel or icmp sees the same failures, later',
  FILE_CHECK: 'a file decided: name the servers that are good in a file of their own, or drain by hand',
};

/** Reads a setting that every level knows; false: it is none. */
export function readSetting(
  statement: Statement,
  into: { -readonly [key in keyof CheckSettings]: CheckSettings[key] },
  values: Values,
): boolean {
  switch (statement.words[0].text) {
    case 'connect_timeout':
      into.connectTimeout = values.seconds(statement) ?? 5;
      return true;
    case 'delay_loop':
      into.delayLoop = values.seconds(statement) ?? 60;
      return true;
    case 'delay_before_retry':
      into.delayBeforeRetry = values.seconds(statement) ?? 1;
      return true;
    case 'retry':
    case 'nb_get_retry':
      into.retry = values.number(statement, 0, 0x7fffffff) ?? 1;
      return true;
    case 'alpha':
      into.alpha = values.flag(statement);
      return true;
    case 'virtualhost':
      into.virtualhost = values.text(statement, 'a name') ?? '';
      return true;
    default:
      return false;
  }
}

interface Server {
  readonly address: Uint8Array;
  /** 0: every port. */
  readonly port: number;
}

/** `settings`: of the real server. */
export function readChecker(
  statement: Statement,
  server: Server,
  settings: CheckSettings,
  tls: TlsFiles,
  values: Values,
): Checker {
  const [{ text: keyword, at }] = statement.words;
  return new CheckerReader(keyword, at, server, settings, tls, values).read(statement.block ?? []);
}

class CheckerReader {
  readonly #keyword: string;
  readonly #at: Place;
  readonly #server: Server;
  readonly #settings: { -readonly [key in keyof CheckSettings]: CheckSettings[key] };
  readonly #tls: TlsFiles;
  readonly #values: Values;
  readonly #told: Told[] = [];
  #port: number;
  #sni = false;
  #dns = { type: 'SOA', name: '.' };
  #udp: { payload: string | null; required: boolean; reply: string | null } = { payload: null, required: false, reply: null };
  readonly #urls: Statement[] = [];

  constructor(keyword: string, at: Place, server: Server, settings: CheckSettings, tls: TlsFiles, values: Values) {
    this.#keyword = keyword;
    this.#at = at;
    this.#server = server;
    this.#settings = { ...settings };
    this.#tls = tls;
    this.#values = values;
    this.#port = server.port;
  }

  read(block: readonly Statement[]): Checker {
    const none = WITHOUT_EQUAL[this.#keyword];
    if (none !== undefined) this.#tell('left-out', `${this.#keyword}: ${none}`);
    for (const statement of block) {
      if (!readSetting(statement, this.#settings, this.#values)) this.#statement(statement, none !== undefined);
    }
    const isHttp = /_GET$/.test(this.#keyword);
    const { connectTimeout = 5, delayLoop = 60, alpha = false } = this.#settings;
    const retryDelay = this.#settings.delayBeforeRetry ?? (this.#keyword === 'DNS_CHECK' ? delayLoop : isHttp ? 3 : 1);
    const retry = this.#settings.retry ?? (this.#keyword === 'DNS_CHECK' ? 3 : 1);
    const checks = none === undefined ? this.#checks() : [];
    const times = { interval: delayLoop, timeout: connectTimeout, retryDelay, retry, alpha };
    return { keyword: this.#keyword, at: this.#at, checks, ...times, told: this.#told };
  }

  #tell(kind: NoteKind, message: string, at = this.#at): void {
    this.#told.push({ kind, code: 'GD_IMPORT_CHECK', message, at });
  }

  #statement(statement: Statement, isNone: boolean): void {
    const [{ text: keyword, at }] = statement.words;
    switch (keyword) {
      case 'connect_port':
        this.#port = this.#values.number(statement, 1, 65535) ?? 0;
        return;
      case 'connect_ip': {
        const word = this.#values.word(statement, 1, 'an address');
        const address = word === null ? null : this.#values.address(word);
        if (address === null || sameAddress(address, this.#server.address)) return;
        this.#tell('differs', `connect_ip ${formatAddress(address)}: here the address of the server itself is asked`, at);
        return;
      }
      case 'url':
        this.#urls.push(statement);
        return;
      case 'host':
        for (const one of statement.block ?? []) this.#statement(one, isNone);
        return;
      case 'enable_sni':
        this.#sni = this.#values.flag(statement);
        return;
      case 'type':
        this.#dns.type = this.#values.text(statement, 'a type of records')?.toUpperCase() ?? 'SOA';
        if (!/^(A|NS|CNAME|SOA|MX|TXT|AAAA)$/.test(this.#dns.type)) {
          const types = 'A, NS, CNAME, SOA, MX, TXT and AAAA';
          this.#values.refuse(statement.words.at(-1)!, 'GD_IMPORT_VALUE', `"${this.#dns.type}" is none of the types ${types}`);
        }
        return;
      case 'name':
        this.#dns.name = this.#values.text(statement, 'a name') ?? '.';
        return;
      case 'payload':
        this.#udp.payload = this.#hexadecimal(statement);
        return;
      case 'require_reply':
        this.#udp.required = true;
        this.#udp.reply = statement.words.length > 1 ? this.#hexadecimal(statement) : null;
        return;
      default:
        if (isNone || SILENT.has(keyword)) return;
        this.#tell(
          'left-out',
          `${statement.words.map(({ text }) => text).join(' ')}: ${this.#keyword} has no such thing here`,
          at,
        );
    }
  }

  #checks(): PlannedCheck[] {
    if (this.#keyword === 'PING_CHECK') return [this.#planned('icmp', [])];
    if (this.#port === 0) {
      this.#tell('left-out', `${this.#keyword}: no port is named that could be asked; write connect_port`);
      return [];
    }
    const port: [string, string] = ['port', String(this.#port)];
    switch (this.#keyword) {
      case 'TCP_CHECK':
        return [this.#planned('tcp', [port])];
      case 'SMTP_CHECK':
        this.#tell('differs', 'SMTP_CHECK: the greeting must begin with 220; nothing is said to the server after it');
        return [this.#planned('tcp', [port, ['expect', '"220"']])];
      case 'DNS_CHECK':
        return this.#dnsCheck(port);
      case 'UDP_CHECK':
        return [this.#udpCheck(port)];
      default:
        if (this.#urls.length === 0)
          this.#values.refuse(wordAt(this.#keyword, this.#at), 'GD_IMPORT_CHECK', `${this.#keyword} has no url`);
        return this.#urls.flatMap((url) => this.#httpCheck(url, port));
    }
  }

  #planned(type: string, keys: readonly (readonly [string, string])[], at = this.#at): PlannedCheck {
    return { keys: [['type', type], ...keys], at };
  }

  #dnsCheck(port: [string, string]): PlannedCheck[] {
    const { name, type } = this.#dns;
    const labels = name.replace(/\.$/, '').split('.');
    if (name !== '.' && (name.length > 253 || !labels.every((label) => /^[\x21-\x2d\x2f-\x7e]{1,63}$/.test(label)))) {
      this.#tell('left-out', `DNS_CHECK: "${name.slice(0, 80)}" is not a name that DNS has`);
      return [];
    }
    return [this.#planned('dns', [port, ['name', quoted(name)], ['query', type]])];
  }

  #udpCheck(port: [string, string]): PlannedCheck {
    const { payload, required, reply } = this.#udp;
    if (payload === null) this.#tell('remark', 'UDP_CHECK without payload sent bytes by chance; here it is one byte 00');
    const keys: [string, string][] = [port, ['send-hex', quoted(payload === null || payload === '' ? '00' : payload)]];
    const known = /^(?:[0-9a-f]{2})*/.exec(reply ?? '')![0];
    if (reply !== null && known !== reply) {
      this.#tell(
        'differs',
        `require_reply: compared up to the first digit that may be anything: ${known === '' ? 'nothing' : known}`,
      );
    }
    if (known !== '') keys.push(['expect-hex', quoted(known)]);
    if (!required) keys.push(['answer', 'optional']);
    return this.#planned('udp', keys);
  }

  /** `Ab12f 3` → `ab120f03`; `x` stays. */
  #hexadecimal(statement: Statement): string {
    const words = statement.words.slice(1).flatMap(({ text, at }) => text.split(/\s+/).map((part) => ({ text: part, at })));
    let all = '';
    for (const word of words) {
      if (!/^[0-9a-fA-FxX]*$/.test(word.text)) {
        this.#values.refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is not hexadecimal`);
        return '';
      }
      all += (word.text.match(/..?/g) ?? []).map((pair) => pair.padStart(2, '0').toLowerCase()).join('');
    }
    if (all.length <= 2048) return all;
    this.#tell('differs', `${statement.words[0].text}: only its first 1024 bytes are used`);
    return all.slice(0, 2048);
  }

  #httpCheck(url: Statement, port: [string, string]): PlannedCheck[] {
    const at = url.words[0].at;
    const keys: [string, string][] = [port];
    let host = this.#settings.virtualhost ?? '';
    let path = '/';
    let status: string[] = [];
    let pattern: string | null = null;
    let turned = false;
    for (const statement of url.block ?? []) {
      const [{ text: keyword, at: here }] = statement.words;
      const rest = statement.words.slice(1);
      if (keyword === 'path') path = this.#values.text(statement, 'a path') ?? '/';
      else if (keyword === 'virtualhost') host = this.#values.text(statement, 'a name') ?? '';
      else if (keyword === 'status_code') status = rest.flatMap((word) => this.#status(word));
      else if (keyword === 'regex') pattern = this.#values.text(statement, 'a regular expression');
      else if (keyword === 'digest') {
        this.#tell(
          'left-out',
          'digest: the body is not summed up; name a text that it must contain (body: { contains: … })',
          here,
        );
      } else if (keyword === 'regex_no_match') {
        this.#tell('left-out', 'regex_no_match: a body can only be asked to match', here);
        turned = true;
      } else if (keyword === 'regex_options' && rest.every(({ text }) => text === 'utf')) continue;
      else this.#tell('left-out', `${statement.words.map(({ text }) => text).join(' ')}: there is no such thing here`, here);
    }
    const asked = encoded(path.startsWith('/') ? path : `/${path}`);
    if (asked.length > 1024) {
      this.#tell('left-out', `${this.#keyword}: the path is longer than 1024 characters`, at);
      return [];
    }
    if (asked !== '/') keys.push(['path', quoted(asked)]);
    if (host !== '' && !/^[\x21-\x7e]{1,1024}$/.test(host)) {
      this.#tell('left-out', `virtualhost "${host.slice(0, 80)}" is no name that may stand in a request`, at);
      host = '';
    }
    if (host !== '') keys.push(['host', quoted(host)]);
    if (status.length > 0) keys.push(['status', status.length === 1 ? status[0] : `[${status.join(', ')}]`]);
    const matches = pattern === null || turned ? null : this.#pattern(pattern, at);
    if (matches !== null) keys.push(['body', `{ matches: ${quoted(matches)} }`]);
    if (this.#keyword === 'HTTP_GET') return [this.#planned('http', keys, at)];
    keys.push(['verify', 'false']);
    const { certificate, key } = this.#tls;
    if (certificate !== null && key !== null) keys.push(['certificate', quoted(certificate)], ['key', quoted(key)]);
    if (this.#sni && host !== '') keys.push(['server-name', quoted(host)]);
    return [this.#planned('https', keys, at)];
  }

  #status(word: Word): string[] {
    const match = /^(\d{3})(?:-(\d{3}))?$/.exec(word.text);
    const [from, to] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (match === null || from < 100 || to > 599 || from > to) {
      this.#values.refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is not a status from 100 to 599, or a range such as 200-299`);
      return [];
    }
    return [from === to ? String(from) : `${from}-${to}`];
  }

  /** Expressions of PCRE that JavaScript does not know are left out. */
  #pattern(pattern: string, at: Place): string | null {
    try {
      new RegExp(pattern, 'u');
      if (pattern !== '' && pattern.length <= 1000) return pattern;
    } catch {
      // Told below: the same as one that is too long.
    }
    this.#tell('left-out', `regex "${pattern.slice(0, 80)}" is no regular expression of JavaScript (flag u)`, at);
    return null;
  }
}

function wordAt(text: string, at: Place): Word {
  return { text, at };
}

/** What may not stand in a request line as %xx (RFC 3986 §2.1); what is there as %xx stays. */
function encoded(path: string): string {
  const bytes = new TextEncoder().encode(path);
  return [...bytes]
    .map((byte) =>
      byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('');
}

/** As a scalar of YAML inside `{ }`. */
export function quoted(text: string): string {
  if (/^(?:\/[A-Za-z0-9._/-]*|[A-Za-z][A-Za-z0-9-]*\.[A-Za-z0-9.-]*[A-Za-z0-9])$/.test(text)) return text;
  const byNumber = (letter: string) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, byNumber);
}
