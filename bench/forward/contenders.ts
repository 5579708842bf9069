// What takes part in the benches forward and latency, with ingress `tun` and egress `raw`: the director, and the C program with the same system calls.

import { Actor } from '../../src/demo/cast.ts';
import { TUNNEL_PORT } from '../../src/demo/configuration.ts';
import { findCommand } from '../../test/needs.ts';
import { type Contender, director, keepUntracked, QUEUE_LENGTH } from '../bulk/contenders.ts';
import type { buildForwarding } from '../floor/build.ts';

export type Programs = NonNullable<ReturnType<typeof buildForwarding>>;

/** The floor's own virtual IP and TUN device: both contenders are there at once, and packets choose. */
export const FLOOR_SERVICE = '10.80.9.2';
const FLOOR_DEVICE = 'floor0';

export function contenders(programs: Programs, threads: number): readonly [Contender, Contender] {
  // The value ends its line, so that what follows is a key of its own.
  const ours = director('director', `{ driver: raw }\nthreads: ${threads}`);
  const floor: Contender = {
    name: 'floor in C',
    service: FLOOR_SERVICE,
    async start(lab) {
      const own = [FLOOR_DEVICE, lab.director.address4, lab.workers[0].address4, String(TUNNEL_PORT), String(threads)];
      const actor = Actor.command('the floor', lab.director, programs.forward, ...own);
      await actor.says('ready');
      keepUntracked(lab, FLOOR_SERVICE);
      lab.router.ip(`route add ${FLOOR_SERVICE} via ${lab.director.address4}`);
      lab.director.ip(
        `link set ${FLOOR_DEVICE} mtu 65535 txqueuelen ${QUEUE_LENGTH} up`,
        `route add ${FLOOR_SERVICE} dev ${FLOOR_DEVICE}`,
      );
      return {
        pid: actor.child.pid!,
        drops: () => Promise.resolve(0),
        async stop() {
          await actor.stop();
          lab.router.ip(`route del ${FLOOR_SERVICE} via ${lab.director.address4}`);
          if (findCommand('nft') !== null) lab.director.run('nft', ['delete', 'table', 'inet', 'floor']);
        },
      };
    },
  };
  return [ours, floor];
}
