// The kernel's own IPVS with rules as they were saved: User-Mode Linux, ipvsadm-restore, and the first packet of each flow.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runInGuest } from './once.ts';

export type IpvsFlow = readonly [protocol: 'tcp' | 'udp' | 'sctp', client: string, port: number, address: string, to: number];

export interface RestoredIpvs {
  /** /proc/net/ip_vs. */
  readonly list: string;
  /** What ipvsadm-save -n prints. */
  readonly saved: string;
  /** Connections that the kernel made: the flow, its server, and the server's port. */
  readonly made: readonly (readonly [...IpvsFlow, server: string, serverPort: number])[];
}

export interface IpvsQuestion {
  /** For ipvsadm-restore. */
  readonly rules: string;
  /** Virtual addresses and prefixes. */
  readonly addresses: readonly string[];
  /** What the packet filter marks. */
  readonly marks: readonly (readonly [mark: number, prefix: string, protocol: string])[];
  readonly flows: readonly IpvsFlow[];
}

const MODULES =
  'ip_vs ip_vs_mh ip_vs_rr ip_vs_wrr ip_vs_wlc ip_vs_lc ip_vs_sh ip_vs_sed ip_vs_fo ip_vs_dh ip_vs_pe_sip tun sch_ingress cls_flower act_skbedit';

/** One guest for all questions, with a network namespace for each. */
export async function askRestoredIpvs(questions: readonly IpvsQuestion[]): Promise<RestoredIpvs[]> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-ipvs-'));
  try {
    questions.forEach((question, i) => {
      writeFileSync(join(folder, `question-${i}`), JSON.stringify(question));
    });
    const said = await runInGuest([
      `for module in ${MODULES}; do modprobe $module; done`,
      `mkdir /run/share; mount -t hostfs -o ${folder} none /run/share`,
      ...questions.flatMap((_, i) => [
        `ip netns add ipvs-${i}`,
        `ip netns exec ipvs-${i} sh -c 'for scope in all default; do echo 0 > /proc/sys/net/ipv4/conf/$scope/rp_filter; done; echo 1 > /proc/sys/net/ipv4/ip_forward'`,
        `ip netns exec ipvs-${i} python3 -B ${resolve(import.meta.dirname, 'ipvs-restored.py')} < /run/share/question-${i} > /run/share/answer-${i} 2>> /run/share/said`,
      ]),
    ]);
    return questions.map((_, i) => {
      const answer = readFileSync(join(folder, `answer-${i}`), 'utf8');
      if (answer === '') throw new Error(`${said}\n${readFileSync(join(folder, 'said'), 'utf8')}`);
      return JSON.parse(answer) as RestoredIpvs;
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
