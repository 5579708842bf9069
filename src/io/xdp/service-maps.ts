/**
 * The maps that the program looks into, and how services get in and out of them: without a moment in which a packet of a service that stays is
 * taken for none. New rule sets are written first, then each address turns to its new one in one step, then old addresses and sets are taken out.
 */
import type { Prefix } from '../../base/address.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
import { BpfMap, type BpfMapShape } from '../../raw-socket/bpf/map.ts';
import type { ServiceMatch } from '../packet/filter.ts';
import { addressKey, type PortRule, type PrefixRules, portKey, rulesByPrefix } from './service-rules.ts';

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
  /** All of its rules are there. */
  isWhole: boolean;
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

  /** Empty maps: nothing is a service. `room`: entries of each list, at most and by default 2^18. Throws CodedError GD_RAW_SOCKET_BPF. */
  static create(room = ROOM): ServiceMaps {
    const made: Partial<Record<MapName, BpfMap>> = {};
    try {
      for (const name of NAMES) {
        const shape = MAP_SHAPES[name];
        made[name] = BpfMap.create({ ...shape, entries: Math.min(shape.entries, room) });
      }
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
   * From the return of this call on, these services are ours and no others. Where old and new ones have no room beside one another the old ones leave first. When it
   * throws (GD_IO_XDP_ROOM: too many addresses or rules) the maps may hold both old and new services, and a call with fewer puts that right.
   */
  setServices(services: readonly ServiceMatch[]): void {
    const wanted = rulesByPrefix(services);
    try {
      this.#add(wanted);
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#removeOthers(wanted, true);
      this.#addOrRefuse(wanted);
    }
    this.#removeOthers(wanted, false);
  }

  /** Entries in the kernel's maps, counted there. */
  sizes(): { services4: number; services6: number; ports: number } {
    const { services4, services6, ports } = this.#maps;
    return { services4: services4.keys().length, services6: services6.keys().length, ports: ports.keys().length };
  }

  close(): void {
    for (const name of NAMES) this.#maps[name].close();
  }

  #addOrRefuse(wanted: readonly PrefixRules[]): void {
    try {
      this.#add(wanted);
    } catch (error) {
      if (!isFull(error)) throw error;
      throw new CodedError('GD_IO_XDP_ROOM', `the services do not fit the XDP program's maps: ${error.message}`, {
        exitCode: EXIT.CONFIG,
        hint: 'name prefixes instead of single addresses, and port ranges that begin and end at multiples of a power of two',
        cause: error,
      });
    }
  }

  /** Rule sets first, then the addresses that turn to them. */
  #add(wanted: readonly PrefixRules[]): void {
    const entries = wanted.map(({ prefix, content, rules }) => entryOf(prefix, this.#ruleSetOf(content, rules)));
    for (const entry of entries) {
      const text = textOf(entry);
      if (this.#addresses.get(text)?.ruleSet === entry.ruleSet) continue;
      this.#maps[entry.map].set(entry.key, word(entry.ruleSet));
      this.#addresses.set(text, entry);
      this.trace();
    }
  }

  /** What is not wanted: addresses, also (`changed`) those that are wanted with other rules, then the rule sets that no address needs. */
  #removeOthers(wanted: readonly PrefixRules[], changed: boolean): void {
    const numbers = new Map(
      wanted.map(({ prefix, content }) => [textOf(entryOf(prefix, 0)), this.#ruleSets.get(content)?.number] as const),
    );
    for (const [text, entry] of [...this.#addresses]) {
      if (changed ? numbers.get(text) === entry.ruleSet : numbers.has(text)) continue;
      this.#maps[entry.map].delete(entry.key);
      this.#addresses.delete(text);
      this.trace();
    }
    const kept = new Set(wanted.map(({ content }) => content));
    const needed = new Set([...this.#addresses.values()].map(({ ruleSet }) => ruleSet));
    for (const [content, { number, rules }] of [...this.#ruleSets]) {
      if (kept.has(content) || needed.has(number)) continue;
      for (const rule of rules) {
        this.#maps.ports.delete(portKey(number, rule));
        this.trace();
      }
      this.#ruleSets.delete(content);
    }
  }

  /** Number of the rule set with this content; what of it is not in the map yet is written. */
  #ruleSetOf(content: string, rules: readonly PortRule[]): number {
    const set = this.#ruleSets.get(content) ?? { number: this.#nextNumber++, rules, isWhole: false };
    if (set.isWhole) return set.number;
    // First: what can not be written whole is written on, or taken out, by a later call.
    this.#ruleSets.set(content, set);
    for (const rule of rules) {
      this.#maps.ports.set(portKey(set.number, rule), word(1));
      this.trace();
    }
    set.isWhole = true;
    return set.number;
  }
}

function entryOf(prefix: Prefix, ruleSet: number): ServiceAddress {
  return { map: prefix.bytes.length === 4 ? 'services4' : 'services6', key: addressKey(prefix), ruleSet };
}

function textOf({ map, key }: ServiceAddress): string {
  return `${map} ${key.join('.')}`;
}

function isFull(error: unknown): error is CodedError {
  return error instanceof CodedError && error.code === 'GD_RAW_SOCKET_BPF_FULL';
}
