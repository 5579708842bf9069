/** What an operator has to know about one part of an import: told as a comment at its place, on standard error, and by --json. */
import type { Place } from './place.ts';

/**
 * `differs`: it works, but not as under IPVS. `worker`: the workers must be prepared for it. `left-out`: it is not in the configuration.
 * `remark`: nothing changes, but somebody must know.
 */
export type NoteKind = 'differs' | 'worker' | 'left-out' | 'remark';

export interface Note {
  readonly kind: NoteKind;
  /** `GD_IMPORT_<WHAT>`: stable, for programs. */
  readonly code: string;
  /** One sentence or two, without a final stop. */
  readonly message: string;
  /** Of the rule in the imported file. */
  readonly at: Place;
  /** As its file calls it: `-t 192.0.2.1:80`, `virtual_server 192.0.2.1 80`; empty for the file as a whole. */
  readonly service: string;
  /** `198.51.100.1:80`; empty when it is about the service. */
  readonly server: string;
}

/** A note whose service and server are where it stands. */
export type Told = Pick<Note, 'kind' | 'code' | 'message' | 'at'>;

/** Adds notes about one service (and one of its servers). */
export type Say = (kind: NoteKind, code: string, message: string, server?: { at: Place; text: string }) => void;

/** Notes that say the same, one after the other in the order of the first of each. */
export function groupNotes(notes: readonly Note[]): Note[][] {
  const groups = new Map<string, Note[]>();
  for (const note of notes) {
    const key = `${note.code} ${note.message}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [note]);
    else group.push(note);
  }
  return [...groups.values()];
}
