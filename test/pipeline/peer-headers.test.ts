// `headers: katran` and `headers: glb` against packets that those programs have sent (../shared/peers, where it is there): a pool of the one backend that the
// peer chose sends the peer's bytes, whole, but for an outer checksum that is the peer's mistake.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { PROFILES } from '../../src/config/headers.ts';
import type { Encapsulation, PoolSpec, Spec, TunnelSpec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { everyPort } from '../builder/every-port.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { Rig, TUN } from './rig.ts';

interface Vector {
  readonly name: string;
  readonly set: string;
  readonly in_hex: string;
  readonly out_hex?: string;
  readonly expected_action: string;
  readonly config?: string;
  readonly build?: string;
}

const ETHERNET = 14;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function vectorsOf(file: string): Vector[] | null {
  const path = new URL(`../../../shared/peers/${file}`, import.meta.url);
  if (!existsSync(path)) return null;
  const data = JSON.parse(readFileSync(path, 'utf8'));
  return data.vectors ?? data.packet_vectors.vectors;
}

/** The IP packet of a frame, link padding cut off. */
function ipOf(frame: string): Uint8Array {
  const bytes = Uint8Array.from(Buffer.from(frame, 'hex')).subarray(ETHERNET);
  const length = bytes[0] >> 4 === 4 ? bytes[2] * 256 + bytes[3] : 40 + bytes[4] * 256 + bytes[5];
  return bytes.slice(0, length);
}

/** Every address and port is the service's, and the one backend is where the peer sent the packet. */
function rigFor(inner: Uint8Array, outer: Uint8Array, tunnel: Partial<TunnelSpec>, pool: Partial<PoolSpec>): Rig {
  const six = inner[0] >> 4 === 6;
  const bytes = six ? inner.slice(24, 40) : inner.slice(16, 20);
  const [source, destination] =
    outer[0] >> 4 === 4 ? [outer.slice(12, 16), outer.slice(16, 20)] : [outer.slice(8, 24), outer.slice(24, 40)];
  const services = everyPort([bytes]);
  const spec: Spec = {
    services,
    pools: [
      {
        name: 'p',
        tableSize: 65537,
        seed: 0,
        tunnel: {
          encapsulation: 'gue-v1',
          port: 6080,
          source4: source.length === 4 ? source : null,
          source6: source.length === 16 ? source : null,
          checksum: 'full',
          ...tunnel,
        },
        backends: [{ name: 'b', address: destination, weight: 1, state: 'active' }],
        ...pool,
      },
    ],
  };
  return new Rig(spec, TUN);
}

/** Source addresses of Katran's IPIP packets lie in 172.16.0.0/16 and 100::/96. */
function ipipTunnel(outer: Uint8Array): Partial<TunnelSpec> {
  return outer[0] >> 4 === 4
    ? { source4: Uint8Array.of(172, 16, 0, 0), spread4: 16 }
    : { source6: Uint8Array.from([1, ...new Array(15).fill(0)]), spread6: 32 };
}

const katran = vectorsOf('katran-golden.json');
/** Sets of plain encapsulation; the others take apart, route by source, or depend on what came before. */
const SETS = ['gue', 'ipip', 'cidr_vip', 'udp_stable_routing', 'observed'];

test("Katran's packets, whole", { skip: katran === null ? 'no ../shared/peers/katran-golden.json' : false }, () => {
  let compared = 0;
  const wrongSums: string[] = [];
  /** Their ICMPv6 checksum is wrong as they come: Katran does not look at it, we do. */
  const refused: string[] = [];
  for (const { name, set, in_hex, out_hex = '', expected_action } of katran ?? []) {
    if (!SETS.includes(set) || expected_action !== 'XDP_TX') continue;
    const [inner, outer] = [ipOf(in_hex), ipOf(out_hex)];
    // Echo replies are no tunnel packets; IP in IP from outside is taken apart first.
    const isTunnel = outer.length > inner.length && Buffer.from(outer).includes(Buffer.from(inner));
    if (!isTunnel) continue;
    const encapsulation: Encapsulation = set === 'ipip' ? 'ipip' : 'gue-v1';
    const port = encapsulation === 'ipip' ? 6080 : udpPort(outer);
    const portOnly = inner[0] >> 4 === 4 && inner[19] === 4 && inner[18] === 1 && inner[16] === 10;
    const hash = portOnly ? ('destination-port-only' as const) : ('flow' as const);
    const rig = rigFor(
      inner,
      outer,
      { encapsulation, port, headers: PROFILES.katran, ...(encapsulation === 'ipip' ? ipipTunnel(outer) : {}) },
      { scheme: { name: 'katran', ring: 'v1', hash, maxVips: 512 } },
    );
    const { bytes, reason } = rig.one(inner);
    if (reason === 'icmp-checksum') {
      refused.push(name);
      continue;
    }
    assert.ok(bytes !== null, `${name}: ${reason}`);
    if (hex(bytes) !== hex(outer)) {
      // Ours verifies, or the twin would throw; Katran's is the one that does not.
      decodeTunnel(bytes, { kind: 'gue-v1' });
      assert.throws(() => decodeTunnel(outer, { kind: 'gue-v1' }), /checksum/, name);
      const sum = outer[0] >> 4 === 4 ? 26 : 46;
      bytes.set(outer.subarray(sum, sum + 2), sum);
      assert.equal(hex(bytes), hex(outer), name);
      wrongSums.push(name);
    }
    compared++;
  }
  assert.ok(compared >= 60, `${compared} packets`);
  assert.deepEqual(refused.sort(), ['gue/09', 'ipip/11']);
  assert.deepEqual(wrongSums.sort(), [
    'gue/08',
    'observed/udp6_zero',
    'observed/udp_zero',
    'observed/v4_vip_inner_tcp_csum_corrupted',
  ]);
});

function udpPort(outer: Uint8Array): number {
  const at = outer[0] >> 4 === 4 ? 20 : 40;
  return outer[at + 2] * 256 + outer[at + 3];
}

interface GlbTable {
  readonly hash_key: string;
  readonly seed: string;
  readonly binds: readonly { readonly ip: string }[];
  readonly backends: readonly string[];
}

type GlbVector = Vector & { readonly hash_fields: readonly string[]; readonly alt_hash_fields: readonly string[] | null };

const glb = vectorsOf('glb-vectors.json') as readonly GlbVector[] | null;
const GLB_FIELDS = { src_addr: 'source-address', src_port: 'source-port' } as const;

test("GLB's packets, whole", { skip: glb === null ? 'no ../shared/peers/glb-vectors.json' : false }, () => {
  const path = new URL('../../../shared/peers/glb-vectors.json', import.meta.url);
  const tables: readonly GlbTable[] = JSON.parse(readFileSync(path, 'utf8')).tables;
  const fields = (names: readonly string[]) => names.map((name) => GLB_FIELDS[name as keyof typeof GLB_FIELDS]);
  const hexBytes = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));
  let compared = 0;
  const refused: string[] = [];
  for (const { name, in_hex, out_hex = '', expected_action, hash_fields, alt_hash_fields } of glb ?? []) {
    // A ping is answered here unless a service says otherwise (docs/icmp.md).
    if (expected_action !== 'XDP_TX' || name.includes('echo')) continue;
    const [inner, outer] = [ipOf(in_hex), ipOf(out_hex)];
    const service = formatAddress(inner[0] >> 4 === 6 ? inner.slice(24, 40) : inner.slice(16, 20));
    const table = tables.find(({ binds }) => binds.some((bind) => bind.ip === service));
    assert.ok(table !== undefined, name);
    const second = alt_hash_fields ?? [];
    const rig = rigFor(
      inner,
      outer,
      { encapsulation: 'gue', port: 19523, checksum: 'none', headers: PROFILES.glb, hops: second.length > 0 ? 3 : 1 },
      {
        tableSize: 65536,
        scheme: {
          name: 'glb',
          seed: hexBytes(table.seed),
          hashKey: hexBytes(table.hash_key),
          fields: fields(hash_fields),
          secondFields: fields(second),
        },
        backends: table.backends.map((address) => ({ name: address, address: ip(address), weight: 1, state: 'active' })),
      },
    );
    const { bytes, reason } = rig.one(inner);
    if (reason === 'icmp-checksum') {
      refused.push(name);
      continue;
    }
    assert.ok(bytes !== null, `${name}: ${reason}`);
    assert.equal(hex(bytes), hex(outer), name);
    compared++;
  }
  assert.deepEqual(refused, []);
  assert.ok(compared >= 15, `${compared} packets`);
});
