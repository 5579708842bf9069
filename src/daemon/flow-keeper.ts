/**
 * The flow table's memory, and what its entries mean, from one director to the next: the file is picked up when it fits, made anew when it does not,
 * and done without where it can not be had. Whatever happens, the director forwards; what happened is told once.
 */
import { dirname } from 'node:path';
import { makeDirectory } from '../admin/socket.ts';
import type { Clock } from '../base/clock.ts';
import { CodedError } from '../base/errors.ts';
import type { EventJournal } from '../observe/events.ts';
import { capacityOf } from '../pipeline/flow-regions.ts';
import { BUCKET_BYTES } from '../pipeline/flow-table.ts';
import { type SavedState, SnapshotBuilder, type SnapshotParts } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { FlowFile, type FlowFileOptions, HEADER_BYTES } from './flow-file.ts';
import { addToIdentities, readIdentities, writeIdentities } from './flow-identities.ts';
import { type FlowMemory, flowWords, processMemory } from './flow-memory.ts';
import { usedEntries } from './flow-occupancy.ts';
import { flowFilePath, identitiesPath } from './flow-path.ts';
import { SnapshotGarbage } from './snapshot-garbage.ts';

export interface FlowKeeperOptions {
  readonly entries: number;
  readonly threads: number;
  /** As in the configuration: a path, `auto` or `off`. */
  readonly file: 'auto' | 'off' | (string & {});
  readonly clock: Clock;
  readonly journal: EventJournal;
}

/** What the flow table lies in, and what became of the one before, at the start. */
export interface FlowReport {
  /** null: this process's memory alone. */
  readonly path: string | null;
  /** `shared`: taken over from a director that forwarded with it. `renewed`: what was there is of no use. `memory`: there is no file. */
  readonly outcome: 'picked-up' | 'shared' | 'made' | 'renewed' | 'memory';
  /** Why it is `renewed`, or `memory` although a file is wanted; else empty. */
  readonly reason: string;
  /** Entries that were picked up, and how many of them confirmed. */
  readonly pickedUp: { readonly entries: number; readonly confirmed: number };
  /** Of memory or file; entries that it can hold; regions, of which each thread writes one. */
  readonly bytes: number;
  readonly entries: number;
  readonly regions: number;
  /** Entries in use, by a sample (flow-occupancy.ts). */
  readonly used: number;
}

/** Bytes of changes, at least, before the identities are written as a whole again. */
const LEAST_ADDED = 4 << 20;
/** Milliseconds after a change in which the identities are written as a whole again: by then every thread has read it. */
const SHORTEN_AFTER = 50;
/** Pools, at most, of a change that is added. */
const MOST_ADDED = 50;
const NOTHING = { entries: 0, confirmed: 0 };

export class FlowKeeper {
  readonly #options: FlowKeeperOptions;
  #builder = new SnapshotBuilder();
  readonly #garbage = new SnapshotGarbage('major');
  #file: FlowFile | null = null;
  #memory: FlowMemory | null = null;
  /** Main's view over it; null once it may no longer be looked at. */
  #words: Int32Array | null = null;
  /** `changes` of the builder as they were written last. */
  #written = '';
  #writeFailed = false;
  /** Bytes of the identities when they were last written as a whole, by this process; 0: they are to be. */
  #wholeBytes = 0;
  /** Bytes that were added since. */
  #addedBytes = 0;
  #shorten: NodeJS.Timeout | null = null;
  #outcome: Pick<FlowReport, 'outcome' | 'reason' | 'pickedUp'> = { outcome: 'memory', reason: '', pickedUp: NOTHING };
  /** Its predecessor has the file still, or its successor has it already. */
  #isOthers = false;

  constructor(options: FlowKeeperOptions) {
    this.#options = options;
  }

