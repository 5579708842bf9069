// The director of the incident, for docs/incident.md: `node --import tsx old-director.ts CONFIG`. It encapsulates as a kernel did then. A packet that needs no cutting leaves well; of a
// super-packet it says where the inner header is 14 bytes too early, an Ethernet header that is not there, so that the tunnel header has 12 − 14 = −2 bytes. The
// kernel's own code for segmentation inside tunnels (__skb_udp_tunnel_segment, asked through tap-offload) is given that, and throws the packet away. Nobody says a word.

import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Batch } from '../../src/base/batch.ts';
import { createBank } from '../../src/base/counters.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { loadConfig } from '../../src/config/load.ts';
import { prepareOffloadDevice } from '../../src/host/offload-device.ts';
import { createBatch } from '../../src/io/open.ts';
import { TapOffloadEgress } from '../../src/io/tap-offload/egress.ts';
import { TunIngress } from '../../src/io/tun/ingress.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import * as ethernet from '../../src/wire/ethernet.ts';

const DEVICE = 'old0';
const WAY_OUT = 'old1';
const CAPACITY = 32;

const { spec } = loadConfig(process.argv[2]);
const ingress = new TunIngress({ device: DEVICE, offloads: 'segmentation' });
const egress = new TapOffloadEgress({ device: WAY_OUT });
prepareOffloadDevice(WAY_OUT, true);
execFileSync('ip', ['link', 'set', DEVICE, 'mtu', '65535', 'txqueuelen', '10000', 'up']);
for (const { prefix } of spec.services) {
  execFileSync('ip', ['route', 'replace', `${prefix.bytes.join('.')}/${prefix.length}`, 'dev', DEVICE]);
}
const { batch } = createBatch(ingress, CAPACITY);
const { sourcePortBase, sourcePortMask, trains, trainsNeedChecksum } = egress.facts;
const pipeline = new Pipeline({
  snapshot: new Snapshot(new SnapshotBuilder().build(spec)),
  flows: new FlowTable(1024, Int32Array.of(1, 2)),
  bank: createBank(),
  sourcePortBase,
  sourcePortMask,
  trainsNeedChecksum,
  wholeTrains: trains === 'tunnel-gso',
});

/** The mistake, behind every check of ours. */
function makeStale(batch: Batch): void {
  for (let i = 0; i < batch.count; i++) {
    const isSuperPacket = batch.verdict[i] === VERDICT_FORWARD && batch.segmentCount[i] > 1 && batch.recordAt[i] < 0;
    if (isSuperPacket) batch.networkAt[i] -= ethernet.HEADER_LENGTH;
  }
}

process.stdout.write('ready\n');
const started = performance.now();
for (;;) {
  if (ingress.receive(batch) === 0) {
    await delay(1);
    continue;
  }
  pipeline.process(batch, Math.floor((performance.now() - started) / 1000));
  makeStale(batch);
  egress.send(batch);
  ingress.reply(batch);
}
