/**
 * The gate of an `xdp` ingress, which main holds for all threads: opened before the first of them, told of services with each snapshot, opened anew when its
 * interface is another one. The threads put their sockets behind it.
 */
import type { IngressConfig } from '../config/config.ts';
import type { Publisher, Subscriber } from '../control/publisher.ts';
import { type GateEnd, XdpGate } from '../io/xdp/gate.ts';
import type { EventJournal } from '../observe/events.ts';
import type { Spec } from '../pipeline/spec.ts';

export interface GateKeeperOptions {
  readonly ingress: IngressConfig;
  readonly threads: number;
  readonly publisher: Publisher;
  readonly journal: EventJournal;
}

export class GateKeeper implements Subscriber {
  readonly #options: GateKeeperOptions;
  #gate: XdpGate | null = null;

  constructor(options: GateKeeperOptions) {
    this.#options = options;
  }

  /** What a thread needs of the gate; null for another ingress. */
  get end(): GateEnd | null {
    return this.#gate?.end ?? null;
  }

  /** Opens it for the services in force; does nothing for another ingress, or when it is open at the interface of that index. Throws what XdpGate throws. */
  open(interfaceIndex = 0): void {
    const { ingress, threads, publisher } = this.#options;
    if (ingress.driver !== 'xdp' || (this.#gate !== null && this.#gate.interfaceIndex === interfaceIndex)) return;
    this.close();
    this.#gate = new XdpGate({ device: ingress.interface, services: publisher.spec?.services ?? [], queues: threads });
    publisher.subscribe(this);
  }

  /** Interfaces changed: the gate's may have another MAC address. `interfaceIndex`: of the interface that has its name now, 0 for none. */
  linksChanged(interfaceIndex: number): void {
    if (this.#gate?.interfaceIndex !== interfaceIndex) return;
    try {
      this.#gate.refresh();
    } catch (error) {
      // It is gone meanwhile, which the next change says.
      this.#tell(error);
    }
  }

  offer(_parts: unknown, { services }: Spec): void {
    try {
      this.#gate?.setServices(services);
    } catch (error) {
      // The snapshot is in force all the same: what the gate does not know of goes to the kernel.
      this.#tell(error);
    }
  }

  #tell(error: unknown): void {
    const { message, hint } = error as Error & { hint?: string };
    this.#options.journal.record('error', 'gate-failed', message, hint === undefined ? {} : { hint });
  }

  /** It reads no snapshot: nobody waits for it. */
  acknowledged(): number {
    return Number.MAX_SAFE_INTEGER;
  }

  /** Every packet is the kernel's again. */
  close(): void {
    this.#options.publisher.unsubscribe(this);
    this.#gate?.close();
    this.#gate = null;
  }
}
