/** `gue-director clean`: what a crash left in this network namespace, and its removal. */
import { CodedError } from '../base/errors.ts';
import { listOwned, type Owned, removeOwned } from './owned.ts';
import { takeOwnerLock } from './ownership.ts';

export interface CleanReport {
  /** Everything of ours that was there, in order of removal. */
  readonly found: { readonly kind: Owned['kind']; readonly text: string; readonly command: string }[];
  /** Texts of what was removed; empty with dryRun. */
  readonly removed: string[];
  readonly failed: { readonly text: string; readonly error: string }[];
}

/**
 * Lists what a director that did not stop cleanly left, and removes it unless `dryRun`. A TUN device needs no cleaning: it ends with
 * its process. Throws CodedError GD_HOST_OWNED while a live director owns this network namespace, NetlinkError when the kernel can
 * not be asked.
 */
export function clean(options: { dryRun: boolean }): CleanReport {
  // Held while we remove, so that no director starts in between.
  const lock = takeOwnerLock();
  try {
    const owned = listOwned();
    const found = owned.map(({ kind, text, command }) => ({ kind, text, command }));
    if (options.dryRun) return { found, removed: [], failed: [] };
    const { removed, failed } = removeOwned(owned);
    return {
      found,
      removed: removed.map(({ text }) => text),
      failed: failed.map(({ owned: { text }, error }) => ({ text, error: error.message })),
    };
  } finally {
    lock.release();
  }
}

/** The report for people, ending with a newline. */
export function renderClean(report: CleanReport, dryRun: boolean): string {
  if (report.found.length === 0) return 'nothing to clean\n';
  if (dryRun) return report.found.map(({ text, command }) => `would remove ${text}\n  by hand: ${command}\n`).join('');
  const failed = report.failed.map(({ text, error }) => `could not remove ${text}: ${error}\n`);
  return [...report.removed.map((text) => `removed ${text}\n`), ...failed].join('');
}

/** The error of a run that left something behind, or null. */
export function cleanFailure(report: CleanReport): CodedError | null {
  if (report.failed.length === 0) return null;
  return new CodedError('GD_HOST_CLEAN', `${report.failed.length} of ${report.found.length} could not be removed`, {
    hint: 'gue-director clean --dry-run shows the commands to type',
  });
}
