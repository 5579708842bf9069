// The status page in a real browser. The tests themselves lie in test/page; this runs all of them.

import type { Line, Scale } from './line.ts';
import { suiteRounds } from './suite-rounds.ts';

/** Beginnings of the paths of the test files. */
const FILES = ['test/page/', 'src/admin/page/'];
const REPEATS: Readonly<Record<Scale, number>> = { full: 3, scaled: 1 };

export const statusPage: Line = {
  name: 'status-page',
  claim:
    'The status page in headless Chromium, light, dark and on a phone: every interaction tested, no console error, no request to another origin, usable by keyboard, nothing that axe-core objects to; without JavaScript the tables and the explain box are there.',
  twin: 'test/page/page.test.ts',
  repeatsTwin: true,
  run: async (scale) => suiteRounds(FILES, REPEATS[scale]),
};
