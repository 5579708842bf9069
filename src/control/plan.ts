/**
 * The plan: the difference between what is in force and what a configuration wants, before anything is changed. Keys differ between the two
 * files; tables and flows between what is in force (drains and health included) and what would be.
 */
import { createHash } from 'node:crypto';
import { formatAddress, formatPrefix } from '../base/address.ts';
import type { Config } from '../config/config.ts';
import type { PoolSpec, ServiceSpec, Spec } from '../pipeline/spec.ts';
import { differences, type Leaves, leavesOf } from './differences.ts';
import { type SettingChange, settingChanges } from './restart.ts';
import { type TableChange, tableChange } from './table-change.ts';

/** One named thing: added, removed, or with these keys changed. */
export interface PartChange {
  readonly name: string;
  readonly change: 'added' | 'removed' | 'changed';
  /** Only with `changed`: what differs, in the words of the file. */
  readonly keys: readonly { readonly key: string; readonly before: string | null; readonly after: string | null }[];
}

export interface PoolChange extends PartChange {
  readonly backends: readonly PartChange[];
  /** null when nobody asked for it. */
  readonly table: TableChange | null;
}

/** Entries of the flow table that name a backend. */
export interface BackendFlows {
  readonly pool: string;
  readonly backend: string;
  /** Why they would move: it is not in the new configuration, or down. */
  readonly why: 'removed' | 'down';
  /** Used in the last ten minutes. */
  readonly entries: number;
  /** Of those, seen more than once. */
  readonly confirmed: number;
}

export interface Plan {
  /** 16 hexadecimal digits of what is in force and what is wanted: equal while neither changes. */
  readonly id: string;
  readonly file: string;
  /** Generation of the snapshot that it was compared with. */
  readonly generation: number;
  readonly services: readonly PartChange[];
  /** Only those with a change, of their own, of a backend, or of their table. */
  readonly pools: readonly PoolChange[];
  readonly settings: readonly SettingChange[];
  /** Services that would get another pool or affinity: all of their flows may move, and the flow table can not count them. */
  readonly redirected: readonly string[];
}

export interface PlanParts {
  readonly before: Config;
  readonly after: Config;
  /** What is in force, and what would be: with the layers. */
  readonly inForce: Spec;
  readonly wanted: Spec;
  readonly generation: number;
  /** Tables are compared too, which takes some ten milliseconds for each pool that differs. */
  readonly tables: boolean;
}

export function planOf({ before, after, inForce, wanted, generation, tables }: PlanParts): Plan {
  const services = partChanges(servicesOf(before.spec), servicesOf(after.spec));
  const icmp = differences(leavesOf(before.spec.icmp, 'icmp'), leavesOf(after.spec.icmp, 'icmp'));
  const [oldIcmp, newIcmp] = [leavesOf(before.spec.icmp, 'icmp'), leavesOf(after.spec.icmp, 'icmp')];
  return {
    id: hashOf([configDigest(before), configDigest(after)]),
    file: after.file,
    generation,
    services,
    pools: poolChanges(before.spec, after.spec, inForce, wanted, tables),
    settings: [
      ...icmp.map(
        (key): SettingChange => ({ key, before: oldIcmp.get(key) ?? null, after: newIcmp.get(key) ?? null, effect: 'reload' }),
      ),
      ...settingChanges(before, after),
    ],
    redirected: services
      .filter(({ keys }) => keys.some(({ key }) => key === 'pool' || key === 'affinity'))
      .map(({ name }) => name),
  };
}

/** True when a reload would change nothing. */
export function isEmpty({ services, pools, settings }: Plan): boolean {
  return services.length === 0 && pools.length === 0 && settings.length === 0;
}

/** 16 hexadecimal digits of what a configuration means: equal whatever its comments, and whoever named its file. */
export function configDigest(config: Config): string {
  const { file: _file, text: _text, warnings: _warnings, ...meaning } = config;
  return hashOf([...leavesOf(meaning)].map(([path, value]) => `${path}=${value}`));
}

function hashOf(texts: readonly string[]): string {
  return createHash('sha256').update(texts.join('\n')).digest('hex').slice(0, 16);
}

/** One line for the log: `1 service changed; pool web: 1 backend added, 2 changed`. */
export function planSummary(plan: Plan): string {
  const parts = counts('service', plan.services);
  for (const pool of plan.pools) {
    const own = pool.change === 'changed' && pool.keys.length === 0 ? '' : pool.change;
    const words = [own, ...counts('backend', pool.backends)].filter((word) => word !== '');
    if (words.length > 0) parts.push(`pool ${pool.name}: ${words.join(', ')}`);
  }
  if (plan.settings.length > 0) parts.push(plan.settings.map(({ key }) => key).join(', '));
  return parts.length === 0 ? 'nothing changed' : parts.join('; ');
}

