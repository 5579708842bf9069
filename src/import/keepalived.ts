/** `gue-director import keepalived`: a keepalived.conf → a configuration, and what is not the same. */
import { didYouMean } from '../config/nearest-word.ts';
import { type CommonOptions, type Imported, importRules, type NamedText } from './imported.ts';
import { formatServiceName, type IpvsRules, type IpvsService } from './ipvs-rules.ts';
import { readBlocks, type Statement } from './keepalived-blocks.ts';
import { CHECKERS, type TlsFiles } from './keepalived-check.ts';
import { DISK, type Files } from './keepalived-files.ts';
import { readLines } from './keepalived-lines.ts';
import { type GroupMember, readGroup, readVirtualServer } from './keepalived-server.ts';
import { Values } from './keepalived-values.ts';
import type { Note, NoteKind } from './note.ts';
import type { Place, Problems } from './place.ts';
import { readRules } from './read-rules.ts';
import { KEEPALIVED } from './wording.ts';

export interface KeepalivedOptions extends CommonOptions {
  readonly config: NamedText;
  /** Keepalived's --config-id: which `@` lines count. Absent: none does, and each is told. */
  readonly configId?: string;
  /** Where included files come from; absent: the file system. */
  readonly files?: Files;
}

/** Words that stand outside every block. */
const OUTERMOST = [
  ...['global_defs', 'virtual_server', 'virtual_server_group', 'SSL', 'vrrp_instance', 'vrrp_sync_group', 'vrrp_script'],
  ...['static_ipaddress', 'static_routes', 'static_rules', 'track_group', 'track_process', 'track_file', 'track_bfd'],
  ...['vrrp_track_process', 'vrrp_track_file', 'bfd_instance', 'garp_group', 'interface_up_down_delays', 'linkbeat_interfaces'],
  ...['net_namespace', 'net_namespace_ipvs', 'namespace_with_ipsets', 'instance', 'use_pid_dir', 'linkbeat_use_polling'],
  ...['child_wait_time', 'reload_repeat', 'reload_time_file', 'process_names'],
];
/** Of these a block tells where it ends when a brace is missing; others stand inside as well (`track_file`). */
const MARKS: ReadonlyMap<string, number> = new Map([
  ...['global_defs', 'virtual_server', 'virtual_server_group', 'vrrp_instance', 'vrrp_sync_group'].map(
    (one) => [one, 0] as const,
  ),
  ['real_server', 1],
  ...[...CHECKERS].map((one) => [one, 2] as const),
]);

/** The file as it was named; `-` is standard input. Throws GD_IMPORT_FILE. */
export function readConfig(path: string): NamedText {
  return readRules(path, 'name a keepalived.conf', 'gue-director import keepalived - < keepalived.conf');
}

/** Throws what `importRules` throws. */
export function importKeepalived({ config, configId, files = DISK, ...options }: KeepalivedOptions): Imported {
  const read = (problems: Problems) => readKeepalived(config, files, configId ?? null, problems);
  return importRules(config.name, read, options, KEEPALIVED, {
    empty: 'no virtual_server in it: is it the keepalived.conf of a director?',
    more: 'is it a keepalived.conf?',
  });
}

/** What keepalived would tell the kernel's IPVS when it starts, before any check has failed. */
export function readKeepalived(config: NamedText, files: Files, configId: string | null, problems: Problems): IpvsRules {
  const { lines, conditions } = readLines(config, files, configId, problems);
  const outermost = readBlocks(lines, (word) => MARKS.get(word) ?? null, problems);
  const values = new Values(problems);
  const notes: Note[] = conditions.map(({ at, text }) => {
    const message = `a line that only some hosts have is left out: ${text.slice(0, 60)}; name the host with --config-id`;
    return note('left-out', 'GD_IMPORT_CONDITION', message, at);
  });
  for (const { words } of outermost) {
    const [{ text, at }] = words;
    if (OUTERMOST.includes(text)) continue;
    problems.add(at, 'GD_IMPORT_KEYWORD', `"${text.slice(0, 60)}" is no word of a keepalived.conf${didYouMean(text, OUTERMOST)}`);
  }
  const ofKind = (keyword: string) => outermost.filter(({ words }) => words[0].text === keyword);
  const groups = new Map<string, readonly GroupMember[]>();
  for (const group of ofKind('virtual_server_group')) {
    const word = values.word(group, 1, 'a name');
    if (word === null) continue;
    if (groups.has(word.text)) values.refuse(word, 'GD_IMPORT_GROUP', `a second virtual_server_group "${word.text}"`);
    else groups.set(word.text, readGroup(group.block ?? [], values));
  }
  const surroundings = { groups, tls: tlsFiles(ofKind('SSL')), values, notes, count: { services: 0 } };
  const services = ofKind('virtual_server').flatMap((one) => readVirtualServer(one, surroundings));
  refuseTwins(services, problems);
  notes.push(...vrrpNotes(ofKind('vrrp_instance')));
  for (const { words } of outermost) {
    if (!/^(vrrp_s|vrrp_t|static_|track_|bfd_|garp_|interface_|linkbeat_|net_n)/.test(words[0].text)) continue;
    const title = words.map(({ text }) => text).join(' ');
    notes.push(
      note(
        'left-out',
        'GD_IMPORT_BLOCK',
        `${title}: addresses, routes, scripts and links of the host are not the director's`,
        words[0].at,
      ),
    );
  }
  return { services, asides: [], notes };
}

function note(kind: NoteKind, code: string, message: string, at: Place): Note {
  return { kind, code, message, at, service: '', server: '' };
}

/** The kernel has each service once. */
function refuseTwins(services: readonly IpvsService[], problems: Problems): void {
  const seen = new Map<string, Place>();
  for (const { name, at } of services) {
    const key = formatServiceName(name);
    const before = seen.get(key);
    if (before === undefined) seen.set(key, at);
    else problems.add(at, 'GD_IMPORT_TWICE', `the service ${key} stands in line ${before.line} already`);
  }
}

function tlsFiles(blocks: readonly Statement[]): TlsFiles {
  const value = (keyword: string) =>
    blocks.flatMap(({ block }) => block ?? []).findLast(({ words }) => words[0].text === keyword)?.words[1]?.text || null;
  return { certificate: value('certificate'), key: value('key') };
}

function vrrpNotes(instances: readonly Statement[]): Note[] {
  return instances.map(({ words, block }) => {
    const [{ at }, name] = words;
    const addresses = (block ?? [])
      .filter((one) => /^virtual_ipaddress/.test(one.words[0].text))
      .flatMap((one) => one.block ?? [])
      .map((one) => one.words[0].text.replace(/\/\d+$/, ''));
    const which = addresses.length === 0 ? 'its addresses' : addresses.slice(0, 8).join(', ');
    const more = addresses.length > 8 ? ` and ${addresses.length - 8} more` : '';
    const message =
      `vrrp_instance ${name?.text ?? ''}: there is no VRRP; let a routing daemon on every director announce ${which}${more} ` +
      'as long as /-/ready answers 200';
    return note('left-out', 'GD_IMPORT_VRRP', message, at);
  });
}
