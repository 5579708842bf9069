// Packets of the reference twin for a worker: right ones of every cell, the same with one bit wrong, and those that a receiver must refuse.
// Each asks a virtual IP's echo service in the client's name, and its text says which it is: what the client hears was let through.

import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { encodeTunnel, type TunnelWay, withPartialChecksum } from '../reference/tunnel-writer.ts';
import { CELLS, type Cell, ECHO_PORT, type Family, FOU_PORT, GUE_PORT, nameOf } from './cells.ts';

export interface Probe {
  readonly name: string;
  readonly packet: Uint8Array;
  /** What Linux does with it. */
  readonly answered: boolean;
}

/** Addresses by family, as text. */
type Both = Readonly<Record<Family, string>>;

export interface Place {
  readonly client: Both;
  readonly director: Both;
  /** Where a cell's packets are sent to. */
  endpoint(cell: Pick<Cell, 'kind' | 'checksum' | 'outer'>): string;
}

export const CLIENT_PORT = 7777;
const PATTERN = 300;

function request(place: Place, name: string, family: Family, vip: string): Uint8Array {
  const head = new TextEncoder().encode(`${name};`);
  const body = Uint8Array.from({ length: head.length + PATTERN }, (_, i) => head[i] ?? (i * 7) & 255);
  const fields = { src: place.client[family], dst: vip };
  const network = family === 4 ? packet().ipv4({ ...fields, ttl: 61, id: 1 }) : packet().ipv6({ ...fields, hopLimit: 61 });
  return network.udp({ sport: CLIENT_PORT, dport: ECHO_PORT }).payload(body).bytes();
}

/** How a cell's packets are wrapped. */
export function wayOf(place: Place, cell: Cell): TunnelWay {
  return {
    kind: cell.kind,
    source: ip(place.director[cell.outer]),
    destination: ip(place.endpoint(cell)),
    destinationPort: cell.kind === 'fou' ? FOU_PORT[cell.inner] : GUE_PORT,
    checksum: cell.checksum === 'none' ? 'none' : 'full',
  };
}

function wrapped(place: Place, cell: Cell, name: string, way: Partial<TunnelWay> = {}): Uint8Array {
  const inner = request(place, name, cell.inner, cell.vip);
  const usual = { ...wayOf(place, cell), ...way };
  if (cell.checksum !== 'remcsum') return encodeTunnel(inner, usual);
  const { packet: partial, remoteChecksum } = withPartialChecksum(inner);
  return encodeTunnel(partial, { ...usual, remoteChecksum });
}

/** One bit of the last payload byte. */
function flipped(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[copy.length - 1] ^= 0x10;
  return copy;
}

/** For each cell a right packet and a damaged one. */
export function cellProbes(place: Place): Probe[] {
  return CELLS.flatMap((cell) => {
    const right = nameOf(cell);
    const damaged = `${right}, damaged`;
    return [
      { name: right, packet: wrapped(place, cell, right), answered: true },
      { name: damaged, packet: flipped(wrapped(place, cell, damaged)), answered: false },
    ];
  });
}

type Wanted = Partial<Pick<Cell, 'kind' | 'checksum' | 'outer' | 'inner'>>;

function cellLike({ kind = 'gue', checksum = 'none', outer = 4, inner = 4 }: Wanted): Cell {
  return CELLS.find((cell) => cell.kind === kind && cell.checksum === checksum && cell.outer === outer && cell.inner === inner)!;
}

/** Places of the GUE header's bytes in a packet over IPv4. */
const GUE = 28;

