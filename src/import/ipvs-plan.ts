/**
 * What IPVS does → what this director would do, as plain data: services, pools and backends as the configuration will name them, and a note
 * for everything that is not the same. Nothing is guessed: what can not be said in a configuration is left out, with its note.
 */
import { formatAddress, formatPrefix, prefixContains } from '../base/address.ts';
import { parsePrefix } from '../config/address.ts';
import { primeAtLeast } from '../config/prime.ts';
import { MAX_TABLE_SIZE } from '../config/schema.ts';
import type { Affinity } from '../pipeline/spec.ts';
import { healthLines, type PlannedHealth } from './health-plan.ts';
import type { MarkedTraffic } from './ipvs-mark.ts';
import { inKernelOrder, type KernelOrder } from './ipvs-order.ts';
import { formatServiceName, type IpvsRules, type IpvsService } from './ipvs-rules.ts';
import type { IpvsProtocol } from './ipvs-save.ts';
import { planMh, planScheduler } from './ipvs-scheduler.ts';
import { type PlannedBackend, planServers } from './ipvs-servers.ts';
import { commonest, type PlannedTunnel } from './ipvs-tunnel.ts';
import { label } from './name.ts';
import type { Note, Say } from './note.ts';
import { comparePlaces, type Place } from './place.ts';
import type { Wording } from './wording.ts';

/** CONFIG_IP_VS_MH_TAB_INDEX 12, the default of the kernel. */
export const MH_TABLE_SIZE = 4093;

export interface PlanOptions {
  /** What each firewall mark stands for. */
  readonly marks: readonly MarkedTraffic[];
  /** The kernel's own lists; null: servers are taken to be added in the order of the file. */
  readonly order: KernelOrder | null;
  /** Of the kernel's mh, CONFIG_IP_VS_MH_TAB_INDEX. */
  readonly mhTableSize: number;
  readonly wording: Wording;
}

export interface PlannedService {
  readonly name: string;
  /** Address or prefix. */
  readonly address: string;
  readonly protocol: IpvsProtocol;
  /** `80`, `8000-8999`, `all`. */
  readonly port: string;
  readonly affinity: Affinity;
  readonly pool: string;
  readonly at: Place;
  /** The rule as ipvsadm-save prints it, without its servers, or what its own file calls it. */
  readonly rule: string;
  readonly notes: readonly Note[];
}

/** The scheduler mh. */
export interface MhPlan {
  readonly port: boolean;
  readonly fallback: boolean;
  readonly tableSize: number;
  /** Of every real server, as IPVS has it. */
  readonly serverPort: number;
  /** It is the service's. */
  readonly isServicePort: boolean;
}

export interface PlannedPool {
  readonly name: string;
  /** Null: our own tables. */
  readonly mh: MhPlan | null;
  /** Null: the default. */
  readonly tableSize: number | null;
  readonly tunnel: PlannedTunnel;
  /** In the order of the kernel's own list under mh, else of the file. */
  readonly backends: readonly PlannedBackend[];
  /** Null: nobody checks them. */
  readonly health: PlannedHealth | null;
  /** About every backend alike. */
  readonly notes: readonly Note[];
}

export interface Plan {
  /** The commonest of all: the default of the configuration. */
  readonly tunnel: PlannedTunnel;
  /** Some server had one under IPVS. */
  readonly hasTunnels: boolean;
  readonly services: readonly PlannedService[];
  readonly pools: readonly PlannedPool[];
  /** Services that are not in the configuration. */
  readonly leftOut: readonly { readonly rule: string; readonly at: Place; readonly notes: readonly Note[] }[];
  /** All of them, in the order of the file. */
  readonly notes: readonly Note[];
  /** Of the rules: virtual services and real servers. */
  readonly count: { readonly services: number; readonly servers: number };
}

