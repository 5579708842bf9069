// The daemon whose configuration says nothing about the way out.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, RunningDirector, sendDatagrams } from './running-director.ts';

test(
  'another program has one of the source ports: the director starts, says so with a hint, and forwards',
  needs('namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 1);
    const script = "require('node:dgram').createSocket('udp4').bind(61500, () => console.log('bound'))";
    const other = Actor.command('other program', lab.director, process.execPath, '-e', script);
    t.after(() => other.child.kill('SIGKILL'));
    await other.says('bound');
    const yaml = configuration(lab, { threads: 2 }).replace(/^egress: .*\n/m, '');
    assert.doesNotMatch(yaml, /egress/);
    const director = await RunningDirector.start(t, lab, yaml);
    const warning = await director.event('egress-warning', 2);
    assert.equal(warning.level, 'warn');
    assert.match(warning.msg, /^auto:raw: large packets leave segment by segment.*UDP port 61500/);
    assert.match(String(warning.hint), /ss -ulnp .*61500.*egress\.source-port-base/);
    assert.deepEqual(
      director
        .entries('egress-warning')
        .map(({ thread }) => thread)
        .sort(),
      [0, 1],
    );
    sendDatagrams(lab, lab.vip4, 53, 10, 3);
    sendDatagrams(lab, lab.vip6, 53, 10, 3, 1300);
    await eventually(() => director.metric('forwarded_packets_total') === 60, 'all packets are forwarded');
    assert.equal(await director.actor.stop(), 0, director.actor.words);
  },
);
