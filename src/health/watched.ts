/** One backend that is checked: its checks, how it stands, and what was heard about it besides. */
import { formatAddress } from '../base/address.ts';
import type { CheckRun } from './check-run.ts';
import { checkLabels } from './check-run.ts';
import type { ProbeTarget } from './probe.ts';
import type { HealthSpec } from './spec.ts';
import type { Standing } from './standing.ts';

/** So many "port unreachable" within one interval are doubt. Linux sends up to six at once to one address, then one a second (icmp_ratelimit). */
const MESSAGES = 2;

export class Watched {
  readonly pool: string;
  readonly name: string;
  /** Text of its address: another one is another backend. */
  readonly address: string;
  target: ProbeTarget;
  takesFlows: boolean;
  standing: Standing;
  runs: readonly CheckRun[] = [];
  labels: readonly string[] = [];
  readonly changes = { up: 0, down: 0 };
  #heard: number | null = null;
  #windowFrom = 0;
  #inWindow = 0;
  #doubtedAt = Number.NEGATIVE_INFINITY;

  constructor(target: ProbeTarget, takesFlows: boolean, standing: Standing) {
    this.pool = target.pool;
    this.name = target.backend.name;
    this.address = formatAddress(target.backend.address);
    this.target = target;
    this.takesFlows = takesFlows;
    this.standing = standing;
  }

  setRuns(runs: readonly CheckRun[]): void {
    this.runs = runs;
    this.labels = checkLabels(runs.map(({ check }) => check));
  }

  /**
   * How many "port unreachable" there have been about its tunnel packets, ever. True when it is to be doubted: at most once in an interval, because
   * whoever knows our addresses can forge them.
   */
  hear(messages: number, { interval }: Pick<HealthSpec, 'interval'>, now: number): boolean {
    const more = this.#heard === null ? 0 : Math.max(0, messages - this.#heard);
    this.#heard = messages;
    if (more === 0) return false;
    if (now - this.#windowFrom > interval) {
      this.#windowFrom = now;
      this.#inWindow = 0;
    }
    this.#inWindow += more;
    if (this.#inWindow < MESSAGES || now - this.#doubtedAt < interval) return false;
    this.#doubtedAt = now;
    this.#inWindow = 0;
    return true;
  }

  /** Whom doubt falls on: the checks that go the way of the packets that did not arrive, if there are any. Indices. */
  doubted(): number[] {
    const all = this.runs.map((_, i) => i);
    const tunnels = all.filter((i) => this.runs[i].check.type === 'tunnel');
    return tunnels.length > 0 ? tunnels : all;
  }
}
