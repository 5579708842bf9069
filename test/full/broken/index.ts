// The twelve, in the order of the page (docs/troubleshooting.md).

import { backendBlackholed } from './backend-blackholed.ts';
import { blackHole } from './black-hole.ts';
import type { BrokenLab } from './broken-lab.ts';
import { damagedAtSource } from './damaged-at-source.ts';
import { forwardingOff } from './forwarding-off.ts';
import { portClosed } from './port-closed.ts';
import { routeMissing } from './route-missing.ts';
import { shadowedService } from './shadowed-service.ts';
import { smallTunnelPath } from './small-tunnel-path.ts';
import { stuckOnDraining } from './stuck-on-draining.ts';
import { vipMissing } from './vip-missing.ts';
import { workerRpFilter } from './worker-rp-filter.ts';
import { wrongGuePort } from './wrong-gue-port.ts';

export const BROKEN_LABS: readonly BrokenLab[] = [
  workerRpFilter,
  vipMissing,
  portClosed,
  wrongGuePort,
  smallTunnelPath,
  blackHole,
  forwardingOff,
  shadowedService,
  damagedAtSource,
  backendBlackholed,
  routeMissing,
  stuckOnDraining,
];
