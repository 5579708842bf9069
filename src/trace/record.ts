/**
 * One traced packet as a forwarding thread notes it: numbers as the batch had them, the packet as it came, and every packet that left for it. Little-endian 32-bit words, but
 * where said.
 *
 *     0 length   4 generation   8 milliseconds since boot, f64   16 verdict   20 reason   24 service   28 backend
 *     32 bytes of the packet    36 of these kept   40 flags   44 gso type   48 gso size   52 encapsulation   56 source port   60 packets that left
 *     64 the packet as it came, padded to 4; then for each packet that left:
 *        | its bytes 4 | of these kept 4 | kind 1, 0, segments the kernel makes of it 2 | payload of each 2, headers of each 2 | the bytes, padded to 4 |
 */
export const RECORD_HEADER = 64;
export const LEFT_HEADER = 16;
export const AT_GENERATION = 4;
export const AT_TIME = 8;
export const AT_VERDICT = 16;
export const AT_REASON = 20;
export const AT_SERVICE = 24;
export const AT_BACKEND = 28;
export const AT_LENGTH = 32;
export const AT_KEPT = 36;
export const AT_FLAGS = 40;
export const AT_GSO_TYPE = 44;
export const AT_GSO_SIZE = 48;
export const AT_ENCAPSULATION = 52;
export const AT_SOURCE_PORT = 56;
export const AT_LEFT = 60;

/** The frame carried no IP packet: its bytes are not kept. */
export const FLAG_NOT_IP = 1;
/** Its checksum is a partial one, as a sender on this host or a device leaves it. */
export const FLAG_PARTIAL_CHECKSUM = 2;

/** By the egress, to a backend. */
export const LEFT_FORWARD = 0;
/** By the ingress, to whoever sent it. */
export const LEFT_REPLY = 1;

/** A packet that left. */
export interface LeftRecord {
  readonly kind: typeof LEFT_FORWARD | typeof LEFT_REPLY;
  readonly length: number;
  /** Its first bytes. */
  readonly bytes: Uint8Array;
  /** Above 1: the kernel cuts it into so many, of `segmentSize` bytes of payload each but the last, each behind `headers` bytes. */
  readonly segments: number;
  readonly segmentSize: number;
  readonly headers: number;
}

export interface TraceRecord {
  readonly generation: number;
  /** Milliseconds since boot. */
  readonly time: number;
  readonly verdict: number;
  readonly reason: number;
  /** Id; −1 for none. The same in every snapshot, as the backend's. */
  readonly service: number;
  readonly backend: number;
  readonly length: number;
  readonly bytes: Uint8Array;
  readonly flags: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly encapsulation: number;
  readonly sourcePort: number;
  readonly left: readonly LeftRecord[];
}

/** Copies the record at `at` out of the ring. */
export function readRecord(view: DataView, at: number): TraceRecord {
  const word = (offset: number) => view.getInt32(at + offset, true);
  const copy = (from: number, length: number) => new Uint8Array(view.buffer, view.byteOffset + from, length).slice();
  const kept = word(AT_KEPT);
  let here = at + RECORD_HEADER + padded(kept);
  const left = Array.from({ length: word(AT_LEFT) }, (): LeftRecord => {
    const bytes = view.getInt32(here + 4, true);
    const kinds = view.getInt32(here + 8, true);
    const one = {
      kind: (kinds & 0xff) as LeftRecord['kind'],
      length: view.getInt32(here, true),
      bytes: copy(here + LEFT_HEADER, bytes),
      segments: kinds >>> 16,
      segmentSize: view.getUint16(here + 12, true),
      headers: view.getUint16(here + 14, true),
    };
    here += LEFT_HEADER + padded(bytes);
    return one;
  });
  return {
    generation: word(AT_GENERATION),
    time: view.getFloat64(at + AT_TIME, true),
    verdict: word(AT_VERDICT),
    reason: word(AT_REASON),
    service: word(AT_SERVICE),
    backend: word(AT_BACKEND),
    length: word(AT_LENGTH),
    bytes: copy(at + RECORD_HEADER, kept),
    flags: word(AT_FLAGS),
    gsoType: word(AT_GSO_TYPE),
    gsoSize: word(AT_GSO_SIZE),
    encapsulation: word(AT_ENCAPSULATION),
    sourcePort: word(AT_SOURCE_PORT),
    left,
  };
}

export function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}
