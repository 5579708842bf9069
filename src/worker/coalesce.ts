/**
 * From inner packets to super-packets: consecutive TCP segments of a flow become one (train.ts), everything else passes as it is. Pure:
 * bytes in, calls of an outlet out, no clock. Nothing waits longer than the batch that it came with: `flush` ends it.
 *
 * The packets of a TCP flow leave in the order they came in. So a packet that can not join its flow's train closes that train first,
 * and one whose flow can not be read off (a fragment, IP options) closes them all. Packets of other protocols overtake trains.
 */
import { ALONE, BESIDE, createInnerPacket, examine, type InnerPacket, isWhole, SEGMENT } from './inner-packet.ts';
import { Train } from './train.ts';

/** Flows whose trains grow side by side: a train closes at the latest when so many others have begun after it. */
export const MAX_TRAINS = 16;

/** Where packets leave. Called while the batch lies in memory; what is not written before returning is lost. */
export interface Outlet {
  /** One IP packet as it came. */
  packet(at: number, length: number): void;
  /** Two or more segments as one super-packet. */
  superPacket(train: Train): void;
}

export class Coalescer {
  readonly #view: DataView;
  readonly #outlet: Outlet;
  readonly #trains: readonly Train[] = Array.from({ length: MAX_TRAINS }, () => new Train());
  readonly #packet = createInnerPacket();
  /** The train of the last segment: flows come in bursts. */
  #recent: Train = this.#trains[0];
  #open = 0;
  /** The train to close when one is needed: they are opened in turn. */
  #turn = 0;

  /** `view`: the memory that packets lie in. */
  constructor(view: DataView, outlet: Outlet) {
    this.#view = view;
    this.#outlet = outlet;
  }

  /** Takes the IP packet at `at`, `length` bytes long as its header says, `family` 4 or 6. It stays untouched until `flush`. */
  offer(at: number, length: number, family: number): void {
    const packet = this.#packet;
    const kind = examine(this.#view, at, length, family, packet);
    if (kind === SEGMENT) {
      this.#offerSegment(packet, length);
      return;
    }
    if (kind === ALONE) this.#closeFlow(packet);
    else if (kind !== BESIDE) this.flush();
    this.#outlet.packet(at, length);
  }

  #offerSegment(packet: InnerPacket, length: number): void {
    const view = this.#view;
    const train = this.#find(packet);
    if (train !== null) {
      if (train.continuesWith(view, packet) && this.#isWhole(packet, length) && (train.count > 1 || train.isFirstWhole(view))) {
        if (train.add(packet)) this.#close(train);
        return;
      }
      this.#close(train);
    }
    // Nothing may follow it: it need not become a train.
    if (packet.ending !== 0) this.#outlet.packet(packet.at, length);
    else this.#vacant().start(view, packet);
  }

  #isWhole(packet: InnerPacket, length: number): boolean {
    const { at, transportAt } = packet;
    return isWhole(this.#view, at, transportAt, length - (transportAt - at), packet.isIpv4);
  }

  #find(packet: InnerPacket): Train | null {
    if (this.#open === 0) return null;
    if (this.#holds(this.#recent, packet)) return this.#recent;
    for (let k = 0; k < MAX_TRAINS; k++) {
      const train = this.#trains[k];
      if (!this.#holds(train, packet)) continue;
      this.#recent = train;
      return train;
    }
    return null;
  }

  #holds(train: Train, packet: InnerPacket): boolean {
    return train.count > 0 && train.hash === packet.hash && train.isOfFlow(this.#view, packet);
  }

  #vacant(): Train {
    const train = this.#trains[this.#turn];
    this.#turn = (this.#turn + 1) % MAX_TRAINS;
    if (train.count > 0) this.#close(train);
    this.#open++;
    this.#recent = train;
    return train;
  }

  #closeFlow(packet: InnerPacket): void {
    const train = this.#find(packet);
    if (train !== null) this.#close(train);
  }

  #close(train: Train): void {
    if (train.count > 1) this.#outlet.superPacket(train);
    else this.#outlet.packet(train.at, train.headerLength + train.payload);
    train.count = 0;
    this.#open--;
  }

  /** Lets everything out, the train that began first before the others. To be called before the batch's memory is used again. */
  flush(): void {
    for (let k = 0; k < MAX_TRAINS && this.#open > 0; k++) {
      const train = this.#trains[(this.#turn + k) % MAX_TRAINS];
      if (train.count > 0) this.#close(train);
    }
  }
}
