// What is known of a datagram in fragments, unit by unit (8 bytes) in a Set: slow and obvious, the twin of src/pipeline/fragment-table.ts.

export type Tracked = 'ok' | 'duplicate' | 'overlap';

/** Separate ranges that the table follows. */
const MOST_RANGES = 6;

export class SlowDatagram {
  readonly #units = new Set<number>();
  #total = 0;

  #ranges(): number {
    return [...this.#units].filter((unit) => !this.#units.has(unit - 1)).length;
  }

  track(from: number, end: number, isLast: boolean): Tracked {
    const units: number[] = [];
    for (let unit = from / 8; unit * 8 < end; unit++) units.push(unit);
    const seen = units.filter((unit) => this.#units.has(unit));
    const contradicts = this.#total !== 0 && (isLast ? end !== this.#total : end > this.#total);
    const behind = [...this.#units].some((unit) => unit > units[units.length - 1]);
    if (contradicts || (isLast && behind)) return 'overlap';
    if (seen.length === units.length) return 'duplicate';
    if (seen.length > 0) return 'overlap';
    if (isLast) this.#total = end;
    const touches = this.#units.has(units[0] - 1) || this.#units.has(units[units.length - 1] + 1);
    if (touches || this.#ranges() < MOST_RANGES) for (const unit of units) this.#units.add(unit);
    return 'ok';
  }

  get isComplete(): boolean {
    return this.#total !== 0 && this.#units.size === Math.ceil(this.#total / 8);
  }
}

/** The payloads of IPv4 or IPv6 packets that are all fragments of one datagram, put together; throws when a byte is missing or there twice. */
export function reassemble(packets: readonly Uint8Array[]): Uint8Array {
  const parts = packets.map((packet) => {
    const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
    if (packet[0] >> 4 === 4) {
      const field = view.getUint16(6);
      const header = (packet[0] & 15) * 4;
      return { offset: (field & 0x1fff) * 8, more: (field & 0x2000) !== 0, bytes: packet.subarray(header, view.getUint16(2)) };
    }
    if (packet[6] !== 44) throw new Error(`next header ${packet[6]}, not a fragment header`);
    const field = view.getUint16(42);
    return { offset: field & 0xfff8, more: (field & 1) !== 0, bytes: packet.subarray(48, 40 + view.getUint16(4)) };
  });
  parts.sort((a, b) => a.offset - b.offset);
  let end = 0;
  for (const [k, part] of parts.entries()) {
    if (part.offset !== end) throw new Error(`a fragment begins at ${part.offset}, the one before it ends at ${end}`);
    if (part.more === (k === parts.length - 1)) throw new Error(`"more fragments" is ${part.more} at ${part.offset}`);
    end += part.bytes.length;
  }
  const whole = new Uint8Array(end);
  for (const part of parts) whole.set(part.bytes, part.offset);
  return whole;
}
