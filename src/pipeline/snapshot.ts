/**
 * A snapshot: everything the per-packet path reads, immutable, in shared memory. A root (layout.ts) and one table buffer per
 * distinct Maglev table; tables that did not change are the same buffers in the next generation.
 */
import { CodedError } from '../base/errors.ts';
import { H_GENERATION, H_MAGIC, ROOT_MAGIC } from './layout.ts';
import type { Encapsulation, SchemeSpec } from './spec.ts';

export { backendNumbers, type SavedChanges, type SavedState, SnapshotBuilder } from './snapshot-builder.ts';

/** What people call the numbers in a snapshot; for metrics, status and logs, never read per packet. */
export interface SnapshotNames {
  readonly services: readonly { id: number; name: string; pool: string }[];
  readonly pools: readonly {
    name: string;
    scheme: SchemeSpec['name'];
    tableSize: number;
    digest: string;
    seed: number;
    previous: boolean;
    /** Share of the slots that the last change of the table gave to another backend; null when it is not known. */
    moved: number | null;
  }[];
  readonly backends: readonly {
    id: number;
    pool: string;
    name: string;
    address: string;
    slots: number;
    state: string;
    weight: number;
    encapsulation: Encapsulation;
    /** UDP destination ports: one, two with fou for both families, none without UDP. */
    ports: readonly number[];
    /** Bytes in front of an inner packet, at most. */
    overhead: number;
  }[];
}

/** A snapshot as it travels to threads: structured-cloneable, its memory shared and not copied. */
export interface SharedSnapshot {
  readonly generation: number;
  readonly root: SharedArrayBuffer;
  readonly tables: readonly SharedArrayBuffer[];
}

/** A snapshot, and whom its numbers mean, which threads have no use for. */
export interface SnapshotParts extends SharedSnapshot {
  readonly names: SnapshotNames;
}

/** A thread's views over a snapshot. */
export class Snapshot {
  readonly generation: number;
  readonly words: Int32Array;
  readonly tables: readonly Uint16Array[];

  /** `before`: the thread's last one, whose views of tables that are still the same are used again. */
  constructor(parts: SharedSnapshot, before?: Snapshot) {
    this.words = new Int32Array(parts.root);
    if (this.words[H_MAGIC] !== ROOT_MAGIC) {
      throw new CodedError('GD_SNAPSHOT_LAYOUT', 'the snapshot has another layout than this program reads', {
        hint: 'all threads must run the same version: restart the director',
      });
    }
    this.generation = this.words[H_GENERATION];
    this.tables = parts.tables.map((table, i) => {
      const known = before?.tables[i];
      return known?.buffer === table ? known : new Uint16Array(table);
    });
  }
}