function counts(noun: string, changes: readonly PartChange[]): string[] {
  return (['added', 'removed', 'changed'] as const).flatMap((change) => {
    const count = changes.filter((one) => one.change === change).length;
    return count === 0 ? [] : [`${count} ${noun}${count === 1 ? '' : 's'} ${change}`];
  });
}

function partChanges(before: ReadonlyMap<string, Leaves>, after: ReadonlyMap<string, Leaves>): PartChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap((name): PartChange[] => {
    const [old, now] = [before.get(name), after.get(name)];
    if (old === undefined || now === undefined) return [{ name, change: old === undefined ? 'added' : 'removed', keys: [] }];
    const keys = differences(old, now).map((key) => ({ key, before: old.get(key) ?? null, after: now.get(key) ?? null }));
    return keys.length === 0 ? [] : [{ name, change: 'changed', keys }];
  });
}

/** By name: one service of the file is a spec for each pair of address and ports. */
function servicesOf({ services }: Spec): Map<string, Leaves> {
  const grouped = new Map<string, ServiceSpec[]>();
  for (const service of services) grouped.set(service.name, [...(grouped.get(service.name) ?? []), service]);
  return new Map(
    [...grouped].map(([name, specs]) => {
      const { name: _name, prefix: _prefix, portFrom: _from, portTo: _to, ...rest } = specs[0];
      const leaves = leavesOf(rest);
      leaves.set('address', unique(specs.map(({ prefix }) => formatPrefix(prefix))));
      leaves.set(
        'port',
        unique(specs.map(({ portFrom, portTo }) => (portFrom === portTo ? `${portFrom}` : `${portFrom}-${portTo}`))),
      );
      return [name, leaves];
    }),
  );
}

function unique(texts: readonly string[]): string {
  return [...new Set(texts)].sort().join(', ');
}

function poolChanges(before: Spec, after: Spec, inForce: Spec, wanted: Spec, tables: boolean): PoolChange[] {
  const own = new Map(partChanges(poolsOf(before), poolsOf(after)).map((change) => [change.name, change]));
  const names = [...new Set([...before.pools, ...after.pools].map(({ name }) => name))].sort();
  return names.flatMap((name): PoolChange[] => {
    const [old, now] = [before, after].map(({ pools }) => pools.find((pool) => pool.name === name));
    const backends = partChanges(backendsOf(old), backendsOf(now));
    const change = own.get(name) ?? { name, change: 'changed', keys: [] };
    const isChanged = own.has(name) || backends.length > 0;
    const [forced, next] = [inForce, wanted].map(({ pools }) => pools.find((pool) => pool.name === name));
    const table = tables && isChanged ? tableChange(name, forced, next) : null;
    return isChanged ? [{ ...change, backends: old === undefined || now === undefined ? [] : backends, table }] : [];
  });
}

function poolsOf({ pools }: Spec): Map<string, Leaves> {
  return new Map(
    pools.map(({ name, backends: _backends, ...rest }) => {
      const leaves = renamed(leavesOf(rest));
      return [name, leaves];
    }),
  );
}

function backendsOf(pool: PoolSpec | undefined): Map<string, Leaves> {
  return new Map(
    (pool?.backends ?? []).map(({ name, serverIds, address, ...rest }) => {
      const leaves = new Map(renamed(leavesOf(rest)));
      leaves.set('address', formatAddress(address));
      if (serverIds !== undefined) leavesOf(serverIds, 'server-id', leaves);
      // A tunnel of its own is completed with its pool's: a change there is told there.
      for (const [path, value] of leavesOf(pool?.tunnel, 'tunnel')) {
        const key = tunnelKey(path);
        if (leaves.get(key) === value) leaves.delete(key);
      }
      return [name, leaves];
    }),
  );
}

function renamed(leaves: Leaves): Leaves {
  return new Map([...leaves].map(([path, value]) => [tunnelKey(path), value]));
}

/** The compiled tunnel's fields that are called otherwise in the file. */
function tunnelKey(path: string): string {
  if (!path.startsWith('tunnel.')) return path;
  return path
    .replace(/^tunnel\.headers\./, 'tunnel.')
    .replace(/^tunnel\.port6$/, 'tunnel.port-ipv6')
    .replace(/^tunnel\.source4$/, 'tunnel.source.ipv4')
    .replace(/^tunnel\.source6$/, 'tunnel.source.ipv6')
    .replace(/^tunnel\.(spread|by-route)([46])$/, 'tunnel.source.ipv$2 ($1)');
}
