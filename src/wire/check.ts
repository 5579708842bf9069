/**
 * What `check(view, at, end)` of a format answers: may the getters be used on the bytes from `at`, of which `end` is the
 * first that does not belong to the frame? Numbers, because the packet path turns them into drop reasons.
 */

/** The header is whole and its own lengths agree with each other and with `end`. */
export const WIRE_OK = 0;
/** The bytes end before the header, or before the length that the header claims. */
export const WIRE_TRUNCATED = 1;
/** The header contradicts itself: wrong version, impossible length. */
export const WIRE_MALFORMED = 2;
