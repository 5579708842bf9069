// Holds the dashboards of deploy/grafana against Grafana's own types, for `.ci/run` and for whoever changes one:
//
//   npm install --prefix /tmp/grafana --no-save @grafana/schema@13.2.3 && node --import tsx test/observe/grafana-types.ts /tmp/grafana
//
// They are types of TypeScript and nothing that runs, so each dashboard becomes a literal that the compiler looks at: keys that Grafana does not
// know and values that are none of its are errors. A dashboard as a whole, and the options and the field settings of each panel by its kind.

import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../rules/sources.ts';
import { type Annotation, DASHBOARD_FILES, readDashboard } from './dashboards.ts';

/** Name of a panel's types by its kind. */
const KINDS: Readonly<Record<string, string>> = {
  timeseries: 'TimeSeries',
  stat: 'Stat',
  table: 'Table',
  'state-timeline': 'StateTimeline',
};

const PREAMBLE = [
  "import type { Dashboard } from '@grafana/schema';",
  ...Object.values(KINDS).map((name) => {
    const folder = name.toLowerCase();
    return `import type * as ${name} from '@grafana/schema/dist/esm/raw/composable/${folder}/panelcfg/x/${name}PanelCfg_types.gen';`;
  }),
  // JSON has words where Grafana has enums.
  `type Plain<T> = T extends string ? \`\${T}\` : T extends number | boolean | null | undefined ? T`,
  '  : T extends readonly (infer U)[] ? Plain<U>[] : unknown extends T ? T',
  '  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;',
];

/** Without what the data source adds to a query for annotations: Grafana's model leaves that open, its types can not. */
function plainAnnotation({ target, ...annotation }: Annotation & Record<string, unknown>): object {
  const { titleFormat, textFormat, ...rest } = annotation;
  return target === undefined ? rest : { ...rest, target: { refId: 'Anno' } };
}

function program(): string {
  const lines = [...PREAMBLE];
  const claim = (type: string, value: unknown) =>
    lines.push(`export const v${lines.length}: ${type} = ${JSON.stringify(value)};`);
  for (const file of DASHBOARD_FILES) {
    const dashboard = readDashboard(file);
    const list = dashboard.annotations.list.map((one) => plainAnnotation(one as Annotation & Record<string, unknown>));
    lines.push(`// ${file}`);
    claim('Plain<Dashboard>', { ...dashboard, annotations: { list } });
    for (const { type, options, fieldConfig, title } of dashboard.panels) {
      if (type === 'row') continue;
      lines.push(`// ${title}`);
      claim(`Plain<Partial<${KINDS[type]}.Options>>`, options);
      // Panels without settings of their own for a field have no such type.
      if (type !== 'stat') claim(`Plain<Partial<${KINDS[type]}.FieldConfig>>`, fieldConfig?.defaults.custom);
    }
  }
  // The compiler does look: this is no dashboard.
  lines.push(
    '// @ts-expect-error',
    'export const wrong: Plain<Dashboard> = { schemaVersion: 39, graphTooltip: 7, panels: [{ type: 1 }] };',
  );
  return `${lines.join('\n')}\n`;
}

const folder = process.argv[2] ?? '';
if (!existsSync(join(folder, 'node_modules/@grafana/schema'))) {
  console.error(`no @grafana/schema in ${folder || 'no folder'}: npm install --prefix FOLDER --no-save @grafana/schema@13.2.3`);
  process.exit(2);
}
const file = join(folder, 'dashboards.ts');
writeFileSync(file, program());
const options = [
  '--noEmit',
  '--strict',
  '--skipLibCheck',
  '--target',
  'es2022',
  '--module',
  'nodenext',
  '--moduleResolution',
  'nodenext',
];
const compiler = join(root, 'node_modules/typescript/bin/tsc');
const { status, stdout, stderr } = spawnSync(process.execPath, [compiler, ...options, file], { cwd: folder, encoding: 'utf8' });
rmSync(file);
process.stdout.write(`${stdout}${stderr}`);
if (status === 0) console.log(`${DASHBOARD_FILES.length} dashboards are what Grafana's types say`);
process.exit(status ?? 1);
