// What stands as `fix` is what to type: a test that makes findings has each looked at when it ends.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after } from 'node:test';

/** What a command begins with. Prose begins with other words. */
const PROGRAMS = new Set(
  'apt-get chmod echo ethtool gue-director ip ip6tables iptables modprobe nft ps ss sudo sysctl systemctl tracepath'.split(' '),
);

const seen = new Set<string>();

/** The findings, as they came. */
export function typed<T extends { readonly fix: string }>(found: readonly T[]): readonly T[] {
  for (const { fix } of found) if (fix !== '') seen.add(fix);
  return found;
}

after(() => {
  assert.ok(seen.size > 0, 'no finding with a command was seen');
  for (const fix of seen) {
    const { status, stderr } = spawnSync('bash', ['-n', '-c', fix], { encoding: 'utf8' });
    assert.equal(status, 0, `${fix}: ${stderr}`);
    assert.ok(PROGRAMS.has(fix.split(' ')[0]), `no command: ${fix}`);
    // A parameter that is yet to be filled in would be typed as it stands.
    assert.ok(!/\b(FILE|NAME|ADDRESS)\b/.test(fix.replace(/ # .*/, '')), fix);
  }
});
