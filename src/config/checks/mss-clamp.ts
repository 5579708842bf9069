/** Services: a clamp needs a SYN. */
import type { Draft } from '../draft.ts';
import type { Report } from './index.ts';

export function checkMssClamps(draft: Draft, report: Report): void {
  for (const { at, value } of draft.services) {
    if (value.protocol === 'tcp' || value['mss-clamp'] === 'off') continue;
    report([...at, 'mss-clamp'], 'GD_CONFIG_MSS_CLAMP', 'only a TCP connection has a maximum segment size; remove this key');
  }
}
