/** The probes that are on their way, found by the addresses and ports of what comes back. */
import * as ipv4 from '../../wire/ipv4.ts';
import type { Answer } from './answer.ts';
import type { Exchange } from './exchange.ts';
import type { Ends } from './inner-packet.ts';

/** Connections of one key are to different workers; each knows its own answers by their numbers. */
export class Exchanges {
  readonly #byKey = new Map<string, Exchange[]>();

  get isEmpty(): boolean {
    return this.#byKey.size === 0;
  }

  /** Those between the same addresses and ports. */
  of(ends: Ends, protocol: number): readonly Exchange[] {
    return this.#byKey.get(keyOf(ends, protocol)) ?? [];
  }

  add(ends: Ends, protocol: number, exchange: Exchange): void {
    const key = keyOf(ends, protocol);
    this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), exchange]);
  }

  all(): Exchange[] {
    return [...this.#byKey.values()].flat();
  }

  /** Gives an answer to whom it can belong. */
  deliver(answer: Answer, now: number): void {
    for (const exchange of this.#byKey.get(keyOfAnswer(answer)) ?? []) exchange.take(answer, now);
  }

  removeClosed(): void {
    for (const [key, exchanges] of this.#byKey) {
      const left = exchanges.filter((exchange) => !exchange.isClosed);
      if (left.length === 0) this.#byKey.delete(key);
      else if (left.length < exchanges.length) this.#byKey.set(key, left);
    }
  }

  clear(): void {
    this.#byKey.clear();
  }
}

/** Other protocols than TCP and UDP are asked by ping. */
function keyOf({ source, destination, sourcePort, destinationPort }: Ends, protocol: number): string {
  const kind = protocol === ipv4.PROTOCOL_TCP ? 'tcp' : protocol === ipv4.PROTOCOL_UDP ? 'udp' : 'echo';
  return `${kind} ${source.join('.')} ${sourcePort} ${destination.join('.')} ${kind === 'echo' ? 0 : destinationPort}`;
}

function keyOfAnswer(answer: Answer): string {
  switch (answer.kind) {
    case 'error':
      return keyOf(answer.quoted, answer.quoted.protocol);
    case 'echo': {
      const { source, destination, identifier } = answer;
      return keyOf({ source: destination, destination: source, sourcePort: identifier, destinationPort: 0 }, ipv4.PROTOCOL_ICMP);
    }
    default: {
      const { kind, source, destination, sourcePort, destinationPort } = answer;
      const ends = { source: destination, destination: source, sourcePort: destinationPort, destinationPort: sourcePort };
      return keyOf(ends, kind === 'tcp' ? ipv4.PROTOCOL_TCP : ipv4.PROTOCOL_UDP);
    }
  }
}
