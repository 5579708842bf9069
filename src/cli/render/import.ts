/** What an import has to say besides the configuration. */
import type { Imported } from '../../import/imported.ts';
import { groupNotes, type Note, type NoteKind } from '../../import/note.ts';
import type { Place } from '../../import/place.ts';
import { problemLines } from './error.ts';
import type { Paint } from './paint.ts';

const TITLES: Readonly<Record<NoteKind, string>> = {
  'left-out': 'Left out',
  differs: 'Not as under IPVS',
  worker: 'Workers must be prepared',
  remark: 'To know',
};

/** Places that are named of notes that say the same. */
const MOST_PLACES = 3;

/** The list for people: what is left out first, notes that say the same once, with their first places. */
export function importText({ plan, problems, accepted }: Imported, file: string, paint: Paint): string {
  const lines: string[] = [];
  for (const kind of Object.keys(TITLES) as NoteKind[]) {
    const groups = groupNotes(plan.notes.filter((note) => note.kind === kind));
    if (groups.length === 0) continue;
    lines.push(`${paint.bold(TITLES[kind])}:`);
    for (const group of groups)
      lines.push(`  ${group[0].message} ${paint.dim(`[${group[0].code}]`)}`, `    ${places(group, file)}`);
  }
  if (problems.length > 0) lines.push(problemLines(problems, paint));
  const { services, servers } = plan.count;
  const directed = services - plan.leftOut.length;
  const verdict = accepted ? paint.green('ok:') : paint.red('refused by check:');
  lines.push(`${verdict} ${directed} of ${services} virtual services, ${servers} real servers, ${plan.pools.length} pools`);
  return `${lines.join('\n')}\n`;
}

function places(group: readonly Note[], file: string): string {
  const named = group.slice(0, MOST_PLACES).map(({ at, service, server }) => {
    const what = [service, server].filter((one) => one !== '').join(' ');
    return `${at.file ?? file}:${at.line}:${at.column}${what === '' ? '' : ` ${what}`}`;
  });
  const more = group.length - named.length;
  return more === 0 ? named.join(', ') : `${named.join(', ')} and ${more} more`;
}

/** `--json`: the configuration, what became of each virtual service, and every note with its place. */
export function importReport({ yaml, plan, problems, accepted }: Imported, file: string) {
  return {
    file,
    ok: accepted,
    services: plan.services.map(({ at, rule, name, pool }) => ({ ...placed(at), rule, name, pool })),
    leftOut: plan.leftOut.map(({ at, rule }) => ({ ...placed(at), rule })),
    notes: plan.notes.map(({ at, ...note }) => ({ ...placed(at), column: at.column, ...note })),
    problems,
    yaml,
  };
}

/** `file` where it is one that the named file includes. */
function placed({ file, line }: Place) {
  return file === undefined ? { line } : { file, line };
}
