/** The key `scheme` of a pool: how its table is built and asked. `maglev` is ours, the others are peers' (docs/peer-tables.md). */
import { z } from 'zod';
import { GLB_ROWS, IPVS_TABLE_SIZES, KATRAN_MAX_VIPS, KATRAN_RING_SIZE } from '../maglev-hash/index.ts';
import type { SchemeSpec } from '../pipeline/spec.ts';

export const SCHEME_NAMES = ['maglev', 'ipvs-mh', 'katran', 'glb'] as const;
export type SchemeName = (typeof SCHEME_NAMES)[number];

/** Slots of a table whose pool has no `table-size`. */
export const DEFAULT_TABLE_SIZE: Readonly<Record<SchemeName, number>> = {
  maglev: 65537,
  // CONFIG_IP_VS_MH_TAB_INDEX 12.
  'ipvs-mh': IPVS_TABLE_SIZES[4],
  katran: KATRAN_RING_SIZE,
  glb: GLB_ROWS,
};

const key = z.string().superRefine((text, context) => {
  if (/^[0-9a-fA-F]{32}$/.test(text)) return;
  const message = 'must be 32 hexadecimal digits, as in a forwarding table of GLB director';
  context.addIssue({ code: 'custom', message, params: { code: 'GD_CONFIG_SCHEME_KEY' } });
});
const fields = z.array(z.enum(['source-address', 'destination-address', 'source-port', 'destination-port']));

/** With nothing of a scheme but its name, every key has its default. */
const shorthand = z.enum(['maglev', 'ipvs-mh', 'katran']);

export const schemeSchema = z
  .union([
    shorthand,
    z.discriminatedUnion('name', [
      z
        .strictObject({ name: z.literal('maglev').describe('Name of the scheme.') })
        .describe('Our own table: even, with weights in proportion, whatever the order of the backends.'),
      z
        .strictObject({
          name: z.literal('ipvs-mh').describe('Name of the scheme.'),
          'mh-port': z
            .boolean()
            .default(false)
            .describe("The service has IPVS's flag mh-port: the client's port counts, not only its address."),
          'mh-fallback': z
            .boolean()
            .default(false)
            .describe("The service has IPVS's flag mh-fallback: a flow whose server is draining gets another one, not none."),
          'server-port': z
            .int()
            .min(0)
            .max(65535)
            .optional()
            .describe("Port of the real servers as IPVS has it. Unset: the service's, as with IPVS tunnels."),
        })
        .describe('The table of Linux IPVS with scheduler mh. `backends` stand in the order of `/proc/net/ip_vs`.'),
      z
        .strictObject({
          name: z.literal('katran').describe('Name of the scheme.'),
          ring: z
            .enum(['v1', 'v2'])
            .default('v1')
            .describe("Katran's Maglev variant: v1 is its default, v2 has weights in proportion."),
          hash: z
            .enum(['flow', 'no-source-port', 'destination-port-only', 'both-ports'])
            .default('flow')
            .describe("What is hashed, by the VIP's flags: none, NO_SRC_PORT, DPORT_ONLY, SRC_DST_PORT."),
          'max-vips': z
            .int()
            .min(1)
            .max(32767)
            .default(KATRAN_MAX_VIPS)
            .describe('MAX_VIPS as Katran was built: it is part of the packet hash.'),
        })
        .describe("Katran's ring and packet hash."),
      z
        .strictObject({
          name: z.literal('glb').describe('Name of the scheme.'),
          seed: key.describe('`seed` of the forwarding table: 32 hexadecimal digits.'),
          'hash-key': key.describe('`hash_key` of the forwarding table: 32 hexadecimal digits.'),
          'hash-fields': fields
            .min(1)
            .default(['source-address'])
            .describe('`hash_fields` of the director: source-address, destination-address, source-port, destination-port.'),
          'second-hash-fields': fields
            .optional()
            .describe('`alt_hash_fields` of the director, from whose row two further hops come. Unset: none.'),
        })
        .describe("GLB director's rows, with the next hops in the GUE header that glb-redirect expects."),
    ]),
  ])
  .default('maglev')
  .describe('How the table is built and packets are hashed: ours, or as a peer does, so that both can serve the same flows.');

export type SchemeSection = z.infer<typeof schemeSchema>;

export function schemeName(section: SchemeSection): SchemeName {
  return typeof section === 'string' ? section : section.name;
}

/** `servicePort`: what IPVS's real servers have where the section says no `server-port`. */
export function compileScheme(section: SchemeSection, servicePort: number): SchemeSpec {
  const name = schemeName(section);
  const given = typeof section === 'string' ? null : section;
  if (name === 'ipvs-mh') {
    const own = given?.name === 'ipvs-mh' ? given : null;
    return {
      name,
      port: own?.['mh-port'] ?? false,
      fallback: own?.['mh-fallback'] ?? false,
      serverPort: own?.['server-port'] ?? servicePort,
    };
  }
  if (name === 'katran') {
    const own = given?.name === 'katran' ? given : null;
    return { name, ring: own?.ring ?? 'v1', hash: own?.hash ?? 'flow', maxVips: own?.['max-vips'] ?? KATRAN_MAX_VIPS };
  }
  if (given?.name === 'glb') {
    return {
      name: 'glb',
      seed: bytesOf(given.seed),
      hashKey: bytesOf(given['hash-key']),
      fields: [...new Set(given['hash-fields'])],
      secondFields: [...new Set(given['second-hash-fields'] ?? [])],
    };
  }
  return { name: 'maglev' };
}

/**
 * How many further backends each packet of a pool names for its worker (`TunnelSpec.hops`); null for schemes that name none. `backends`: those of
 * the pool; GLB's inactive ones have weight 0.
 */
export function hopsOf(scheme: SchemeSpec, backends: readonly { readonly weight: number }[]): number | null {
  if (scheme.name !== 'glb') return null;
  // A backend that is alone has no other to name.
  if (backends.filter(({ weight }) => weight > 0).length < 2) return 0;
  return scheme.secondFields.length > 0 ? 3 : 1;
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
