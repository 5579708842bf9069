// GLB director's vectors: rows, tables, routes with all their hops, and packets through our packet path.

import { createHash } from 'node:crypto';
import { type IngressFacts, LINK_ETHERNET } from '../../../src/base/batch.ts';
import { loadText } from '../../../src/config/load.ts';
import { buildGlbRows, GLB_ROWS, sipKey } from '../../../src/maglev-hash/index.ts';
import { ip } from '../../builder/addresses.ts';
import { packet } from '../../builder/packet.ts';
import { type Outcome, Rig } from '../../pipeline/rig.ts';
import { type Account, bytesOf, compare, type GlbField, type GlbTable, type GlbVectors, hexOf, setApart } from './vectors.ts';

const FACTS: IngressFacts = { link: LINK_ETHERNET, hopDone: true, canPass: true, headerVerified: false };
const WORDS: Readonly<Record<GlbField, string>> = {
  src_addr: 'source-address',
  dst_addr: 'destination-address',
  src_port: 'source-port',
  dst_port: 'destination-port',
};

function rowsOf(hosts: readonly string[], seed: string) {
  const members = hosts.map((host) => ({ address: ip(host), active: true, healthy: true }));
  return buildGlbRows(members, sipKey(bytesOf(seed)));
}

export function checkTables({ row_vectors: rows, tables }: GlbVectors, account: Account): void {
  const { primary, secondary } = rowsOf(rows.hosts, rows.seed_hex);
  for (const { row_index: row, expected_order: order } of rows.rows) {
    const ours = [rows.hosts[primary[row]], rows.hosts[secondary[row]]];
    compare(account, `row ${row}`, ours, order.slice(0, 2));
  }
  for (const table of tables) {
    const built = rowsOf(table.backends, table.seed);
    const pair = (row: number) => [built.primary[row], built.secondary[row]];
    const rowsFrom = (first: number) => Array.from({ length: 16 }, (_, i) => pair(first + i));
    compare(account, `${table.name}, first rows`, rowsFrom(0), table.first_16_rows_primary_secondary_index);
    compare(account, `${table.name}, last rows`, rowsFrom(GLB_ROWS - 16), table.rows_65520_to_65535);
    const counts = table.backends.map((_, i) => built.primary.filter((owner) => owner === i).length);
    compare(account, `${table.name}, rows of each backend`, counts, table.primary_count_per_backend);
    const pairs = new Uint32Array(2 * GLB_ROWS);
    for (let row = 0; row < GLB_ROWS; row++) pairs.set(pair(row), 2 * row);
    const digest = createHash('sha256').update(new Uint8Array(pairs.buffer)).digest('hex');
    compare(account, `${table.name}, all rows`, digest, table.sha256_of_65536_rows_le_u32_primary_u32_secondary);
  }
}

interface Setup {
  readonly fields?: readonly GlbField[];
  readonly second?: readonly GlbField[];
  readonly down?: string;
  /** In place of the tables' own binds: address, or prefix, and ports. */
  readonly bind?: { readonly address: string; readonly port: string };
}

/** One pool for each table, one service for each bind: what `glb-director` reads, in our words. */
function rigOf(tables: readonly GlbTable[], { fields = ['src_addr'], second = [], down, bind }: Setup): Rig {
  const list = (given: readonly GlbField[]) => given.map((field) => WORDS[field]).join(', ');
  const pools = tables.map(({ name, seed, hash_key, backends }) => {
    const state = (host: string) => (host === down ? ', state: down' : '');
    const workers = backends.map((host) => `{ name: "${host}", address: ${host}${state(host)} }`);
    const further = second.length === 0 ? '' : `, second-hash-fields: [${list(second)}]`;
    const scheme = `name: glb, seed: "${seed}", hash-key: "${hash_key}", hash-fields: [${list(fields)}]${further}`;
    return `  ${name}: { scheme: { ${scheme} }, backends: [${workers.join(', ')}] }`;
  });
  const binds = tables.flatMap(({ name, binds: own }) => own.map((one) => ({ ...one, name })));
  const chosen = bind === undefined ? binds : [{ ip: bind.address, port: bind.port, proto: 'tcp', name: tables[0].name }];
  const services = chosen.map(
    ({ ip: address, port, proto, name }, i) =>
      `  - { name: s${i}, address: "${address}", protocol: ${proto}, port: ${port}, pool: ${name} }`,
  );
  const used = pools.filter((pool) => chosen.some(({ name }) => pool.startsWith(`  ${name}:`)));
  const tunnel = '{ port: 19523, checksum: none, headers: glb, source: { ipv4: 65.65.65.65 } }';
  const text = ['services:', ...services, 'pools:', ...used, `tunnel: ${tunnel}`, 'icmp: { echo: forward }', ''].join('\n');
  return new Rig(loadText(text, 'glb.yaml').spec, FACTS);
}

