/** The text of `doctor`: the worst first, one line for each finding and one for its command, what is good at the end. */
import type { Level, Report } from '../../doctor/finding.ts';
import type { Paint } from './paint.ts';

/** Findings of a kind and level that are printed: hundreds of backends without a route must not hide what else is wrong. */
const MOST_ALIKE = 3;
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
  for (const [i, { level, id, text, fix }] of report.findings.entries()) {
    const before = report.findings.slice(0, i).filter((other) => other.id === id && other.level === level).length;
    if (before === MOST_ALIKE) {
      const more = report.findings.filter((other) => other.id === id && other.level === level).length - before;
      lines.push(`${' '.repeat(WIDTH)}  and ${more} more of these ${paint.dim(`[${id}]`)}; --json has all`);
    }
    if (before >= MOST_ALIKE) continue;
    lines.push(`${painted(level, paint)}  ${text} ${paint.dim(`[${id}]`)}`);
    if (fix !== '') lines.push(`${' '.repeat(WIDTH)}  ${paint.bold('fix:')} ${fix}`);
  }
  return `${lines.join('\n')}\n`;
}
