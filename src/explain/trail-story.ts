/** A trail in words, for the terminal and for the status page: what happened, then stage by stage why. The bytes are drawn by packet-drawing.ts. */
import type { ChoiceStep, ChosenFrom, FlowStep, ServiceStep, SizeStep, Trail } from './trail.ts';
import { tupleText } from './tuple.ts';

/** What became of the packet in one sentence: `about`, a colon, `outcome` and `rest`, which brings its own blank or comma. */
export interface Headline {
  readonly about: string;
  readonly outcome: string;
  readonly rest: string;
}

/** What one stage says: a sentence, then more to it. */
export interface StoryStep {
  readonly stage: 'packet' | 'service' | 'flow' | 'backend' | 'size' | 'dropped' | 'leaves';
  readonly lines: readonly [string, ...string[]];
}

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

/** `tcp 192.0.2.7:40000 → 192.0.2.10:443` · `forwarded` · ` to web/w1 (198.51.100.1)`. */
export function headlineOf(trail: Trail): Headline {
  const { packet, choice, size, sent, verdict, reason } = trail;
  const about = tupleText(packet) || `a frame of ${packet.length} bytes`;
  switch (verdict) {
    case 'drop':
      return { about, outcome: 'dropped', rest: `, ${reason?.word ?? ''}` };
    case 'reply':
      return { about, outcome: 'answered', rest: ` by the director itself${size?.answered ? ': it is too big' : ''}` };
    case 'pass':
      return { about, outcome: 'left', rest: ' to the kernel' };
    case 'held':
      return { about, outcome: 'waits', rest: ' for the first fragment of its packet' };
    case 'forward': {
      const parts = (sent?.lengths.length ?? 1) > 1 ? ` in ${sent?.lengths.length} packets` : '';
      return { about, outcome: 'forwarded', rest: ` to ${choice?.pool}/${choice?.backend} (${choice?.address})${parts}` };
    }
  }
}

/** The stages that the packet got to, in their order. */
export function storyOf(trail: Trail): StoryStep[] {
  const { packet, service, flow, choice, size, reason, sent } = trail;
  const about = packet.quoted === null ? [] : [`about ${tupleText(packet.quoted)}`];
  const length = `${packet.length} bytes${packet.checksumCompleted ? ', its partial checksum completed here' : ''}`;
  const damage = packet.checksumWrong
    ? [
        `its ${packet.protocol ?? 'transport'} checksum is wrong: damaged before it came here, and who receives it drops it without a word`,
      ]
    : [];
  const steps: StoryStep[] = [
    { stage: 'packet', lines: [length, ...packet.headers, ...damage, ...about] },
    { stage: 'service', lines: serviceLines(service) },
  ];
  if (flow !== null) steps.push({ stage: 'flow', lines: flowLines(flow) });
  if (choice !== null) steps.push({ stage: 'backend', lines: choiceLines(choice) });
  if (size !== null) steps.push({ stage: 'size', lines: [sizeText(size)] });
  if (reason !== null)
    steps.push({
      stage: 'dropped',
      lines: [`${reason.word}: ${reason.text}`, `what to do: docs/drop-reasons.md#${reason.word}`],
    });
  if (sent !== null) {
    const { lengths } = sent;
    const packets =
      lengths.length === 1 ? `one packet of ${lengths[0]} bytes` : `${lengths.length} packets of ${lengthsText(lengths)} bytes`;
    steps.push({ stage: 'leaves', lines: [`as ${packets}`, ...sent.headers] });
  }
  return steps;
}

/** The distance whose wrong value was the incident behind this project. */
export function tunnelLengthText({ least, is }: NonNullable<Trail['sent']>['tunnelLength']): string {
  return `outer transport to inner packet ${is} bytes${is === least ? '' : `, which should be ${least}`}`;
}

/** Of an answer with `without`: where the packet would go then. */
export function withoutText({ moves, trail }: { readonly moves: boolean; readonly trail: Trail }): string {
  const to = trail.choice?.backend == null ? 'nobody' : `${trail.choice.pool}/${trail.choice.backend}`;
  return moves ? `it would go to ${to}` : 'it would stay where it is';
}

function serviceLines({ matched, shadowed, near }: ServiceStep): [string, ...string[]] {
  const lines: [string, ...string[]] = [
    matched === null ? 'none takes it' : `${matched.name}: ${matched.takes}, pool ${matched.pool}`,
  ];
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
  const {
    from,
    pool,
    backend,
    address,
    state,
    weight,
    slots,
    scheme,
    tableSize,
    digest,
    table,
    previous,
    warnings = [],
  } = choice;
  const table0 = `pool ${pool}: scheme ${scheme}, ${tableSize} slots, digest ${digest}`;
  if (backend === null) return [`none of pool ${pool} may serve`, table0];
  const share =
    slots === null || tableSize === 0 ? '' : `, ${slots} of ${tableSize} slots (${((100 * slots) / tableSize).toFixed(2)} %)`;
  const lines: [string, ...string[]] = [
    `${pool}/${backend} (${address}), because ${FROM[from]}`,
    ...warnings.map((warning) => `but ${warning}`),
    ...(state === 'draining' ? drainingLines(pool, backend) : [`it is ${state}, weight ${weight}${share}`]),
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

/** Why a flow is still with a backend that takes no new one, and how it gets away. */
function drainingLines(pool: string, backend: string): string[] {
  return [
    'it is draining, so it keeps the flows that it has until the drain ends. To move them now:',
    `gue-director drain backend ${pool}/${backend} --deadline 1s`,
  ];
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
