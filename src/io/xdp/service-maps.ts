/**
 * The maps that the program looks into, and how services get in and out of them: without a moment in which a packet of a service that stays is
 * taken for none. New rule sets are written first, then each address turns to its new one in one step, then old addresses and sets are taken out.
 */
import { CodedError, EXIT } from '../../base/errors.ts';
import { BpfMap, type BpfMapShape } from '../../raw-socket/bpf/map.ts';
import type { ServiceMatch } from '../packet/filter.ts';
import { addressKey, type PortRule, portKey, rulesByPrefix } from './service-rules.ts';

/** Entries that each of the lists has room for; the kernel makes them when they are added. */
const ROOM = 1 << 18;
/** Receive queues. */
const QUEUES = 256;
const MAC_BYTES = 6;

export const MAP_SHAPES = {
  interface: { type: 'array', name: 'gd_interface', keyBytes: 4, valueBytes: 8, entries: 1 },
  services4: { type: 'longest-prefix', name: 'gd_services4', keyBytes: 8, valueBytes: 4, entries: ROOM },
  services6: { type: 'longest-prefix', name: 'gd_services6', keyBytes: 20, valueBytes: 4, entries: ROOM },
  ports: { type: 'longest-prefix', name: 'gd_ports', keyBytes: 12, valueBytes: 4, entries: ROOM },
  sockets: { type: 'sockets', name: 'gd_sockets', keyBytes: 4, valueBytes: 4, entries: QUEUES },
} as const satisfies Readonly<Record<string, BpfMapShape>>;

export type MapName = keyof typeof MAP_SHAPES;
const NAMES = Object.keys(MAP_SHAPES) as MapName[];
/** Number of each map by name; structured-cloneable: descriptors are numbers of the whole process. */
export type MapDescriptors = Readonly<Record<MapName, number>>;

/** A rule set in the map `ports`. */
interface RuleSet {
  readonly number: number;
  readonly rules: readonly PortRule[];
}

/** An entry of `services4` or `services6`. */
interface ServiceAddress {
  readonly map: 'services4' | 'services6';
  readonly key: Uint8Array;
  readonly ruleSet: number;
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

export class ServiceMaps {
  readonly #maps: Readonly<Record<MapName, BpfMap>>;
  /** Addresses in the maps, by their key as text. */
  #addresses = new Map<string, ServiceAddress>();
  #ruleSets = new Map<string, RuleSet>();
  #nextNumber = 1;
  /** Called after each change of one entry: what packets meet at that moment can be tried. */
  trace: () => void = () => {};

  private constructor(maps: Readonly<Record<MapName, BpfMap>>) {
    this.#maps = maps;
  }

  /** Empty maps: nothing is a service. Throws CodedError GD_RAW_SOCKET_BPF. */
  static create(): ServiceMaps {
    const made: Partial<Record<MapName, BpfMap>> = {};
    try {
      for (const name of NAMES) made[name] = BpfMap.create(MAP_SHAPES[name]);
    } catch (error) {
      for (const map of Object.values(made)) map.close();
      throw error;
    }
    return new ServiceMaps(made as Record<MapName, BpfMap>);
  }

  get descriptors(): MapDescriptors {
    return Object.fromEntries(NAMES.map((name) => [name, this.#maps[name].descriptor])) as Record<MapName, number>;
  }

  /** Only frames to this link-layer address (6 bytes) are ours. */
  setLinkAddress(address: Uint8Array): void {
    const value = new Uint8Array(8);
    value.set(address.subarray(0, MAC_BYTES));
    this.#maps.interface.set(word(0), value);
  }

  /**
   * From the return of this call on, these services are ours and no others. When it throws (GD_IO_XDP_ROOM: too many addresses or rules) the maps may hold both old and new
   * services, and another call puts that right.
   */
  setServices(services: readonly ServiceMatch[]): void {
    const wanted = rulesByPrefix(services);
    const addresses = new Map<string, ServiceAddress>();
    const kept = new Set<string>();
    try {
      for (const { prefix, content, rules } of wanted) {
        const map = prefix.bytes.length === 4 ? 'services4' : 'services6';
        const key = addressKey(prefix);
        kept.add(content);
        addresses.set(`${map} ${key.join('.')}`, { map, key, ruleSet: this.#ruleSetOf(content, rules) });
      }
      for (const [text, entry] of addresses) {
        if (this.#addresses.get(text)?.ruleSet === entry.ruleSet) continue;
        this.#maps[entry.map].set(entry.key, word(entry.ruleSet));
        this.#addresses.set(text, entry);
        this.trace();
      }
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'GD_RAW_SOCKET_BPF_FULL') throw error;
      throw new CodedError('GD_IO_XDP_ROOM', `the services do not fit the XDP program's maps: ${error.message}`, {
        exitCode: EXIT.CONFIG,
        hint: 'name prefixes instead of single addresses, and port ranges that begin and end at multiples of a power of two',
        cause: error,
      });
    }
    for (const [text, entry] of [...this.#addresses]) {
      if (addresses.has(text)) continue;
      this.#maps[entry.map].delete(entry.key);
      this.#addresses.delete(text);
      this.trace();
    }
    for (const [content, { number, rules }] of [...this.#ruleSets]) {
      if (kept.has(content)) continue;
      for (const rule of rules) {
        this.#maps.ports.delete(portKey(number, rule));
        this.trace();
      }
      this.#ruleSets.delete(content);
    }
  }

  /** Entries in the kernel's maps, counted there. */
  sizes(): { services4: number; services6: number; ports: number } {
    const { services4, services6, ports } = this.#maps;
    return { services4: services4.keys().length, services6: services6.keys().length, ports: ports.keys().length };
  }

  close(): void {
    for (const name of NAMES) this.#maps[name].close();
  }

  /** Number of the rule set with this content; written to the map when it is new. */
  #ruleSetOf(content: string, rules: readonly PortRule[]): number {
    const known = this.#ruleSets.get(content);
    if (known !== undefined) return known.number;
    const made = { number: this.#nextNumber++, rules };
    // First: what can not be written whole is taken out by the next call.
    this.#ruleSets.set(content, made);
    for (const rule of rules) {
      this.#maps.ports.set(portKey(made.number, rule), word(1));
      this.trace();
    }
    return made.number;
  }
}
