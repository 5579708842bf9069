/** What a doctor says: one finding for each thing that is wrong, and one for each part of the host at which nothing was. */
import { EXIT } from '../base/errors.ts';

/** From best to worst. `skipped`: not looked at, for want of a privilege. */
export const LEVELS = ['ok', 'info', 'skipped', 'warning', 'error'] as const;
export type Level = (typeof LEVELS)[number];

/** A finding before it is known which area of the host it belongs to. */
export interface Found {
  /** Stable word; its section in docs/doctor.md (or docs/host.md) says what it means. Of a good or skipped area, the area's own. */
  readonly id: string;
  readonly level: Level;
  /** One sentence that names the object and the value found. */
  readonly text: string;
  /** The command to type, or empty when there is none. */
  readonly fix: string;
}

export interface DoctorFinding extends Found {
  /** What was looked at. */
  readonly checked: string;
}

export interface Report {
  readonly host: 'director' | 'worker';
  readonly worst: Level;
  /** The worst first; within a level in the order of a packet's way. */
  readonly findings: readonly DoctorFinding[];
}

/** A part of the host that is looked at as one. */
export interface Area {
  readonly id: string;
  readonly checked: string;
  /** What is said when there is nothing to find. */
  readonly good: string;
  /** Ids of everything that can be found there. */
  readonly ids: readonly string[];
}

export function isWorse(a: Level, b: Level): boolean {
  return LEVELS.indexOf(a) > LEVELS.indexOf(b);
}

/**
 * One report of what was found in `areas`; an area without a finding that is worse than `info` says that it is good. `unseen`: areas that do not concern this
 * host, of which nothing is said. Throws RangeError on a finding that no area has: a mistake of ours.
 */
export function reportOf(
  host: Report['host'],
  areas: readonly Area[],
  found: readonly Found[],
  unseen: ReadonlySet<string> = new Set(),
): Report {
  for (const { id } of found) {
    if (!areas.some((area) => area.id === id || area.ids.includes(id))) throw new RangeError(`no area has the finding ${id}`);
  }
  const all = areas.flatMap(({ id: area, checked, good, ids }): DoctorFinding[] => {
    const here = found.filter(({ id }) => id === area || ids.includes(id)).map((finding) => ({ ...finding, checked }));
    const isGood = !unseen.has(area) && !here.some(({ level }) => isWorse(level, 'info'));
    return isGood ? [...here, { id: area, level: 'ok', text: good, fix: '', checked }] : here;
  });
  const findings = all.toSorted((a, b) => LEVELS.indexOf(b.level) - LEVELS.indexOf(a.level));
  return { host, worst: findings[0]?.level ?? 'ok', findings };
}

/** Of the command: 1 with an error, 77 when something could not be looked at for want of a privilege; `strict`: a warning counts as an error. */
export function exitCodeOf({ findings }: Report, strict: boolean): number {
  const has = (level: Level) => findings.some((finding) => finding.level === level);
  if (has('error') || (strict && has('warning'))) return EXIT.FAILED;
  return has('skipped') ? EXIT.PRIVILEGE : EXIT.OK;
}
