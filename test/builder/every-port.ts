/** Services for whatever a test sends to an address. */
import type { ServiceSpec } from '../../src/pipeline/spec.ts';

/** TCP and UDP on all ports of each address (4 or 16 bytes), for pool `p`, by 5-tuple. `rest`: what every service shall have besides, or instead. */
export function everyPort(addresses: readonly Uint8Array[], rest: Partial<ServiceSpec> = {}): ServiceSpec[] {
  return [6, 17].flatMap((protocol) =>
    addresses.map((bytes, n) => ({
      name: `s${protocol}-${n}`,
      prefix: { bytes, length: bytes.length * 8 },
      protocol,
      portFrom: 0,
      portTo: 65535,
      affinity: '5-tuple',
      pool: 'p',
      ...rest,
    })),
  );
}