/** What a receiver meets beside right packets, and what Linux 6.1 does with it; the comment names the line that does. */
export function oddProbes(place: Place): Probe[] {
  const probes: Probe[] = [];
  const add = (name: string, answered: boolean, bytes: (name: string) => Uint8Array) =>
    probes.push({ name, answered, packet: bytes(name) });
  const patched = (wanted: Wanted, at: number, value: number) => (name: string) => {
    const bytes = wrapped(place, cellLike(wanted), name);
    bytes[at] = value;
    return bytes;
  };
  // net/ipv4/fou_core.c gue_udp_recv.
  add('GUE control message', false, patched({}, GUE, 0x20));
  add('GUE variant 2', false, patched({}, GUE, 0x80));
  add('GUE variant 3', false, patched({}, GUE, 0xc0));
  add('GUE variant 1 with IP version 5', false, patched({ kind: 'gue-v1' }, GUE, 0x55));
  add('GUE variant 1 with IP version 7', false, patched({ kind: 'gue-v1' }, GUE, 0x75));
  add('GUE header longer than the datagram', false, (name) => {
    const bytes = wrapped(place, cellLike({}), name).slice(0, GUE + 100);
    bytes[GUE] = 31;
    return resized(bytes);
  });
  add('GUE protocol 59, no next header', false, patched({}, GUE + 1, 59));
  add('GUE protocol 41 around IPv4', false, patched({}, GUE + 1, 41));
  add('GUE protocol 4 around IPv6', false, patched({ inner: 6 }, GUE + 1, 4));
  // include/net/gue.h validate_gue_flags.
  add('GUE flag 8000', false, patched({}, GUE + 2, 0x80));
  add('GUE flag 2', false, patched({}, GUE + 3, 2));
  add('GUE private flags without room for them', false, patched({}, GUE + 3, 1));
  add('GUE private flag 40000000', false, (name) => {
    const bytes = wrapped(place, cellLike({ checksum: 'remcsum' }), name, { checksum: 'none' });
    bytes[GUE + 4] = 0xc0;
    return bytes;
  });
  for (const inner of [4, 6] as const) {
    add(`GUE private data, IPv${inner}`, true, (name) =>
      wrapped(place, cellLike({ inner }), name, { privateData: Uint8Array.of(0, 0, 0, 1, 10, 9, 8, 7) }),
    );
    add(`GUE remcsum and private data, IPv${inner}`, true, (name) =>
      wrapped(place, cellLike({ inner, checksum: 'remcsum' }), name, { privateData: Uint8Array.of(9, 9, 9, 9) }),
    );
    // skb_remcsum_process leaves the checksum to be made, nobody looks at the old one: without an outer checksum nothing protects the packet.
    add(`GUE remcsum without an outer checksum, IPv${inner}`, true, (name) =>
      wrapped(place, cellLike({ inner, checksum: 'remcsum' }), name, { checksum: 'none' }),
    );
    add(`GUE remcsum without an outer checksum, damaged, IPv${inner}`, true, (name) =>
      flipped(wrapped(place, cellLike({ inner, checksum: 'remcsum' }), name, { checksum: 'none' })),
    );
  }
  add('GUE remcsum, start behind the packet', false, (name) => {
    const bytes = wrapped(place, cellLike({ checksum: 'remcsum' }), name, { checksum: 'none' });
    bytes[GUE + 8] = 0xff;
    return bytes;
  });
  add('GUE remcsum, field behind the packet', false, (name) => {
    const bytes = wrapped(place, cellLike({ checksum: 'remcsum' }), name, { checksum: 'none' });
    bytes[GUE + 10] = 0xff;
    return bytes;
  });
  // A port takes the protocol it was made for: fou_recv.
  add('FOU, IPv6 on the port of IPv4', false, (name) =>
    wrapped(place, cellLike({ kind: 'fou', inner: 6 }), name, { destinationPort: FOU_PORT[4] }),
  );
  add('FOU, IPv4 on the port of IPv6', false, (name) =>
    wrapped(place, cellLike({ kind: 'fou' }), name, { destinationPort: FOU_PORT[6] }),
  );
  // net/ipv4/ip_tunnel.c ip_tunnel_rcv and net/ipv6/ip6_tunnel.c __ip6_tnl_rcv: a device takes packets with a checksum or those without.
  for (const outer of [4, 6] as const) {
    add(`GRE with a checksum for a device without, IPv${outer}`, false, (name) =>
      wrapped(place, cellLike({ kind: 'gre', outer }), name, { checksum: 'full' }),
    );
    add(`GRE without a checksum for a device with, IPv${outer}`, false, (name) =>
      wrapped(place, cellLike({ kind: 'gre', outer, checksum: 'full' }), name, { checksum: 'none' }),
    );
  }
  return probes;
}

/** Lengths of the outer headers made right for bytes cut off. */
function resized(bytes: Uint8Array): Uint8Array {
  const set = (at: number, value: number) => bytes.set([value >> 8, value & 255], at);
  set(2, bytes.length);
  set(24, bytes.length - 20);
  return bytes;
}
