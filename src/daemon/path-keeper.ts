/**
 * The path MTU of every backend while the director runs: shared memory that the forwarding threads read per packet, kept current by main
 * (host/path-mtu-watch.ts), its changes in the journal; and what ICMP says about reaching the backends at all (host/unreachable.ts).
 */
import { formatAddress } from '../base/address.ts';
import { CodedError } from '../base/errors.ts';
import type { EgressConfig } from '../config/config.ts';
import type { PathLease, PathMtuChange, PathMtuEntry } from '../host/path-mtu.ts';
import { PathMtuWatch } from '../host/path-mtu-watch.ts';
import type { UnreachableEntry } from '../host/unreachable.ts';
import { sourcePortsOf } from '../io/source-ports.ts';
import { FRAME_IP_BYTES } from '../io/xdp/port.ts';
import type { EventJournal } from '../observe/events.ts';
import { RepeatedLines } from '../observe/log.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';
import { PathTunnels } from './path-tunnels.ts';
import { type BackendWay, UnreachableJournal } from './unreachable-journal.ts';

const CAUSES = { icmp: 'a router said so', route: 'its route', expired: 'what a router said has expired' } as const;

export interface PathKeeperOptions {
  readonly egress: EgressConfig;
  readonly journal: EventJournal;
  readonly clock: BoottimeClock;
}

export class PathKeeper {
  readonly #options: PathKeeperOptions;
  /** null where packets go to no network: then there is no path. */
  readonly #watch: PathMtuWatch | null;
  readonly #repeated = new RepeatedLines();
  readonly #unreachable: UnreachableJournal;
  readonly #tunnels = new PathTunnels();
  #names: SnapshotNames | null = null;
  /** By id, of the names they were made of: for the first who asks. */
  #ways: { readonly of: SnapshotNames; readonly byId: ReadonlyMap<number, BackendWay> } | null = null;

  constructor(options: PathKeeperOptions) {
    this.#options = options;
    this.#unreachable = new UnreachableJournal(options.journal);
    const sourcePorts = sourcePortsOf(options.egress);
    const limit = options.egress.driver === 'xdp' ? { mostBytes: FRAME_IP_BYTES } : {};
    this.#watch = sourcePorts === null ? null : new PathMtuWatch({ sourcePorts, ...limit });
  }

  /** One int32 per backend id, bytes of the largest outer packet, 0 while unknown; null where packets go to no network. */
  get memory(): SharedArrayBuffer | null {
    return this.#watch?.memory ?? null;
  }

  /** The backends of a published snapshot, in `spec` with resolved tunnel sources. Throws CodedError as `PathMtuWatch.setTunnels`. */
  publish(spec: Spec, names: SnapshotNames): void {
    if (this.#watch === null) return;
    const now = this.#options.clock.seconds();
    const tunnels = this.#tunnels.of(spec, names);
    // A backend that went down or came back has the way that it had.
    if (tunnels !== null) {
      this.#watch.setTunnels(tunnels, now);
      this.#tunnels.known();
    }
    this.#names = names;
    this.#poll(this.#watch, now);
  }

  /** To be called every 100–250 ms. What the kernel refuses is logged, and tried again with the next call. */
  tend(): void {
    if (this.#watch === null) return;
    const { clock, journal } = this.#options;
    try {
      this.#poll(this.#watch, clock.seconds());
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const equal = this.#repeated.admit(message, clock.milliseconds());
      const hint = error instanceof CodedError ? error.hint : '';
      if (equal >= 0) journal.record('error', 'path-mtu-failed', message, { hint, equal });
    }
  }

  /** Links or routes changed. */
  routesChanged(): void {
    this.#watch?.routesChanged();
  }

  /** Every backend with what is known of its path; null where packets go to no network. */
  entries(): PathMtuEntry[] | null {
    return this.#watch?.report() ?? null;
  }

  /** The same for the metrics; `wanted`: the MTU that a backend's link would need (cut-watch.ts). */
  mtus(wanted: (id: number) => number): { pool: string; backend: string; mtu: number; wanted: number }[] {
    return (this.entries() ?? []).map(({ id, pool, name, mtu }) => ({ pool, backend: name, mtu, wanted: wanted(id) }));
  }

  /** What routers said and still counts, for a successor. */
  leases(): readonly PathLease[] {
    return this.#watch?.leases() ?? [];
  }

  /** What a predecessor's `leases` were; after `publish`. Whatever else it is is left alone. */
  inherit(leases: unknown): void {
    if (Array.isArray(leases)) this.#watch?.inherit(leases as readonly PathLease[], this.#options.clock.seconds());
  }

  /**
   * Destination-unreachable messages about tunnel packets to a backend, counted since it is configured, and the last of them (seconds of the clock);
   * null where packets go to no network. They are believed as far as ICMP can be, which is that a forger must know the tunnel.
   */
  unreachable(id: number): UnreachableEntry | null {
    return this.#watch?.unreachable.entry(id) ?? null;
  }

  /** The counts of all backends, for the metrics. */
  unreachableCounts({ backends }: SnapshotNames): { pool: string; backend: string; counts: UnreachableEntry['counts'] }[] {
    return backends.flatMap(({ id, pool, name }) => {
      const entry = this.unreachable(id);
      return entry === null ? [] : [{ pool, backend: name, counts: entry.counts }];
    });
  }

  close(): void {
    this.#watch?.close();
  }

  #poll(watch: PathMtuWatch, now: number): void {
    this.#tell(watch.poll(now));
    this.#unreachable.tell(watch.unreachable.takeNews(), (id) => this.#wayOf(id), now);
  }

  #wayOf(id: number): BackendWay | undefined {
    if (this.#names === null) return undefined;
    if (this.#ways?.of !== this.#names) {
      this.#ways = { of: this.#names, byId: new Map(this.#names.backends.map((backend) => [backend.id, backend])) };
    }
    return this.#ways.byId.get(id);
  }

  #tell(changes: readonly PathMtuChange[]): void {
    for (const { backend, from, to, cause } of changes) {
      // What the route says at first is no change.
      if (from === 0 && cause === 'route') continue;
      const { pool, name, address, overhead } = backend;
      const fields = {
        pool,
        backend: name,
        address: formatAddress(address),
        from,
        to,
        innerMtu: Math.max(0, to - overhead),
        cause,
      };
      const text = `the path MTU to backend ${pool}/${name} is now ${to === 0 ? 'unknown' : to}: ${CAUSES[cause]}`;
      const { journal } = this.#options;
      if (to !== 0 && to < from) journal.record('warn', 'path-mtu', text, fields);
      else journal.record('info', 'path-mtu', text, fields);
    }
  }
}
