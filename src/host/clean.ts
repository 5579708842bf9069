/** `gue-director clean`: what a crash left in this network namespace, and its removal. */
import { CodedError, EXIT } from '../base/errors.ts';
import { listOwned, listOwnedRoutes, listOwnedTable, type Owned, removeOwned } from './owned.ts';
import { type LeftFiles, listDeadSockets, listOwnedFiles } from './owned-files.ts';
import { takeOwnerLock } from './ownership.ts';

export interface CleanReport {
  /** Everything of ours that was there, in order of removal. */
  readonly found: { readonly kind: Owned['kind']; readonly text: string; readonly command: string }[];
  /** Texts of what was removed; empty with dryRun. */
  readonly removed: string[];
  readonly failed: { readonly text: string; readonly error: string }[];
  /** What could not be looked at, and why; only with dryRun: a removal needs to know. */
  readonly unknown: { readonly text: string; readonly error: string }[];
}

/**
 * Lists what a director that did not stop cleanly left, and removes it unless `dryRun`. A TUN device needs no cleaning: it ends with
 * its process. `files`: where the files are that it leaves for its successor; absent: nowhere. Throws CodedError GD_HOST_OWNED while a live director owns this network namespace, NetlinkError when the kernel can
 * not be asked, and without `dryRun` GD_HOST_NFT when nft may not look.
 */
export function clean(options: { dryRun: boolean; files?: LeftFiles }): CleanReport {
  // Held while we remove, so that no director starts in between.
  const lock = takeOwnerLock();
  try {
    const left = options.files;
    const files = left === undefined ? [] : [...listOwnedFiles(left), ...listDeadSockets(left)];
    if (options.dryRun) return listAll(files);
    const owned = [...listOwned(), ...files];
    const { removed, failed } = removeOwned(owned);
    return {
      found: owned.map(told),
      removed: removed.map(({ text }) => text),
      failed: failed.map(({ owned: { text }, error }) => ({ text, error: error.message })),
      unknown: [],
    };
  } finally {
    lock.release();
  }
}

function told({ kind, text, command }: Owned): CleanReport['found'][number] {
  return { kind, text, command };
}

/** Routes can be listed without privilege, nftables can not: says what can be seen. */
function listAll(files: readonly Owned[]): CleanReport {
  const report = { removed: [], failed: [], unknown: [] };
  const routes = listOwnedRoutes().map(told);
  try {
    return { ...report, found: [...routes, ...[...listOwnedTable(), ...files].map(told)] };
  } catch (error) {
    if (!(error instanceof CodedError && error.exitCode === EXIT.PRIVILEGE)) throw error;
    return { ...report, found: [...routes, ...files.map(told)], unknown: [{ text: 'nftables', error: error.message }] };
  }
}

/** The report for people, ending with a newline. */
export function renderClean(report: CleanReport, dryRun: boolean): string {
  const unknown = report.unknown.map(({ text, error }) => `unknown: ${text}: ${error}\n`).join('');
  if (report.found.length === 0) return unknown === '' ? 'nothing to clean\n' : unknown;
  if (dryRun) return report.found.map(({ text, command }) => `would remove ${text}\n  by hand: ${command}\n`).join('') + unknown;
  const failed = report.failed.map(({ text, error }) => `could not remove ${text}: ${error}\n`);
  return [...report.removed.map((text) => `removed ${text}\n`), ...failed].join('');
}

/** The error of a run that left something behind or could not see everything, or null. */
export function cleanFailure(report: CleanReport): CodedError | null {
  if (report.unknown.length > 0) {
    return new CodedError('GD_HOST_CLEAN', 'not everything could be looked at: the list is not complete', {
      exitCode: EXIT.PRIVILEGE,
      hint: 'run as root, or give the process CAP_NET_ADMIN',
    });
  }
  if (report.failed.length === 0) return null;
  return new CodedError('GD_HOST_CLEAN', `${report.failed.length} of ${report.found.length} could not be removed`, {
    hint: 'gue-director clean --dry-run shows the commands to type',
  });
}
