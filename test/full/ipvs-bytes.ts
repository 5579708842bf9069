// Byte for byte what IPVS sends: the same packets through the kernel's own director (User-Mode Linux) and through ours with `headers: ipvs`. Both are
// also held against the reference twin, which is told the port and the identification that each has drawn, and nothing else.

import { VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { loadText } from '../../src/config/load.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { variedPacket } from '../interop/varied.ts';
import { outerFields, type Policy } from '../reference/header-policy.ts';
import { completed, decodeTunnel, type Tunnel, type TunnelKind } from '../reference/tunnel.ts';
import { afterHop, encodeTunnel } from '../reference/tunnel-writer.ts';
import { forwardThroughIpvs, type Incoming, type IpvsTunnel, WIRE4, WIRE6 } from '../uml/ipvs-forward.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { openPath, RAW_IP } from './path.ts';
import { Random } from './random.ts';

/** Packets of each way of encapsulating. */
const COUNT: Readonly<Record<Scale, number>> = { full: 1000, scaled: 40 };
const SEED = 20260607;
const PORT = 80;

interface Way extends IpvsTunnel {
  readonly name: string;
  readonly kind: TunnelKind;
  readonly checksum: 'none' | 'full' | 'remcsum';
}

const TUNNELS = [
  { kind: 'gue', checksum: 'none', words: ['--tun-type', 'gue', '--tun-port', '6080', '--tun-nocsum'] },
  { kind: 'gue', checksum: 'full', words: ['--tun-type', 'gue', '--tun-port', '6080', '--tun-csum'] },
  { kind: 'gue', checksum: 'remcsum', words: ['--tun-type', 'gue', '--tun-port', '6080', '--tun-remcsum'] },
  { kind: 'gre', checksum: 'none', words: ['--tun-type', 'gre', '--tun-nocsum'] },
  { kind: 'gre', checksum: 'full', words: ['--tun-type', 'gre', '--tun-csum'] },
  { kind: 'ipip', checksum: 'none', words: ['--tun-type', 'ipip'] },
] as const;

function ways(count: number): Way[] {
  const made: Way[] = [];
  for (const tunnel of TUNNELS) {
    for (const outer of [4, 6] as const) {
      for (const inner of [4, 6] as const) {
        const host = 10 + made.length;
        const vip = inner === 4 ? `10.80.9.${host}` : `fd80:0:0:9::${host}`;
        const random = new Random(SEED + host);
        made.push({
          ...tunnel,
          ...{
            name: `${tunnel.kind} ${tunnel.checksum}, IPv${inner} in IPv${outer}`,
            vip,
            protocols: ['tcp', 'udp'],
            port: PORT,
          },
          endpoint: outer === 4 ? `10.77.1.${host}` : `fd77::${host}`,
          packets: Array.from({ length: count }, (_, i) => variedPacket(random, inner, vip, PORT, i)),
        });
      }
    }
  }
  return made;
}

function configuration(all: readonly Way[]): string {
  return [
    'services:',
    ...all.flatMap(({ vip, protocols }, k) =>
      protocols.map(
        (protocol) => `  - { name: ${protocol}-${k}, address: "${vip}", protocol: ${protocol}, port: ${PORT}, pool: pool-${k} }`,
      ),
    ),
    'pools:',
    ...all.map(
      ({ kind, checksum, endpoint }, k) =>
        `  pool-${k}: { table-size: 251, tunnel: { encapsulation: ${kind}, checksum: ${checksum} }, backends: [{ name: real, address: "${endpoint}" }] }`,
    ),
    `tunnel: { headers: ipvs, source: { ipv4: ${WIRE4}, ipv6: "${WIRE6}" } }`,
    'ingress: { driver: memory }',
    'egress: { driver: memory }',
    '',
  ].join('\n');
}

/** What our packet path makes of each packet; null for one that it does not forward. */
function ours(all: readonly Way[]): (Uint8Array | null)[] {
  const { spec } = loadText(configuration(all), 'ipvs-bytes.yaml');
  const { batch, pipeline } = openPath(RAW_IP, spec);
  const packets: readonly Incoming[] = all.flatMap((way) => way.packets);
  const ingress = new MemoryIngress({
    frames: packets.map(({ packet }) => packet),
    virtio: packets.map(({ partial }) =>
      partial === null ? undefined : { virtioFlags: VIRTIO_NEEDS_CSUM, csumStart: partial.start, csumOffset: partial.offset },
    ),
    facts: RAW_IP,
  });
  const made: (Uint8Array | null)[] = [];
  for (let round = 0; ingress.receive(batch) > 0; round++) {
    pipeline.process(batch, round);
    pipeline.account(batch);
    for (let i = 0; i < batch.count; i++) {
      const from = batch.outAt[i];
      made.push(batch.verdict[i] === VERDICT_FORWARD ? batch.arena.bytes.slice(from, from + batch.outLength[i]) : null);
    }
  }
  return made;
}

/**
 * The packet with what the kernel draws by chance made equal: the UDP source port, which comes from a hash with a secret, and the
 * identification of a packet without DF. The two checksums over them go too: both packets have been decoded, so theirs are right.
 */
function comparable(packet: Uint8Array, tunnel: Tunnel): Uint8Array {
  const copy = Uint8Array.from(packet);
  const transport = tunnel.outerFamily === 4 ? 20 : 40;
  if (tunnel.outerFamily === 4 && !tunnel.outer.dontFragment) {
    copy.fill(0, 4, 6);
    copy.fill(0, 10, 12);
  }
  if (tunnel.kind === 'gue') {
    copy.fill(0, transport, transport + 2);
    copy.fill(0, transport + 6, transport + 8);
  }
  return copy;
}

/** net/netfilter/ipvs/ip_vs_xmit.c ip_vs_tunnel_xmit and ip_vs_prepare_tunneled_skb, sysctl pmtu_disc 1. */
const IPVS_POLICY: Policy = { ttl: 'copy', dscp: 'copy', ecn: 'rfc3168', df: 'copy', identification: 'fresh' };

/** What the twin makes of the packet, with the source port and the identification of `tunnel`. */
function twin(way: Way, { packet, partial }: Incoming, tunnel: Tunnel): Uint8Array {
  const place = partial === null ? null : { start: partial.start, offset: partial.start + partial.offset };
  const remoteChecksum = way.checksum === 'remcsum' && place !== null ? place : undefined;
  const inner = afterHop(place === null || remoteChecksum !== undefined ? packet : completed(packet, place));
  const fields = outerFields(IPVS_POLICY, tunnel.outerFamily, inner);
  return encodeTunnel(inner, {
    kind: way.kind,
    source: tunnel.source,
    destination: tunnel.destination,
    sourcePort: tunnel.sourcePort,
    checksum: way.checksum === 'none' ? 'none' : 'full',
    outer: { ...fields, identification: fields.identification ?? tunnel.outer.identification },
    ...(remoteChecksum === undefined ? {} : { remoteChecksum }),
  });
}

const hex = (bytes: Uint8Array | null) => (bytes === null ? 'nothing' : Buffer.from(bytes).toString('hex'));

/** What is wrong with our packet beside the kernel's; null when they are equal. */
function difference(way: Way, incoming: Incoming, kernel: Uint8Array | null, own: Uint8Array | null): string | null {
  if (kernel === null || own === null) return `the kernel sent ${hex(kernel)}, we sent ${hex(own)}`;
  const expected = { kind: way.kind, remoteChecksum: way.checksum === 'remcsum' };
  const [theirs, mine] = [decodeTunnel(kernel, expected), decodeTunnel(own, expected)];
  if (theirs.hasChecksum !== mine.hasChecksum) return `checksum ${theirs.hasChecksum} there, ${mine.hasChecksum} here`;
  if (way.kind === 'gue' && (mine.sourcePort < 32768 || mine.sourcePort > 60999)) return `source port ${mine.sourcePort}`;
  const isTwin = (bytes: Uint8Array, tunnel: Tunnel) => Buffer.compare(twin(way, incoming, tunnel), bytes) === 0;
  if (!isTwin(kernel, theirs)) return `the kernel sent ${hex(kernel)}, the twin says ${hex(twin(way, incoming, theirs))}`;
  if (!isTwin(own, mine)) return `we sent ${hex(own)}, the twin says ${hex(twin(way, incoming, mine))}`;
  if (Buffer.compare(comparable(kernel, theirs), comparable(own, mine)) === 0) return null;
  return `the kernel sent ${hex(kernel.subarray(0, 80))}, we sent ${hex(own.subarray(0, 80))}`;
}

async function run(scale: Scale): Promise<Outcome> {
  const all = ways(COUNT[scale]);
  const kernel = await forwardThroughIpvs(all);
  const own = ours(all);
  const figures: Record<string, number | string> = { 'packets of each way': COUNT[scale] };
  let passed = true;
  let partial = 0;
  let remote = 0;
  all.forEach((way, k) => {
    const wrong = way.packets.flatMap((packet, i) => {
      const mine = own[k * COUNT[scale] + i];
      if (packet.partial !== null) partial++;
      if (packet.partial !== null && way.checksum === 'remcsum') remote++;
      try {
        return difference(way, packet, kernel[k][i], mine) ?? [];
      } catch (error) {
        return `${(error as Error).message}: the kernel sent ${hex(kernel[k][i])}, we sent ${hex(mine)}`;
      }
    });
    if (wrong.length > 0) passed = false;
    figures[way.name] = wrong.length === 0 ? 'all equal' : `${wrong.length} differ: ${wrong[0]}`;
  });
  figures['packets that came with a partial checksum'] = partial;
  figures['of these left to the worker to complete (remcsum)'] = remote;
  return { passed: passed && remote > 0, figures };
}

export const ipvsBytes: Line = {
  name: 'ipvs-bytes',
  claim:
    'Byte comparison with the kernel’s own IPVS (User-Mode Linux): for 1,000 varied packets in each of GUE without checksum, with it and with remcsum, GRE without and with checksum, and IP in IP, outer IPv4 and IPv6, inner IPv4 and IPv6, what we send with `headers: ipvs` equals what the kernel sends, apart from the source port and the identification of packets without DF.',
  twin: 'test/full/ipvs-bytes.test.ts',
  run,
};
