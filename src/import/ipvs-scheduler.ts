/**
 * The schedulers of IPVS (net/netfilter/ipvs/ip_vs_*.c) and what stands for each here: which packets stay together, what a weight means,
 * and in one sentence what is not the same.
 */
import type { Affinity } from '../pipeline/spec.ts';
import type { ServiceOptions } from './ipvs-save.ts';
import type { Say } from './note.ts';

/** `weighted`: proportions; `equal`: only whether it is 0; `highest`: the highest takes all. */
export type WeightRule = 'weighted' | 'equal' | 'highest';

export interface SchedulerPlan {
  readonly affinity: Affinity;
  readonly weights: WeightRule;
}

const HASHED = 'a hash of the flow spreads new flows here';
const PERSISTENT = 'a client stays on its server as long as the table does, and is never forgotten';
const NO_CONNECTIONS = 'connections are not counted';

/** `mh` is not among them: its table is built as the kernel builds it. */
const SCHEDULERS: Readonly<Record<string, readonly [WeightRule, string]>> = {
  rr: ['equal', `rr gave new flows to each server in turn, whatever its weight; ${HASHED}, evenly`],
  wrr: ['weighted', `wrr gave new flows to the servers in turn; ${HASHED}, by weight`],
  lc: ['equal', `lc took the server with the fewest connections, whatever its weight; ${HASHED}, evenly: ${NO_CONNECTIONS}`],
  wlc: ['weighted', `wlc took the server with the fewest connections for its weight; ${HASHED}, by weight: ${NO_CONNECTIONS}`],
  lblc: ['weighted', `lblc kept a destination address on its server; ${HASHED}, by weight: ${NO_CONNECTIONS}`],
  lblcr: ['weighted', `lblcr kept a destination address on its servers; ${HASHED}, by weight: ${NO_CONNECTIONS}`],
  dh: ['equal', `dh kept a destination address on its server, whatever the weights; ${HASHED}, evenly`],
  sed: ['weighted', `sed took the server with the shortest expected delay; ${HASHED}, by weight: ${NO_CONNECTIONS}`],
  nq: ['weighted', `nq took an idle server first; ${HASHED}, by weight: ${NO_CONNECTIONS}`],
  fo: [
    'highest',
    'fo gives all to the server of the highest weight that is there: the others have weight 0 here, raise one by hand to fail over',
  ],
  ovf: [
    'weighted',
    `ovf filled the server of the highest weight up to as many connections, then the next; ${HASHED}, by weight: ${NO_CONNECTIONS}`,
  ],
  twos: ['weighted', `twos took the less loaded of two servers; ${HASHED}, by weight: ${NO_CONNECTIONS}`],
};

/** For every scheduler but `mh`. `isUdp`: all that the service takes is UDP. */
export function planScheduler(options: ServiceOptions, isUdp: boolean, say: Say): SchedulerPlan {
  const { scheduler, persistence, onePacket } = options;
  const isHash = scheduler === 'sh';
  const byPort = isHash && options.flags.includes('sh-port');
  if (isHash) {
    const kept = byPort ? 'a client address and port' : 'a client';
    const walk = options.flags.includes('sh-fallback') ? '; who takes over from a quiesced server differs too' : '';
    const message = `${kept} stays on one server as under sh, but the table is another: most clients get another server${walk}`;
    say('differs', 'GD_IMPORT_SCHEDULER', message);
  }
  const known = Object.hasOwn(SCHEDULERS, scheduler) ? SCHEDULERS[scheduler] : undefined;
  if (!isHash) {
    const unknown = `the scheduler ${scheduler} is not known here; ${HASHED}, by weight`;
    say('differs', 'GD_IMPORT_SCHEDULER', known?.[1] ?? unknown);
  }
  const weights = known?.[0] ?? 'weighted';
  if (persistence !== null) {
    say('differs', 'GD_IMPORT_PERSISTENCE', `persistent for ${persistence} s: ${PERSISTENT}`);
    return { affinity: 'source-address', weights };
  }
  if (isHash && !byPort) return { affinity: 'source-address', weights };
  return { affinity: onePacket && isUdp && !isHash ? 'none' : '5-tuple', weights };
}

/** The table of mh is built as the kernel builds it; what stays together is in its own hash. */
export function planMh({ flags, persistence, onePacket }: ServiceOptions, say: Say): SchedulerPlan {
  if (persistence !== null) {
    say('remark', 'GD_IMPORT_PERSISTENCE', `persistent for ${persistence} s: ${PERSISTENT}`);
    if (flags.includes('mh-port')) {
      const message =
        'mh-port of a persistent service: a client stays on the server of its address, not on that of its first connection';
      say('differs', 'GD_IMPORT_MH_PORT', message);
    }
  }
  if (onePacket) {
    const message = 'one-packet scheduling: under mh every packet of a flow has the same server anyway, unless the table changes';
    say('remark', 'GD_IMPORT_ONE_PACKET', message);
  }
  return { affinity: '5-tuple', weights: 'weighted' };
}
