import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { formatAddress } from '../base/address.ts';
import { applyCommands, formatEndpoint, formatServiceName, type IpvsService } from './ipvs-rules.ts';
import { parseIpvsSave, type ServerOptions, type ServiceName, type ServiceOptions } from './ipvs-save.ts';
import { Problems } from './place.ts';

function read(text: string): { services: readonly IpvsService[]; problems: string[] } {
  const problems = new Problems('rules');
  const { services } = applyCommands(parseIpvsSave(text, problems), problems);
  return { services, problems: problems.list.map(({ line, column, message, code }) => `${line}:${column} ${message} [${code}]`) };
}

test('a line of every kind, as ipvsadm-save -n printed it', () => {
  const { services, problems } = read(`-A -t 192.0.2.1:0 -s sh -p 600 -M 255.255.255.0 -b sh-fallback,sh-port
-a -t 192.0.2.1:0 -r 198.51.100.7:0 -g -w 1
-A -t 192.0.2.1:80 -s mh -b mh-fallback,mh-port
-a -t 192.0.2.1:80 -r 198.51.100.1:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 192.0.2.1:80 -r 198.51.100.6:80 -i -w 0 --tun-type gre --tun-csum
-a -t 192.0.2.1:80 -r 198.51.100.7:80 -i -w 3 --tun-type ipip
-A -u 192.0.2.1:5060 -s rr -p 60 --pe sip -o
-A --sctp-service 192.0.2.3:2905 -s wlc
-A -u [2001:db8::1]:53 -s rr -p 300 -M 64 -o
-a -u [2001:db8::1]:53 -r 10.0.0.3:53 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
-A -f 8 -6 -s wrr -b flag-1,flag-2,flag-3
-a -f 8 -6 -r [2001:db8::7]:8080 -m -w 12
`);
  assert.deepEqual(problems, []);
  assert.deepEqual(
    services.map(({ name, servers }) => [formatServiceName(name), servers.map((one) => formatEndpoint(one.address, one.port))]),
    [
      ['-t 192.0.2.1:0', ['198.51.100.7:0']],
      ['-t 192.0.2.1:80', ['198.51.100.1:80', '198.51.100.6:80', '198.51.100.7:80']],
      ['-u 192.0.2.1:5060', []],
      ['--sctp-service 192.0.2.3:2905', []],
      ['-u [2001:db8::1]:53', ['10.0.0.3:53']],
      ['-f 8 -6', ['[2001:db8::7]:8080']],
    ],
  );
  const [all, mh, sip, , six, mark] = services.map(({ options }) => options);
  assert.deepEqual(all, {
    scheduler: 'sh',
    flags: ['sh-fallback', 'sh-port'],
    persistence: 600,
    mask: '255.255.255.0',
    onePacket: false,
    engine: null,
  });
  assert.deepEqual(mh.flags, ['mh-fallback', 'mh-port']);
  assert.deepEqual([sip.engine, sip.onePacket, sip.persistence], ['sip', true, 60]);
  assert.deepEqual([six.mask, mark.flags.length], ['64', 3]);
  assert.deepEqual(
    services[1].servers.map(({ tunnel, weight }) => [tunnel?.type, tunnel?.port, tunnel?.checksum, weight]),
    [
      ['gue', 6080, 'remcsum', 1],
      ['gre', 0, 'full', 0],
      ['ipip', 0, 'none', 3],
    ],
  );
  assert.deepEqual([services[0].servers[0].forwarding, services[5].servers[0].forwarding], ['gatewaying', 'masquerading']);
  assert.deepEqual(services[1].servers[1].at, { line: 5, column: 1 });
});

test('what people write by hand: comments, the word ipvsadm, short options together, defaults, changes', () => {
  const { services, problems } = read(`# web
/sbin/ipvsadm -C
ipvsadm -At 192.0.2.1:80 -po
  ipvsadm -at 192.0.2.1:80 -r198.51.100.9:8080 -iw5
-a --tcp-service=192.0.2.1:80 --real-server=198.51.100.11 -x 100 -y 10
-a -t 192.0.2.1:80 -r 198.51.100.12:81 -m
-e -t 192.0.2.1:80 -r 198.51.100.9 -g -w 0
-d -t 192.0.2.1:80 -r 198.51.100.11:80
-A -t 192.0.2.2:80
-D -t 192.0.2.2:80
--set 900 120 300
`);
  assert.deepEqual(problems, []);
  assert.equal(services.length, 1);
  const [{ options, servers }] = services;
  assert.deepEqual([options.scheduler, options.persistence, options.onePacket], ['wlc', 360, true]);
  assert.deepEqual(
    servers.map((one) => [formatEndpoint(one.address, one.port), one.writtenPort, one.weight, one.lastWeight, one.forwarding]),
    [
      // ipvsadm puts the service's port in the place of another where nothing is translated.
      ['198.51.100.9:80', 80, 0, 5, 'gatewaying'],
      ['198.51.100.12:81', 81, 1, 1, 'masquerading'],
    ],
  );
});

