/**
 * Wraps the packets of a probe and sends them: the whole packet path, as a forwarding thread has it, over a pool with this one backend. What is in force
 * says nothing about it (a backend that is down is asked all the same), but its tunnel, header policy, checksum mode and source are those of traffic.
 */
import { Arena, SMALL_STRIDE } from '../../base/arena.ts';
import { Batch, type IngressFacts, LINK_RAW_IP } from '../../base/batch.ts';
import { createBank } from '../../base/counters.ts';
import { DROP_REASONS } from '../../base/drop-reason.ts';
import { VERDICT_FORWARD } from '../../base/verdict.ts';
import type { Egress } from '../../io/driver.ts';
import { clearFrame, placeFrame } from '../../io/frame.ts';
import { mapPacketMemory } from '../../io/packet-memory.ts';
import { FlowTable } from '../../pipeline/flow-table.ts';
import { Pipeline } from '../../pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../pipeline/snapshot.ts';
import type { BackendSpec, ServiceSpec, Spec, TunnelSpec } from '../../pipeline/spec.ts';
import type { ProbeTarget } from '../probe.ts';

/** As from a TUN device: whole IP packets whose hop is counted already. */
const FACTS: IngressFacts = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true };
/** Small, so that building it costs little; every slot is the one backend's. */
const TABLE_SIZE = 251;
/** Snapshots that are kept: one for each backend that is probed, within reason. */
const MOST_KNOWN = 4096;

interface Known {
  /** All that the snapshot is made of: objects are made anew whenever anything is put in force. */
  readonly content: string;
  readonly backend: BackendSpec;
  readonly tunnel: TunnelSpec;
  readonly service: ServiceSpec;
  readonly snapshot: Snapshot;
}

export interface WrapperOptions {
  readonly egress: Egress;
  /** Outer UDP source ports: those of traffic. */
  readonly sourcePortBase: number;
  readonly sourcePortMask: number;
}

export class Wrapper {
  readonly #egress: Egress;
  readonly #memory = mapPacketMemory(Arena.bytesFor(1, SMALL_STRIDE, 0));
  readonly #batch: Batch;
  readonly #portBase: number;
  readonly #portMask: number;
  #pipeline: Pipeline | null = null;
  readonly #known = new Map<string, Known>();

  constructor({ egress, sourcePortBase, sourcePortMask }: WrapperOptions) {
    this.#egress = egress;
    this.#portBase = sourcePortBase;
    this.#portMask = sourcePortMask;
    this.#batch = new Batch(new Arena(this.#memory.buffer, 1, SMALL_STRIDE, this.#memory.address), FACTS);
  }

  /** Sends `packet`, which is for `service`, to the backend of `target`. Returns null, or the reason for which it did not leave (docs/drop-reasons.md). */
  send(target: ProbeTarget, service: ServiceSpec, packet: Uint8Array): string | null {
    const batch = this.#batch;
    const pipeline = this.#pipelineFor(this.#snapshotOf(target, service));
    clearFrame(batch, 0);
    placeFrame(batch, 0, packet);
    batch.count = 1;
    pipeline.process(batch, 0);
    if (batch.verdict[0] === VERDICT_FORWARD) this.#egress.send(batch);
    return batch.verdict[0] === VERDICT_FORWARD ? null : DROP_REASONS[batch.reason[0]].word;
  }

  close(): void {
    this.#known.clear();
    this.#memory.release();
  }

  #pipelineFor(snapshot: Snapshot): Pipeline {
    this.#pipeline ??= new Pipeline({
      snapshot,
      // Every snapshot's one backend has the same number, so whatever it remembers is right.
      flows: new FlowTable(64, Int32Array.of(0, 0)),
      bank: createBank(),
      sourcePortBase: this.#portBase,
      sourcePortMask: this.#portMask,
    });
    this.#pipeline.snapshot = snapshot;
    return this.#pipeline;
  }

  #snapshotOf(target: ProbeTarget, service: ServiceSpec): Snapshot {
    const { pool, backend, tunnel } = target;
    const key = `${pool}/${backend.name}/${service.name}`;
    const known = this.#known.get(key);
    if (known !== undefined && known.backend === backend && known.tunnel === tunnel && known.service === service) {
      return known.snapshot;
    }
    const spec = specOf(target, service);
    const content = JSON.stringify(spec);
    const snapshot = known?.content === content ? known.snapshot : new Snapshot(new SnapshotBuilder().build(spec));
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(key, { content, backend, tunnel, service, snapshot });
    return snapshot;
  }
}

/** One service, one pool, one backend: with the tunnel of traffic, without what tells backends apart. */
function specOf({ pool, backend, tunnel }: ProbeTarget, service: ServiceSpec): Spec {
  const { name, address, source } = backend;
  const { prefix, protocol, portFrom, portTo } = service;
  // GLB's further hops would let another worker answer.
  const own = tunnel.hops === undefined ? tunnel : { ...tunnel, hops: 0 };
  return {
    services: [
      {
        name: service.name,
        prefix,
        protocol,
        portFrom,
        portTo,
        affinity: '5-tuple',
        pool,
        ...(service.mssClamp === undefined ? {} : { mssClamp: service.mssClamp }),
      },
    ],
    pools: [
      {
        name: pool,
        tableSize: TABLE_SIZE,
        seed: 0,
        tunnel: own,
        backends: [{ name, address, weight: 1, state: 'active', ...(source === undefined ? {} : { source }) }],
      },
    ],
    icmp: { echo: 'forward', errors: 'drop' },
  };
}
