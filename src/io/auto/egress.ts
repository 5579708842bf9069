/** Two ways out in one: raw sockets for single packets, UDP sockets for trains. See README.md beside this file. */
import type { Batch } from '../../base/batch.ts';
import { createBank } from '../../base/counters.ts';
import { CodedError, EXIT } from '../../base/errors.ts';
import type { DriverWarning, Egress, EgressFacts } from '../driver.ts';
import { RawEgress } from '../raw/egress.ts';
import { AUTO_PORTS } from '../source-ports.ts';
import { UdpEgress } from '../udp/egress.ts';

export interface AutoEgressOptions {
  /** First source port; default 61440. */
  readonly sourcePortBase?: number;
  /** How many, a power of two; default 256. */
  readonly sourcePorts?: number;
  /** The thread's counters, for send errors of both; default: none that anybody reads. */
  readonly bank?: Float64Array;
}

/**
 * A batch goes wholly one way or the other, and both send before they return, so no packet of a flow overtakes another:
 *
 *     without trains                              → raw    one sendmmsg for each family
 *     with trains                                 → udp    one message for most of a train
 *     with fragments of tunnel packets among them → raw    the kernel can not make these out of a message
 *
 * Packets whose outer headers no UDP socket writes (IP in IP, GRE, header policies of peers) always go by raw, before the others of their batch: a flow is
 * of one kind, but with `df: copy`, where packets without DF may overtake.
 *
 * Both send from the same source port for a flow.
 */
export class AutoEgress implements Egress {
  /** `auto`; `auto:raw` when the UDP sockets are not to be had. */
  readonly name: string;
  readonly facts: EgressFacts;
  readonly warning: DriverWarning | null = null;
  /** errno of the last send the kernel refused, whichever part it was of; 0 when none was. */
  lastErrno = 0;
  readonly #raw: RawEgress;
  readonly #udp: UdpEgress | null;
  #rawErrno = 0;
  #udpErrno = 0;

  /** Throws CodedError only where `raw` would: without the privilege, or for ports that do not exist. */
  constructor(options: AutoEgressOptions = {}) {
    const bank = options.bank ?? createBank();
    const sourcePortBase = options.sourcePortBase ?? AUTO_PORTS.base;
    const sourcePorts = options.sourcePorts ?? AUTO_PORTS.count;
    this.#raw = new RawEgress({ bank });
    let udp: UdpEgress | null = null;
    try {
      udp = new UdpEgress({ sourcePortBase, sourcePorts, bank });
      if (udp.facts.trains === 'none') {
        udp.close();
        udp = null;
        this.warning = {
          message:
            'this kernel does not know UDP_SEGMENT: large packets leave segment by segment, at the price of single packets',
          hint: 'Linux 4.18 or later cuts them itself (uname -r); set "egress: { driver: raw }" to hear no more of it',
        };
      }
    } catch (error) {
      if (!(error instanceof CodedError) || error.exitCode === EXIT.CONFIG) {
        this.#raw.close();
        throw error;
      }
      this.warning = {
        message: `large packets leave segment by segment, at the price of single packets: ${error.message}`,
        hint: `${error.hint || 'lower egress.source-ports, or raise the limit of open files (prlimit --nofile, LimitNOFILE=)'}; then start again`,
      };
    }
    this.#udp = udp;
    this.name = udp === null ? 'auto:raw' : 'auto';
    const { layer, outerFragments } = this.#raw.facts;
    // The ports are the same either way: what is believed about our packets (io/source-ports.ts) is said before anything is opened.
    const ports = { sourcePortBase, sourcePortMask: sourcePorts - 1 };
    this.facts = { ...(udp ?? this.#raw).facts, layer, outerFragments, ...ports };
  }

  send(batch: Batch): void {
    const udp = this.#udp;
    if (udp === null || batch.trains === 0 || batch.outerFragmented > 0) {
      this.#raw.send(batch);
      this.#noteRaw();
      return;
    }
    if (batch.rawOnlyPackets > 0) {
      this.#raw.send(batch, true);
      this.#noteRaw();
    }
    udp.send(batch, batch.rawOnlyPackets > 0);
    const errno = udp.lastErrno;
    if (errno !== this.#udpErrno) {
      this.#udpErrno = errno;
      this.lastErrno = errno;
    }
  }

  #noteRaw(): void {
    const errno = this.#raw.lastErrno;
    if (errno === this.#rawErrno) return;
    this.#rawErrno = errno;
    this.lastErrno = errno;
  }

  close(): void {
    this.#raw.close();
    this.#udp?.close();
  }
}
