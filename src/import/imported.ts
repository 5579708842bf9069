/** The last steps of every import: what IPVS does → a plan → the text of a configuration → what `check` says of it. */
import { CodedError, EXIT } from '../base/errors.ts';
import { ConfigError, loadText } from '../config/load.ts';
import type { Problem } from '../config/problem.ts';
import { IPVS_TABLE_SIZES } from '../maglev-hash/index.ts';
import { parseMarkedTraffic } from './ipvs-mark.ts';
import { parseKernelOrder } from './ipvs-order.ts';
import { MH_TABLE_SIZE, type Plan, planImport } from './ipvs-plan.ts';
import type { IpvsRules } from './ipvs-rules.ts';
import { planYaml } from './ipvs-yaml.ts';
import { Problems } from './place.ts';
import type { Wording } from './wording.ts';

/** A text and the name under which people know it. */
export interface NamedText {
  readonly text: string;
  readonly name: string;
}

/** What every import may be told. */
export interface CommonOptions {
  /** A copy of /proc/net/ip_vs, or what `ipvsadm -Ln --nosort` prints. */
  readonly order?: NamedText;
  /** Outer source addresses. Absent: by the route to each backend. */
  readonly source4?: string;
  readonly source6?: string;
  /** `MARK=PROTOCOL:ADDRESS[/LENGTH][:PORTS]`. */
  readonly marks?: readonly string[];
  /** Of the kernel's scheduler mh. Default 4,093. */
  readonly mhTableSize?: number;
}

export interface Imported {
  readonly yaml: string;
  readonly plan: Plan;
  /** What `check` says about it: empty, or warnings, or why it is refused. */
  readonly problems: readonly Problem[];
  /** False: `check` refuses it. */
  readonly accepted: boolean;
}

/** Problems of a file that are told: one that is something else has one on each line. */
const MOST_PROBLEMS = 20;

/** The imported file can not be read. The problems have their places. */
export class ImportError extends CodedError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems[0].code, problems[0].message);
    this.name = 'ImportError';
    this.problems = problems;
  }
}

/** What an import says of a file that is not what it wants. */
export interface Expectation {
  /** Of one without a single virtual service. */
  readonly empty: string;
  /** After `and 3 more such lines; `. */
  readonly more: string;
}

/**
 * `read` gives the rules and reports what is wrong with the file.
 * Throws ImportError when the file (or the kernel's list) can not be read or holds no service; GD_IMPORT_MARK, GD_IMPORT_TABLE_SIZE (exit
 * code 2) for options that mean nothing.
 */
export function importRules(
  name: string,
  read: (problems: Problems) => IpvsRules,
  options: CommonOptions,
  wording: Wording,
  expectation: Expectation,
): Imported {
  const { mhTableSize = MH_TABLE_SIZE } = options;
  if (!IPVS_TABLE_SIZES.includes(mhTableSize)) {
    const message = `${mhTableSize} is no size that a kernel gives the table of mh`;
    throw new CodedError('GD_IMPORT_TABLE_SIZE', message, {
      exitCode: EXIT.USAGE,
      hint: `one of ${IPVS_TABLE_SIZES.join(', ')}`,
    });
  }
  const marks = (options.marks ?? []).map(parseMarkedTraffic);
  const problems = new Problems(name);
  const rules = read(problems);
  if (problems.list.length === 0 && rules.services.length === 0) {
    problems.add({ line: 1, column: 1 }, 'GD_IMPORT_EMPTY', expectation.empty);
  }
  const listed = new Problems(options.order?.name ?? '');
  const order = options.order === undefined ? null : parseKernelOrder(options.order.text, listed);
  const wrong = [...problems.list, ...listed.list];
  if (wrong.length > 0) throw new ImportError(shortened(wrong, expectation));
  const plan = planImport(rules, { marks, order, mhTableSize, wording });
  if (plan.services.length === 0) {
    const { at, notes } = plan.leftOut[0];
    const reason = notes.find(({ kind, server }) => kind === 'left-out' && server === '') ?? notes[0];
    problems.add(at, 'GD_IMPORT_EMPTY', `nothing is left to direct: ${reason.message}`);
    throw new ImportError(problems.list);
  }
  const sources = { ipv4: options.source4 ?? 'by-route', ipv6: options.source6 ?? 'by-route' };
  const yaml = planYaml(plan, sources, name, wording);
  return { yaml, plan, ...checked(yaml) };
}

function shortened(problems: readonly Problem[], { more }: Expectation): readonly Problem[] {
  const rest = problems.length - MOST_PROBLEMS;
  if (rest <= 0) return problems;
  const message = `and ${rest} more such lines; ${more}`;
  return [...problems.slice(0, MOST_PROBLEMS), { ...problems[MOST_PROBLEMS], code: 'GD_IMPORT_MORE', message }];
}

/** What `check` would say. */
function checked(yaml: string): { accepted: boolean; problems: readonly Problem[] } {
  try {
    return { accepted: true, problems: loadText(yaml, 'imported').warnings };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { accepted: false, problems: error.problems };
  }
}
