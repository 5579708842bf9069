/** Keeps or counts what would be sent: the egress of tests and benches. */
import type { Batch } from '../../base/batch.ts';
import { segmentBytes } from '../../base/segment-bytes.ts';
import { VERDICT_FORWARD } from '../../base/verdict.ts';
import type { Egress, EgressFacts } from '../driver.ts';
import { DYNAMIC_PORTS } from '../source-ports.ts';

export interface MemoryEgressOptions {
  /** Keep a copy of every packet (tests), or only count (benches); default: keep. */
  readonly keep?: boolean;
  readonly sourcePortBase?: number;
  readonly sourcePortMask?: number;
}

export class MemoryEgress implements Egress {
  readonly name = 'memory';
  readonly facts: EgressFacts;
  /** Whole outer IP packets, oldest first; empty when only counting. */
  readonly packets: Uint8Array[] = [];
  count = 0;
  bytes = 0;
  readonly #keep: boolean;

  constructor(options: MemoryEgressOptions = {}) {
    this.#keep = options.keep ?? true;
    this.facts = {
      layer: 'l3',
      trains: 'none',
      maxSegments: 1,
      maxBytes: 65535,
      trainsNeedChecksum: false,
      outerFragments: true,
      sourcePortBase: options.sourcePortBase ?? DYNAMIC_PORTS.base,
      sourcePortMask: options.sourcePortMask ?? DYNAMIC_PORTS.count - 1,
    };
  }

  send(batch: Batch): void {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== VERDICT_FORWARD) continue;
      this.count += batch.segmentCount[i];
      this.bytes += batch.outLength[i];
      if (!this.#keep) continue;
      for (let k = 0; k < batch.segmentCount[i]; k++) this.packets.push(segmentBytes(batch, i, k));
    }
  }

  /** Nothing to close; what was collected stays readable. */
  close(): void {}
}
