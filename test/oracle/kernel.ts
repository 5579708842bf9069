// The host's kernel as judge of segmentation: a super-packet is written into one TUN (or TAP) device that claims every offload, the
// kernel forwards it to a second TUN device that claims none, and so must segment it and complete its checksums first.
//
//     write: | virtio-net header | super-packet |  ──► in0 ──► forward (TTL − 1) ──► out0 ──►  read: segment, segment, …
//
// Forwarding happens inside the write: when it returns, every segment is waiting in the queue of out0, or there will be none.

import { writeFileSync } from 'node:fs';
import {
  closeDescriptor,
  O_NONBLOCK,
  O_RDWR,
  openDescriptor,
  readDescriptor,
  writeDescriptor,
} from '../../src/raw-socket/file.ts';
import { E, errno, errnoName, libc, must } from '../../src/raw-socket/library.ts';
import { type Pinned, pin, retain } from '../../src/raw-socket/memory.ts';
import { Namespace, run, setSysctl } from '../host/namespace.ts';

const ioctl = libc<(fd: number, request: number, at: number) => number>('int ioctl(int fd, unsigned long request, uintptr_t at)');

// linux/if_tun.h
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TUN = 0x0001;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

/** CSUM, TSO4, TSO6, TSO_ECN, USO4, USO6. */
export const EVERY_OFFLOAD = 0x6f;
/** The same and UDP tunnel GSO, with and without outer checksum (Linux ≥ 6.17). */
export const TUNNEL_OFFLOAD = 0x1ef;

export interface DeviceOptions {
  readonly name: string;
  readonly kind: 'tun' | 'tap';
  readonly offload: number;
  /** Bytes of the virtio-net header before each packet; 0 for none. */
  readonly headerBytes: number;
}

/** One queue of a TUN or TAP device in the namespace the thread is in. */
export class Device {
  readonly #descriptor: number;
  readonly #buffer: Pinned = pin(70_000);

