// What is left after a director ends, politely or not. The tests themselves lie with the daemon and the host; this runs all of them.

import type { Line, Scale } from './line.ts';
import { suiteRounds } from './suite-rounds.ts';

/** Beginnings of the paths of the test files. */
const FILES = ['test/daemon/', 'test/host/', 'src/daemon/'];
const REPEATS: Readonly<Record<Scale, number>> = { full: 5, scaled: 1 };

export const lifecycle: Line = {
  name: 'lifecycle',
  claim:
    'SIGTERM and Ctrl-C leave no device, route, rule or process; kill -9 leaves only what gue-director clean lists; no packet to the VIP is bounced afterwards; an error in a forwarding thread is never silent.',
  twin: 'test/daemon/run.test.ts',
  repeatsTwin: true,
  run: async (scale) => suiteRounds(FILES, REPEATS[scale]),
};
