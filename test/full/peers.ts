// Katran and GLB director: their own test vectors, in order.

import type { Line, Outcome } from './line.ts';
import * as glb from './peers/glb.ts';
import * as katran from './peers/katran.ts';
import { type Account, newAccount, peerVectors } from './peers/vectors.ts';

/** As many complaints as can be read. */
const SHOWN = 20;

async function run(): Promise<Outcome> {
  const vectors = peerVectors();
  if (vectors === null) return { passed: false, figures: { skipped: 'the vectors of peers are not beside the repository' } };
  const parts: readonly [string, (account: Account) => void][] = [
    ['Katran: hashes of backends, rings, packet hashes and choices', (account) => katran.checkRings(vectors.katran, account)],
    ['Katran: whole packets, in order', (account) => katran.checkPackets(vectors.katran, account)],
    ['GLB: rows and whole tables', (account) => glb.checkTables(vectors.glb, account)],
    ['GLB: routes with all hops, states, binds', (account) => glb.checkRoutes(vectors.glb, account)],
    ['GLB: whole packets', (account) => glb.checkPackets(vectors.glb, account)],
  ];
  const figures: Record<string, number | string> = {};
  const wrong: string[] = [];
  const apart = new Map<string, string[]>();
  for (const [name, check] of parts) {
    const account = newAccount();
    check(account);
    figures[name] = `${account.held} of ${account.held + account.wrong.length} hold`;
    wrong.push(...account.wrong);
    for (const [reason, names] of account.apart) apart.set(reason, [...(apart.get(reason) ?? []), ...names]);
  }
  for (const [reason, names] of apart) figures[`not ours: ${reason}`] = names.join(', ');
  figures.complaints = wrong.slice(0, SHOWN).join(' | ') || 'none';
  return { passed: wrong.length === 0, figures };
}

export const peers: Line = {
  name: 'peers',
  claim:
    'Every vector of Katran and of GLB director that concerns what we do holds, in order: rings, rows, tables, choices, and whole packets byte for byte, with the outer checksum right where Katran’s own is wrong.',
  twin: 'test/full/peers.test.ts',
  run,
};
