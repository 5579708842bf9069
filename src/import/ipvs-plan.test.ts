import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMarkedTraffic } from './ipvs-mark.ts';
import { MH_TABLE_SIZE, type Plan, planImport } from './ipvs-plan.ts';
import { applyCommands } from './ipvs-rules.ts';
import { parseIpvsSave } from './ipvs-save.ts';
import { Problems } from './place.ts';
import { IPVSADM } from './wording.ts';

function plan(rules: string, marks: readonly string[] = []): Plan {
  const problems = new Problems('rules');
  const read = applyCommands(parseIpvsSave(rules, problems), problems);
  assert.deepEqual(problems.list, []);
  return planImport(read, { marks: marks.map(parseMarkedTraffic), order: null, mhTableSize: MH_TABLE_SIZE, wording: IPVSADM });
}

/** A service with scheduler `scheduler` and servers 10.0.0.1, 10.0.0.2 … of these weights, in GUE. */
function service(scheduler: string, weights: readonly number[], name = '-t 192.0.2.1:80'): string {
  const servers = weights.map((weight, i) => `-a ${name} -r 10.0.0.${i + 1} -i --tun-type gue --tun-port 6080 -w ${weight}\n`);
  return `-A ${name} -s ${scheduler}\n${servers.join('')}`;
}

function codes({ notes }: Plan, kind?: string): string[] {
  return notes.filter((note) => kind === undefined || note.kind === kind).map(({ code }) => code.slice('GD_IMPORT_'.length));
}

test('what each scheduler makes of weights', () => {
  const weights = (scheduler: string) => plan(service(scheduler, [3, 0, 7, 7])).pools[0].backends.map(({ weight }) => weight);
  for (const scheduler of ['wrr', 'wlc', 'lblc', 'lblcr', 'sed', 'nq', 'ovf', 'sh', 'twos', 'unheard-of']) {
    assert.deepEqual(weights(scheduler), [3, 0, 7, 7], scheduler);
  }
  for (const scheduler of ['rr', 'lc', 'dh']) assert.deepEqual(weights(scheduler), [1, 0, 1, 1], scheduler);
  // Of equals the kernel takes the one that its list names first: the last added.
  assert.deepEqual(weights('fo'), [0, 0, 0, 1]);
  // The kernel's own list is the other way round.
  assert.deepEqual(weights('mh'), [7, 7, 0, 3]);
});

test('what stays together', () => {
  const affinity = (options: string, name?: string) => plan(service(options, [1], name)).services[0].affinity;
  assert.equal(affinity('wrr'), '5-tuple');
  assert.equal(affinity('wrr -p 60'), 'source-address');
  assert.equal(affinity('sh'), 'source-address');
  assert.equal(affinity('sh -b sh-port'), '5-tuple');
  assert.equal(affinity('sh -b sh-port -p 60'), 'source-address');
  assert.equal(affinity('rr -o', '-u 192.0.2.1:53'), 'none');
  assert.equal(affinity('rr -o -p 60', '-u 192.0.2.1:53'), 'source-address');
  assert.equal(affinity('sh -b sh-port -o', '-u 192.0.2.1:53'), '5-tuple');
  assert.equal(affinity('mh -o', '-u 192.0.2.1:53'), '5-tuple');
  const mh = (options: string) => plan(service(options, [1])).pools[0].mh;
  assert.deepEqual([mh('mh')?.port, mh('mh -b mh-port')?.port, mh('mh -b mh-port -p 60')?.port], [false, true, false]);
  assert.deepEqual([mh('mh -b mh-port')?.fallback, mh('mh -b mh-fallback')?.fallback, mh('rr')], [false, true, null]);
});

test('mh: the same choices, or a note that says why not', () => {
  assert.deepEqual(codes(plan(service('mh', [1]))), []);
  assert.deepEqual(codes(plan(service('mh', [1, 2]))), ['MH_ORDER']);
  assert.deepEqual(codes(plan(service('mh', [1, 2])), 'differs'), []);
  const ports = '-A -t 192.0.2.1:80 -s mh\n-a -t 192.0.2.1:80 -r 10.0.0.1:81 -m\n-a -t 192.0.2.1:80 -r 10.0.0.2:82 -m\n';
  assert.deepEqual(codes(plan(ports), 'differs'), ['MH_SERVER_PORTS']);
  const same = plan(ports.replace(':82', ':81'));
  assert.deepEqual([codes(same, 'differs'), same.pools[0].mh?.serverPort, same.pools[0].mh?.isServicePort], [[], 81, false]);
  assert.deepEqual(codes(plan(`${service('mh', [1])}-a -t 192.0.2.1:80 -r 127.0.0.1 -g\n`), 'differs'), ['MH_SERVERS']);
  assert.deepEqual(codes(plan(service('mh -b mh-port -p 60', [1])), 'differs'), ['MH_PORT']);
});

test('a server of mh that is quiesced keeps the slots of the weight it had', () => {
  const rules = `${service('mh', [5, 3])}-e -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue --tun-port 6080 -w 0\n`;
  assert.deepEqual(
    plan(rules).pools[0].backends.map(({ address, weight, draining }) => [address, weight, draining]),
    [
      ['10.0.0.2', 3, false],
      ['10.0.0.1', 5, true],
    ],
  );
  const unknown = plan(service('mh', [5, 0]));
  assert.deepEqual(
    unknown.pools[0].backends.map(({ weight, draining }) => [weight, draining]),
    [
      [0, false],
      [5, false],
    ],
  );
  assert.match(unknown.notes.find(({ code }) => code === 'GD_IMPORT_QUIESCED')?.message ?? '', /state: draining/);
});