  constructor(options: DeviceOptions) {
    this.#descriptor = openDescriptor('/dev/net/tun', O_RDWR | O_NONBLOCK);
    const request = pin(40);
    request.bytes.set(Buffer.from(options.name));
    const header = options.headerBytes > 0 ? IFF_VNET_HDR : 0;
    request.uint16[8] = (options.kind === 'tun' ? IFF_TUN : IFF_TAP) | IFF_NO_PI | header;
    must(ioctl(this.#descriptor, TUNSETIFF, request.address), `TUNSETIFF ${options.name}`);
    retain(request);
    const size = pin(8);
    size.int32[0] = options.headerBytes;
    if (header !== 0) must(ioctl(this.#descriptor, TUNSETVNETHDRSZ, size.address), 'TUNSETVNETHDRSZ');
    retain(size);
    const accepted = ioctl(this.#descriptor, TUNSETOFFLOAD, options.offload);
    if (accepted < 0) {
      const reason = errnoName(errno());
      this.close();
      throw new Error(`TUNSETOFFLOAD 0x${options.offload.toString(16)}: ${reason}`);
    }
  }

  /** Writes the pieces as one packet. Answers null, or the name of the kernel's error. */
  write(...pieces: Uint8Array[]): string | null {
    let length = 0;
    for (const piece of pieces) {
      this.#buffer.bytes.set(piece, length);
      length += piece.length;
    }
    return writeDescriptor(this.#descriptor, this.#buffer.address, length) < 0 ? errnoName(errno()) : null;
  }

  /** The next packet that the kernel sent out of this device, or null. */
  read(): Uint8Array | null {
    const bytes = readDescriptor(this.#descriptor, this.#buffer.address, 70_000);
    if (bytes >= 0) return this.#buffer.bytes.slice(0, bytes);
    if (errno() !== E.EAGAIN) throw new Error(`read: ${errnoName(errno())}`);
    return null;
  }

  close(): void {
    closeDescriptor(this.#descriptor);
  }
}

/** virtio-net facts of a frame as they are written, little-endian; `tunnel` is there in the header of 24 bytes only. */
export interface Facts {
  readonly flags: number;
  readonly gsoType: number;
  readonly headerLength: number;
  readonly gsoSize: number;
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly tunnel?: { readonly outerTransportAt: number; readonly innerNetworkAt: number };
}

function virtioHeader(facts: Facts, bytes: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(bytes));
  view.setUint8(0, facts.flags);
  view.setUint8(1, facts.gsoType);
  view.setUint16(2, facts.headerLength, true);
  view.setUint16(4, facts.gsoSize, true);
  view.setUint16(6, facts.csumStart, true);
  view.setUint16(8, facts.csumOffset, true);
  if (facts.tunnel !== undefined) {
    view.setUint16(20, facts.tunnel.outerTransportAt, true);
    view.setUint16(22, facts.tunnel.innerNetworkAt, true);
  }
  return new Uint8Array(view.buffer);
}

export interface Verdict {
  /** Name of the error that the write was refused with; null when it was taken. */
  readonly refused: string | null;
  /** What came out. Nothing, from a packet that was taken, is a silent refusal. */
  readonly segments: readonly Uint8Array[];
}

/** Destination address of frames for the TAP device. */
export const TAP_MAC = Uint8Array.of(2, 0, 0, 0, 0, 9);

/** A namespace of its own with the two devices; what goes to 10.9.0.0/16 and fd00:9::/32 leaves by the second. */
export class KernelSegmenter {
  readonly #space = new Namespace();
  readonly #headerBytes: number;
  #in: Device | undefined;
  #out: Device | undefined;

  constructor(kind: 'tun' | 'tap', offload: number, headerBytes: number) {
    this.#headerBytes = headerBytes;
    try {
      this.#space.inside(() => {
        this.#in = new Device({ name: 'in0', kind, offload, headerBytes });
        this.#out = new Device({ name: 'out0', kind: 'tun', offload: 0, headerBytes: 0 });
        setSysctl('net/ipv4/ip_forward', 1);
        setSysctl('net/ipv6/conf/all/forwarding', 1);
        for (const device of ['all', 'in0']) setSysctl(`net/ipv4/conf/${device}/rp_filter`, 0);
        if (kind === 'tap')
          run(
            `ip link set in0 address ${Buffer.from(TAP_MAC)
              .toString('hex')
              .replace(/..(?=.)/g, '$&:')}`,
          );
        run('ip link set in0 mtu 65521 up');
        // The largest MTU: the kernel may not answer "too big" for any segment size.
        run('ip link set out0 mtu 65535 txqueuelen 20000 up');
        for (const device of ['in0', 'out0']) writeFileSync(`/proc/sys/net/ipv6/conf/${device}/router_solicitations`, '0');
        run('ip route add 10.9.0.0/16 dev out0');
        run('ip -6 route add fd00:9::/32 dev out0');
      });
      this.drain();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Runs `work` in the devices' namespace. */
  inside<T>(work: () => T): T {
    return this.#space.inside(work);
  }

  /** What the kernel makes of `packet` (with its Ethernet header on TAP). */
  segment(facts: Facts, packet: Uint8Array): Verdict {
    const refused = (this.#in as Device).write(virtioHeader(facts, this.#headerBytes), packet);
    return { refused, segments: this.drain() };
  }

  /** Every packet waiting at the way out, but for the kernel's own multicasts (neighbour discovery, MLD) and answers. */
  drain(): Uint8Array[] {
    const found: Uint8Array[] = [];
    for (;;) {
      const packet = (this.#out as Device).read();
      if (packet === null) return found;
      if (packet[0] >> 4 === 4 ? packet[16] === 10 : packet[24] === 0xfd) found.push(packet);
    }
  }

  close(): void {
    this.#in?.close();
    this.#out?.close();
    this.#space.close();
  }
}
