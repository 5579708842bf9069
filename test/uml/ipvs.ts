// The kernel's own IPVS, asked for its choices: User-Mode Linux, scheduler mh, one datagram for each flow.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runInGuest } from './once.ts';

export type Server = readonly [address: string, port: number, weight: number];
export type Flow = readonly [address: string, port: number];

export interface IpvsService {
  readonly address: string;
  readonly port: number;
  /** Words for `ipvsadm -A`, such as `-b mh-port`. */
  readonly options: readonly string[];
  /** In the order in which they are added. */
  readonly servers: readonly Server[];
  /** `ipvsadm` commands to run before the first flow comes. */
  readonly changes: readonly (readonly string[])[];
  readonly flows: readonly Flow[];
}

export interface IpvsChoices {
  /** The kernel's own list of servers, in its order. */
  readonly order: readonly Server[];
  readonly made: readonly (readonly [client: string, port: number, server: string, serverPort: number])[];
}

/** What a kernel with IPVS does with each service's flows. */
export async function askIpvs(services: readonly IpvsService[]): Promise<IpvsChoices[]> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-ipvs-'));
  try {
    writeFileSync(join(folder, 'question'), JSON.stringify({ services }));
    const said = await runInGuest([
      'for module in ip_vs ip_vs_mh tun; do modprobe $module; done',
      `mkdir /run/share; mount -t hostfs -o ${folder} none /run/share`,
      'for scope in all default; do echo 0 > /proc/sys/net/ipv4/conf/$scope/rp_filter; done',
      'echo 1 > /proc/sys/net/ipv4/ip_forward',
      `python3 -B ${resolve(import.meta.dirname, 'ipvs-flows.py')} < /run/share/question > /run/share/answer 2> /run/share/said`,
    ]);
    const answer = readFileSync(join(folder, 'answer'), 'utf8');
    if (answer === '') throw new Error(`${said}\n${readFileSync(join(folder, 'said'), 'utf8')}`);
    return JSON.parse(answer) as IpvsChoices[];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
