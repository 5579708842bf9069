/** Opens drivers by their configuration, and the memory that a forwarding thread's batches live in. */
import { Arena, BATCH_RECORDS, LARGE_STRIDE } from '../base/arena.ts';
import { Batch } from '../base/batch.ts';
import { createBank } from '../base/counters.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { AutoEgress } from './auto/egress.ts';
import type { Egress, Ingress, MappedBatch } from './driver.ts';
import { MemoryEgress } from './memory/egress.ts';
import { MemoryIngress } from './memory/ingress.ts';
import { PacketEgress } from './packet/egress.ts';
import { fanoutGroup } from './packet/fanout.ts';
import type { ServiceMatch } from './packet/filter.ts';
import { openPacketIngress } from './packet/ingress.ts';
import type { RingKind } from './packet/ring.ts';
import { mapPacketMemory } from './packet-memory.ts';
import { PcapFileEgress } from './pcap-file/egress.ts';
import { PcapFileIngress } from './pcap-file/ingress.ts';
import { RawEgress } from './raw/egress.ts';
import { TapIngress } from './tap/ingress.ts';
import { TapOffloadEgress } from './tap-offload/egress.ts';
import { TunIngress } from './tun/ingress.ts';
import { UdpEgress } from './udp/egress.ts';
import type { GateEnd } from './xdp/gate.ts';
import { XdpIngress } from './xdp/ingress.ts';
import { openXdpEgress } from './xdp/open-egress.ts';

export type { MappedBatch } from './driver.ts';

/** The ingress part of a configuration; `config/` produces exactly this shape. */
export type IngressSettings =
  | { readonly driver: 'tun'; readonly device: string; readonly queueLength?: number }
  | {
      readonly driver: 'tap';
      readonly device: string;
      /** 6 bytes; null or absent: derived from host and device. */
      readonly mac?: Uint8Array | null;
      /** The bridge whose port the device is; null or absent: the kernel routes to it. */
      readonly bridge?: string | null;
      readonly queueLength?: number;
    }
  | { readonly driver: 'packet'; readonly interface: string; readonly ring?: RingKind }
  | { readonly driver: 'xdp'; readonly interface: string; readonly zeroCopy?: boolean }
  | { readonly driver: 'pcap-file'; readonly path: string }
  | { readonly driver: 'memory' };

/** The egress part of a configuration. */
export type EgressSettings =
  | { readonly driver: 'auto'; readonly sourcePortBase: number; readonly sourcePorts: number }
  | { readonly driver: 'raw' }
  | { readonly driver: 'udp'; readonly sourcePortBase: number; readonly sourcePorts: number }
  | { readonly driver: 'tap-offload'; readonly device: string }
  | { readonly driver: 'packet' | 'xdp'; readonly interface: string }
  | { readonly driver: 'pcap-file'; readonly path: string }
  | { readonly driver: 'memory' };

/** What an egress that writes link headers needs beside its settings. */
export interface LinkOptions {
  /** The thread's ingress: on the same interface both share a socket and its memory. */
  readonly ingress: Ingress | null;
  /** Memory of `NextHops`, which main keeps current. */
  readonly nextHops: ArrayBufferLike;
  /** Number of this forwarding thread, from 0, and how many there are: each sends by one queue. */
  readonly thread: number;
  readonly threads: number;
}

export interface IngressOptions {
  /** Number of this forwarding thread, from 0, and how many there are: each opens one queue. Thread 0 reports device-wide drops. */
  readonly thread: number;
  readonly threads: number;
  /** For `packet`: what the kernel copies. `spec.services` fits. */
  readonly services: readonly ServiceMatch[];
  /**
   * For `tun` and `tap`: a queue that another thread opened (`openTunQueue`); descriptors are numbers of the whole process. For `packet`: a socket
   * that another process opened.
   */
  readonly queue?: number;
  /** For `xdp`: the interface's gate, which another thread holds. */
  readonly gate?: GateEnd | null;
}

