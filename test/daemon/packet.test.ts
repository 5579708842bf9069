// The daemon with egress packet, which writes link headers itself: neighbours that move, and one that nobody knows yet. What it shares with xdp: xdp.test.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { needs } from '../needs.ts';
import { arrivals } from '../xdp/arrivals.ts';
import { buildLab, configuration, eventually, RunningDirector } from './running-director.ts';

/** An address on the director's link that nobody has at first. */
const LATE = '10.80.1.99';
const MOVED = '02:00:00:00:00:77';
const UNREACHABLE = 'dropped_packets_total{reason="send-unreachable"}';
const REFUSED = 'send_errors_total{errno="EHOSTUNREACH"}';

test(
  'packet: frames go where the neighbour is now; one that is not known is counted, asked for and found',
  needs('namespaces', 'ping'),
  async (t) => {
    const lab = buildLab(t, 1);
    const [worker] = lab.workers;
    const driver = '{ driver: packet, interface: eth0 }';
    const yaml = configuration(lab, { ingress: driver, egress: driver })
      .replace('services:\n', `services:\n  - { name: more, address: "${lab.vip4}", protocol: udp, port: 54, pool: late }\n`)
      .replace('pools:\n', `pools:\n  late: { table-size: 251, backends: [{ name: late, address: "${LATE}" }] }\n`);
    /** Each from a socket, and so a flow, of its own. */
    const send = (address: string, port: number, count: number) =>
      lab.client.run('bash', ['-c', `for i in $(seq ${count}); do echo datagram > /dev/udp/${address}/${port}; done`]);
    const arrive = async (more: number, what: string) => {
      const before = arrivals(worker);
      send(lab.vip4, 53, more / 2);
      send(lab.vip6, 53, more / 2);
      await eventually(() => arrivals(worker) === before + more, what);
    };

    lab.director.ip('neigh flush all');
    const director = await RunningDirector.start(t, lab, yaml);
    await arrive(40, 'all are at the worker, whom nobody here had asked for before');

    // The worker gets another MAC address, and says so as every host that sends does.
    worker.ip(`link set eth0 address ${MOVED}`);
    worker.run('ping', ['-c', '1', '-W', '2', '-n', lab.director.address4]);
    worker.run('ping', ['-c', '1', '-W', '2', '-n', lab.director.address6]);
    await eventually(() => lab.director.run('ip', ['neigh', 'show']).split(MOVED).length > 2, 'the kernel knows');
    // A tenth of a second is what the keeper may take.
    await setTimeout(200);
    await arrive(20, 'where it is now');

    send(lab.vip4, 54, 10);
    await eventually(() => director.metric(UNREACHABLE) === 10, 'nobody has answered for it');
    assert.equal(director.metric(REFUSED), 10);
    // None waits for it: the others go their way meanwhile.
    await arrive(10, 'the others are none the worse');
    worker.ip(`addr add ${LATE}/24 dev eth0`);
    const before = arrivals(worker);
    // The first of them ask for it.
    await eventually(() => {
      send(lab.vip4, 54, 1);
      return arrivals(worker) > before;
    }, 'it is found');

    assert.equal(await director.actor.stop(), 0);
    assert.deepEqual(
      lab.leftovers().filter((fact) => !fact.includes(LATE)),
      [],
    );
  },
);
