/** `explain` without a director: a question, or a capture, against a configuration. */
import { Arena, BATCH_RECORDS, LARGE_STRIDE } from '../base/arena.ts';
import { Batch } from '../base/batch.ts';
import { createBank } from '../base/counters.ts';
import type { Config } from '../config/config.ts';
import { type Answer, answer } from '../explain/answer.ts';
import { RAW_IP } from '../explain/explainer.ts';
import type { AskedFrame } from '../explain/question.ts';
import type { Trail } from '../explain/trail.ts';
import { Witness } from '../explain/witness.ts';
import { PcapFileIngress } from '../io/pcap-file/ingress.ts';
import { DYNAMIC_PORTS } from '../io/source-ports.ts';
import { FlowTable } from '../pipeline/flow-table.ts';
import { FragmentTable } from '../pipeline/fragment-table.ts';
import { Pipeline } from '../pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../pipeline/snapshot.ts';
import { withUnknownSources } from '../pipeline/tunnel-ends.ts';
import { innerMtuOf, pathMtuOf, REPLAY_KEY } from './replay.ts';

const EGRESS = {
  sourcePortBase: DYNAMIC_PORTS.base,
  sourcePortMask: DYNAMIC_PORTS.count - 1,
  trainsNeedChecksum: false,
  wholeTrains: false,
  outerFragments: true,
};

/** What a director that starts with `config` now would do with the packet. `pathMtu`: of every backend. */
export function answerOffline(config: Config, asked: AskedFrame, pathMtu: number, without: string | null): Answer {
  const builder = new SnapshotBuilder();
  const spec = withUnknownSources(config.spec);
  const parts = builder.build(spec);
  const ingress = { ...RAW_IP, hopDone: false, headerVerified: false };
  return answer(
    asked,
    0,
    { spec, parts, builder, live: null, pathMtu: pathMtuOf(parts.names, pathMtu), ingress, egress: EGRESS },
    without,
  );
}

/** The trail of each packet of a capture, in order, in one flow table, as `replay` has it. Fragments that come early are held for good. */
export function explainCapture(
  config: Config,
  capture: string,
  pathMtu: number,
  onTrail: (packet: number, trail: Trail) => void,
): void {
  const spec = withUnknownSources(config.spec);
  const parts = new SnapshotBuilder().build(spec);
  const snapshot = new Snapshot(parts);
  const flows = new FlowTable(config.flows.entries, REPLAY_KEY);
  const mtus = pathMtuOf(parts.names, pathMtu);
  const ingress = new PcapFileIngress({ path: capture, innerMtu: innerMtuOf(config.spec, pathMtu) });
  try {
    const pipeline = new Pipeline({
      snapshot,
      flows,
      fragments: new FragmentTable(config.fragments.entries, REPLAY_KEY, config.fragments.timeout),
      bank: createBank(),
      pathMtu: mtus,
      ...EGRESS,
    });
    const batch = new Batch(Arena.inProcess(1, LARGE_STRIDE, BATCH_RECORDS), ingress.facts);
    const world = { spec, names: parts.names, snapshot, flows, siblings: [], region: 0, pathMtu: mtus };
    let began = 0;
    let now = 0;
    for (let packet = 1; ingress.receive(batch) > 0; packet++) {
      const seconds = batch.captureTimes?.seconds[0] ?? 0;
      if (packet === 1) began = seconds;
      // A record may be older than the one before it; time in the flow table never goes back.
      now = Math.max(now, seconds - began);
      const witness = new Witness(world, batch, now);
      pipeline.process(batch, now, witness);
      onTrail(packet, witness.trail());
      pipeline.account(batch);
    }
  } finally {
    ingress.close();
  }
}
