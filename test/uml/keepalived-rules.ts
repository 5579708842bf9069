// What keepalived itself tells a kernel: User-Mode Linux, keepalived's health checker alone, and the rules of IPVS after its start.

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInGuest } from './once.ts';

const MODULES =
  'ip_vs ip_vs_mh ip_vs_rr ip_vs_wrr ip_vs_wlc ip_vs_lc ip_vs_sh ip_vs_sed ip_vs_nq ip_vs_dh ip_vs_pe_sip ip_gre fou ipip';

/** Every server stays as it was written: the first check is an hour away, nothing waits for it, and nobody steps in for the servers. */
function withoutChecks(text: string): string {
  return text
    .replace(/^\s*(alpha|sorry_server\w*)\b.*$/gm, '')
    .replace(/^(virtual_server(?!_group).*\n?\{)[ \t]*$/gm, '$1\nwarmup 3600\n');
}

/** `names`: files of `folder`, which may include others there; no address in two of them. One keepalived reads all; what ipvsadm-save -n prints then. */
export async function askKeepalived(folder: string, names: readonly string[], configId: string): Promise<string> {
  const share = mkdtempSync(join(tmpdir(), 'gue-director-keepalived-'));
  try {
    const copy = join(share, 'conf');
    cpSync(folder, copy, { recursive: true });
    for (const file of readdirSync(copy, { recursive: true, encoding: 'utf8' })) {
      const path = join(copy, file);
      if (/\.(conf|inc|list)$/.test(file)) writeFileSync(path, withoutChecks(readFileSync(path, 'utf8')));
    }
    writeFileSync(join(copy, 'all'), names.map((name) => `include ${name}\n`).join(''));
    const said = await runInGuest([
      `modprobe -a -q ${MODULES}`,
      `mkdir /run/share; mount -t hostfs -o ${share} none /run/share; ip link set lo up`,
      `keepalived -n -l -C -i ${configId} -f /run/share/conf/all -p /run/p -c /run/c > /run/share/said 2>&1 &`,
      // Rules that stay for a moment are all of them; a program that writes none in ten seconds has failed.
      'for try in $(seq 50); do ipvsadm-save -n > /run/now; [ -s /run/now ] && cmp -s /run/now /run/before && break; cp /run/now /run/before; sleep 0.2; done',
      'cp /run/now /run/share/rules',
    ]);
    const rules = readFileSync(join(share, 'rules'), 'utf8');
    if (rules === '') throw new Error(`${said}\n${readFileSync(join(share, 'said'), 'utf8')}`);
    return rules;
  } finally {
    rmSync(share, { recursive: true, force: true });
  }
}
