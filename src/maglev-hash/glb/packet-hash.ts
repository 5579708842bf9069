/** GLB director's packet hash: SipHash-2-4 over the chosen fields of the flow, in the order source address, destination address, ports. */
import { sipHash } from '../siphash.ts';

export interface GlbFields {
  readonly sourceAddress: boolean;
  readonly destinationAddress: boolean;
  readonly sourcePort: boolean;
  readonly destinationPort: boolean;
}

/** GLB's default: what one client does goes to one backend. */
export const GLB_DEFAULT_FIELDS: GlbFields = {
  sourceAddress: true,
  destinationAddress: false,
  sourcePort: false,
  destinationPort: false,
};

/** Two addresses of 16 bytes and two ports, filled up to a whole block. */
const LONGEST = 40;

/** The hash of a table: its key (16 bytes as four words, `sipKey`) and fields. Not to be shared by threads. */
export class GlbHash {
  readonly #key: Int32Array;
  readonly #fields: GlbFields;
  readonly #message = new Int32Array(new ArrayBuffer(LONGEST + 8));
  readonly #bytes = new Uint8Array(this.#message.buffer);
  /** Low and high word of the last hash: the row is in the low 16 bits of the low word. */
  readonly words = new Int32Array(new ArrayBuffer(8));

  constructor(key: Int32Array, fields: GlbFields) {
    this.#key = key;
    this.#fields = fields;
  }

  /**
   * Hashes a flow into `words` and returns the low one (int32). `view`: where the packet lies; source and destination address, of `bytes`
   * (4 or 16) each, at `addressesAt`, one behind the other; source and destination port, in network order, at `portsAt`.
   */
  hash(view: DataView, addressesAt: number, bytes: number, portsAt: number): number {
    const fields = this.#fields;
    this.#message.fill(0);
    let length = 0;
    if (fields.sourceAddress) length = this.#take(view, addressesAt, bytes, length);
    if (fields.destinationAddress) length = this.#take(view, addressesAt + bytes, bytes, length);
    if (fields.sourcePort) length = this.#take(view, portsAt, 2, length);
    if (fields.destinationPort) length = this.#take(view, portsAt + 2, 2, length);
    sipHash(this.#key, this.#message, length, 2, 4, this.words);
    return this.words[0];
  }

  #take(view: DataView, from: number, bytes: number, at: number): number {
    for (let k = 0; k < bytes; k++) this.#bytes[at + k] = view.getUint8(from + k);
    return at + bytes;
  }
}

/** GLB's outer UDP source port: 15 bits of the hash and of `hint`, the client's port (ICMP echo: the IPv4 identification). */
export function glbSourcePort(hash: number, hint: number): number {
  return 0x8000 | ((hash ^ hint) & 0x7fff);
}
