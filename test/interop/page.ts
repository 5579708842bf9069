// docs/interop.md, made from what a run of the line showed.

import { resolve } from 'node:path';
import type { TunnelKind } from '../reference/tunnel.ts';
import { CELLS, type Cell, type Checksum, type Family, KINDS, nameOf, whyNot } from './cells.ts';
import type { Probe } from './probes.ts';

export const PAGE = resolve(import.meta.dirname, '../../docs/interop.md');

export interface Showing {
  /** Of the worker: `Linux 6.1`. */
  readonly kernel: string;
  /** What was wrong with each cell, by its name. */
  readonly findings: ReadonlyMap<string, readonly string[]>;
  /** Probes beside the cells, and the names of those that were answered. */
  readonly odd: readonly Probe[];
  readonly answered: ReadonlySet<string>;
}

const MIXES: readonly (readonly [outer: Family, inner: Family])[] = [
  [4, 4],
  [4, 6],
  [6, 4],
  [6, 6],
];

function row(kind: TunnelKind, checksum: Checksum, showing: Showing): string {
  const reason = whyNot(kind, checksum);
  const label = `| \`${kind}\` (${KINDS[kind]}) | ${checksum} |`;
  if (reason !== null) return `${label} does not exist: ${reason} | | | |`;
  const verdict = (cell: Cell) => {
    const wrong = showing.findings.get(nameOf(cell)) ?? ['not tried'];
    return wrong.length === 0 ? 'TCP, UDP' : wrong.join('; ');
  };
  const cells = MIXES.map(([outer, inner]) =>
    CELLS.find((cell) => cell.kind === kind && cell.checksum === checksum && cell.outer === outer && cell.inner === inner),
  );
  return `${label} ${cells.map((cell) => verdict(cell!)).join(' | ')} |`;
}

export function page(showing: Showing): string {
  const rows = (Object.keys(KINDS) as TunnelKind[]).flatMap((kind) =>
    (['none', 'full', 'remcsum'] as const).map((checksum) => row(kind, checksum, showing)),
  );
  return [
    '# What a Linux kernel unwraps',
    '',
    '<!-- Made by `npm run test:full -- interop`; the test test/full/interop.test.ts compares it with what it finds itself. -->',
    '',
    `The director with an ordinary configuration, ingress \`tun\` and egress \`auto\`, one pool for each row and outer family; as worker an unchanged ${showing.kernel}`,
    '(Debian’s User-Mode Linux), set up with the commands of [workers.md](workers.md). “TCP, UDP” says that an upload over TCP arrived whole (SHA-256), cut into trains',
    'on the way, and that datagrams of 1 to 1,452 bytes were answered with the same bytes; that the packets in a capture on the director’s link, read by a decoder that',
    'shares no code with the program, were right in every byte; and that a right packet of that decoder’s own writing half was answered by the worker and one with a flipped',
    'bit was not. Columns: the inner family in the outer.',
    '',
    '| Encapsulation | Checksum | IPv4 in IPv4 | IPv6 in IPv4 | IPv4 in IPv6 | IPv6 in IPv6 |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
    'Nothing was left out: the kernel of Debian’s User-Mode Linux has every module that the cells need (`fou`, `fou6`, `ipip`, `sit`, `ip6_tunnel`, `ip_gre`, `ip6_gre`). Linux',
    'takes UDP over IPv6 without a checksum on ports of `fou`. With `remcsum` a packet that came with a partial checksum leaves with it; the worker fills it in.',
    '',
    '## Packets beside the right ones',
    '',
    `What the same kernel does with other packets, sent by hand. Our own worker ([workers.md](workers.md)) does the same, but that it takes GRE with and`,
    'without a checksum.',
    '',
    '| Packet | The kernel |',
    '|---|---|',
    ...showing.odd.map((probe) => `| ${probe.name} | ${showing.answered.has(probe.name) ? 'delivers' : 'drops'} |`),
    '',
  ].join('\n');
}
