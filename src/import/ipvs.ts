/** `gue-director import ipvs`: the rules of a kernel's IPVS → a configuration, and what is not the same. */
import { CodedError, EXIT } from '../base/errors.ts';
import { ConfigError, loadText } from '../config/load.ts';
import type { Problem } from '../config/problem.ts';
import { IPVS_TABLE_SIZES } from '../maglev-hash/index.ts';
import { parseMarkedTraffic } from './ipvs-mark.ts';
import { parseKernelOrder } from './ipvs-order.ts';
import { MH_TABLE_SIZE, type Plan, planImport } from './ipvs-plan.ts';
import { applyCommands } from './ipvs-rules.ts';
import { Problems, parseIpvsSave } from './ipvs-save.ts';
import { planYaml } from './ipvs-yaml.ts';

/** A text and the name under which people know it. */
export interface NamedText {
  readonly text: string;
  readonly name: string;
}

export interface ImportOptions {
  readonly rules: NamedText;
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

/** Problems of a file that are told: one that holds no rules at all has one on each line. */
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

/**
 * Throws ImportError when the rules (or the kernel's list) can not be read or hold no service; GD_IMPORT_MARK, GD_IMPORT_TABLE_SIZE (exit
 * code 2) for options that mean nothing.
 */
export function importIpvs(options: ImportOptions): Imported {
  const { rules: file, mhTableSize = MH_TABLE_SIZE } = options;
  if (!IPVS_TABLE_SIZES.includes(mhTableSize)) {
    const message = `${mhTableSize} is no size that a kernel gives the table of mh`;
    throw new CodedError('GD_IMPORT_TABLE_SIZE', message, {
      exitCode: EXIT.USAGE,
      hint: `one of ${IPVS_TABLE_SIZES.join(', ')}`,
    });
  }
  const marks = (options.marks ?? []).map(parseMarkedTraffic);
  const problems = new Problems(file.name);
  const rules = applyCommands(parseIpvsSave(file.text, problems), problems);
  if (problems.list.length === 0 && rules.services.length === 0) {
    problems.add({ line: 1, column: 1 }, 'GD_IMPORT_EMPTY', 'no virtual service in it: is it what "ipvsadm-save -n" printed?');
  }
  const listed = new Problems(options.order?.name ?? '');
  const order = options.order === undefined ? null : parseKernelOrder(options.order.text, listed);
  const wrong = [...problems.list, ...listed.list];
  if (wrong.length > 0) throw new ImportError(shortened(wrong));
  const plan = planImport(rules, { marks, order, mhTableSize });
  if (plan.services.length === 0) {
    const { at, notes } = plan.leftOut[0];
    problems.add(at, 'GD_IMPORT_EMPTY', `nothing is left to direct: ${notes[0].message}`);
    throw new ImportError(problems.list);
  }
  const sources = { ipv4: options.source4 ?? 'by-route', ipv6: options.source6 ?? 'by-route' };
  const yaml = planYaml(plan, sources, file.name);
  return { yaml, plan, ...checked(yaml) };
}

function shortened(problems: readonly Problem[]): readonly Problem[] {
  const rest = problems.length - MOST_PROBLEMS;
  if (rest <= 0) return problems;
  const message = `and ${rest} more such lines; are these rules, as "ipvsadm-save -n" prints them?`;
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