test('every way to be wrong has its place and its sentence', () => {
  const wrong: readonly (readonly [string, string])[] = [
    [
      '-A -t www.example.org:80 -s rr',
      '1:7 "www.example.org" is a name, not an address: save with "ipvsadm-save -n" [GD_IMPORT_NAME]',
    ],
    ['-A -t 192.0.2.1:http -s rr', '1:17 "http" is the name of a port: save with "ipvsadm-save -n" [GD_IMPORT_NAME]'],
    ['-A -t 192.0.2.300:80', '1:7 "192.0.2.300" is not an IPv4 address [GD_IMPORT_ADDRESS]'],
    [
      '-A -t 2001:db8::1:80',
      '1:7 "2001:db8::1:80" is not ADDRESS:PORT: an IPv6 address stands in brackets, [2001:db8::1]:80 [GD_IMPORT_ADDRESS]',
    ],
    ['-A -t [192.0.2.1]:80', '1:8 "192.0.2.1": brackets stand around IPv6 addresses, and only around them [GD_IMPORT_ADDRESS]'],
    ['-A -t 192.0.2.1:70000', '1:17 "70000" is not a port: a whole number from 0 to 65535 [GD_IMPORT_VALUE]'],
    ['-A -t 192.0.2.1:80 --weigth 3', '1:20 ipvsadm has no option "--weigth"; did you mean "weight"? [GD_IMPORT_OPTION]'],
    ['-A -t 192.0.2.1:80 now', '1:20 "now" is not an option [GD_IMPORT_OPTION]'],
    ['-A -t', '1:4 a value is missing after "-t" [GD_IMPORT_OPTION]'],
    ['-A -t 192.0.2.1:80 -s rr -s wrr', '1:26 "-s" stands here a second time [GD_IMPORT_OPTION]'],
    ['-t 192.0.2.1:80 -s rr', '1:1 the line has no command: -A adds a virtual service, -a a real server [GD_IMPORT_COMMAND]'],
    ['-A -a -t 192.0.2.1:80', '1:4 "-a" is a second command in one line [GD_IMPORT_COMMAND]'],
    ['-L -t 192.0.2.1:80', '1:1 "-L" is no rule [GD_IMPORT_COMMAND]'],
    ['-A -s rr', '1:1 no virtual service is named: -t, -u, --sctp-service or -f [GD_IMPORT_SERVICE]'],
    ['-A -t 192.0.2.1:80 -u 192.0.2.1:80', '1:20 a second virtual service is named in one line [GD_IMPORT_SERVICE]'],
    [
      '-A -t 192.0.2.1:0',
      '1:1 a service of every port (port 0) must be persistent (-p); the kernel refuses it [GD_IMPORT_SERVICE]',
    ],
    ['-a -t 192.0.2.1:80 -r 10.0.0.1', '1:1 no line before this one adds the service -t 192.0.2.1:80 [GD_IMPORT_NO_SERVICE]'],
    ['-A -f 0', '1:7 "0" is not a firewall mark: a whole number from 1 to 4294967295 [GD_IMPORT_VALUE]'],
  ];
  for (const [line, message] of wrong) assert.deepEqual(read(line).problems, [message], line);
  const service = '-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80';
  const servers: readonly (readonly [string, string])[] = [
    [' -w 1', '2:1 no real server is named: -r ADDRESS:PORT [GD_IMPORT_SERVER]'],
    [' -r 10.0.0.1 -g -m', '2:35 "-m" is a second way of forwarding [GD_IMPORT_SERVER]'],
    [' -r 10.0.0.1 --tun-type gue', '2:32 "--tun-type" needs -i [GD_IMPORT_SERVER]'],
    [' -r 10.0.0.1 -i --tun-type gue', '2:46 a tunnel of type gue needs --tun-port [GD_IMPORT_SERVER]'],
    [' -r 10.0.0.1 -i --tun-type vxlan', '2:46 "vxlan" is not a kind of tunnel: ipip, gue or gre [GD_IMPORT_VALUE]'],
    [' -r 10.0.0.1 -w many', '2:35 "many" is not a value of --weight: a whole number from 0 to 2147483647 [GD_IMPORT_VALUE]'],
  ];
  for (const [rest, message] of servers) assert.deepEqual(read(`${service}${rest}`).problems, [message], rest);
  assert.deepEqual(read(`${service} -r 10.0.0.1:80\n-a -t 192.0.2.1:80 -r 10.0.0.1:80`).problems, [
    '3:1 the real server 10.0.0.1:80 was added in line 2 already [GD_IMPORT_TWICE]',
  ]);
  assert.match(read('IP Virtual Server version 1.2.1 (size=4096)\n…').problems[0], /^1:1 this is a list .*\[GD_IMPORT_LIST\]$/);
});

const address4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** Not IPv4-mapped, which no kernel prints. */
const address6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => bytes.with(0, 0x20));
const address = fc.oneof(address4, address6);
const port = fc.integer({ min: 1, max: 65535 });

/** A record with Object's prototype. */
function plain<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
}