export function planImport(rules: IpvsRules, options: PlanOptions): Plan {
  const notes: Note[] = rules.asides.map(({ at, what }) => {
    const message = `${what} is no rule: timeouts of connections and their synchronisation have no meaning here`;
    return { kind: 'remark', code: 'GD_IMPORT_ASIDE', message, at, service: '', server: '' };
  });
  notes.push(...(rules.notes ?? []));
  const traffics = rules.services.map((service) => trafficOf(service, options.marks));
  const prefixes = traffics.flatMap((one) => one.traffic.map(({ address }) => parsePrefix(address).value!));
  const isDirected = (address: Uint8Array) => prefixes.some((prefix) => prefixContains(prefix, address));
  const pools = new PoolBook();
  const services: (Omit<PlannedService, 'pool'> & { readonly key: string })[] = [];
  const leftOut: Plan['leftOut'][number][] = [];
  rules.services.forEach((service, i) => {
    const { traffic, refusal } = traffics[i];
    const rule = service.title ?? formatRule(service);
    const own: Note[] = [];
    const about = { service: service.title ?? formatServiceName(service.name) };
    const say: Say = (kind, code, message, server) =>
      own.push({ kind, code, message, at: server?.at ?? service.at, ...about, server: server?.text ?? '' });
    for (const { kind, code, message, at } of service.told ?? []) own.push({ kind, code, message, at, ...about, server: '' });
    if (refusal !== null) {
      say('left-out', refusal.code, refusal.message);
      leftOut.push({ rule, at: service.at, notes: own });
    } else {
      const { affinity, pool } = planService(
        service,
        options,
        traffic.every(({ protocol }) => protocol === 'udp'),
        isDirected,
        say,
      );
      const key = pools.put(pool);
      const serviceNotes = own.filter(({ server }) => server === '');
      traffic.forEach(({ protocol, address, port }, k) => {
        const many = traffic.length > 1 ? `-${k + 1}` : '';
        const name =
          service.name.kind === 'mark' ? `fwmark-${service.name.mark}${many}` : `${protocol}-${label(address)}-${port}`;
        pools.use(key, name);
        services.push({ name, address, protocol, port, affinity, key, at: service.at, rule, notes: serviceNotes });
      });
    }
    notes.push(...own);
  });
  const planned = pools.named();
  const names = new Map([...planned].map(([key, pool]) => [key, pool.name]));
  return {
    tunnel: commonest([...planned.values()].flatMap(({ backends, tunnel }) => backends.map((one) => one.tunnel ?? tunnel))),
    hasTunnels: rules.services.some(({ servers }) => servers.some(({ tunnel }) => tunnel !== null)),
    services: services.map(({ key, ...service }) => ({ ...service, pool: names.get(key)! })),
    pools: [...planned.values()],
    leftOut,
    notes: notes.sort((a, b) => comparePlaces(a.at, b.at)),
    count: {
      services: rules.services.length,
      servers: rules.services.reduce((sum, { servers }) => sum + servers.length, 0),
    },
  };
}

interface Traffic {
  readonly protocol: IpvsProtocol;
  readonly address: string;
  readonly port: string;
}

/** What a virtual service takes; `refusal` when that can not be said. */
function trafficOf(
  { name }: IpvsService,
  marks: readonly MarkedTraffic[],
): { traffic: readonly Traffic[]; refusal: { code: string; message: string } | null } {
  if (name.kind === 'mark') {
    const traffic = marks.filter(({ mark, family }) => mark === name.mark && family === name.family);
    if (traffic.length > 0) return { traffic, refusal: null };
    const example = name.family === 6 ? '[2001:db8::10]' : '192.0.2.10';
    const message = `IPVS does not know which traffic has mark ${name.mark}, the packet filter does: say it with --fwmark ${name.mark}=tcp:${example}:80`;
    return { traffic: [], refusal: { code: 'GD_IMPORT_FWMARK', message } };
  }
  const { address: bytes, length = bytes.length * 8 } = name;
  const address = length < bytes.length * 8 ? formatPrefix({ bytes, length }) : formatAddress(bytes);
  const { refusal } = parsePrefix(address);
  if (refusal !== null) return { traffic: [], refusal: { code: 'GD_IMPORT_VIRTUAL_ADDRESS', message: refusal.message } };
  return { traffic: [{ protocol: name.protocol, address, port: name.port === 0 ? 'all' : String(name.port) }], refusal: null };
}

type PoolDraft = Omit<PlannedPool, 'name'>;

