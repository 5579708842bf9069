// The daemon with xdp in and out: beside the host's own traffic, with neighbours that move and through a reload. What kill -9 leaves: test/full/xdp-killed.ts.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { needs } from '../needs.ts';
import { arrivals } from '../xdp/arrivals.ts';
import { buildLab, configuration, eventually, RunningDirector } from './running-director.ts';

const XDP = '{ driver: xdp, interface: eth0 }';
/** An address on the director's link that nobody has at first. */
const LATE = '10.80.1.99';
const UNREACHABLE = 'dropped_packets_total{reason="send-unreachable"}';

test(
  'xdp: past the kernel both ways, whose own traffic goes on; next hops, a reload, a clean end',
  needs('namespaces', 'xdp', 'ping'),
  async (t) => {
    const lab = buildLab(t, 1);
    const [worker] = lab.workers;
    const yaml = configuration(lab, { ingress: XDP, egress: XDP });
    const hostAnswers = () => lab.client.run('ping', ['-c', '1', '-W', '2', '-n', lab.director.address4]);
    const isAttached = () => / xdp[ /]/.test(lab.director.run('ip', ['link', 'show', 'eth0']));
    /** Each from a socket, and so a flow, of its own. */
    const send = (address: string, port: number, count: number) =>
      lab.client.run('bash', ['-c', `for i in $(seq ${count}); do echo datagram > /dev/udp/${address}/${port}; done`]);
    const arrive = (more: number, what: string) => {
      const before = arrivals(worker);
      return () => eventually(() => arrivals(worker) === before + more, what);
    };

    lab.director.ip('neigh flush all');
    const first = await RunningDirector.start(t, lab, yaml);
    assert.ok(isAttached());
    hostAnswers();
    // Its neighbours are asked for anew, with the program in the way.
    lab.router.ip('neigh flush all');
    hostAnswers();
    const both = arrive(40, 'all are at the worker, whom nobody here had asked for before');
    send(lab.vip4, 53, 20);
    send(lab.vip6, 53, 20);
    await both();

    // The worker gets another MAC address, and says so as every host that sends does.
    worker.ip('link set eth0 address 02:00:00:00:00:77');
    worker.run('ping', ['-c', '1', '-W', '2', '-n', lab.director.address4]);
    worker.run('ping', ['-c', '1', '-W', '2', '-n', lab.director.address6]);
    const known = () => lab.director.run('ip', ['neigh', 'show']).split('02:00:00:00:00:77').length > 2;
    await eventually(known, 'the kernel knows');
    const moved = arrive(20, 'where it is now');
    // A tenth of a second is what the keeper may take.
    await setTimeout(200);
    send(lab.vip4, 53, 10);
    send(lab.vip6, 53, 10);
    await moved();

    // Port 54 was the kernel's, which is silent about it; from the reload on it is a service's, and 53 still is. Its backend is not there yet.
    const more = `services:\n  - { name: more, address: "${lab.vip4}", protocol: udp, port: 54, pool: late }\n`;
    const late = `pools:\n  late: { table-size: 251, backends: [{ name: late, address: "${LATE}" }] }\n`;
    writeFileSync(first.file, yaml.replace('services:\n', more).replace('pools:\n', late));
    const received = first.metric('received_packets_total');
    send(lab.vip4, 54, 5);
    first.actor.child.kill('SIGHUP');
    await first.event('reloaded');
    const others = arrive(10, 'the others are none the worse');
    send(lab.vip4, 54, 10);
    send(lab.vip4, 53, 10);
    await others();
    await eventually(() => first.metric(UNREACHABLE) === 10, 'nobody has answered for it');
    assert.equal(first.metric('received_packets_total'), received + 20, 'what was no service did not come as far as here');
    worker.ip(`addr add ${LATE}/24 dev eth0`);
    const before = arrivals(worker);
    // The first of them ask for it.
    await eventually(() => {
      send(lab.vip4, 54, 1);
      return arrivals(worker) > before;
    }, 'it is found');

    assert.equal(await first.actor.stop(), 0);
    assert.ok(!isAttached());
    assert.deepEqual(
      lab.leftovers().filter((fact) => !fact.includes(LATE)),
      [],
    );
  },
);
