/** The outer UDP source port of a flow. */

/**
 * Outer UDP source port: the flow keeps its port, flows spread over all ports, so that ECMP and RSS on the way spread flows.
 * The high half is folded in because the table's slot is taken from the hash as a whole.
 */
export function sourcePortOf(flowHash: number, base: number, mask: number): number {
  return base + ((flowHash ^ (flowHash >>> 16)) & mask);
}
