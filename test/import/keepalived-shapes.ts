// Files of keepalived as they are found in the field (keepalived/*.conf) and the configurations that they become (*.yaml, read and approved by
// people).

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KeepalivedOptions } from '../../src/import/keepalived.ts';
import { MARKS, SOURCES } from './shapes.ts';

export const keepalivedFolder = join(import.meta.dirname, 'keepalived');

/** What --config-id is for the file that asks for it. */
export const CONFIG_ID = 'lb1';

/** Options of the command, for the shapes that need some. */
const OPTIONS: Readonly<Record<string, Partial<KeepalivedOptions>>> = {
  fwmark: { marks: MARKS },
  conditions: { configId: CONFIG_ID },
  'vrrp-pair': SOURCES,
};

export interface KeepalivedShape {
  readonly name: string;
  /** Of the keepalived.conf. */
  readonly path: string;
  readonly text: string;
  readonly options: Partial<KeepalivedOptions>;
}

export function keepalivedShapes(): KeepalivedShape[] {
  return readdirSync(keepalivedFolder)
    .filter((file) => file.endsWith('.conf'))
    .sort()
    .map((file): KeepalivedShape => {
      const name = file.slice(0, -'.conf'.length);
      const path = join(keepalivedFolder, file);
      return { name, path, text: readFileSync(path, 'utf8'), options: OPTIONS[name] ?? {} };
    });
}