test('weights beyond what a configuration takes', () => {
  const weights = (scheduler: string, ...given: number[]) => {
    const made = plan(service(scheduler, given));
    return [made.pools[0].backends.map(({ weight }) => weight), codes(made, 'differs').includes('WEIGHT')];
  };
  assert.deepEqual(weights('wrr', 1_000_000, 3_000_000), [[1, 3], false]);
  assert.deepEqual(weights('wrr', 1, 2147483647, 0), [[1, 65535, 0], true]);
  assert.deepEqual(weights('mh', 2000000000, 1000000000), [[1, 2], false]);
});

test('services that have the same servers, treated alike, share a pool', () => {
  const made = plan(
    service('wrr', [1, 2]) + service('wrr', [1, 2], '-t 192.0.2.1:443') + service('wrr', [1, 3], '-t 192.0.2.2:80'),
  );
  assert.deepEqual(
    made.services.map(({ name, pool }) => [name, pool]),
    [
      ['tcp-192.0.2.1-80', 'shared-1'],
      ['tcp-192.0.2.1-443', 'shared-1'],
      ['tcp-192.0.2.2-80', 'tcp-192.0.2.2-80'],
    ],
  );
  // The table of mh has the servers' port in it.
  const mh = plan(service('mh', [1, 2]) + service('mh', [1, 2], '-t 192.0.2.1:443') + service('mh', [1, 2], '-u 192.0.2.1:443'));
  assert.deepEqual(
    mh.services.map(({ pool }) => pool),
    ['tcp-192.0.2.1-80', 'shared-1', 'shared-1'],
  );
});

test('what would come back to the director is left out', () => {
  const made = plan(`${service('wrr', [1])}-a -t 192.0.2.1:80 -r 192.0.2.9 -g\n${service('wrr', [1], '-u 192.0.2.9:53')}`);
  assert.deepEqual(
    made.pools[0].backends.map(({ leftOut }) => leftOut !== null),
    [false, true],
  );
  assert.deepEqual(codes(made, 'left-out'), ['SERVER_LEFT_OUT']);
  const loopback = plan(`${service('wrr', [1])}${service('wrr', [1], '-t 127.0.0.1:80')}`);
  assert.deepEqual(
    loopback.leftOut.map(({ rule }) => rule),
    ['-t 127.0.0.1:80 -s wrr'],
  );
});

test('masquerading: two ports of one server are one backend', () => {
  const made = plan(
    '-A -t 192.0.2.1:80 -s wrr\n-a -t 192.0.2.1:80 -r 10.0.0.1:81 -m -w 3\n-a -t 192.0.2.1:80 -r 10.0.0.1:82 -m -w 4\n-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m\n',
  );
  assert.deepEqual(
    made.pools[0].backends.map(({ address, weight }) => [address, weight]),
    [
      ['10.0.0.1', 7],
      ['10.0.0.2', 1],
    ],
  );
  assert.deepEqual(codes(made, 'worker').sort(), ['MASQUERADING', 'MASQUERADING', 'PORT']);
  assert.deepEqual(codes(made, 'differs').sort(), ['SAME_ADDRESS', 'SCHEDULER']);
});

test('tunnels: what most have is the default, the rest says what differs', () => {
  const made = plan(`-A -t 192.0.2.1:80 -s rr
-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue --tun-port 6081 --tun-csum
-a -t 192.0.2.1:80 -r 10.0.0.2 -i --tun-type gre --tun-csum
-a -t 192.0.2.1:80 -r 10.0.0.3 -i --tun-type gue --tun-port 6081 --tun-csum
-a -t 192.0.2.1:80 -r 10.0.0.4 -i
-a -t 192.0.2.1:80 -r 10.0.0.5 -g
`);
  assert.deepEqual(made.tunnel, { encapsulation: 'gue', port: 6081, checksum: 'full' });
  assert.deepEqual(
    made.pools[0].backends.map(({ tunnel }) => tunnel),
    [
      null,
      { encapsulation: 'gre', port: null, checksum: 'full' },
      null,
      { encapsulation: 'ipip', port: null, checksum: 'auto' },
      null,
    ],
  );
});

test('a firewall mark stands for what the operator says', () => {
  const rules = service('wrr -p 60', [1, 2], '-f 7').replaceAll('-r 10.0.0.1 ', '-r 10.0.0.1:0 ');
  assert.deepEqual(plan(rules).services, []);
  const made = plan(rules, ['7=tcp:192.0.2.0/28:80-90', '7=udp:192.0.2.1']);
  assert.deepEqual(
    made.services.map(({ name, address, protocol, port, pool }) => [name, address, protocol, port, pool]),
    [
      ['fwmark-7-1', '192.0.2.0/28', 'tcp', '80-90', 'shared-1'],
      ['fwmark-7-2', '192.0.2.1', 'udp', 'all', 'shared-1'],
    ],
  );
  // An IPv6 prefix is not the traffic of an IPv4 mark.
  assert.equal(plan(rules, ['7=tcp:[2001:db8::/64]:80']).services.length, 0);
});

test('marks that mean nothing are refused', () => {
  for (const text of [
    '7',
    '7=tcp',
    '7=icmp:192.0.2.1',
    '0=tcp:192.0.2.1',
    '7=tcp:192.0.2.1/24',
    '7=tcp:192.0.2.1:0',
    '7=tcp:2001:db8::1',
    '7=tcp:192.0.2.1:9-8',
  ]) {
    assert.throws(() => parseMarkedTraffic(text), { code: 'GD_IMPORT_MARK', exitCode: 2 }, text);
  }
});
