/** A trail as text: what happened, first; then stage by stage why; last the bytes. */
import { boxes, byteRows } from '../../explain/packet-drawing.ts';
import type { ChoiceStep, ChosenFrom, FlowStep, ServiceStep, SizeStep, Trail } from '../../explain/trail.ts';
import { tupleText } from '../../explain/tuple.ts';
import type { Paint } from './paint.ts';

const BY: Readonly<Record<FlowStep['by'], string>> = {
  flow: 'by its 5-tuple',
  quote: 'by the packet that the ICMP error is about',
  fragment: 'by the first fragment of its packet',
  'server-id': 'by the server id in its QUIC connection id',
  packet: 'in turn: each datagram by itself (affinity none)',
  addresses: 'by addresses and protocol: the protocol has no ports',
  ports: 'by protocol and ports (affinity ports)',
  table: 'by the table alone: this scheme keeps no flows',
};
const FROM: Readonly<Record<ChosenFrom, string>> = {
  entry: 'its flow table entry says so',
  'other-thread': "another thread's flow table entry says so",
  'previous-table': 'the table before the last change says so, for a flow that may be older than the change',
  table: 'the table says so',
  'server-id': 'the connection id names it',
  'first-fragment': 'where the first fragment went, or by addresses',
  turn: 'it was its turn',
  nobody: 'nobody serves',
};
const EFFECT: Readonly<Record<FlowStep['effect'], string>> = {
  none: 'leaves the flow table as it is',
  refreshed: 'keeps its entry fresh',
  created: 'makes an entry',
  moved: 'moves its entry',
};

