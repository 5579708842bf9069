/** Fragments that are held: a share above the whole, a wait longer than what is waited for. */
import type { Draft } from '../draft.ts';
import { DEFAULT_HOLD_PER_SOURCE } from '../schema.ts';
import type { Report } from './index.ts';

export function checkFragments(draft: Draft, report: Report): void {
  if (draft.fragments === null) return;
  const { timeout, 'hold-timeout': holdTimeout, 'hold-packets': holdPackets, 'hold-per-source': holdPerSource } = draft.fragments;
  // Nobody wrote the default: a small hold-packets alone means what it says.
  if (holdPerSource > holdPackets && holdPerSource !== DEFAULT_HOLD_PER_SOURCE) {
    const message = `${holdPerSource} from one address is more than hold-packets, ${holdPackets}: one sender could take all the room; take less`;
    report(['fragments', 'hold-per-source'], 'GD_CONFIG_FRAGMENTS', message);
  }
  if (holdTimeout > timeout) {
    const message = `a fragment would wait ${holdTimeout} s for a packet that is forgotten after timeout, ${timeout} s; take ${timeout} or less`;
    report(['fragments', 'hold-timeout'], 'GD_CONFIG_FRAGMENTS', message);
  }
}
