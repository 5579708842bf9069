/** Where the flow table file and its identities are. */
import { runtimeDirectory } from '../admin/socket.ts';

/** Path of the flow table file that a configuration means, null for none. */
export function flowFilePath(configured: 'auto' | 'off' | (string & {})): string | null {
  if (configured === 'off') return null;
  return configured === 'auto' ? `${runtimeDirectory()}/flows` : configured;
}

/** Beside the flow table file: whom its ids mean. */
export function identitiesPath(path: string): string {
  return `${path}.identities`;
}

/** Where the identities are while they are written. */
export function draftPath(path: string): string {
  return `${identitiesPath(path)}.new`;
}

/** Everything that a director may leave at `path`. */
export function flowFiles(path: string): string[] {
  return [path, identitiesPath(path), draftPath(path)];
}
