/** A traced packet as text, and how a trace ended. */
import { tupleText } from '../../explain/tuple.ts';
import type { TracedPacket, TraceEnd, TraceTally } from '../../trace/told.ts';
import { leftText, verdictText } from '../../trace/words.ts';
import type { Paint } from './paint.ts';

/** `gone`: it did not say. */
export type Ending = TraceEnd | 'gone';

const ENDS: Readonly<Record<Ending, string>> = {
  count: 'as many packets as asked for (--count)',
  seconds: 'its time is over (--seconds)',
  client: 'interrupted',
  'hand-over': 'the director hands over to another process; trace again to follow that one',
  threads: 'forwarding threads failed; the log of the director says by what',
  error: 'the director could not go on with it; its log says why',
  stop: 'the director stops',
  gone: 'the director went away',
};

/** Three lines: the packet, what became of it, and what left. Times are of the time zone of whoever reads. */
export function tracedText(packet: TracedPacket, paint: Paint): string {
  const time = new Date(packet.time);
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
  const flags = packet.flags === undefined || packet.flags.length === 0 ? '' : ` [${packet.flags.join(' ')}]`;
  const tuple = packet.ip === false ? 'no IP packet' : tupleText(packet) || 'unreadable';
  const merged = packet.mergedFrom === undefined ? '' : `, merged from packets of ${packet.mergedFrom} bytes of payload`;
  const verdict = verdictText(packet);
  const painted =
    packet.verdict === 'drop' ? paint.red(verdict) : packet.verdict === 'forward' ? paint.green(verdict) : paint.yellow(verdict);
  const left = leftText(packet);
  return [
    `${clock}.${packet.time.slice(-7, -1)}  ${paint.bold(`#${packet.packet}`)}  ${tuple}${flags}  ${packet.length} bytes${merged}`,
    `    ${painted}`,
    ...(left === null ? [] : [`    ${left}`]),
    '',
  ].join('\n');
}

export function endedText(ended: TraceTally & { readonly why: Ending }): string {
  const { matched, told, overRate, noRoom, why } = ended;
  const left = [
    ...(overRate > 0 ? [`${overRate} over the rate (--rate)`] : []),
    ...(noRoom > 0 ? [`${noRoom} because they were not taken fast enough`] : []),
  ];
  const missing = left.length === 0 ? '' : `, left out: ${left.join(', ')}`;
  return `${told} ${told === 1 ? 'packet' : 'packets'} told of ${matched} that matched${missing}; ended: ${ENDS[why]}\n`;
}
