// What happens to a running director when somebody changes the host below it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, RunningDirector, sendDatagrams } from './running-director.ts';

for (const [driver, out, threads, rounds] of [
  ['packet', 'raw', 2, 3],
  // The interface has one queue.
  ['xdp', 'xdp', 1, 1],
  ['tun', 'xdp', 1, 1],
] as const) {
  test(
    `${driver} in, ${out} out: an interface that is removed makes the director not ready; made anew, packets flow again`,
    needs('namespaces', 'tun', ...(out === 'xdp' ? (['xdp'] as const) : [])),
    async (t) => {
      const lab = buildLab(t, 1);
      const ingress = driver === 'tun' ? '{ driver: tun }' : `{ driver: ${driver}, interface: eth0 }`;
      const egress = out === 'xdp' ? '{ driver: xdp, interface: eth0 }' : '{ driver: raw }';
      const director = await RunningDirector.start(t, lab, configuration(lab, { ingress, egress, threads }));
      sendDatagrams(lab, lab.vip4, 53, 20, 1);
      await eventually(() => director.metric('forwarded_packets_total') === 20, 'traffic before');
      // More often than a director may fail.
      for (let round = 1; round <= rounds; round++) {
        lab.router.ip('link del director');
        await eventually(() => director.get('/-/ready').status === 503, 'not ready');
        await director.event('interface-gone', threads * round);
        const { body } = director.get('/-/ready');
        assert.match(body, /forwarding thread 0 does not forward\n/);
        if (threads > 1) assert.match(body, /forwarding thread 1 does not forward\n/);
        assert.equal(director.get('/-/healthy').status, 200, 'nothing that a restart would mend');
        lab.router.ip(
          `link add director mtu 1600 type veth peer name eth0 mtu 1600 netns ${lab.director.name}`,
          'link set director master lan0 up',
          'neigh flush dev lan0',
        );
        lab.director.ip(
          'link set eth0 up',
          `addr add ${lab.director.address4}/24 dev eth0`,
          `addr add ${lab.director.address6}/64 dev eth0 nodad`,
          'route add default via 10.80.1.1',
          'route add default via fd80:0:0:1::1',
        );
        await eventually(() => director.get('/-/ready').status === 200, 'ready again', 8000);
        sendDatagrams(lab, lab.vip4, 53, 20, 1);
        await eventually(() => director.metric('forwarded_packets_total') === 20 + 20 * round, 'traffic afterwards');
      }
      assert.equal(director.metric('thread_failures_total{thread="0"}'), 0);
      assert.equal(await director.actor.stop(), 0);
      assert.deepEqual(
        lab.leftovers().filter((fact) => /proto 77/.test(fact)),
        [],
      );
    },
  );
}

for (const ingress of ['{ driver: tun, device: gd0 }', '{ driver: tap, device: gd0 }']) {
  test(`${ingress}: a device that is removed again and again is no failure of ours`, needs('namespaces', 'tun'), async (t) => {
    const lab = buildLab(t, 1);
    const director = await RunningDirector.start(t, lab, configuration(lab, { ingress }));
    for (let round = 1; round <= 5; round++) {
      lab.director.ip('link del gd0');
      await director.event('thread-restarted', round);
    }
    await eventually(() => director.get('/-/ready').status === 200, 'ready');
    sendDatagrams(lab, lab.vip4, 53, 10, 1);
    await eventually(() => director.metric('forwarded_packets_total') === 10, 'traffic flows');
    assert.equal(director.metric('thread_failures_total{thread="0"}'), 0);
    assert.equal(await director.actor.stop(), 0);
  });
}

test(
  'tap-offload: its device is made anew when somebody removes it, and its settings are put right',
  needs('namespaces', 'tun', 'tunnel-gso', 'ethtool'),
  async (t) => {
    const lab = buildLab(t, 1, { offloads: 'none' });
    const egress = '{ driver: tap-offload, device: gdx0 }';
    const director = await RunningDirector.start(t, lab, configuration(lab, { egress, threads: 2 }));
    const traffic = async (total: number, what: string) => {
      sendDatagrams(lab, lab.vip4, 53, 10, 1);
      sendDatagrams(lab, lab.vip6, 53, 10, 1);
      await eventually(() => director.metric('forwarded_packets_total') === total, what);
    };
    await traffic(20, 'traffic before');
    for (let round = 1; round <= 2; round++) {
      lab.director.ip('link del gdx0');
      await director.event('thread-restarted', 2 * round);
      await eventually(() => director.get('/-/ready').status === 200, 'ready again', 8000);
      await traffic(20 + 20 * round, 'traffic afterwards');
    }
    // Forwarded by the director means taken by the kernel: these must also have left.
    const forwarded = () => Number(/IpForwDatagrams\s+(\d+)/.exec(lab.director.run('nstat', ['-asz', 'IpForwDatagrams']))?.[1]);
    const before = forwarded();
    await traffic(80, 'and again');
    // Into gd0 and out of gdx0: the IPv6 service has IPv4 tunnels, the IPv4 service IPv6 ones.
    assert.equal(forwarded() - before, 20);
    assert.equal(director.metric('thread_failures_total{thread="0"}'), 0);
    assert.equal(director.metric('dropped_packets_total{reason="send-failed"}'), 0);
    director.actor.child.kill('SIGKILL');
    await director.actor.ended;
    assert.deepEqual(
      lab.leftovers().filter((fact) => /gdx0/.test(fact)),
      [],
      'after kill -9 the device is gone',
    );
  },
);

test(
  'an address that must not be there makes the director not ready, with the reason, until it is gone',
  needs('namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 1);
    const director = await RunningDirector.start(t, lab, configuration(lab));
    lab.director.ip(`addr add ${lab.vip4}/32 dev lo`);
    await eventually(() => director.get('/-/ready').status === 503, 'not ready');
    assert.match(director.get('/-/ready').body, /contains 10\.80\.9\.1, an address of lo/);
    await eventually(() => director.entries('host').at(-1)?.finding === 'prefix-conflict', 'the log says so too');
    lab.director.ip(`addr del ${lab.vip4}/32 dev lo`);
    await eventually(() => director.get('/-/ready').status === 200, 'ready again', 8000);
    await eventually(() => /^no longer so: /.test(director.entries('host').at(-1)?.msg ?? ''), 'and says so');
    assert.equal(await director.actor.stop(), 0);
  },
);
