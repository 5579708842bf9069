/** Checks that compare several places of a configuration. Each takes what could be understood and reports problems. */
import type { Draft } from '../draft.ts';
import type { PlacedData } from '../issue.ts';
import { type Path, type Problem, type Severity, sortProblems } from '../problem.ts';
import { checkDrivers } from './drivers.ts';
import { checkEncapsulations } from './encapsulations.ts';
import { checkFragments } from './fragments.ts';
import { checkHeaders } from './headers.ts';
import { checkHealth } from './health.ts';
import { checkLoops } from './loops.ts';
import { checkMssClamps } from './mss-clamp.ts';
import { checkNames } from './names.ts';
import { checkOverlaps } from './overlaps.ts';
import { checkPools } from './pools.ts';
import { checkProtocols } from './protocols.ts';
import { checkSchemes } from './schemes.ts';
import { checkUnused } from './unused.ts';

export type Report = (path: Path, code: string, message: string, severity?: Severity) => void;

/** All problems, errors and warnings, in the order of the file. */
export function checkDraft(draft: Draft, document: Pick<PlacedData, 'problem'>): Problem[] {
  const problems: Problem[] = [];
  const report: Report = (path, code, message, severity) => problems.push(document.problem(path, code, message, severity));
  checkNames(draft, report);
  checkOverlaps(draft, report);
  checkMssClamps(draft, report);
  checkProtocols(draft, report);
  checkLoops(draft, report);
  checkHeaders(draft, report);
  checkPools(draft, report);
  checkSchemes(draft, report);
  checkDrivers(draft, report);
  checkEncapsulations(draft, report);
  checkHealth(draft, report);
  checkUnused(draft, report);
  checkFragments(draft, report);
  return sortProblems(problems);
}
