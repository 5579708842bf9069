/**
 * The rule of a minimum: with too few good backends left, the fault is more likely with the checks, or with something that they share, than with
 * the workers; and the few that are left would fall under the load of all. Pure.
 */
import type { HealthSpec } from './spec.ts';

export interface Member {
  readonly name: string;
  /** It would take new flows if it is good: active, weight above 0. */
  readonly takesFlows: boolean;
  /** Its checks say that it serves. */
  readonly up: boolean;
}

export interface Verdict {
  /** Names of those that serve. */
  readonly serving: ReadonlySet<string>;
  /** The last members that were enough: to be given back at the next call. */
  readonly lastGood: ReadonlySet<string>;
  /** How many take flows and are up, and how many must; `wanted` is 0 without the rule. */
  readonly good: number;
  readonly wanted: number;
  readonly isBelow: boolean;
}

/** `lastGood`: names that may be gone by now. */
export function judge(
  members: readonly Member[],
  { minimum, belowMinimum }: Pick<HealthSpec, 'minimum' | 'belowMinimum'>,
  lastGood: ReadonlySet<string>,
): Verdict {
  const candidates = members.filter(({ takesFlows }) => takesFlows);
  const good = candidates.filter(({ up }) => up);
  const wanted =
    minimum === null ? 0 : 'count' in minimum ? minimum.count : Math.ceil((candidates.length * minimum.percent) / 100);
  const isBelow = good.length < wanted;
  const up = members.filter((member) => member.up).map(({ name }) => name);
  if (!isBelow) {
    return { serving: new Set(up), lastGood: new Set(good.map(({ name }) => name)), good: good.length, wanted, isBelow };
  }
  const kept = belowMinimum === 'keep' ? members.filter(({ name }) => lastGood.has(name)).map(({ name }) => name) : [];
  return { serving: new Set([...up, ...kept]), lastGood, good: good.length, wanted, isBelow };
}
