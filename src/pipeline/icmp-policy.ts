/** What a spec says of ICMP → header words of the snapshot. */
import * as L from './layout.ts';
import type { IcmpSpec } from './spec.ts';

const ECHO = { answer: L.ICMP_ANSWER, forward: L.ICMP_STEER, drop: L.ICMP_DROP } as const;
const ERRORS = { forward: L.ICMP_STEER, drop: L.ICMP_DROP } as const;

/** Fills H_ICMP_ECHO and H_ICMP_ERRORS of a root block. `icmp` absent: pings are answered, errors forwarded. */
export function writeIcmp(words: Int32Array, icmp: IcmpSpec | undefined): void {
  words[L.H_ICMP_ECHO] = ECHO[icmp?.echo ?? 'answer'];
  words[L.H_ICMP_ERRORS] = ERRORS[icmp?.errors ?? 'forward'];
}
