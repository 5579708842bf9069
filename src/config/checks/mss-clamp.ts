/** Services: a clamp needs a SYN. */
import type { Draft } from '../draft.ts';
import { protocolNumber } from '../protocol.ts';
import type { Report } from './index.ts';

export function checkMssClamps(draft: Draft, report: Report): void {
  for (const { at, value } of draft.services) {
    const number = protocolNumber(value.protocol);
    if (number === protocolNumber('tcp') || number === protocolNumber('any') || value['mss-clamp'] === 'off') continue;
    report([...at, 'mss-clamp'], 'GD_CONFIG_MSS_CLAMP', 'only a TCP connection has a maximum segment size; remove this key');
  }
}
