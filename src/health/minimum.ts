/**
 * The rule of a minimum: with too few good backends left, the fault is more likely with the checks, or with something that they share, than with
 * the workers; and the few that are left would fall under the load of all. Pure. Who serves, in this order:
 *
 *     1  whoever is up
 *     2  with too few of those, or none at all: whoever is good and only held down for flapping, too
 *     3  with too few still, and `keep`: the last that were enough, too
 */
import type { HealthSpec } from './spec.ts';

export interface Member {
  readonly name: string;
  /** It would take new flows if it is good: active, weight above 0. */
  readonly takesFlows: boolean;
  /** Its checks say that it serves. */
  readonly up: boolean;
  /** Not up only because it is held down for flapping: every check of it is good. */
  readonly isHeld?: boolean;
  /** Not up, and for less than RECENT. */
  readonly isRecent?: boolean;
}

/**
 * Seconds. Backends that fail together are found one after the other. Without this the last good set would be what the last of them left: of a pool
 * whose minimum is 1 a single backend, for the load of all.
 */
export const RECENT = 60;

export interface Verdict {
  /** Names of those that serve. */
  readonly serving: ReadonlySet<string>;
  /** The last members that were enough. */
  readonly lastGood: ReadonlySet<string>;
  /** How many take flows and are good (those of 2 count when they serve), and how many must; `wanted` is 0 without the rule. */
  readonly good: number;
  readonly wanted: number;
  readonly isBelow: boolean;
}

/** `before`: the verdict before; its names may be gone by now. */
export function judge(
  members: readonly Member[],
  { minimum, belowMinimum }: Pick<HealthSpec, 'minimum' | 'belowMinimum'>,
  { lastGood, isBelow: wasBelow }: Pick<Verdict, 'lastGood' | 'isBelow'>,
): Verdict {
  const candidates = members.filter(({ takesFlows }) => takesFlows);
  const wanted =
    minimum === null ? 0 : 'count' in minimum ? minimum.count : Math.ceil((candidates.length * minimum.percent) / 100);
  const areFew = candidates.filter(({ up }) => up).length < Math.max(1, wanted);
  const isGood = ({ up, isHeld = false }: Member) => up || (isHeld && areFew);
  const good = candidates.filter(isGood);
  const isBelow = good.length < wanted;
  const serving = namesOf(members.filter(isGood));
  const recent = candidates.filter(({ name, isRecent = false }) => isRecent && lastGood.has(name));
  const settled = new Set([...namesOf(good), ...namesOf(recent)]);
  if (!isBelow) return { serving: new Set(serving), lastGood: settled, good: good.length, wanted, isBelow };
  // Who had been down for long when they became too few is not kept, if the others were enough.
  const last = wasBelow || settled.size < wanted ? lastGood : settled;
  const kept = belowMinimum === 'keep' ? namesOf(members.filter(({ name }) => last.has(name))) : [];
  return { serving: new Set([...serving, ...kept]), lastGood: last, good: good.length, wanted, isBelow };
}

function namesOf(members: readonly Member[]): string[] {
  return members.map(({ name }) => name);
}
