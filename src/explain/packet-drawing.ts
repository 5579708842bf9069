/** What leaves, drawn: the headers one behind the other with their offsets, and the bytes of each. */
import type { SentStep } from './trail.ts';

/** One header, or the rest, from `at` up to `end`. */
export interface PacketPart {
  readonly name: string;
  readonly at: number;
  readonly end: number;
}

/** Bytes of a part from `at` on, at most sixteen, two hexadecimal digits each. */
export interface ByteRow {
  readonly part: PacketPart;
  readonly at: number;
  readonly bytes: readonly string[];
  /** Bytes of the part behind this row that are not shown; 0 but for its last row. */
  readonly left: number;
}

const PER_ROW = 16;

/** The headers of a packet that leaves, from the outermost in. */
export function partsOf(sent: SentStep): PacketPart[] {
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

/** A row for each sixteen bytes of each header; of the payload the beginning. */
export function bytesOf(sent: SentStep): ByteRow[] {
  const rows: ByteRow[] = [];
  const known = sent.bytes.length / 2;
  for (const part of partsOf(sent)) {
    const { name, at, end } = part;
    const last = Math.min(end, known, name.startsWith('inner transport') ? at + 2 * PER_ROW : end);
    for (let from = at; from < last; from += PER_ROW) {
      const to = Math.min(from + PER_ROW, last);
      const bytes = Array.from({ length: to - from }, (_, k) => sent.bytes.slice(2 * (from + k), 2 * (from + k) + 2));
      rows.push({ part, at: from, bytes, left: to === last ? end - last : 0 });
    }
  }
  return rows;
}

/** Offset, bytes and name, a line for each row. */
export function byteRows(sent: SentStep): string[] {
  return bytesOf(sent).flatMap(({ part, at, bytes, left }) => {
    const line = `${String(at).padStart(6)}  ${bytes.join(' ').padEnd(PER_ROW * 3 - 1)}  ${at === part.at ? part.name : ''}`;
    return [line.trimEnd(), ...(left > 0 ? [`        … ${left} more bytes`] : [])];
  });
}