/** Opens one queue for one thread. Throws CodedError: missing device, privilege, a kernel without the feature. */
export function openIngress(settings: IngressSettings, options: IngressOptions): Ingress {
  switch (settings.driver) {
    case 'tun':
      return new TunIngress({
        device: settings.device,
        offloads: 'segmentation',
        reportsDrops: options.thread === 0,
        ...(options.queue === undefined ? {} : { queue: options.queue }),
      });
    case 'tap':
      return new TapIngress({
        device: settings.device,
        offloads: 'segmentation',
        reportsDrops: options.thread === 0,
        routed: settings.bridge == null,
        ...(settings.mac == null ? {} : { linkAddress: settings.mac }),
        ...(options.queue === undefined ? {} : { queue: options.queue }),
      });
    case 'packet':
      return openPacketIngress({
        device: settings.interface,
        services: options.services,
        ring: settings.ring ?? 'none',
        fanoutGroup: options.threads > 1 ? fanoutGroup() : null,
        ...(options.queue === undefined ? {} : { queue: options.queue }),
      });
    case 'xdp':
      return new XdpIngress({
        device: settings.interface,
        services: options.services,
        queue: options.thread,
        queues: options.threads,
        zeroCopy: settings.zeroCopy ?? false,
        ...(options.gate == null ? {} : { gate: options.gate }),
      });
    case 'pcap-file':
      if (options.threads > 1) {
        throw new CodedError('GD_IO_ONE_THREAD', `a capture file can not be shared by ${options.threads} threads`, {
          exitCode: EXIT.CONFIG,
          hint: 'set threads: 1, or use "gue-director replay" for capture files',
        });
      }
      return new PcapFileIngress({ path: settings.path });
    case 'memory':
      return new MemoryIngress({ frames: [] });
  }
}

/**
 * Opens the way out for one thread, which counts what is refused in `bank`; default: for nobody. `queue`, for `tap-offload`: one that another
 * thread opened (`openTunQueue`, offloads `tunnel`), and closes. `link`, for `packet` and `xdp`. Throws CodedError: missing privilege, ports taken, a kernel without the
 * feature.
 */
export function openEgress(settings: EgressSettings, bank = createBank(), queue?: number, link?: LinkOptions): Egress {
  switch (settings.driver) {
    case 'auto':
      return new AutoEgress({ sourcePortBase: settings.sourcePortBase, sourcePorts: settings.sourcePorts, bank });
    case 'raw':
      return new RawEgress({ bank });
    case 'udp':
      return new UdpEgress({ sourcePortBase: settings.sourcePortBase, sourcePorts: settings.sourcePorts, bank });
    case 'tap-offload':
      return new TapOffloadEgress({ device: settings.device, bank, ...(queue === undefined ? {} : { queue }) });
    case 'packet':
      if (link === undefined) throw new RangeError('a packet egress is of no use without next hops');
      return new PacketEgress({ device: settings.interface, nextHops: link.nextHops, bank });
    case 'xdp':
      if (link === undefined) throw new RangeError('an xdp egress is of no use without next hops');
      return openXdpEgress({ device: settings.interface, bank, ...link });
    case 'pcap-file':
      return new PcapFileEgress(settings.path);
    case 'memory':
      return new MemoryEgress();
  }
}

/**
 * A batch of `capacity` packets over memory mapped by, and for, the calling thread. Slots take super-packets unless told otherwise, or unless the driver has
 * frames of its own.
 */
export function createBatch(ingress: Ingress, capacity = 64, stride: number = LARGE_STRIDE): MappedBatch {
  if (ingress.createBatch !== undefined) return ingress.createBatch(capacity);
  const memory = mapPacketMemory(Arena.bytesFor(capacity, stride, BATCH_RECORDS));
  const arena = new Arena(memory.buffer, capacity, stride, memory.address, BATCH_RECORDS);
  memory.summedThrough(arena.view);
  return { batch: new Batch(arena, ingress.facts, capacity), release: memory.release };
}
