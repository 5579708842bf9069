/** No service may contain where its packets are sent to or from: the last line of defence behind config's own loop guards. */
import { formatAddress, prefixContains } from '../base/address.ts';
import { CodedError } from '../base/errors.ts';
import { addressWords } from './service-index.ts';
import type { BackendSpec, PoolSpec, ServiceSpec, TunnelSpec } from './spec.ts';

/** Where packets to one backend go to and come from: addresses, and bits at their ends that flows fill in. */
function endsOf(pool: PoolSpec, backend: BackendSpec): readonly (readonly [Uint8Array | null, number?])[] {
  const { source4, source6, spread4 = 0, spread6 = 0 } = backend.tunnel ?? pool.tunnel;
  return [[backend.address], [source4, spread4], [source6, spread6], [backend.source ?? null]];
}

/** Services by prefix: whether one of them contains an address costs a look for each length of prefix, not for each service. */
export class LoopGuard {
  readonly #services: readonly ServiceSpec[];
  /** Prefixes as numbers (IPv4) and texts of words (IPv6), by length. */
  readonly #by4 = new Map<number, Set<number>>();
  readonly #by6 = new Map<number, Set<string>>();

  constructor(services: readonly ServiceSpec[]) {
    this.#services = services;
    for (const { prefix } of services) {
      const { length, bytes } = prefix;
      if (bytes.length === 4) put(this.#by4, length, addressWords(bytes)[0] & mask(length));
      else put(this.#by6, length, masked(addressWords(bytes), length));
    }
  }

  /** Throws GD_SNAPSHOT_LOOP when a service contains an end of one of the pools' tunnels. */
  refuse(pools: readonly PoolSpec[]): void {
    const suspects = pools.filter((pool) => this.#isSuspect(pool));
    if (suspects.length > 0) refuseLoops(this.#services, suspects);
  }

  #isSuspect(pool: PoolSpec): boolean {
    let known: TunnelSpec | null = null;
    return pool.backends.some((backend) => {
      const tunnel = backend.tunnel ?? pool.tunnel;
      if (this.#contains(backend.address) || (backend.source !== undefined && this.#contains(backend.source))) return true;
      // Mostly the same object for a whole pool.
      if (tunnel === known) return false;
      known = tunnel;
      return this.#holdsSource(tunnel.source4, tunnel.spread4) || this.#holdsSource(tunnel.source6, tunnel.spread6);
    });
  }

  #holdsSource(source: Uint8Array | null, spread = 0): boolean {
    if (source === null) return false;
    if (this.#contains(source)) return true;
    const end = { bytes: source, length: source.length * 8 - spread };
    return spread > 0 && this.#services.some(({ prefix }) => prefixContains(end, prefix.bytes));
  }

  #contains(address: Uint8Array): boolean {
    if (address.length === 4) {
      const word = (address[0] << 24) | (address[1] << 16) | (address[2] << 8) | address[3];
      for (const [length, prefixes] of this.#by4) if (prefixes.has(word & mask(length))) return true;
      return false;
    }
    const words = addressWords(address);
    for (const [length, prefixes] of this.#by6) if (prefixes.has(masked(words, length))) return true;
    return false;
  }
}

function put<T>(by: Map<number, Set<T>>, length: number, value: T): void {
  const known = by.get(length);
  if (known === undefined) by.set(length, new Set([value]));
  else known.add(value);
}

function mask(length: number): number {
  return length === 0 ? 0 : -1 << (32 - length);
}

function masked(words: Int32Array, length: number): string {
  return words.map((word, i) => word & (length <= i * 32 ? 0 : mask(Math.min(32, length - i * 32)))).join();
}

/** Every service against every end, one by one: says which it is. Throws GD_SNAPSHOT_LOOP. */
export function refuseLoops(services: readonly ServiceSpec[], pools: readonly PoolSpec[]): void {
  for (const service of services) {
    for (const pool of pools) {
      for (const backend of pool.backends) {
        for (const [address, spread = 0] of endsOf(pool, backend)) {
          if (address === null) continue;
          // Spread sources are a prefix of their own, which the service may lie in.
          const end = { bytes: address, length: address.length * 8 - spread };
          if (!prefixContains(service.prefix, address) && !prefixContains(end, service.prefix.bytes)) continue;
          throw new CodedError('GD_SNAPSHOT_LOOP', `service ${service.name} contains ${formatAddress(address)}, a tunnel end`, {
            hint: 'tunnel packets would be steered again: give the service another prefix',
          });
        }
      }
    }
  }
}