function planService(
  given: IpvsService,
  options: PlanOptions,
  isUdp: boolean,
  isDirected: (address: Uint8Array) => boolean,
  say: Say,
): { affinity: Affinity; pool: PoolDraft } {
  const isMh = given.options.scheduler === 'mh';
  const service = isMh ? orderedForMh(given, options, say) : given;
  const { affinity, weights } = isMh ? planMh(service.options, say) : planScheduler(service.options, isUdp, say);
  const { flags, persistence, mask, engine } = service.options;
  if (mask !== null) {
    const message = `${options.wording.netmask(mask)}: each client address goes for itself here, its network does not stay together`;
    say('differs', 'GD_IMPORT_NETMASK', message);
  }
  if (engine !== null) {
    const message = `${options.wording.engine(engine)}: packets are not read beyond their ports; what belongs together is kept together by the client's address alone`;
    say('left-out', 'GD_IMPORT_ENGINE', message);
  }
  const { backends, tunnel, notes } = planServers(service, { isMh, weights, isDirected, wording: options.wording }, say);
  const here = backends.filter(({ leftOut }) => leftOut === null).length;
  const tableSize = !isMh && here * 100 > 65537 ? primeAtLeast(here * 100, MAX_TABLE_SIZE) : null;
  const health = given.health ?? null;
  const pool = { tableSize, tunnel, backends, health, notes };
  if (!isMh) return { affinity, pool: { mh: null, ...pool } };
  if (new Set(service.servers.map(({ port }) => port)).size > 1) {
    const message = 'the servers have different ports, which mh hashes: the choices differ from those of IPVS';
    say('differs', 'GD_IMPORT_MH_SERVER_PORTS', message);
  }
  if (here < service.servers.length) {
    say(
      'differs',
      'GD_IMPORT_MH_SERVERS',
      'not every server of mh is here: its table, and so the choices, differ from those of IPVS',
    );
  }
  const ownPort = service.name.kind === 'address' ? service.name.port : 0;
  const serverPort = service.servers[0]?.port ?? ownPort;
  const mh = {
    // A client of a persistent service stays on one server whatever its port.
    port: flags.includes('mh-port') && persistence === null,
    fallback: flags.includes('mh-fallback'),
    tableSize: options.mhTableSize,
    serverPort,
    isServicePort: serverPort === ownPort && serverPort !== 0,
  };
  return { affinity, pool: { mh, ...pool } };
}

/** The servers in the order in which the kernel lists them: the one that was added last comes first. */
function orderedForMh(service: IpvsService, { order, wording }: PlanOptions, say: Say): IpvsService {
  let found: IpvsService | null = null;
  if (service.servers.length > 1) {
    if (order === null) {
      say('remark', 'GD_IMPORT_MH_ORDER', wording.order);
    } else {
      found = inKernelOrder(service, order);
      if (found === null) {
        const message = `the file of --order has no such service with these servers: ${wording.shortOrder}`;
        say('differs', 'GD_IMPORT_MH_ORDER', message);
      }
    }
  }
  const ordered = found ?? service;
  return { ...ordered, servers: [...ordered.servers].reverse() };
}

/** `-t 192.0.2.1:80 -s mh -b mh-port -p 360 -M 255.255.255.0 -o --pe sip`. */
function formatRule({ name, options }: IpvsService): string {
  const words = [formatServiceName(name), `-s ${options.scheduler}`];
  if (options.flags.length > 0) words.push(`-b ${options.flags.join()}`);
  if (options.persistence !== null) words.push(`-p ${options.persistence}`);
  if (options.mask !== null) words.push(`-M ${options.mask}`);
  if (options.engine !== null) words.push(`--pe ${options.engine}`);
  if (options.onePacket) words.push('-o');
  return words.join(' ');
}

/** Pools by content: services with the same servers, treated alike, share one. */
class PoolBook {
  readonly #drafts = new Map<string, { draft: PoolDraft; users: string[] }>();

  put(draft: PoolDraft): string {
    const told = (notes: readonly Note[]) => notes.map(({ code, message }) => [code, message]);
    const key = JSON.stringify([
      draft.mh,
      draft.tableSize,
      draft.tunnel,
      told(draft.notes),
      draft.health === null ? null : healthLines(draft.health, false),
      draft.backends.map((one) => ({ ...one, at: null, notes: told(one.notes) })),
    ]);
    if (!this.#drafts.has(key)) this.#drafts.set(key, { draft, users: [] });
    return key;
  }

  use(key: string, service: string): void {
    this.#drafts.get(key)!.users.push(service);
  }

  /** A pool of one service has its name; others are numbered. */
  named(): Map<string, PlannedPool> {
    let shared = 0;
    const named = new Map<string, PlannedPool>();
    for (const [key, { draft, users }] of this.#drafts) {
      named.set(key, { name: users.length === 1 ? users[0] : `shared-${++shared}`, ...draft });
    }
    return named;
  }
}
