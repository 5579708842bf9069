/** Everything in this network namespace that carries our tags, and its removal: for `release` and for `clean`. */
import { CodedError } from '../base/errors.ts';
import { withNetlink } from '../raw-socket/netlink.ts';
import { listLinks } from './links.ts';
import { notrackInstalled, removeNotrack, TABLE } from './notrack.ts';
import { deleteOwnRoute, describeRoute, listOwnRoutes } from './routes.ts';

/** One thing of ours on the host. */
export interface Owned {
  readonly kind: 'route' | 'nft-table' | 'file' | 'socket';
  /** A blackhole route: it keeps packets from bouncing while nobody takes them. */
  readonly silences: boolean;
  /** As `ip route` or `nft` would print it. */
  readonly text: string;
  /** The command that would remove it by hand. */
  readonly command: string;
  /** Removes it; no error when it is gone already. Throws CodedError. */
  remove(): void;
}

/** Everything of ours, in the order in which it is to be removed. Throws NetlinkError, and GD_HOST_NFT when nft may not look. */
export function listOwned(): Owned[] {
  return [...listOwnedRoutes(), ...listOwnedTable()];
}

/** Our routes, which anybody may list. Throws NetlinkError. */
export function listOwnedRoutes(): Owned[] {
  const names = new Map(listLinks().map((link) => [link.index, link.name]));
  const routes = listOwnRoutes();
  // Blackholes last: until then no packet of a service can go back to the router.
  routes.sort((a, b) => Number(a.type === 'blackhole') - Number(b.type === 'blackhole'));
  return routes.map((route) => {
    const text = describeRoute(route, names);
    const family = route.prefix.bytes.length === 4 ? '' : ' -6';
    return {
      kind: 'route',
      silences: route.type === 'blackhole',
      text,
      command: `ip${family} route del ${text}`,
      remove: () => withNetlink((socket) => deleteOwnRoute(socket, route, names)),
    };
  });
}

/** Our nftables table, if it is there. Throws CodedError GD_HOST_NFT when we may not look. */
export function listOwnedTable(): Owned[] {
  if (!notrackInstalled()) return [];
  const text = `table ${TABLE}`;
  return [{ kind: 'nft-table', silences: false, text, command: `nft delete ${text}`, remove: removeNotrack }];
}

/** Removes each; one failure does not keep the others. */
export function removeOwned(owned: readonly Owned[]): { removed: Owned[]; failed: { owned: Owned; error: CodedError }[] } {
  const removed: Owned[] = [];
  const failed: { owned: Owned; error: CodedError }[] = [];
  for (const item of owned) {
    try {
      item.remove();
      removed.push(item);
    } catch (error) {
      failed.push({ owned: item, error: asReleaseError(`remove ${item.text}`, error) });
    }
  }
  return { removed, failed };
}

/** Removes everything of ours, or everything but the blackholes, and returns what went wrong; never throws. */
export function removeAllOwned(keepBlackholes = false): CodedError[] {
  try {
    return removeOwned(listOwned().filter(({ silences }) => !(keepBlackholes && silences))).failed.map(({ error }) => error);
  } catch (error) {
    return [asReleaseError('list what is ours on this host', error)];
  }
}

/** A CodedError as it is; anything else as the failure to do `what`. */
export function asReleaseError(what: string, error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  return new CodedError('GD_HOST_RELEASE', `${what}: ${String(error)}`, { hint: 'gue-director clean', cause: error });
}
