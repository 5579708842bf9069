/**
 * What could be understood of a file, with the path of each part: the checks that compare several places work on this, so that
 * one wrong backend does not hide that two services overlap.
 */
import type { Path } from './problem.ts';
import {
  type BackendSection,
  backendSchema,
  type ConfigSection,
  type PoolSection,
  poolFrameSchema,
  poolName,
  type ServiceSection,
  sectionSchemas,
  serviceSchema,
} from './schema.ts';

export interface DraftService {
  readonly at: Path;
  readonly value: ServiceSection;
}

export interface DraftBackend {
  readonly at: Path;
  /** The watched file that it stands in; absent: the configuration. */
  readonly file?: string;
  readonly value: BackendSection;
}

export interface DraftPool {
  readonly name: string;
  readonly at: Path;
  /** Null when a key of the pool itself is wrong. */
  readonly frame: Omit<PoolSection, 'backends'> | null;
  readonly backends: readonly DraftBackend[];
  /** False when a backend is missing here because it is wrong. */
  readonly complete: boolean;
  /** Further backends come from watched files, which are not looked at here. */
  readonly open: boolean;
  /** Neither `backends` nor `backends-from` is there. */
  readonly sourceless: boolean;
}

export interface Draft {
  readonly services: readonly DraftService[];
  /** False when a service is missing here because it is wrong. */
  readonly servicesComplete: boolean;
  readonly pools: readonly DraftPool[];
  /** False when `pools` is not a map, or a name in it is no name: then nobody can say which pools were meant. */
  readonly poolsKnown: boolean;
  /** Null: wrong; the schema has said so. */
  readonly tunnel: ConfigSection['tunnel'] | null;
  readonly ingress: ConfigSection['ingress'] | null;
  readonly egress: ConfigSection['egress'] | null;
  readonly fragments: ConfigSection['fragments'] | null;
  readonly probes: ConfigSection['probes'] | null;
  readonly metrics: ConfigSection['metrics'] | null;
}

/** The whole file was understood. */
export function draftOf(section: ConfigSection): Draft {
  return {
    services: section.services.map((value, i) => ({ at: ['services', i], value })),
    servicesComplete: true,
    pools: Object.entries(section.pools).map(([name, { backends: own, ...frame }]) => {
      const backends = own ?? [];
      const open = frame['backends-from'] !== undefined;
      const at = ['pools', name];
      return {
        name,
        at,
        frame,
        backends: backends.map((value, i) => ({ at: [...at, 'backends', i], value })),
        complete: true,
        open,
        sourceless: own === undefined && !open,
      };
    }),
    poolsKnown: true,
    tunnel: section.tunnel,
    ingress: section.ingress,
    egress: section.egress,
    fragments: section.fragments,
    probes: section.probes,
    metrics: section.metrics,
  };
}

/** As much as can be understood of `data`, part by part. */
export function salvage(data: unknown): Draft {
  const root = mapOf(data);
  const rawServices = Array.isArray(root.services) ? root.services : [];
  const services = rawServices.flatMap((raw, i): DraftService[] => {
    const parsed = serviceSchema.safeParse(raw);
    return parsed.success ? [{ at: ['services', i], value: parsed.data }] : [];
  });
  const section = <K extends 'tunnel' | 'ingress' | 'egress' | 'fragments' | 'probes' | 'metrics'>(
    key: K,
  ): ConfigSection[K] | null => {
    const parsed = sectionSchemas[key].safeParse(root[key]);
    return parsed.success ? (parsed.data as ConfigSection[K]) : null;
  };
  return {
    services,
    servicesComplete: services.length === rawServices.length && services.length > 0,
    pools: Object.entries(mapOf(root.pools)).map(([name, raw]) => salvagePool(name, raw)),
    poolsKnown: isMap(root.pools) && Object.keys(root.pools).every((name) => poolName.safeParse(name).success),
    tunnel: section('tunnel'),
    ingress: section('ingress'),
    egress: section('egress'),
    fragments: section('fragments'),
    probes: section('probes'),
    metrics: section('metrics'),
  };
}

function salvagePool(name: string, raw: unknown): DraftPool {
  const at: Path = ['pools', name];
  const map = mapOf(raw);
  const parsed = poolFrameSchema.safeParse({ ...map });
  const rawBackends = Array.isArray(map.backends) ? map.backends : [];
  const backends = rawBackends.flatMap((backend, i): DraftBackend[] => {
    const each = backendSchema.safeParse(backend);
    return each.success ? [{ at: [...at, 'backends', i], value: each.data }] : [];
  });
  const open = map['backends-from'] !== undefined;
  const complete =
    (Array.isArray(map.backends) || (open && map.backends === undefined)) && backends.length === rawBackends.length;
  const sourceless = isMap(raw) && map.backends === undefined && !open;
  if (!parsed.success) return { name, at, frame: null, backends, complete, open, sourceless };
  const { backends: _, ...frame } = parsed.data;
  return { name, at, frame, backends, complete, open, sourceless };
}

function mapOf(value: unknown): Record<string, unknown> {
  return isMap(value) ? value : {};
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
