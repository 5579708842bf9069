/** Where the director of a configuration is asked, also when that configuration is wrong by now: for commands that talk to a running director. */
import { SourceDocument } from './document.ts';
import { ConfigError } from './problem.ts';
import { readSource } from './source.ts';

/** `admin.socket` as it is written in the file; `auto` when it is not, or the file can not be read. */
export function writtenSocket(file: string): string {
  try {
    const data = new SourceDocument(file, readSource(file)).data as { admin?: { socket?: unknown } | null } | null;
    const socket = data?.admin?.socket;
    return typeof socket === 'string' ? socket : 'auto';
  } catch (error) {
    if (error instanceof ConfigError) return 'auto';
    throw error;
  }
}
