/** AF_XDP: the services' packets out of one receive queue of an interface, before the kernel sees them. See README.md beside this file. */
import type { Batch, IngressFacts } from '../../base/batch.ts';
import { LINK_ETHERNET } from '../../base/batch.ts';
import { dropReason } from '../../base/drop-reason.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
import { VERDICT_DROP, VERDICT_REPLY } from '../../base/verdict.ts';
import type { DriverStatistics, Ingress, MappedBatch } from '../driver.ts';
import type { ServiceMatch } from '../packet/filter.ts';
import { type GateEnd, type GateOptions, putSocket, XdpGate } from './gate.ts';
import { type PortOptions, XdpPort } from './port.ts';

const REPLY_FAILED = dropReason('reply-failed');

export interface XdpIngressOptions
  extends GateOptions,
    Pick<PortOptions, 'receiveRing' | 'transmitRing' | 'zeroCopy' | 'largePackets'> {
  /** Receive queue; default 0. */
  readonly queue?: number;
  /** The interface's gate, when somebody else holds it, and tells it of services; otherwise one is opened here. */
  readonly gate?: GateEnd;
}

export class XdpIngress implements Ingress {
  readonly name: string;
  readonly device: string;
  /** `canPass` is false: what is not ours was left to the kernel by the program; a packet that came as far as here can not go back. */
  readonly facts: IngressFacts = {
    link: LINK_ETHERNET,
    hopDone: false,
    canPass: false,
    headerVerified: false,
    checksumsUnknown: true,
  };
  readonly descriptor: number;
  readonly exhausted = false;
  readonly interfaceIndex: number;
  /** Null when somebody else holds it. */
  readonly gate: XdpGate | null;
  /** For an egress on the same interface. */
  readonly port: XdpPort;
  #drops = 0;
  #open = true;

  /** Throws CodedError: GD_RAW_SOCKET_XDP_BUSY, GD_RAW_SOCKET_XDP_TAKEN, GD_RAW_SOCKET_BPF, GD_IO_XDP_QUEUES, missing device or privilege. */
  constructor(options: XdpIngressOptions) {
    const { device, queue = 0 } = options;
    this.name = `xdp:${device}`;
    this.device = device;
    this.gate = options.gate === undefined ? new XdpGate(options) : null;
    const end = this.gate?.end ?? (options.gate as GateEnd);
    this.interfaceIndex = end.interfaceIndex;
    try {
      this.port = new XdpPort({ ...options, device, interfaceIndex: end.interfaceIndex, queue });
      try {
        putSocket(end, queue, this.port.socket.descriptor);
      } catch (error) {
        this.port.close();
        throw error;
      }
    } catch (error) {
      this.gate?.close();
      throw error;
    }
    this.descriptor = this.port.socket.descriptor;
  }

  get lastErrno(): number {
    return this.port.lastErrno;
  }

  createBatch(capacity: number): MappedBatch {
    return this.port.createBatch(this.facts, capacity);
  }

  setServices(services: readonly ServiceMatch[]): void {
    this.gate?.setServices(services);
  }

  receive(batch: Batch): number {
    if (batch.arena !== this.port.arena) throw wrongBatch(this.name);
    return this.port.receive(batch);
  }

  /** Replies leave from where they lie; answers, which lie elsewhere, are copied. */
  reply(batch: Batch): void {
    let sent = 0;
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_REPLY) continue;
      if (this.port.sendColumn(batch, i, batch.outAt[i], batch.outLength[i])) {
        sent++;
        continue;
      }
      batch.verdict[i] = VERDICT_DROP;
      batch.reason[i] = REPLY_FAILED;
    }
    for (let a = 0; a < batch.answers; a++) {
      if (this.port.sendCopy(batch.answerAt[a], batch.answerLength[a])) sent++;
      else batch.answersLost++;
    }
    if (sent > 0) this.port.flush();
  }

  /** Packets for which no frame was there, or no room in the ring. */
  statistics(): DriverStatistics {
    if (this.#open) {
      const { dropped, ringFull } = this.port.socket.statistics();
      this.#drops = dropped + ringFull;
    }
    return { kernelDrops: this.#drops };
  }

  close(): void {
    if (!this.#open) return;
    this.statistics();
    this.#open = false;
    // First the gate: the kernel has every packet again before the socket's go nowhere.
    this.gate?.close();
    this.port.close();
  }
}

function wrongBatch(name: string): CodedError {
  return new CodedError('GD_IO_XDP_BATCH', `${name} fills only batches that it made: their memory is the socket's`, {
    exitCode: EXIT.FAILED,
  });
}
