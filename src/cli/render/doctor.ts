/** The text of `doctor`: the worst first, one line for each finding and one for its command, what is good at the end. */
import type { Level, Report } from '../../doctor/finding.ts';
import type { Paint } from './paint.ts';

const WIDTH = Math.max(...['ok', 'info', 'skipped', 'warning', 'error'].map((word) => word.length));

function painted(level: Level, paint: Paint): string {
  const word = level.padEnd(WIDTH);
  if (level === 'error') return paint.red(paint.bold(word));
  if (level === 'warning' || level === 'skipped') return paint.yellow(word);
  return level === 'ok' ? paint.green(word) : paint.dim(word);
}

/** One line: how many of each, the worst in words. */
function summary({ host, findings, worst }: Report): string {
  const count = (level: Level) => findings.filter((finding) => finding.level === level).length;
  const plural = (number: number, word: string) => `${number} ${word}${number === 1 ? '' : 's'}`;
  const parts = [
    ...(count('error') > 0 ? [plural(count('error'), 'error')] : []),
    ...(count('warning') > 0 ? [plural(count('warning'), 'warning')] : []),
    ...(count('skipped') > 0 ? [`${count('skipped')} not looked at for want of a privilege`] : []),
    `${count('ok')} of ${count('ok') + new Set(findings.filter(({ level }) => level !== 'ok' && level !== 'info').map(({ checked }) => checked)).size} areas good`,
  ];
  const verdict =
    worst === 'error' ? 'ill' : worst === 'warning' ? 'not at its best' : worst === 'skipped' ? 'not wholly known' : 'well';
  return `this ${host} is ${verdict}: ${parts.join(', ')}`;
}

export function doctorText(report: Report, paint: Paint): string {
  const lines = [paint.bold(summary(report)), ''];
  for (const { level, id, text, fix } of report.findings) {
    lines.push(`${painted(level, paint)}  ${text} ${paint.dim(`[${id}]`)}`);
    if (fix !== '') lines.push(`${' '.repeat(WIDTH)}  ${paint.bold('fix:')} ${fix}`);
  }
  return `${lines.join('\n')}\n`;
}
