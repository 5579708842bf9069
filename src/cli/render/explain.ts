/** A trail as text: what happened, first; then stage by stage why; last the bytes. */
import { boxes, byteRows } from '../../explain/packet-drawing.ts';
import type { Trail } from '../../explain/trail.ts';
import { headlineOf, storyOf, tunnelLengthText } from '../../explain/trail-story.ts';
import type { Paint } from './paint.ts';

const LABEL = 10;

/** The whole trail, lines ending in a newline. */
export function trailText(trail: Trail, paint: Paint): string {
  const { about, outcome, rest } = headlineOf(trail);
  const { verdict, sent } = trail;
  const painted = verdict === 'forward' ? paint.green(outcome) : verdict === 'drop' ? paint.red(outcome) : outcome;
  const lines = [`${about}: ${painted}${rest}`, ''];
  const say = (label: string, [first, ...more]: readonly string[]) => {
    lines.push(`${paint.dim(label.padEnd(LABEL - 1))} ${first}`);
    for (const line of more) lines.push(`${' '.repeat(LABEL)}${line}`);
  };
  for (const { stage, lines: told } of storyOf(trail)) say(stage, told);
  if (sent !== null) {
    say('offsets', [tunnelLengthText(sent.tunnelLength), ...boxes(sent)]);
    say('bytes', ['', ...byteRows(sent)]);
  }
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}
