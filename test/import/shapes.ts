// Rules of IPVS as they are found in the field (*.ipvs) and the configurations that they become (*.yaml, read and approved by people).

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImportOptions } from '../../src/import/ipvs.ts';

export const folder = import.meta.dirname;

/** What the packet filter marks in `marks.ipvs`. */
export const MARKS = ['7=tcp:192.0.2.64/28:80', '7=tcp:192.0.2.64/28:443', '8=udp:[2001:db8:64::/64]'];

/** Outer source addresses of a director whose routes nobody asks. */
export const SOURCES = { source4: '10.255.0.1', source6: 'fd00:ffff::1' } as const;

/** Options of the command, for the shapes that need some. */
const OPTIONS: Readonly<Record<string, Partial<ImportOptions>>> = {
  marks: { marks: MARKS },
  'keepalived-wrr-dr': SOURCES,
};

export interface Shape {
  readonly name: string;
  /** Of the rules. */
  readonly path: string;
  readonly text: string;
  readonly options: Partial<ImportOptions>;
}

export function shapes(): Shape[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.ipvs'))
    .sort()
    .map((file): Shape => {
      const name = file.slice(0, -'.ipvs'.length);
      const path = join(folder, file);
      return { name, path, text: readFileSync(path, 'utf8'), options: OPTIONS[name] ?? {} };
    });
}

/** A fleet's director: services (at most 200) of seven servers each out of forty, TCP and UDP, mh among others. */
export function manyServices(count: number): string {
  const lines: string[] = [];
  const schedulers = ['mh -b mh-port', 'mh', 'wrr', 'mh -b mh-fallback,mh-port', 'wlc'];
  for (let i = 0; i < count; i++) {
    const six = i % 4 === 3;
    const address = six ? `[2001:db8:aa::${(i + 1).toString(16)}]` : `203.0.113.${i + 1}`;
    const service = `${i % 3 === 2 ? '-u' : '-t'} ${address}:${i % 2 === 0 ? 443 : 8000 + i}`;
    lines.push(`-A ${service} -s ${schedulers[i % schedulers.length]}`);
    for (let k = 0; k < 7; k++) {
      const host = ((i * 11 + k * 5) % 40) + 1;
      const server = six ? `[2001:db8:1::${host.toString(16)}]` : `198.51.100.${host}`;
      lines.push(
        `-a ${service} -r ${server}:${i % 2 === 0 ? 443 : 8000 + i} -i -w ${(i + k) % 8} --tun-type gue --tun-port 6080 --tun-nocsum`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}
