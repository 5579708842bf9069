/** What a worker is to unwrap and to serve: of a director's configuration, or of what was typed. */
import { sameAddress } from '../../base/address.ts';
import type { Config } from '../../config/config.ts';
import type { Encapsulation, ServiceSpec, TunnelSpec } from '../../pipeline/spec.ts';
import { mostOverheadOf } from '../../pipeline/tunnel-kind.ts';
import type { Family } from './facts.ts';

/** One kind of tunnel packet that must be unwrapped here. */
export interface WantedTunnel {
  readonly encapsulation: Encapsulation;
  readonly outer: Family;
  readonly inner: Family;
  /** UDP destination port; null without UDP. */
  readonly port: number | null;
  /** GRE with a checksum. */
  readonly checksums: boolean;
  /** Bytes in front of the inner packet, outer IP header included. */
  readonly overhead: number;
}

export interface WantedVip {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** Of the service: 6, 17 …; null: not said. */
  readonly protocol: number | null;
  /** null: not said, or more than one. */
  readonly port: number | null;
}

export interface WorkerWanted {
  readonly tunnels: readonly WantedTunnel[];
  readonly vips: readonly WantedVip[];
  /** Addresses of this host that directors send to, as far as known. */
  readonly endpoints: readonly Uint8Array[];
  /** No backend of the configuration is an address of this host: what is wanted is what all of its pools want. */
  readonly stranger: boolean;
}

const familyOf = (address: Uint8Array): Family => (address.length === 4 ? 4 : 6);

function tunnelOf(tunnel: TunnelSpec, outer: Family, inner: Family): WantedTunnel {
  const { encapsulation, port, port6 = port, checksum } = tunnel;
  const udp = encapsulation !== 'ipip' && encapsulation !== 'gre';
  return {
    encapsulation,
    outer,
    inner,
    port: udp ? (encapsulation === 'fou' && inner === 6 ? port6 : port) : null,
    checksums: encapsulation === 'gre' && checksum === 'full',
    overhead: mostOverheadOf(tunnel, outer === 4 ? 4 : 16),
  };
}

function distinct<T>(list: readonly T[]): T[] {
  return [...new Map(list.map((one) => [JSON.stringify(one), one])).values()];
}

/** What the configuration says about the backends that are `own` addresses; of all backends when none is. */
export function wantedByConfig(config: Config, own: readonly Uint8Array[]): WorkerWanted {
  const isOwn = (address: Uint8Array) => own.some((one) => sameAddress(one, address));
  const stranger = !config.spec.pools.some(({ backends }) => backends.some(({ address }) => isOwn(address)));
  const tunnels: WantedTunnel[] = [];
  const vips: WantedVip[] = [];
  const endpoints: Uint8Array[] = [];
  for (const { name, tunnel, backends } of config.spec.pools) {
    const mine = backends.filter(({ address }) => stranger || isOwn(address));
    const services = config.spec.services.filter(({ pool }) => pool === name);
    if (mine.length === 0) continue;
    vips.push(...services.map(vipOf));
    if (!stranger) endpoints.push(...mine.map(({ address }) => address));
    const inner = new Set(services.map(({ prefix }) => familyOf(prefix.bytes)));
    for (const backend of mine) {
      for (const family of inner) tunnels.push(tunnelOf(backend.tunnel ?? tunnel, familyOf(backend.address), family));
    }
  }
  return { tunnels: distinct(tunnels), vips: distinctVips(vips), endpoints, stranger };
}

/** Of a wide prefix its first address stands for all. */
function vipOf({ prefix, protocol, portFrom, portTo }: ServiceSpec): WantedVip {
  const ported = (protocol === 6 || protocol === 17) && portFrom === portTo;
  return { address: prefix.bytes, protocol: ported ? protocol : null, port: ported ? portFrom : null };
}

function distinctVips(vips: readonly WantedVip[]): WantedVip[] {
  return [...new Map(vips.map((vip) => [`${vip.address.join('.')} ${vip.protocol} ${vip.port}`, vip])).values()];
}

/** `outer`: IP versions that directors send over. */
export function wantedByWords(
  vips: readonly WantedVip[],
  encapsulation: Encapsulation,
  port: number,
  outer: readonly Family[],
): WorkerWanted {
  const tunnel: TunnelSpec = { encapsulation, port, source4: null, source6: null, checksum: 'auto' };
  const inner = new Set(vips.map(({ address }) => familyOf(address)));
  const tunnels = outer.flatMap((over) => [...inner].map((family) => tunnelOf(tunnel, over, family)));
  return { tunnels: distinct(tunnels), vips, endpoints: [], stranger: false };
}
