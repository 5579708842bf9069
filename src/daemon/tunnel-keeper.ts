/** Tunnel checks while the director runs: the prober is opened when the first of them runs, with the egress's own source ports and what ICMP has said. */
import { CodedError } from '../base/errors.ts';
import type { EgressConfig } from '../config/config.ts';
import type { Probe } from '../health/probe.ts';
import type { TunnelCheckSpec } from '../health/spec.ts';
import { type HeardUnreachable, TunnelProber } from '../health/tunnel/prober.ts';
import { type PortRange, probePortFindings } from '../host/port-guard.ts';
import type { UnreachableEntry } from '../host/unreachable.ts';
import { RawEgress } from '../io/raw/egress.ts';
import { sourcePortsOf } from '../io/source-ports.ts';
import type { EventJournal } from '../observe/events.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';

export interface TunnelKeeperOptions {
  readonly egress: EgressConfig;
  /** Source ports of probes. */
  readonly ports: PortRange;
  readonly journal: EventJournal;
  /** Of the snapshot in force. */
  readonly names: () => SnapshotNames;
  /** What ICMP has said about a backend, by its id. */
  readonly unreachable: (id: number) => UnreachableEntry | null;
}

export class TunnelKeeper {
  readonly #options: TunnelKeeperOptions;
  #egress: RawEgress | null = null;
  #prober: TunnelProber | null = null;

  constructor(options: TunnelKeeperOptions) {
    this.#options = options;
  }

  /** The probe of one check. Its first run opens what all need: it rejects with CodedError when the kernel refuses, and the next run tries again. */
  probe(check: TunnelCheckSpec): Probe {
    return {
      turn: async (target, signal) => this.#open().probeOf(check).turn?.(target, signal) ?? null,
      probe: async (target, timeoutMs, signal, turn) => this.#open().probeOf(check).probe(target, timeoutMs, signal, turn),
    };
  }

  close(): void {
    this.#prober?.close();
    this.#prober = null;
    this.#egress?.close();
    this.#egress = null;
  }

  #open(): TunnelProber {
    if (this.#prober !== null) return this.#prober;
    const { egress, journal, ports: own } = this.#options;
    const ports = sourcePortsOf(egress);
    if (ports === null) {
      throw new CodedError(
        'GD_HEALTH_TUNNEL_EGRESS',
        `egress ${egress.driver} sends to no network: tunnel checks have nobody to ask`,
        {
          hint: 'take the tunnel check out, or choose another egress',
        },
      );
    }
    for (const { id, text, fix } of probePortFindings(own)) journal.record('info', 'host', text, { finding: id, hint: fix });
    this.#egress ??= new RawEgress();
    this.#prober = new TunnelProber({
      egress: this.#egress,
      ports: own,
      sourcePortBase: ports.base,
      sourcePortMask: ports.count - 1,
      unreachable: (pool, backend) => this.#heard(pool, backend),
    });
    return this.#prober;
  }

  #heard(pool: string, backend: string): HeardUnreachable | null {
    const id = this.#options.names().backends.find((one) => one.pool === pool && one.name === backend)?.id;
    const entry = id === undefined ? null : this.#options.unreachable(id);
    if (entry === null || entry.last === null) return null;
    const count = Object.values(entry.counts).reduce((sum, one) => sum + one, 0);
    return { count, what: entry.last.what };
  }
}
