// The packet path in C (floor/pipeline.c) beside forwarding threads over memory: the same snapshot, packets and number of flows for both.

import { Snapshot, SnapshotBuilder } from '../src/pipeline/snapshot.ts';
import { PipelineFloor } from './floor/pipeline.ts';
import { specOf } from './scale.ts';
import { framesOf } from './scale-spec.ts';

/** The service that packets of floor/pipeline.c are for. */
const ADDRESS = Uint8Array.of(192, 0, 2, 1);
const BACKENDS = 100;
const TABLE_SIZE = 65_537;
const FRAMES = 1000;
const KEY = Int32Array.of(0x1234567, 0x89abcdef);

/** One service with a pool of 100 backends. */
export class MemoryFloor {
  readonly snapshot = new SnapshotBuilder().build(this.#spec(), 1);
  readonly frames = framesOf(1, FRAMES).map((frame) => {
    frame.set(ADDRESS, 16);
    return frame;
  });

  #spec() {
    const { services, pools } = specOf(1, BACKENDS, TABLE_SIZE);
    return { pools, services: services.map((service) => ({ ...service, prefix: { bytes: ADDRESS, length: 32 } })) };
  }

  /** The C program, warm; null without a compiler. `entries`: of its flow table, a power of two. */
  async start(entries: number, flows: number): Promise<PipelineFloor | null> {
    const floor = PipelineFloor.start(KEY, entries, [new Snapshot(this.snapshot)]);
    await floor?.select(0, 4, flows);
    return floor;
  }
}
