/** The four things that can happen to a packet. Small integers, because they live in a typed array. */
export const VERDICT_DROP = 0;
export const VERDICT_FORWARD = 1;
export const VERDICT_REPLY = 2;
export const VERDICT_PASS = 3;
/** No verdict: the packet is left out of this pass over its batch, and has its own (pipeline.ts, `again`). Never seen outside. */
export const VERDICT_APART = 4;
/** No verdict yet: a fragment whose datagram is not known was copied aside and comes back in a batch of its own (fragment-hold.ts). */
export const VERDICT_HELD = 5;

export const VERDICTS = ['drop', 'forward', 'reply', 'pass'] as const;
