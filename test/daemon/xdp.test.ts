// The daemon with the ingress xdp: beside the host's own traffic, through a reload, a refused upgrade, and its own death.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { loaderArguments, program } from '../../src/demo/cast.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, RunningDirector, sendDatagrams } from './running-director.ts';

test(
  'xdp: the host keeps its traffic; a reload reaches the gate; kill -9 leaves the interface working, and the next start takes over',
  needs('namespaces', 'xdp', 'ping'),
  async (t) => {
    const lab = buildLab(t, 1);
    const ingress = '{ driver: xdp, interface: eth0 }';
    const yaml = configuration(lab, { ingress });
    const command = (...args: string[]) => {
      const all = ['netns', 'exec', lab.director.name, process.execPath, ...loaderArguments(), program('../cli/main'), ...args];
      const env = { ...process.env, RUNTIME_DIRECTORY: lab.director.runtimeDirectory };
      return spawnSync('ip', all, { encoding: 'utf8', env });
    };
    const hostAnswers = () => lab.client.run('ping', ['-c', '1', '-W', '2', '-n', lab.director.address4]);
    const isAttached = () => / xdp[ /]/.test(lab.director.run('ip', ['link', 'show', 'eth0']));

    const first = await RunningDirector.start(t, lab, yaml);
    assert.ok(isAttached());
    hostAnswers();
    // Its neighbours are asked for anew, with the program in the way.
    lab.router.ip('neigh flush all');
    lab.director.ip('neigh flush all');
    hostAnswers();
    sendDatagrams(lab, lab.vip4, 53, 20, 1);
    await eventually(() => first.metric('forwarded_packets_total') === 20, 'all are forwarded');

    // Port 54 was the kernel's, which is silent about it; from the reload on it is a service's, and 53 still is.
    writeFileSync(
      first.file,
      yaml.replace(
        'services:\n',
        `services:\n  - { name: more, address: "${lab.vip4}", protocol: udp, port: 54, pool: over-6 }\n`,
      ),
    );
    sendDatagrams(lab, lab.vip4, 54, 5, 1);
    first.actor.child.kill('SIGHUP');
    await first.event('reloaded');
    sendDatagrams(lab, lab.vip4, 54, 10, 1);
    sendDatagrams(lab, lab.vip4, 53, 10, 1);
    await eventually(() => first.metric('forwarded_packets_total') === 40, 'those of the new service too');
    assert.equal(first.metric('received_packets_total'), 40, 'what was no service did not come as far as here');

    const upgrade = command('upgrade');
    assert.equal(upgrade.status, 1);
    assert.match(upgrade.stderr, /this director goes on as before/);
    sendDatagrams(lab, lab.vip4, 53, 5, 1);
    await eventually(() => first.metric('forwarded_packets_total') === 45, 'it goes on');

    const ended = once(first.actor.child, 'exit');
    first.actor.child.kill('SIGKILL');
    await ended;
    await eventually(() => !isAttached(), 'the program is gone', 1000);
    hostAnswers();
    const second = await first.startAgain(t);
    sendDatagrams(lab, lab.vip4, 53, 20, 1);
    await eventually(() => second.metric('forwarded_packets_total') === 20, 'the next one forwards');
    assert.equal(await second.actor.stop(), 0);
    assert.ok(!isAttached());
    assert.deepEqual(lab.leftovers(), []);
  },
);
