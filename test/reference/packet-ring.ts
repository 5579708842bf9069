// What waits in the receive ring of a packet socket, read slowly and from the documentation (Documentation/networking/packet_mmap.rst, linux/if_packet.h):
// the twin of src/io/packet/frame-walk.ts and block-walk.ts.

const HEADROOM = 128;
const VIRTIO_HEADER = 10;

export interface RingPacket {
  /** Where its bytes lie. */
  readonly from: number;
  readonly to: number;
  /** The frame with its VLAN tag, if it had one. */
  readonly frame: readonly number[];
  /** There was more of it. */
  readonly cut: boolean;
  /** Flags, GSO type, header length, GSO size, checksum start (in the frame with its tag), checksum offset. */
  readonly virtio: readonly number[];
}

export interface RingContent {
  /** In order; `large`: the packet is in the socket's queue. */
  readonly packets: readonly (RingPacket | 'large')[];
  readonly lost: number;
  /** Offsets of the status words of what was read. */
  readonly read: readonly number[];
}

interface Header {
  readonly mac: number;
  readonly captured: number;
  readonly length: number;
  readonly status: number;
  readonly tci: number;
  readonly tpid: number;
}

/** The packet whose header says this, in the bytes from `start` to `end`; null when it makes no sense. */
function packet(memory: Uint8Array, header: Header, start: number, end: number): RingPacket | null {
  const { mac, captured, length, status, tci, tpid } = header;
  if (mac % 2 !== 0 || mac < start + HEADROOM || captured < 14 || captured > 0x7fffffff || mac + captured > end) return null;
  const bytes = [...memory.slice(mac, mac + captured)];
  const view = new DataView(memory.buffer);
  const word = (at: number) => view.getUint16(mac - VIRTIO_HEADER + at, true);
  const tagged = (status & 16) !== 0;
  const type = (status & 64) !== 0 ? tpid : 0x8100;
  const tag = tagged ? [type >> 8, type & 255, tci >> 8, tci & 255] : [];
  return {
    from: mac,
    to: mac + captured,
    frame: [...bytes.slice(0, 12), ...tag, ...bytes.slice(12)],
    cut: captured < length,
    virtio: [
      memory[mac - VIRTIO_HEADER],
      memory[mac - VIRTIO_HEADER + 1],
      word(2),
      word(4),
      (word(6) + tag.length) & 0xffff,
      word(8),
    ],
  };
}

/** Frames from number `from` on. */
export function framesContent(
  memory: Uint8Array,
  { blockBytes, blocks, frameBytes }: { blockBytes: number; blocks: number; frameBytes: number },
  from: number,
): RingContent {
  const view = new DataView(memory.buffer);
  const perBlock = Math.floor(blockBytes / frameBytes);
  const packets: (RingPacket | 'large')[] = [];
  const read: number[] = [];
  let lost = 0;
  for (let k = 0; k < perBlock * blocks; k++) {
    const number = (from + k) % (perBlock * blocks);
    const at = Math.floor(number / perBlock) * blockBytes + (number % perBlock) * frameBytes;
    const status = view.getUint32(at, true);
    if (status % 2 === 0) break;
    read.push(at);
    if ((status & 2) !== 0) {
      packets.push('large');
      continue;
    }
    const header = {
      mac: at + view.getUint16(at + 12, true),
      captured: view.getUint32(at + 8, true),
      length: view.getUint32(at + 4, true),
      status,
      tci: view.getUint16(at + 24, true),
      tpid: view.getUint16(at + 26, true),
    };
    const found = header.captured === header.length ? packet(memory, header, at, at + frameBytes) : null;
    if (found === null) lost++;
    else packets.push(found);
  }
  return { packets, lost, read };
}

/** Blocks from number `from` on. */
export function blocksContent(
  memory: Uint8Array,
  { blockBytes, blocks }: { blockBytes: number; blocks: number },
  from: number,
): RingContent {
  const view = new DataView(memory.buffer);
  const packets: RingPacket[] = [];
  const read: number[] = [];
  let lost = 0;
  for (let k = 0; k < blocks; k++) {
    const start = ((from + k) % blocks) * blockBytes;
    const end = start + blockBytes;
    if (view.getUint32(start + 8, true) % 2 === 0) break;
    read.push(start + 8);
    const count = Math.min(view.getUint32(start + 12, true), Math.floor(blockBytes / 48));
    const first = view.getUint32(start + 16, true);
    let at = start + (first < 48 ? blockBytes : first);
    for (let n = 0; n < count; n++) {
      if (at % 8 !== 0 || at + 48 > end) {
        lost += count - n;
        break;
      }
      const header = {
        mac: at + view.getUint16(at + 24, true),
        captured: view.getUint32(at + 12, true),
        length: view.getUint32(at + 16, true),
        status: view.getUint32(at + 20, true),
        tci: view.getUint16(at + 32, true),
        tpid: view.getUint16(at + 36, true),
      };
      const found = packet(memory, header, at, end);
      if (found === null) lost++;
      else packets.push(found);
      // Packets do not overlap.
      const next = view.getUint32(at, true);
      if (n + 1 < count && (next < (found === null ? 48 : found.to - at) || next > end - at)) {
        lost += count - n - 1;
        break;
      }
      at += next;
    }
  }
  return { packets, lost, read };
}
