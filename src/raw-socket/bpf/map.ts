/** Maps: what a program looks up and this process writes. They live as long as somebody has a descriptor or a program that uses them. */
import { CodedError } from '../../base/errors.ts';
import { closeDescriptor } from '../file.ts';
import { E, errno } from '../library.ts';
import { pin, storeAddress } from '../memory.ts';
import {
  BPF_MAP_CREATE,
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
  bpf,
  bpfError,
  bpfParameters,
  tryBpf,
} from './call.ts';

/** enum bpf_map_type */
const TYPES = { array: 2, 'longest-prefix': 11, sockets: 17 } as const;
/** Longest-prefix maps take nothing else: entries are made when they are added. */
const BPF_F_NO_PREALLOC = 1;
const NAME_AT = 28;
const NAME_BYTES = 16;

export interface BpfMapShape {
  /** `longest-prefix`: keys begin with their length in bits as u32. `sockets`: AF_XDP sockets by number (XSKMAP), values are descriptors. */
  readonly type: keyof typeof TYPES;
  /** Up to 15 letters, digits, `_` or `.`: `bpftool map` shows it. */
  readonly name: string;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly entries: number;
}

export class BpfMap {
  readonly descriptor: number;
  readonly shape: BpfMapShape;
  readonly #parameters = bpfParameters();
  readonly #key;
  readonly #value;

  /** A map of that shape that somebody has created. */
  constructor(shape: BpfMapShape, descriptor: number) {
    this.shape = shape;
    this.descriptor = descriptor;
    this.#key = pin(shape.keyBytes);
    this.#value = pin(Math.max(shape.valueBytes, shape.keyBytes));
  }

  /** Throws CodedError GD_RAW_SOCKET_BPF. */
  static create(shape: BpfMapShape): BpfMap {
    const parameters = bpfParameters();
    parameters.int32[0] = TYPES[shape.type];
    parameters.int32[1] = shape.keyBytes;
    parameters.int32[2] = shape.valueBytes;
    parameters.int32[3] = shape.entries;
    parameters.int32[4] = shape.type === 'longest-prefix' ? BPF_F_NO_PREALLOC : 0;
    parameters.bytes.set(new TextEncoder().encode(shape.name.slice(0, NAME_BYTES - 1)), NAME_AT);
    return new BpfMap(shape, bpf(BPF_MAP_CREATE, parameters, NAME_AT + NAME_BYTES, `create map ${shape.name}`));
  }

  /** Adds or replaces an entry, at one moment for the programs that look. Throws GD_RAW_SOCKET_BPF_FULL when there is no room for another. */
  set(key: Uint8Array, value: Uint8Array): void {
    this.#value.bytes.set(value);
    if (this.#element(BPF_MAP_UPDATE_ELEM, key) >= 0) return;
    const number = errno();
    if (number !== E.ENOSPC && number !== E.E2BIG) throw bpfError(`write to map ${this.shape.name}`, number);
    throw new CodedError(
      'GD_RAW_SOCKET_BPF_FULL',
      `map ${this.shape.name} is full: it has room for ${this.shape.entries} entries`,
    );
  }

  /** The value, or null. */
  get(key: Uint8Array): Uint8Array | null {
    if (this.#element(BPF_MAP_LOOKUP_ELEM, key) >= 0) return this.#value.bytes.slice(0, this.shape.valueBytes);
    if (errno() !== E.ENOENT) throw bpfError(`read of map ${this.shape.name}`, errno());
    return null;
  }

  /** False when there was none. */
  delete(key: Uint8Array): boolean {
    if (this.#element(BPF_MAP_DELETE_ELEM, key) >= 0) return true;
    if (errno() !== E.ENOENT) throw bpfError(`delete from map ${this.shape.name}`, errno());
    return false;
  }

  /** Every key, in the kernel's order. Nobody may change the map meanwhile. */
  keys(): Uint8Array[] {
    const found: Uint8Array[] = [];
    const { keyBytes, name } = this.shape;
    for (let key: Uint8Array | null = null; ; key = found[found.length - 1]) {
      const result = this.#element(BPF_MAP_GET_NEXT_KEY, key);
      if (result < 0 && errno() === E.ENOENT) return found;
      if (result < 0) throw bpfError(`list of map ${name}`, errno());
      found.push(this.#value.bytes.slice(0, keyBytes));
    }
  }

  close(): void {
    closeDescriptor(this.descriptor);
  }

  /**
   *     | u32 map descriptor | pad | u64 key | u64 value, or next key | u64 flags: 0, add or replace |
   */
  #element(command: number, key: Uint8Array | null): number {
    if (key !== null && key.length !== this.shape.keyBytes) {
      throw new RangeError(`a key of ${key.length} bytes for map ${this.shape.name}`);
    }
    if (key !== null) this.#key.bytes.set(key);
    this.#parameters.int32[0] = this.descriptor;
    storeAddress(this.#parameters.int32, 2, key === null ? 0 : this.#key.address);
    // Deleting takes no value, and a parameter that the kernel does not expect is EINVAL.
    storeAddress(this.#parameters.int32, 4, command === BPF_MAP_DELETE_ELEM ? 0 : this.#value.address);
    return tryBpf(command, this.#parameters, 32);
  }
}
