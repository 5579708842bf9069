// The dashboards of deploy/grafana, as what Grafana would read.

import { filesBelow, read } from '../rules/sources.ts';

export interface Target {
  readonly expr: string;
  readonly refId: string;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly options?: object;
  readonly fieldConfig?: { readonly defaults: { readonly custom?: object } };
}

export interface Variable {
  readonly name: string;
  readonly type: string;
  readonly query: string | { readonly query: string };
}

export interface Annotation {
  readonly name: string;
  readonly target?: { readonly expr: string };
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly panels: readonly Panel[];
  readonly links: readonly { readonly url: string }[];
  readonly templating: { readonly list: readonly Variable[] };
  readonly annotations: { readonly list: readonly Annotation[] };
}

export const DASHBOARD_FILES = filesBelow('deploy/grafana', '.json');

export function readDashboard(file: string): Dashboard {
  return JSON.parse(read(file)) as Dashboard;
}

/** Every expression of a dashboard with where it stands, variables and all. */
export function expressionsOf({ panels, annotations }: Dashboard): { at: string; expr: string }[] {
  return [
    ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr, refId }) => ({ at: `${title} ${refId}`, expr }))),
    ...annotations.list.flatMap(({ name, target }) => (target === undefined ? [] : [{ at: name, expr: target.expr }])),
  ];
}

/** As Prometheus is given it: what Grafana puts in for its own words. Names of variables inside of strings stay: any string will do. */
export function filledIn(expression: string): string {
  return expression.replaceAll('$__rate_interval', '5m').replaceAll('$__interval', '1m').replaceAll('$__range', '1h');
}