/** Every address of a packet that left, in the order of the hops: outer destination, then those of GLB's private data. */
function hopsOf({ verdict, bytes }: Outcome): string[] {
  if (verdict !== 'forward' || bytes === null) return [verdict];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = (at: number) => bytes.subarray(at, at + 4).join('.');
  const gue = 28;
  // | hlen | protocol | flags 0 | type 0 | next hop 0 | count | addresses
  const count = view.getUint8(gue + 7);
  const isPrivate = view.getUint8(gue) === 1 + count && view.getUint16(gue + 2) === 0 && view.getUint16(gue + 4) === 0;
  if (!isPrivate || view.getUint8(gue + 6) !== 0) return ['no private data of GLB'];
  return [text(16), ...Array.from({ length: count }, (_, k) => text(gue + 8 + 4 * k))];
}

function frameOf(src: string, sport: number, dst: string, dport: number): Uint8Array {
  const link = packet().ethernet();
  const network = src.includes(':') ? link.ipv6({ src, dst }) : link.ipv4({ src, dst });
  return network.tcp({ sport, dport, flags: 'SYN' }).bytes();
}

export function checkRoutes({ tables, route_vectors: routes, other_expectations: others }: GlbVectors, account: Account): void {
  for (const route of routes) {
    const { src, sport, dst, dport } = route.flow;
    const rig = rigOf(tables, { fields: route.hash_fields, second: route.alt_hash_fields ?? [] });
    const outcome = rig.one(frameOf(src, sport, dst, dport));
    const row = rig.batch.rowHash[0] & 0xffff;
    const ports =
      outcome.bytes === null ? [] : [20, 22].map((at) => ((outcome.bytes?.[at] ?? 0) << 8) | (outcome.bytes?.[at + 1] ?? 0));
    compare(
      account,
      route.name,
      [row, ...hopsOf(outcome), ...ports],
      [route.row_index, ...route.expected_hops, route.expected_outer_udp_sport, route.expected_outer_udp_dport],
    );
  }
  for (const other of others) {
    if (other.match_ports !== undefined) {
      const rig = rigOf(tables, { bind: { address: '2.2.2.2', port: '100-200' } });
      const verdict = (port: number) => rig.one(frameOf('10.11.12.13', 1, '2.2.2.2', port)).verdict;
      const ours = [...other.match_ports.map(verdict), ...(other.no_match_ports ?? []).map(verdict)];
      compare(account, other.name, ours, [
        ...other.match_ports.map(() => 'forward'),
        ...(other.no_match_ports ?? []).map(() => 'pass'),
      ]);
    } else if (other.match !== undefined) {
      const isIpv6 = other.match[0].includes(':');
      const rig = rigOf(tables, { bind: { address: isIpv6 ? 'fdb4:98ce:52d4::4240/122' : '1.1.1.64/26', port: '80' } });
      const verdict = (address: string) => rig.one(frameOf(isIpv6 ? 'fd91::1' : '10.11.12.13', 1, address, 80)).verdict;
      const ours = [...other.match.map(verdict), ...(other.no_match ?? []).map(verdict)];
      compare(account, other.name, ours, [...other.match.map(() => 'forward'), ...(other.no_match ?? []).map(() => 'pass')]);
    } else if (other.flow !== undefined) {
      const { src, sport, dst, dport } = other.flow;
      const rig = rigOf(tables, { down: '3.4.5.6' });
      const expected = [other.expected_outer_dst, ...(other.expected_gue_hops ?? [])];
      compare(account, other.name, hopsOf(rig.one(frameOf(src, sport, dst, dport))), expected);
    } else setApart(account, other.name, 'the same packets are whole ones below');
  }
}

export function checkPackets({ tables, packet_vectors: { vectors } }: GlbVectors, account: Account): void {
  for (const vector of vectors) {
    const rig = rigOf(tables, { fields: vector.hash_fields, second: vector.alt_hash_fields ?? [] });
    const { verdict, bytes } = rig.one(bytesOf(vector.in_hex));
    const ours = verdict === 'forward' ? hexOf(bytes as Uint8Array) : verdict;
    const theirs = vector.expected_action === 'XDP_PASS' ? 'pass' : hexOf(bytesOf(vector.out_hex ?? '').subarray(14));
    compare(account, vector.name, ours, theirs);
  }
}
