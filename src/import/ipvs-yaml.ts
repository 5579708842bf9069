/** A plan as the text of a configuration, with a comment at every place that is not the same as under IPVS. The same plan gives the same text. */
import { healthLines } from './health-plan.ts';
import { MH_TABLE_SIZE, type MhPlan, type Plan, type PlannedPool, type PlannedService } from './ipvs-plan.ts';
import type { PlannedBackend } from './ipvs-servers.ts';
import { type PlannedTunnel, sameTunnel } from './ipvs-tunnel.ts';
import { groupNotes, type Note } from './note.ts';
import { lineText, type Place } from './place.ts';
import type { Wording } from './wording.ts';

/** Comments are folded before this column. */
const WIDTH = 118;

export interface Sources {
  /** What `tunnel.source` says for each family. */
  readonly ipv4: string;
  readonly ipv6: string;
}

/** `from`: the name of the imported file. */
export function planYaml(plan: Plan, sources: Sources, from: string, wording: Wording): string {
  const { services, servers } = plan.count;
  return [
    `# Imported from ${from} by gue-director import ${wording.command}: ${counted(services, 'virtual service')}, ${counted(servers, 'real server')}.`,
    '# A comment stands at every place that is not the same as under IPVS. docs/import.md says what each means.',
    '# Next: gue-director check FILE',
    ...plan.leftOut.flatMap(({ rule, at, notes }) => ['', ...leftOutLines(rule, at, notes)]),
    '',
    'services:',
    ...plan.services.flatMap((service, i) => [...(i === 0 ? [] : ['']), ...serviceLines(service)]),
    '',
    'pools:',
    ...plan.pools.flatMap((pool, i) => [...(i === 0 ? [] : ['']), ...poolLines(pool, plan.tunnel, wording)]),
    '',
    ...tunnelLines(plan, sources),
    '',
  ].join('\n');
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function leftOutLines(rule: string, at: Place, notes: readonly Note[]): string[] {
  return [`# left out: ${rule} (${lineText(at)})`, ...noteLines(notes, '')];
}

function serviceLines(service: PlannedService): string[] {
  const lines = [`  # ${lineText(service.at)}: ${service.rule}`, ...noteLines(service.notes, '  ')];
  lines.push(`  - name: ${service.name}`);
  lines.push(`    address: ${scalar(service.address)}`);
  lines.push(`    protocol: ${service.protocol}`);
  lines.push(`    port: ${service.port}`);
  if (service.affinity !== '5-tuple') lines.push(`    affinity: ${service.affinity}`);
  lines.push(`    pool: ${service.pool}`);
  return lines;
}

function poolLines(pool: PlannedPool, standard: PlannedTunnel, { showsPlaces }: Wording): string[] {
  const lines = [`  ${pool.name}:`, ...noteLines(pool.notes, '    ')];
  if (pool.mh !== null) lines.push(...schemeLines(pool.mh));
  if (pool.tableSize !== null) lines.push(`    table-size: ${pool.tableSize}`);
  const own = tunnelKeys(pool.tunnel, standard);
  if (own.length > 0) lines.push(`    tunnel: { ${own.join(', ')} }`);
  if (pool.health !== null) lines.push(...healthLines(pool.health, true));
  const here = pool.backends.filter(({ leftOut }) => leftOut === null).length;
  lines.push(here === 0 ? '    backends: []' : '    backends:');
  for (const backend of pool.backends) lines.push(...backendLines(backend, pool, showsPlaces));
  return lines;
}

/** The kernel's table size is the scheme's default. */
function schemeLines({ port, fallback, tableSize, serverPort, isServicePort }: MhPlan): string[] {
  const words = ['name: ipvs-mh'];
  if (port) words.push('mh-port: true');
  if (fallback) words.push('mh-fallback: true');
  if (!isServicePort) words.push(`server-port: ${serverPort}`);
  const scheme = words.length === 1 ? 'ipvs-mh' : `{ ${words.join(', ')} }`;
  const lines = [`    scheme: ${scheme}`];
  if (tableSize !== MH_TABLE_SIZE) lines.push(`    table-size: ${tableSize}`);
  return lines;
}

function backendLines(backend: PlannedBackend, pool: PlannedPool, showsPlace: boolean): string[] {
  const words = [`name: ${backend.name}`, `address: ${scalar(backend.address)}`];
  if (backend.weight !== 1) words.push(`weight: ${backend.weight}`);
  if (backend.draining) words.push('state: draining');
  if (backend.tunnel !== null) words.push(`tunnel: { ${tunnelKeys(backend.tunnel, pool.tunnel).join(', ')} }`);
  const mark = backend.leftOut === null ? '' : '# ';
  return [
    ...noteLines(backend.notes, '      '),
    `      ${mark}- { ${words.join(', ')} }${showsPlace ? ` # ${lineText(backend.at)}` : ''}`,
  ];
}

function tunnelLines(plan: Plan, sources: Sources): string[] {
  const { tunnel } = plan;
  const used = plan.pools.flatMap(({ backends }) =>
    backends.filter(({ leftOut }) => leftOut === null).map(({ address }) => address),
  );
  const lines = ['tunnel:', `  encapsulation: ${tunnel.encapsulation}`];
  if (tunnel.port !== null) lines.push(`  port: ${tunnel.port}`);
  if (tunnel.checksum !== 'auto') lines.push(`  checksum: ${tunnel.checksum}`);
  const families = [
    used.some((address) => !address.includes(':')) ? `ipv4: ${scalar(sources.ipv4)}` : null,
    used.some((address) => address.includes(':')) ? `ipv6: ${scalar(sources.ipv6)}` : null,
  ].filter((one) => one !== null);
  if (families.length > 0) lines.push(`  source: { ${families.join(', ')} }`);
  if (plan.hasTunnels)
    lines.push(
      '  # headers: ipvs # for outer headers byte by byte as IPVS writes them; the default ones cost less (docs/headers.md)',
    );
  return lines;
}

/** What `own` says otherwise than `standard`. */
function tunnelKeys(own: PlannedTunnel, standard: PlannedTunnel): string[] {
  if (sameTunnel(own, standard)) return [];
  const keys: string[] = [];
  if (own.encapsulation !== standard.encapsulation) keys.push(`encapsulation: ${own.encapsulation}`);
  if (own.port !== null && own.port !== standard.port) keys.push(`port: ${own.port}`);
  if (own.checksum !== standard.checksum) keys.push(`checksum: ${own.checksum}`);
  return keys;
}

/** Notes that say the same, once. */
function noteLines(notes: readonly Note[], indent: string): string[] {
  return groupNotes(notes).flatMap(([{ kind, message }]) => folded(`${kind}: ${message}`, indent));
}

/** A comment, folded between words; what follows the first line is indented by two. */
function folded(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = `${indent}#`;
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > WIDTH && line.length > indent.length + 3) {
      lines.push(line);
      line = `${indent}#  `;
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

/** An address as a YAML scalar: with a colon it is quoted. */
function scalar(text: string): string {
  return text.includes(':') ? `"${text}"` : text;
}
