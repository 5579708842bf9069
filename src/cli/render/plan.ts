/** The text of `plan`: + is added, - removed, ~ changed; tables and flows below the pool that they are of. */
import type { PartChange, Plan, PoolChange } from '../../control/plan.ts';
import type { TableChange } from '../../control/table-change.ts';
import { percent } from './columns.ts';
import type { Paint } from './paint.ts';

/** What the director answers. */
export interface AnsweredPlan extends Plan {
  readonly empty: boolean;
  readonly flows: {
    readonly entries: number;
    readonly confirmed: number;
    readonly moving: number;
    readonly movingConfirmed: number;
    readonly backends: readonly {
      readonly pool: string;
      readonly backend: string;
      readonly why: 'removed' | 'down';
      readonly entries: number;
      readonly confirmed: number;
    }[];
  };
}

export function planText(plan: AnsweredPlan, paint: Paint): string {
  const lines = [`${paint.bold('plan')} ${plan.id}: ${plan.file} against generation ${plan.generation}`];
  if (plan.empty) return `${[...lines, 'no change'].join('\n')}\n`;
  if (plan.services.length > 0) lines.push('', 'services', ...plan.services.flatMap((one) => partLines(one, '  ', paint)));
  if (plan.pools.length > 0) lines.push('', 'pools', ...plan.pools.flatMap((one) => poolLines(one, paint)));
  const restart = plan.settings.filter(({ effect }) => effect === 'restart');
  const settings = plan.settings.filter(({ effect }) => effect === 'reload');
  const setting = ({ key, before, after }: Plan['settings'][number]) => `  ~ ${key}: ${shown(before)} → ${shown(after)}`;
  if (settings.length > 0) lines.push('', 'settings', ...settings.map(setting));
  if (restart.length > 0) {
    lines.push('', paint.red('needs a restart; a reload refuses the whole file'), ...restart.map(setting));
  }
  return `${[...lines, '', ...flowLines(plan, paint)].join('\n')}\n`;
}

function mark({ change }: PartChange, paint: Paint): string {
  return change === 'added' ? paint.green('+') : change === 'removed' ? paint.red('-') : paint.yellow('~');
}

function partLines(part: PartChange, indent: string, paint: Paint): string[] {
  const keys = part.keys.map(({ key, before, after }) => `${indent}    ${key}: ${shown(before)} → ${shown(after)}`);
  return [`${indent}${mark(part, paint)} ${part.name}`, ...keys];
}

function shown(value: string | null): string {
  return value ?? 'not set';
}

function poolLines(pool: PoolChange, paint: Paint): string[] {
  const lines = partLines(pool, '  ', paint);
  if (pool.table !== null) lines.push(`      ${paint.dim('table:')} ${tableText(pool.table)}`);
  return [...lines, ...pool.backends.flatMap((backend) => partLines(backend, '      ', paint))];
}

function tableText({ change, disruption }: TableChange): string {
  if (change === 'added') return 'is new';
  if (change === 'removed') return 'is gone';
  if (change === 'rebuilt') return 'size, seed or scheme differ: nearly every flow without an entry in the flow table moves';
  if (disruption === null || disruption.moved === 0) return 'no slot moves';
  const { slots, moved, own, gained, collateral } = disruption;
  const parts = [`${own} of backends that leave`, `${gained} to new ones`, `${collateral} between backends that stay`];
  return `${moved} of ${slots} slots move, ${percent(moved / slots)} (${parts.join(', ')})`;
}

function flowLines({ flows, redirected }: AnsweredPlan, paint: Paint): string[] {
  const { entries, confirmed, moving, movingConfirmed } = flows;
  const all = `of ${entries} entries used in the last 10 min (${confirmed} confirmed)`;
  const told = `${moving} would move (${movingConfirmed} confirmed)`;
  const lines = [`${paint.bold('flows:')} ${all}, ${moving === 0 ? told : paint.yellow(told)}`];
  for (const { pool, backend, why, entries: own, confirmed: sure } of flows.backends) {
    const reason = why === 'down' ? 'which would be down' : 'which would be gone';
    if (own > 0) lines.push(`  ${own} of ${pool}/${backend}, ${reason} (${sure} confirmed)`);
  }
  if (redirected.length > 0) {
    lines.push(
      `  and those of ${redirected.join(', ')}: another pool or affinity. The flow table does not say how many they are.`,
    );
  }
  lines.push(
    paint.dim('Flows without an entry follow the tables; those of before a change keep its table for an hour (UDP: a minute).'),
  );
  return lines;
}