  /** For forwarding threads. After `open`. */
  get memory(): FlowMemory {
    if (this.#memory === null) throw new RangeError('the flow table was not opened');
    return this.#memory;
  }

  /** After `open`. */
  report(): FlowReport {
    const { geometry } = this.memory;
    const { buckets, regions } = geometry;
    const bytes = buckets * BUCKET_BYTES + (this.#file === null ? 0 : HEADER_BYTES);
    return {
      path: this.#file?.path ?? null,
      ...this.#outcome,
      bytes,
      entries: capacityOf(geometry, this.#options.threads),
      regions,
      used: this.#words === null ? 0 : usedEntries(this.#words, geometry, this.#options.threads, this.#options.clock.seconds()),
    };
  }

  /** The file that the table lies in; null when it lies in this process's memory alone. */
  get file(): FlowFile | null {
    return this.#file;
  }

  /**
   * Before the first `build`. `inherited`: descriptor of the file, from a predecessor that forwards with it until `begin`; null without one: then nobody
   * else may forward with this file. Throws when an inherited file can not be used; a file of one's own that can not costs a warning.
   */
  open(inherited: number | null = null): void {
    const { entries, threads, file, clock, journal } = this.#options;
    const path = flowFilePath(file);
    if (path !== null) {
      try {
        if (file === 'auto') makeDirectory(dirname(path));
        if (inherited === null) this.#pickUp(path, { entries, threads, now: clock.seconds() });
        else this.#share(path, inherited, { threads, now: clock.seconds() });
      } catch (error) {
        // The predecessor has every flow, and goes on when it is not taken over.
        if (inherited !== null) throw error;
        const { code, message } = error as NodeJS.ErrnoException;
        const hint = error instanceof CodedError ? error.hint : 'its directory must be writable: set flows.file, or off for none';
        this.#outcome = { outcome: 'memory', reason: message, pickedUp: NOTHING };
        journal.record('warn', 'flow-file', `flows will not outlive this process: ${message}`, { path, code, hint });
      }
    }
    this.#memory = this.#file?.memory ?? processMemory(entries, threads);
    this.#words = flowWords(this.#memory);
  }

  #share(path: string, descriptor: number, options: Omit<FlowFileOptions, 'entries'>): void {
    const file = FlowFile.openShared(path, descriptor, options);
    const why = this.#restore(file, options.now);
    if (why !== '') throw new CodedError('GD_FLOW_FILE_UNFIT', `the flow table file ${path} can not be shared: ${why}`);
    this.#isOthers = true;
    this.#file = file;
    this.#outcome = { outcome: 'shared', reason: '', pickedUp: NOTHING };
  }

  /** The predecessor's threads are about to leave, and ours wait: the file is ours. Does nothing without one that is shared. */
  begin(): void {
    if (this.#file === null || !this.#isOthers) return;
    this.#file.begin(this.#options.clock.seconds());
    this.#isOthers = false;
    this.#write(this.#file);
  }

  /** A successor that came to nothing, and is gone, may have written down what ids mean to it: what they mean here is written again. */
  rewrite(): void {
    if (this.#file === null || this.#isOthers) return;
    // Until it is written the next snapshot tries again.
    this.#written = '';
    this.#wholeBytes = 0;
    this.#write(this.#file);
  }

  /** The file is somebody else's, or stays so: `close` changes nothing of it. */
  leave(): void {
    this.#isOthers = true;
    this.#wholeBytes = 0;
  }

  #pickUp(path: string, options: FlowFileOptions): void {
    const { file, fits, why } = FlowFile.open(path, options);
    try {
      this.#adopt(file, fits, why, options);
    } catch (error) {
      file.abandon();
      throw error;
    }
    this.#file = file;
  }

  /** Makes an opened file ours. Throws when there is no room to make it anew; then it is of no use. */
  #adopt(file: FlowFile, fits: boolean, why: string, options: FlowFileOptions): void {
    const { journal } = this.#options;
    const { path } = file;
    const reason = fits ? this.#restore(file, options.now) : why;
    if (fits && reason === '') {
      const { entries, confirmed, afterCrash, resized } = file.pickUp(options, this.#builder.save().backends.next);
      const text = `the flow table of the director before was picked up${afterCrash ? ', which did not stop cleanly' : ''}`;
      this.#outcome = { outcome: 'picked-up', reason: '', pickedUp: { entries, confirmed } };
      journal.record('info', 'flow-file', text, { path, entries, confirmed, resized });
      return;
    }
    if (fits) file.renew(options);
    this.#outcome = { outcome: reason === '' ? 'made' : 'renewed', reason, pickedUp: NOTHING };
    if (reason === '') journal.record('info', 'flow-file', 'a flow table file was made', { path });
    else
      journal.record('warn', 'flow-file', `the flow table file could not be picked up, an empty one was made: ${reason}`, {
        path,
      });
  }

  /** Takes over what entries mean; why that can not be, or an empty text. */
  #restore(file: FlowFile, now: number): string {
    const { state, why } = readIdentities(file.path, file.id);
    if (state === null) return why;
    try {
      this.#builder.restore(state, now);
      return '';
    } catch (error) {
      if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
      this.#builder = new SnapshotBuilder();
      return `its identities are damaged: ${error.message}`;
    }
  }

  /** What the ids of backends and tables mean by now: another builder can go on from there (SnapshotBuilder.restore). */
  identities(): SavedState {
    return this.#builder.save();
  }

  /** The snapshot of a spec; what its ids mean is written down before anybody is given it. Throws what the builder throws. */
  build(spec: Spec, now: number): SnapshotParts {
    const parts = this.#builder.build(spec, now);
    this.#garbage.published(parts, now);
    if (this.#file !== null && !this.#isOthers && this.#written !== this.#builder.changes) this.#write(this.#file);
    return parts;
  }

  /** No thread reads this snapshot any more. */
  release(parts: SnapshotParts): void {
    this.#builder.release(parts);
  }

  #write(file: FlowFile): void {
    const { journal } = this.#options;
    const path = identitiesPath(file.path);
    try {
      this.#writeDown(file);
      this.#written = this.#builder.changes;
      this.#writeFailed = false;
    } catch (error) {
      if (!this.#writeFailed) {
        const hint = 'flows of backends that are new would not outlive a crash; df -h shows how much room there is';
        const { code, message } = error as NodeJS.ErrnoException;
        journal.record('warn', 'flow-file', `whom flows belong to could not be written down: ${message}`, { path, code, hint });
      }
      this.#writeFailed = true;
    }
  }

  /** Whole, or what has changed since it was. */
  #writeDown(file: FlowFile): void {
    const whole = this.#wholeBytes;
    // Until it has gone well the file is not what it should be.
    this.#wholeBytes = 0;
    if (whole > 0 && this.#builder.changedPools <= MOST_ADDED) {
      this.#addedBytes += addToIdentities(file.path, this.#builder.takeChanges());
      this.#wholeBytes = whole;
      // In a task of its own: whoever waits for this change does not wait for that.
      if (this.#addedBytes > Math.max(whole, LEAST_ADDED))
        this.#shorten ??= setTimeout(() => this.#rewriteShort(file), SHORTEN_AFTER);
    } else {
      this.#wholeBytes = writeIdentities(file.path, file.id, this.#builder.save());
      this.#addedBytes = 0;
      this.#builder.told();
    }
  }

  #rewriteShort(file: FlowFile): void {
    this.#shorten = null;
    if (file !== this.#file || this.#isOthers) return;
    this.#wholeBytes = 0;
    this.#write(file);
  }

  /** Lets go of the file, which stays for the next director. After the threads have stopped. */
  close(): void {
    if (this.#shorten !== null) clearTimeout(this.#shorten);
    this.#words = null;
    this.#file?.close(this.#options.clock.seconds(), { handedOver: this.#isOthers });
    this.#file = null;
  }
}
