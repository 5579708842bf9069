// Every line that can be run at full size: `npm run test:full -- --list`.

import { segmentation } from '../oracle/segmentation.ts';
import { tooBig } from '../oracle/too-big.ts';
import { brokenLabs } from './broken-labs.ts';
import { bulk } from './bulk.ts';
import { clients } from './clients.ts';
import { configs } from './configs.ts';
import { crashFlows } from './crash-flows.ts';
import { decoders } from './decoders.ts';
import { drain } from './drain.ts';
import { explainLine } from './explain.ts';
import { floods } from './floods.ts';
import { forwardLine } from './forward.ts';
import { forwardLink } from './forward-link.ts';
import { fourThreads } from './four-threads.ts';
import { fragments } from './fragments.ts';
import { freshClone } from './fresh-clone.ts';
import { fuzz } from './fuzz.ts';
import { fuzzSizes } from './fuzz-sizes.ts';
import { graphs } from './graphs.ts';
import { health } from './health.ts';
import { historyLine } from './history.ts';
import { importIpvsLine } from './import-ipvs.ts';
import { incident } from './incident.ts';
import { interop } from './interop.ts';
import { ipvsBytes } from './ipvs-bytes.ts';
import { ipvsMh } from './ipvs-mh.ts';
import { latencyLine } from './latency.ts';
import { lifecycle } from './lifecycle.ts';
import type { Line } from './line.ts';
import { memory } from './memory.ts';
import { pauses } from './pauses.ts';
import { peers } from './peers.ts';
import { pipelineCost } from './pipeline-cost.ts';
import { pipelineFloor } from './pipeline-floor.ts';
import { privileges } from './privileges.ts';
import { quic } from './quic.ts';
import { reloads } from './reloads.ts';
import { replyPathMtu } from './reply-path-mtu.ts';
import { scaleFlows } from './scale-flows.ts';
import { scaleServices } from './scale-services.ts';
import { soak } from './soak.ts';
import { statusPage } from './status-page.ts';
import { tables } from './tables.ts';
import { takeover } from './takeover.ts';
import { traceLine } from './trace.ts';
import { traceCost } from './trace-cost.ts';
import { transfers } from './transfers.ts';
import { twoThreads } from './two-threads.ts';
import { umlInterop } from './uml-interop.ts';
import { xdpHttp } from './xdp-http.ts';
import { xdpKilled } from './xdp-killed.ts';

export const LINES: readonly Line[] = [
  freshClone,
  umlInterop,
  interop,
  decoders,
  tables,
  fragments,
  crashFlows,
  fourThreads,
  explainLine,
  statusPage,
  historyLine,
  traceLine,
  traceCost,
  floods,
  drain,
  pipelineCost,
  pipelineFloor,
  forwardLine,
  forwardLink,
  latencyLine,
  configs,
  lifecycle,
  fuzz,
  fuzzSizes,
  segmentation,
  bulk,
  tooBig,
  transfers,
  memory,
  clients,
  incident,
  ipvsMh,
  peers,
  ipvsBytes,
  replyPathMtu,
  health,
  importIpvsLine,
  quic,
  privileges,
  reloads,
  takeover,
  graphs,
  brokenLabs,
  xdpHttp,
  xdpKilled,
  soak,
  scaleServices,
  scaleFlows,
  twoThreads,
  pauses,
];
