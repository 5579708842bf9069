/**
 * SCTP common header (RFC 9260 §3.1). Ports lie where TCP and UDP have them; the checksum is a CRC32c over the whole packet and covers no
 * pseudo-header, so nothing that is done to the IP header around it changes it.
 *
 *     0             2                  4                  8          12
 *     | source port | destination port | verification tag | checksum | chunks …
 */
import { WIRE_OK, WIRE_TRUNCATED } from './check.ts';
import { crc32c } from './crc32c.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const CHECKSUM = 8;
const HEADER = 12;

export const PROTOCOL_SCTP = 132;
export const HEADER_LENGTH = HEADER;
/** The virtio-net csum_offset of SCTP. */
export const CHECKSUM_AT = CHECKSUM;

/** WIRE_OK when the common header ends at or before `end`. */
export function check(_view: DataView, at: number, end: number): number {
  return end - at < HEADER ? TRUNCATED : OK;
}

/** The checksum of the packet from `at` to `end`, whatever stands in its field: an int32 as `setInt32(…, true)` writes it. */
export function computeChecksum(view: DataView, at: number, end: number): number {
  // RFC 9260 §6.8: computed with the field at zero; Appendix A: the CRC's bytes leave lowest first.
  const state = crc32c(view, at, at + CHECKSUM, -1);
  return ~crc32c(view, at + HEADER, end, zeros(state)) | 0;
}

export function checksum(view: DataView, at: number): number {
  return view.getInt32(at + CHECKSUM, true);
}

export function setChecksum(view: DataView, at: number, value: number): void {
  view.setInt32(at + CHECKSUM, value, true);
}

const ZEROS = new DataView(new ArrayBuffer(4));

function zeros(state: number): number {
  return crc32c(ZEROS, 0, 4, state);
}
