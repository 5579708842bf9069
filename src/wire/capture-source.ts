/** Where a capture's bytes come from: memory, or a file of which only a part is at hand (io/pcap-file/capture-window.ts). Read forwards. */
export interface CaptureSource {
  /** Bytes of all of it. */
  readonly size: number;
  /** What is at hand, and a view of the same. Others after `reach`. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /**
   * Has the capture's bytes from `at` at hand, `length` of them, which must lie within `size`. Returns where in `bytes` they begin; what was at hand before may be
   * gone. Throws CodedError when they can not be read.
   */
  reach(at: number, length: number): number;
}

export class CaptureInMemory implements CaptureSource {
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.size = bytes.length;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  reach(at: number): number {
    return at;
  }
}
