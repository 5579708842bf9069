// A worker is drained and its service stopped, but the drain has no end: a client that comes back with the port it had still gets that worker.

import { VIP4 } from '../../../src/demo/lab/topology.ts';
import type { BrokenLab } from './broken-lab.ts';
import { PORT, type Scene } from './scene.ts';

const FROM = 40_123;

/** The worker that the client's flow is on, said by itself when all was well. */
const owners = new WeakMap<Scene, 'worker-1' | 'worker-2'>();

async function owner(scene: Scene): Promise<'worker-1' | 'worker-2'> {
  // Two requests: what is seen twice is confirmed.
  await scene.ask(PORT.pair, { from: FROM });
  const said = await scene.ask(PORT.pair, { from: FROM });
  const name = /worker-[12]/.exec(said)?.[0];
  if (name === undefined) throw new Error(`nobody answers: ${said}`);
  return name as 'worker-1' | 'worker-2';
}

const addressOf = (scene: Scene, name: string) => scene.lab.workers[name === 'worker-1' ? 0 : 1].address4;

export const stuckOnDraining: BrokenLab = {
  cause: 'flow stuck on a draining backend',
  kernelWorker: false,
  at: 'director',
  command: ({ lab, file }) => ['explain', '--config', file, 'tcp', `${lab.client.address4}:${FROM}`, `${VIP4}:${PORT.pair}`],
  finding: 'backend … it is draining',
  names: [
    /it is draining, so it keeps the flows that it has until the drain ends/,
    /because its flow table entry says so/,
    /gue-director drain backend pair\/worker-[12] --deadline 1s/,
  ],
  async break(scene) {
    const name = await owner(scene);
    owners.set(scene, name);
    const { code, output } = await scene.program('director', ['drain', 'backend', `pair/${name}`, '--config', scene.file]);
    if (code !== 0) throw new Error(output);
    await scene.order(addressOf(scene, name), { shut: PORT.pair });
  },
  client: (scene) => scene.ask(PORT.pair, { from: FROM }),
  symptom: /^ECONNREFUSED/,
  async mend(scene, said) {
    const command = /gue-director (drain backend pair\/worker-[12] --deadline 1s)/.exec(said)?.[1] ?? '';
    const { code, output } = await scene.program('director', [...command.split(' '), '--config', scene.file]);
    if (code !== 0) throw new Error(output);
    return `gue-director ${command}`;
  },
  async restore(scene) {
    const name = owners.get(scene) ?? '';
    await scene.program('director', ['drain', 'backend', `pair/${name}`, '--cancel', '--config', scene.file]);
    await scene.order(addressOf(scene, name), { open: PORT.pair });
  },
};
