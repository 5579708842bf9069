// A configuration of many services, each with a pool and a table of its own (a seed each) over the same workers, and packets for it.

export interface Scene {
  readonly services: number;
  readonly backends: number;
  readonly tableSize: number;
}

/** As an operator would write it: the workers once, by a YAML anchor. */
export function configurationOf({ services, backends, tableSize }: Scene): string {
  const pools = Array.from({ length: services }, (_, n) => n);
  const workers = Array.from(
    { length: backends },
    (_, n) => `      - { name: w${n}, address: 10.99.${(n + 1) >> 8}.${(n + 1) & 255} }`,
  );
  return [
    'services:',
    ...pools.map((n) => `  - { name: s${n}, address: 192.0.${n >> 8}.${n & 255}, protocol: tcp, port: 443, pool: p${n} }`),
    'pools:',
    ...pools.flatMap((n) => [
      `  p${n}:`,
      `    table-size: ${tableSize}`,
      `    seed: ${n + 1}`,
      ...(n === 0 ? ['    backends: &workers', ...workers] : ['    backends: *workers']),
    ]),
    'tunnel: { source: { ipv4: 10.98.0.1 } }',
    'ingress: { driver: tun, device: gd0 }',
    'egress: { driver: raw }',
    '',
  ].join('\n');
}

/** `count` packets of as many flows: TCP with ACK, 60 bytes, in no order, to the services in turn. `from`: number of the first flow. */
export function framesOf(services: number, count: number, from = 0): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => {
    const bytes = new Uint8Array(60);
    const view = new DataView(bytes.buffer);
    // An odd multiplier permutes the 32-bit numbers: flows are distinct, and neighbours unrelated.
    const flow = Math.imul(from + i, 0x9e3779b1);
    const service = (from + i) % services;
    view.setUint16(0, 0x4500);
    view.setUint16(2, bytes.length);
    view.setUint16(6, 0x4000);
    bytes[8] = 63;
    bytes[9] = 6;
    view.setInt32(12, (flow & 0x00ffffff) | 0x0b000000);
    bytes.set([192, 0, service >> 8, service & 255], 16);
    view.setUint16(20, 1024 + (flow >>> 24));
    view.setUint16(22, 443);
    bytes[32] = 0x50;
    bytes[33] = 0x10;
    return bytes;
  });
}
