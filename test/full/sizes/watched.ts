// A view over an arena that knows which bytes mean anything: those of the frames, and those that were written since. A read of any other
// is remembered, in the order of the reads.

/** The library's type of DataView has a constructor for each kind of buffer, none of which a class can extend. */
const View = DataView as new (buffer: ArrayBufferLike, at: number, length: number) => DataView;

export class WatchedView extends View {
  readonly #known: Uint8Array;
  readonly stray: string[] = [];

  constructor(bytes: Uint8Array) {
    super(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#known = new Uint8Array(bytes.length);
  }

  /** Forgets everything but the frame of `length` bytes at `at`. */
  expect(at: number, length: number): void {
    this.#known.fill(0);
    this.#known.fill(1, at, at + length);
    this.stray.length = 0;
  }

  #read(at: number, length: number): void {
    for (let k = at; k < at + length; k++) {
      if (this.#known[k] !== 1 && this.stray.length < 4) this.stray.push(`${length} bytes at ${at}`);
    }
  }

  #write(at: number, length: number): void {
    this.#known.fill(1, at, at + length);
  }

  override getUint8(at: number): number {
    this.#read(at, 1);
    return super.getUint8(at);
  }

  override getInt8(at: number): number {
    this.#read(at, 1);
    return super.getInt8(at);
  }

  override getUint16(at: number, little?: boolean): number {
    this.#read(at, 2);
    return super.getUint16(at, little);
  }

  override getInt16(at: number, little?: boolean): number {
    this.#read(at, 2);
    return super.getInt16(at, little);
  }

  override getUint32(at: number, little?: boolean): number {
    this.#read(at, 4);
    return super.getUint32(at, little);
  }

  override getInt32(at: number, little?: boolean): number {
    this.#read(at, 4);
    return super.getInt32(at, little);
  }

  override setUint8(at: number, value: number): void {
    this.#write(at, 1);
    super.setUint8(at, value);
  }

  override setInt8(at: number, value: number): void {
    this.#write(at, 1);
    super.setInt8(at, value);
  }

  override setUint16(at: number, value: number, little?: boolean): void {
    this.#write(at, 2);
    super.setUint16(at, value, little);
  }

  override setInt16(at: number, value: number, little?: boolean): void {
    this.#write(at, 2);
    super.setInt16(at, value, little);
  }

  override setUint32(at: number, value: number, little?: boolean): void {
    this.#write(at, 4);
    super.setUint32(at, value, little);
  }

  override setInt32(at: number, value: number, little?: boolean): void {
    this.#write(at, 4);
    super.setInt32(at, value, little);
  }
}
