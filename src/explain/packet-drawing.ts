/** What leaves, drawn: the headers one behind the other with their offsets, and the bytes of each. */
import type { SentStep } from './trail.ts';

interface Part {
  readonly name: string;
  readonly at: number;
  readonly end: number;
}

const PER_ROW = 16;

/** The headers of a packet that leaves, from the outermost in. `transportLength`: bytes of the inner transport header. */
function partsOf(sent: SentStep): Part[] {
  const { outerNetwork, outerTransport, tunnel, innerNetwork, innerTransport, end } = sent.offsets;
  const hasUdp = sent.encapsulation.startsWith('gue') || sent.encapsulation === 'fou';
  const edges: [string, number, number][] = [
    ['outer IP', outerNetwork, outerTransport],
    ['UDP', outerTransport, hasUdp ? tunnel : outerTransport],
    [sent.encapsulation === 'gre' ? 'GRE' : 'GUE', tunnel, innerNetwork],
    ['inner IP', innerNetwork, innerTransport],
    ['inner transport and payload', innerTransport, end],
  ];
  return edges.filter(([, at, to]) => to > at).map(([name, at, to]) => ({ name, at, end: to }));
}

/**
 * | outer IP | UDP | GUE | inner IP | inner transport and payload |
 * 0          20    28    32         52                            1532
 */
export function boxes(sent: SentStep): string[] {
  let top = '';
  let bottom = '';
  for (const { name, at } of partsOf(sent)) {
    const cell = `| ${name} `;
    top += cell;
    bottom += String(at).padEnd(cell.length);
  }
  return [`${top}|`, `${bottom}${sent.offsets.end}`];
}

/** Offset, bytes and name, a row for each sixteen bytes of each header; of the payload the beginning. */
export function byteRows(sent: SentStep): string[] {
  const rows: string[] = [];
  const known = sent.bytes.length / 2;
  for (const { name, at, end } of partsOf(sent)) {
    const last = Math.min(end, known, name.startsWith('inner transport') ? at + 2 * PER_ROW : end);
    for (let from = at; from < last; from += PER_ROW) {
      const pairs = Array.from({ length: Math.min(PER_ROW, last - from) }, (_, k) =>
        sent.bytes.slice(2 * (from + k), 2 * (from + k) + 2),
      );
      rows.push(`${String(from).padStart(6)}  ${pairs.join(' ').padEnd(PER_ROW * 3 - 1)}  ${from === at ? name : ''}`.trimEnd());
    }
    if (last < end) rows.push(`        … ${end - last} more bytes`);
  }
  return rows;
}