/** The whole trail, lines ending in a newline. `isLive`: it was a running director that was asked. */
export function trailText(trail: Trail, paint: Paint): string {
  const lines = [headline(trail, paint), ''];
  const say = (label: string, first: string, ...more: string[]) => {
    lines.push(`${paint.dim(label.padEnd(9))} ${first}`);
    for (const line of more) lines.push(`${' '.repeat(10)}${line}`);
  };
  const { packet, flow, choice, size, sent } = trail;
  say(
    'packet',
    `${packet.length} bytes${packet.checksumCompleted ? ', its partial checksum completed here' : ''}`,
    ...packet.headers,
    ...(packet.quoted === null ? [] : [`about ${tupleText(packet.quoted)}`]),
  );
  const [first, ...rest] = serviceLines(trail.service);
  say('service', first, ...rest);
  if (flow !== null) say('flow', ...flowLines(flow));
  if (choice !== null) say('backend', ...choiceLines(choice));
  if (size !== null) say('size', sizeText(size));
  if (trail.reason !== null)
    say('dropped', `${trail.reason.word}: ${trail.reason.text}`, `what to do: docs/drop-reasons.md#${trail.reason.word}`);
  if (sent !== null) {
    const { least, is } = sent.tunnelLength;
    say(
      'leaves',
      sent.lengths.length === 1
        ? `as one packet of ${sent.lengths[0]} bytes`
        : `as ${sent.lengths.length} packets of ${lengthsText(sent.lengths)} bytes`,
      ...sent.headers,
    );
    say(
      'offsets',
      `outer transport to inner packet ${is} bytes${is === least ? '' : `, which should be ${least}`}`,
      ...boxes(sent),
    );
    say('bytes', '', ...byteRows(sent));
  }
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

function headline(trail: Trail, paint: Paint): string {
  const { packet, choice, size, sent, verdict, reason } = trail;
  const tuple = tupleText(packet) || `a frame of ${packet.length} bytes`;
  if (verdict === 'drop') return `${tuple}: ${paint.red('dropped')}, ${reason?.word ?? ''}`;
  if (verdict === 'reply') return `${tuple}: answered by the director itself${size?.answered ? ': it is too big' : ''}`;
  if (verdict === 'pass') return `${tuple}: left to the kernel`;
  if (verdict === 'held') return `${tuple}: waits for the first fragment of its packet`;
  const parts = (sent?.lengths.length ?? 1) > 1 ? ` in ${sent?.lengths.length} packets` : '';
  return `${tuple}: ${paint.green('forwarded')} to ${choice?.pool}/${choice?.backend} (${choice?.address})${parts}`;
}

function serviceLines({ matched, shadowed, near }: ServiceStep): string[] {
  const lines = [matched === null ? 'none takes it' : `${matched.name}: ${matched.takes}, pool ${matched.pool}`];
  for (const other of shadowed) lines.push(`${other.name} (${other.takes}) would take it too; the narrower one goes before`);
  for (const other of near) lines.push(`not ${other.name} (${other.takes}): ${other.but}`);
  return lines;
}

function flowLines({ by, hash, entry, effect }: FlowStep): [string, ...string[]] {
  const first = `looked for ${BY[by]}, hash ${hash}; this packet ${EFFECT[effect]}`;
  if (!['flow', 'addresses', 'ports'].includes(by)) return [first];
  if (entry === null) return [first, 'no entry in the flow table'];
  const seen = entry.idle === 0 ? 'used within this second' : `last used ${entry.idle} s ago`;
  const state = `${entry.confirmed ? 'confirmed' : 'seen once'}, ${seen}`;
  const followed = entry.serves ? '' : `; not followed: ${entry.because}`;
  return [first, `entry in region ${entry.region}: ${entry.backend ?? 'an unknown backend'}, ${state}${followed}`];
}

function choiceLines(choice: ChoiceStep): [string, ...string[]] {
  const { from, pool, backend, address, state, weight, slots, scheme, tableSize, digest, table, previous } = choice;
  const table0 = `pool ${pool}: scheme ${scheme}, ${tableSize} slots, digest ${digest}`;
  if (backend === null) return [`none of pool ${pool} may serve`, table0];
  const share =
    slots === null || tableSize === 0 ? '' : `, ${slots} of ${tableSize} slots (${((100 * slots) / tableSize).toFixed(2)} %)`;
  const lines: [string, ...string[]] = [
    `${pool}/${backend} (${address}), because ${FROM[from]}`,
    `it is ${state}, weight ${weight}${share}`,
    table0,
  ];
  if (table !== null)
    lines.push(`the table${table.slot === null ? '' : `, slot ${table.slot},`} says ${table.backend ?? 'nobody'}`);
  if (previous !== null) {
    const slot = previous.slot === null ? '' : `, slot ${previous.slot},`;
    lines.push(`the table before${slot} says ${previous.backend ?? 'nobody'}; it answers for ${previous.seconds} s more`);
  }
  return lines;
}

function sizeText({ pathMtu, overhead, length, segment, policy, becomes, parts, answered, mssClamped }: SizeStep): string {
  const limit = pathMtu === 0 ? 'no limit' : `path MTU ${pathMtu}, so ${pathMtu - overhead} inside`;
  const what = segment > 0 ? `${length} bytes, merged of segments with ${segment} each` : `${length} bytes`;
  const outcome = {
    whole: 'leaves whole',
    segments: `cut into ${parts} segments`,
    fragments: `fragmented into ${parts}`,
    'outer-fragments': `its tunnel packet leaves in ${parts} fragments`,
    uncut: `leaves whole, the kernel makes ${parts} segments of it`,
    nothing: 'does not leave',
  }[becomes];
  const told = answered ? '; its sender is told the size that fits' : '';
  return `${what} and ${overhead} of outer headers; ${limit} (oversize: ${policy}): ${outcome}${told}${mssClamped ? '; its MSS was lowered' : ''}`;
}

/** `3 × 1532, 800`. */
function lengthsText(lengths: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const length of lengths) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] === length) last[1]++;
    else runs.push([length, 1]);
  }
  return runs.map(([length, count]) => (count === 1 ? String(length) : `${count} × ${length}`)).join(', ');
}
