// Programs of this package for a user who is not root. `ip netns exec` gives each command a mount namespace of its own: in it, /dev/net/tun
// gets the rights that udev's rules give it, and the tree and Node a place that every user may enter (a clone below /root or in a private
// folder is none).

import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { nodeCommand } from '../../src/demo/cast.ts';

/** A number that no database of users knows. */
export const USER = 64_999;

const root = resolve(import.meta.dirname, '../..');

/** A command whose parts `folder` (mode 0755) is prepared for, behind `privileges` (setpriv and its options, or nothing). */
export function commandForUsers(folder: string, privileges: readonly string[], program: string, ...args: string[]): string[] {
  const [node, parameters] = nodeCommand(program, ...args);
  const tree = join(folder, 'tree');
  const binary = join(folder, 'node');
  mkdirSync(tree, { recursive: true });
  writeFileSync(binary, '');
  const prepare =
    `ulimit -c 0; mount --bind '${root}' '${tree}' && mount --bind '${node}' '${binary}' && ` +
    `mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && cd '${tree}' && exec "$@"`;
  return ['sh', '-c', prepare, 'sh', ...privileges, binary, ...parameters.map((word) => word.replace(root, tree))];
}

/** What systemd does with a unit's User, AmbientCapabilities, CapabilityBoundingSet and NoNewPrivileges. */
export function asService(capabilities: string): string[] {
  const list = capabilities.split(' ').map((name) => `+${name.replace('CAP_', '').toLowerCase()}`);
  const sets = ['bounding-set', 'inh-caps', 'ambient-caps'].map((set) => `--${set}=-all,${list.join(',')}`);
  return ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--no-new-privs', ...sets];
}
