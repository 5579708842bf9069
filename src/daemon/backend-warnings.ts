/** What is known against a backend that still gets packets: for whoever asks where a packet goes and has to know whether it arrives. */
import type { StatusBackend } from '../admin/status.ts';
import { UNREACHABLE_WORDS } from './unreachable-journal.ts';

/** Seconds after which an ICMP error may be about what has been mended. */
const RECENT = 600;

/** Sentences, the worst first; none when all is well. */
export function backendWarnings({ unreachable, health }: Pick<StatusBackend, 'unreachable' | 'health'>): string[] {
  const warnings: string[] = [];
  if (unreachable !== null && unreachable.last !== null && unreachable.age !== null && unreachable.age <= RECENT) {
    const word = UNREACHABLE_WORDS[unreachable.last as keyof typeof UNREACHABLE_WORDS] ?? unreachable.last;
    warnings.push(`packets to it did not arrive: ICMP said "${word}" ${unreachable.age} s ago`);
  }
  for (const { check, good, contrary, detail } of health?.checks ?? []) {
    if (!good) warnings.push(`its check ${check} is bad: ${detail ?? 'no answer'}`);
    else if (contrary > 0)
      warnings.push(`its check ${check} has failed ${contrary === 1 ? 'once' : `${contrary} times in a row`}: ${detail ?? ''}`);
  }
  if (health !== null && !health.up && health.serves)
    warnings.push('its checks are bad; it serves because too few others are good');
  return warnings;
}
