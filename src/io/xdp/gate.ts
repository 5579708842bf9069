/**
 * The gate at an interface: the program, its maps, and the attachment that makes it run. One for all threads, which put the sockets of their queues
 * behind it. It is gone when its process is (attached by a link), and from then on the kernel has every packet again.
 */
import { CodedError, EXIT } from '../../base/errors.ts';
import { assemble } from '../../raw-socket/bpf/assemble.ts';
import { BpfMap } from '../../raw-socket/bpf/map.ts';
import { loadXdpProgram } from '../../raw-socket/bpf/program.ts';
import { type AttachOptions, attachXdp, type XdpAttachment, type XdpMode } from '../../raw-socket/bpf/xdp-attachment.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { getLinkAddress, interfaceIndex, receiveQueuesOf } from '../../raw-socket/tun.ts';
import type { ServiceMatch } from '../packet/filter.ts';
import { PROGRAM } from './program.ts';
import { MAP_SHAPES, ServiceMaps } from './service-maps.ts';

/** `ip link show` and `bpftool prog` show it. */
const PROGRAM_NAME = 'gue_director';

export interface GateOptions extends AttachOptions {
  readonly device: string;
  readonly services: readonly ServiceMatch[];
  /** Sockets that there will be, for the queues from 0 on; absent: one. A queue without would leave its services' packets to the kernel. */
  readonly queues?: number;
}

/** Throws GD_IO_XDP_QUEUES when the device spreads packets over more queues than there will be sockets, or over fewer. */
function checkQueues(device: string, sockets: number): void {
  const queues = receiveQueuesOf(device);
  if (queues === sockets) return;
  const threads = sockets === 1 ? '1 thread' : `${sockets} threads`;
  const has = `${device} has ${queues} receive ${queues === 1 ? 'queue' : 'queues'}`;
  throw new CodedError(
    'GD_IO_XDP_QUEUES',
    queues > sockets ? `${has}, and with ${threads} what comes on the others would be lost` : `${has}, too few for ${threads}`,
    { exitCode: EXIT.CONFIG, hint: `ethtool -L ${device} combined ${sockets}   or set threads: ${queues}` },
  );
}

/** What a thread needs of a gate that main holds; descriptors are numbers of the whole process. Structured-cloneable. */
export interface GateEnd {
  readonly interfaceIndex: number;
  /** The map of the queues' sockets. */
  readonly sockets: number;
}

/** Puts a queue's socket behind the gate. Closing the socket takes it away again. */
export function putSocket(gate: GateEnd, queue: number, socket: number): void {
  const word = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
  new BpfMap(MAP_SHAPES.sockets, gate.sockets).set(word(queue), word(socket));
}

export class XdpGate {
  readonly device: string;
  readonly interfaceIndex: number;
  readonly maps: ServiceMaps;
  readonly #program: number;
  readonly #attachment: XdpAttachment;
  #open = true;

  /**
   * Loads and attaches. Until a queue has its socket, its packets go on to the kernel. Throws CodedError: GD_RAW_SOCKET_XDP_BUSY, GD_RAW_SOCKET_BPF,
   * GD_RAW_SOCKET_BPF_REFUSED, GD_IO_XDP_ROOM, GD_IO_XDP_QUEUES.
   */
  constructor(options: GateOptions) {
    const { device } = options;
    this.device = device;
    checkQueues(device, options.queues ?? 1);
    this.interfaceIndex = interfaceIndex(device);
    this.maps = ServiceMaps.create();
    let program = -1;
    try {
      this.maps.setLinkAddress(getLinkAddress(device));
      this.maps.setServices(options.services);
      program = loadXdpProgram(PROGRAM_NAME, assemble(PROGRAM, this.maps.descriptors));
      this.#attachment = attachXdp(program, { interfaceIndex: this.interfaceIndex, device }, options);
      this.#program = program;
    } catch (error) {
      if (program >= 0) closeDescriptor(program);
      this.maps.close();
      throw error;
    }
  }

  get end(): GateEnd {
    return { interfaceIndex: this.interfaceIndex, sockets: this.maps.descriptors.sockets };
  }

  /** How the program runs: `generic` works with every device, and costs more. */
  get mode(): XdpMode {
    return this.#attachment.mode;
  }

  /** Somebody may have given the interface another MAC address: frames to that one are ours from now on. */
  refresh(): void {
    this.maps.setLinkAddress(getLinkAddress(this.device));
  }

  /** These services come in from now on. */
  setServices(services: readonly ServiceMatch[]): void {
    this.maps.setServices(services);
  }

  /** Detaches: every packet is the kernel's again. Safe to call twice. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    try {
      this.#attachment.detach();
    } finally {
      closeDescriptor(this.#program);
      this.maps.close();
    }
  }
}
