/**
 * Connection tracking and the director: conntrack would see one direction only (replies go straight to the client), call most of
 * it INVALID, reassemble fragments, and fill its table under a flood. Where it is loaded, one nftables table of ours takes
 * service prefixes and tunnels out of it. The table's name is the tag by which `clean` knows it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { formatPrefix, type Prefix, prefixContains } from '../base/address.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import type { Finding } from './finding.ts';
import { isLive, servicePrefixes, type Wanted } from './wanted.ts';

export const TABLE = 'inet gue_director';

const COUNT = '/proc/sys/net/netfilter/nf_conntrack_count';
const FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/usr/bin', '/bin'];
const TIMEOUT_MS = 10_000;

/** Connections tracked in this network namespace now; null when conntrack is not loaded. */
export function trackedConnections(): number | null {
  return existsSync(COUNT) ? Number(readFileSync(COUNT, 'utf8')) : null;
}

/** The full path of a system program, or null. A service's PATH often lacks the sbin folders. */
export function findProgram(name: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(':').filter((folder) => folder.startsWith('/')), ...FOLDERS];
  return folders.map((folder) => `${folder}/${name}`).find((path) => existsSync(path)) ?? null;
}

export interface ProgramResult {
  /** 0 is success; −1 when it could not be started or took longer than ten seconds. */
  readonly status: number;
  readonly output: string;
  /** First line of what it wrote to standard error. */
  readonly complaint: string;
}

/** Runs a program to its end with `input` on its standard input. */
export function runProgram(path: string, parameters: readonly string[], input = ''): ProgramResult {
  const result = spawnSync(path, parameters, { input, encoding: 'utf8', timeout: TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024 });
  const complaint = result.error === undefined ? result.stderr.trim().split('\n')[0] : result.error.message;
  return { status: result.status ?? -1, output: result.stdout ?? '', complaint };
}

/** Prefixes that no other contains: nftables refuses overlapping elements in one set. */
function outermost(prefixes: readonly Prefix[]): Prefix[] {
  return prefixes.filter((inner) => !prefixes.some((outer) => outer.length < inner.length && prefixContains(outer, inner.bytes)));
}

/** The rules for `wanted` as nftables text, replacing whatever the table held in one transaction; empty when there is nothing to say. */
export function notrackRules(wanted: Wanted): string {
  if (!isLive(wanted.ingress)) return '';
  const prefixes = outermost(servicePrefixes(wanted));
  const lists = [
    ['ip', prefixes.filter((prefix) => prefix.bytes.length === 4)],
    ['ip6', prefixes.filter((prefix) => prefix.bytes.length === 16)],
  ] as const;
  const ports = [...new Set(wanted.tunnelPorts)].sort((a, b) => a - b);
  const protocols = [...new Set(wanted.tunnelProtocols)].sort((a, b) => a - b);
  const tunnels = [
    ...(ports.length === 0 ? [] : [`    udp dport { ${ports.join(', ')} } notrack`]),
    ...(protocols.length === 0 ? [] : [`    meta l4proto { ${protocols.join(', ')} } notrack`]),
  ];
  const matches = (side: 'saddr' | 'daddr') =>
    lists.flatMap(([family, list]) =>
      list.length === 0 ? [] : [`    ${family} ${side} { ${list.map(formatPrefix).join(', ')} } notrack`],
    );
  const before = [...matches('daddr'), ...matches('saddr'), ...tunnels];
  if (before.length === 0) return '';
  return [
    // Declaring first makes the deletion succeed whether or not a predecessor left the table.
    `table ${TABLE}`,
    `delete table ${TABLE}`,
    `table ${TABLE} {`,
    '  chain prerouting {',
    '    type filter hook prerouting priority raw; policy accept;',
    ...before,
    '  }',
    '  chain output {',
    '    type filter hook output priority raw; policy accept;',
    // What we send: tunnels, and our own answers in a service's name.
    ...matches('saddr'),
    ...tunnels,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** What to say where conntrack is loaded and our table can not be made. `nft` is the path of the program, null when there is none. */
export function notrackFindings(wanted: Wanted, nft: string | null = findProgram('nft')): Finding[] {
  const connections = trackedConnections();
  if (connections === null || notrackRules(wanted) === '' || nft !== null) return [];
  return [
    {
      id: 'conntrack-without-nft',
      level: connections > 0 ? 'warning' : 'info',
      text: `conntrack is loaded (${connections} connections tracked) and nft is not installed: service traffic can not be taken out of it`,
      fix: 'apt-get install nftables',
    },
  ];
}

/** Installs the rules where conntrack is loaded and nft exists. nft's refusal (a kernel without nftables) is a finding, no reason to stop. */
export function installNotrack(rules: string): Finding[] {
  const nft = findProgram('nft');
  if (nft === null || trackedConnections() === null) return [];
  const result = runProgram(nft, ['-f', '-'], rules);
  if (result.status === 0) return [];
  return [
    {
      id: 'notrack-refused',
      level: 'warning',
      text: `conntrack is loaded, and nft refused the rules that take service traffic out of it: ${result.complaint}`,
      fix: 'nft list ruleset',
    },
  ];
}

/**
 * True when our table is there. False as well when nft is not installed: then nobody can have made it with us. Throws CodedError
 * GD_HOST_NFT when we may not look.
 */
export function notrackInstalled(): boolean {
  const nft = findProgram('nft');
  if (nft === null) return false;
  const result = runProgram(nft, ['list', 'table', ...TABLE.split(' ')]);
  if (/Operation not permitted/.test(result.complaint)) {
    throw new CodedError('GD_HOST_NFT', `nft may not look for the table ${TABLE}: operation not permitted`, {
      exitCode: EXIT.PRIVILEGE,
      hint: 'run as root, or give the process CAP_NET_ADMIN',
    });
  }
  return result.status === 0;
}

/** Deletes our table; no error when it is not there. Throws CodedError GD_HOST_NFT when nft refuses. */
export function removeNotrack(): void {
  const nft = findProgram('nft');
  if (nft === null) return;
  const result = runProgram(nft, ['-f', '-'], `table ${TABLE}\ndelete table ${TABLE}\n`);
  if (result.status !== 0) {
    throw new CodedError('GD_HOST_NFT', `nft could not delete the table ${TABLE}: ${result.complaint}`, {
      hint: `nft delete table ${TABLE}`,
    });
  }
}
