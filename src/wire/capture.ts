/** A capture file of either format, read record by record. */
import { CaptureInMemory, type CaptureSource } from './capture-source.ts';
import { PcapReader } from './pcap.ts';
import { isPcapng, PcapngReader } from './pcapng.ts';

export interface CaptureReader {
  /** What of the file is at hand; another one after `next`, maybe. */
  readonly bytes: Uint8Array;
  /** For messages. */
  readonly name: string;
  /** LINKTYPE_ of the present record's interface (pcap.ts); before the first `next`, of the file if the format tells. */
  readonly linkType: number;
  /** The present record: where its frame starts in `bytes`, bytes captured, bytes on the wire. */
  readonly at: number;
  readonly length: number;
  readonly originalLength: number;
  /** Time of the record since 1970; 0 when it has none. */
  readonly seconds: number;
  readonly nanoseconds: number;
  /** Comment on the record, '' when none (pcapng only). */
  readonly comment: string;
  /** Moves to the next record. False at the end of the file. Throws CodedError GD_WIRE_CAPTURE_FORMAT or GD_WIRE_CAPTURE_TRUNCATED. */
  next(): boolean;
}

/** A reader for the format that the first bytes tell. Throws CodedError GD_WIRE_CAPTURE_FORMAT when it is neither pcap nor pcapng. */
export function openCapture(capture: Uint8Array | CaptureSource, name = 'capture'): CaptureReader {
  const source = capture instanceof Uint8Array ? new CaptureInMemory(capture) : capture;
  const at = source.reach(0, Math.min(source.size, 4));
  // What is neither is told by the reader of pcap.
  return isPcapng(source.bytes.subarray(at, at + source.size)) ? new PcapngReader(source, name) : new PcapReader(source, name);
}
