/** Writes an imported configuration to a file of its own. */
import { writeFileSync } from 'node:fs';
import { CodedError } from '../base/errors.ts';

/** Throws GD_IMPORT_OUTPUT: the file is there already (somebody may have worked on it), or can not be written. */
export function writeImported(path: string, yaml: string): void {
  try {
    writeFileSync(path, yaml, { flag: 'wx' });
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code;
    const isThere = errno === 'EEXIST';
    const message = isThere ? `${path} is there already` : `${path} can not be written: ${errno ?? String(error)}`;
    const hint = isThere ? 'name another file with -o, or move this one away' : 'name a file in a folder that is yours with -o';
    throw new CodedError('GD_IMPORT_OUTPUT', message, { hint, cause: error });
  }
}