const name: fc.Arbitrary<ServiceName> = fc.oneof(
  plain({ kind: fc.constant('address' as const), protocol: fc.constantFrom('tcp', 'udp', 'sctp'), address, port }),
  plain({ kind: fc.constant('mark' as const), mark: fc.integer({ min: 1, max: 0xffffffff }), family: fc.constantFrom(4, 6) }),
);
const options: fc.Arbitrary<ServiceOptions> = plain({
  scheduler: fc.constantFrom('rr', 'wrr', 'mh', 'sh', 'wlc', 'new-one'),
  flags: fc.subarray(['mh-port', 'mh-fallback', 'flag-3']),
  persistence: fc.option(fc.integer({ min: 1, max: 100_000 })),
  mask: fc.constant(null),
  onePacket: fc.boolean(),
  engine: fc.constantFrom(null, 'sip'),
});
const server: fc.Arbitrary<ServerOptions> = fc
  .record({
    address,
    port,
    weight: fc.integer({ min: 0, max: 2147483647 }),
    way: fc.constantFrom('gatewaying' as const, 'masquerading' as const, 'ipip' as const, 'gue' as const, 'gre' as const),
    checksum: fc.constantFrom('none' as const, 'full' as const, 'remcsum' as const),
    tunnelPort: port,
  })
  .map(({ address, port, weight, way, checksum, tunnelPort }) => {
    const isTunnel = way === 'ipip' || way === 'gue' || way === 'gre';
    const sum = way === 'ipip' || (way === 'gre' && checksum === 'remcsum') ? 'none' : checksum;
    return {
      address,
      port,
      writtenPort: port,
      forwarding: isTunnel ? 'tunnel' : way,
      tunnel: isTunnel ? { type: way, port: way === 'gue' ? tunnelPort : 0, checksum: sum } : null,
      weight,
      upper: 0,
      lower: 0,
    };
  });

/** As `ipvsadm-save -n` prints it. */
function print(services: readonly { name: ServiceName; options: ServiceOptions; servers: readonly ServerOptions[] }[]): string {
  const lines: string[] = [];
  for (const { name, options, servers } of services) {
    const service = formatServiceName(name);
    const words = [`-A ${service} -s ${options.scheduler}`];
    if (options.persistence !== null) words.push(`-p ${options.persistence}`);
    if (options.flags.length > 0) words.push(`-b ${options.flags.join()}`);
    if (options.engine !== null) words.push(`--pe ${options.engine}`);
    if (options.onePacket) words.push('-o');
    lines.push(words.join(' '));
    for (const { address, port, forwarding, tunnel, weight } of servers) {
      const way = { gatewaying: '-g', tunnel: '-i', masquerading: '-m' }[forwarding];
      const kind =
        tunnel === null ? '' : ` --tun-type ${tunnel.type}${tunnel.type === 'gue' ? ` --tun-port ${tunnel.port}` : ''}`;
      const sum =
        tunnel === null || tunnel.type === 'ipip'
          ? ''
          : ` --tun-${{ none: 'nocsum', full: 'csum', remcsum: 'remcsum' }[tunnel.checksum]}`;
      const host = address.length === 16 ? `[${formatAddress(address)}]` : formatAddress(address);
      lines.push(`-a ${service} -r ${host}:${port} ${way} -w ${weight}${kind}${sum}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

test('what is printed is read back', () => {
  const rules = fc.uniqueArray(
    fc.record({
      name,
      options,
      servers: fc.uniqueArray(server, { maxLength: 6, selector: ({ address }) => address.join() }),
    }),
    { maxLength: 6, selector: ({ name }) => formatServiceName(name) },
  );
  fc.assert(
    fc.property(rules, (given) => {
      const wanted = given.map(({ name, options, servers }) => ({
        name,
        options,
        // Without masquerading the port is the service's.
        servers: servers.map((one) =>
          name.kind === 'address' && one.forwarding !== 'masquerading' ? { ...one, port: name.port } : one,
        ),
      }));
      const { services, problems } = read(print(given));
      assert.deepEqual(problems, []);
      const plain = services.map(({ name, options, servers }) => ({
        name,
        options,
        servers: servers.map(({ at: _at, lastWeight: _last, ...one }) => one),
      }));
      assert.deepEqual(plain, wanted);
    }),
    { numRuns: 300 },
  );
});

test('any text is read or refused, and every problem lies inside it', () => {
  const word = fc.constantFrom(
    '-A',
    '-a',
    '-t',
    '-r',
    '-i',
    '-w',
    '-p',
    '-o',
    '192.0.2.1:80',
    '[::1]:',
    '--tun-type',
    'gue',
    '-',
    '--',
    '=',
    '-éx',
    '5',
  );
  fc.assert(
    fc.property(fc.array(fc.array(word, { maxLength: 8 }), { maxLength: 4 }), (lines) => {
      const text = lines.map((words) => words.join(' ')).join('\n');
      const problems = new Problems('rules');
      applyCommands(parseIpvsSave(text, problems), problems);
      for (const { line, column } of problems.list) {
        assert.ok(line >= 1 && line <= Math.max(1, lines.length));
        assert.ok(column >= 1 && column <= text.split('\n')[line - 1].length + 1);
      }
    }),
    { numRuns: 500 },
  );
});
