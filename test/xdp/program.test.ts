import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import type { ServiceMatch } from '../../src/io/packet/filter.ts';
import { putSocket } from '../../src/io/xdp/gate.ts';
import { PROGRAM } from '../../src/io/xdp/program.ts';
import { MAP_SHAPES, ServiceMaps } from '../../src/io/xdp/service-maps.ts';
import { assemble } from '../../src/raw-socket/bpf/assemble.ts';
import { disassemble } from '../../src/raw-socket/bpf/disassemble.ts';
import { call, exit, load, r, set } from '../../src/raw-socket/bpf/instruction.ts';
import { loadXdpProgram, testProgram, XDP_PASS, XDP_REDIRECT } from '../../src/raw-socket/bpf/program.ts';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { AF_XDP, openSocket, SOCK_RAW } from '../../src/raw-socket/socket.ts';
import { has, needs } from '../needs.ts';
import fc from '../property.ts';
import { isWanted } from '../reference/xdp-program.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);

test('the program is the one that was read and approved, instruction by instruction', () => {
  const names = Object.keys(MAP_SHAPES);
  const descriptors = Object.fromEntries(names.map((name, i) => [name, i + 1]));
  const text = disassemble(assemble(PROGRAM, descriptors), new Map(names.map((name, i) => [i + 1, name])));
  assert.equal(`${text.join('\n')}\n`, readFileSync(new URL('program.txt', import.meta.url), 'utf8'));
});

/** The program as the kernel runs it, a socket at queue 0. One for the file: a set-up of it takes its time. */
function openProgram(room?: number): { maps: ServiceMaps; runs(frame: Uint8Array): number; close(): void } {
  const maps = ServiceMaps.create(room);
  const program = loadXdpProgram('gd_test', assemble(PROGRAM, maps.descriptors));
  const socket = openSocket(AF_XDP, SOCK_RAW, 0, 'a test');
  putSocket({ interfaceIndex: 0, sockets: maps.descriptors.sockets }, 0, socket);
  maps.setLinkAddress(MAC);
  return {
    maps,
    runs: (frame) => testProgram(program, frame),
    close() {
      closeDescriptor(socket);
      closeDescriptor(program);
      maps.close();
    },
  };
}

const opened = has('xdp') ? openProgram() : null;
after(() => opened?.close());

// Few addresses, protocols and ports, so that what is made up meets.
const address = (family: 4 | 6, last: number) =>
  family === 4
    ? Uint8Array.of(10, 9, 8 + (last >> 8), last & 255)
    : Uint8Array.of(0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last >> 8, last & 255);
const masked = (bytes: Uint8Array, length: number) =>
  bytes.map((byte, i) => byte & (length >= i * 8 + 8 ? 255 : length <= i * 8 ? 0 : (0xff00 >> (length - i * 8)) & 255));
const family = fc.constantFrom<4 | 6>(4, 6);
const last = fc.constantFrom(0, 1, 2, 3, 8, 255, 256, 511);
const port = fc.constantFrom(0, 1, 52, 53, 54, 443, 1023, 1024, 32767, 32768, 65534, 65535);
const protocol = fc.constantFrom(6, 17, 50, 132);
const service: fc.Arbitrary<ServiceMatch> = fc
  .tuple(
    family,
    last,
    fc.nat(10),
    fc.oneof({ weight: 9, arbitrary: protocol }, { weight: 1, arbitrary: fc.constant(256) }),
    port,
    port,
  )
  .map(([six, host, wide, number, a, b]) => {
    const bytes = address(six, host);
    const length = bytes.length * 8 - wide;
    return {
      prefix: { bytes: masked(bytes, length), length },
      protocol: number,
      portFrom: Math.min(a, b),
      portTo: Math.max(a, b),
    };
  });

const tags = fc.constantFrom<number[][]>(
  [],
  [[0x81, 0, 0, 5]],
  [
    [0x88, 0xa8, 0, 7],
    [0x81, 0, 0, 5],
  ],
  [
    [0x81, 0, 0, 1],
    [0x81, 0, 0, 2],
    [0x81, 0, 0, 3],
  ],
);
const frame = fc
  .record({
    six: family,
    host: last,
    tags,
    mac: fc.constantFrom(
      MAC,
      MAC,
      MAC,
      Uint8Array.of(2, 0, 0, 0, 0, 3),
      Uint8Array.of(2, 0, 0, 1, 0, 2),
      new Uint8Array(6).fill(255),
    ),
    number: fc.oneof(protocol, fc.constantFrom(1, 58, 0, 43, 44, 51, 60, 135, 59)),
    fragment: fc.constantFrom(0, 0, 0, 0x2000, 0x4000, 1, 0x2001),
    words: fc.constantFrom(5, 5, 6, 15, 4, 0),
    version: fc.constantFrom(0, 0, 0, 0, 1),
    destination: port,
    icmp: fc.constantFrom(1, 3, 128, 132, 133, 135, 137, 138),
    kept: fc.nat(70),
  })
  .map((f) => {
    const transport = Buffer.alloc(24);
    transport.writeUInt16BE(f.destination, 2);
    if (f.number === 58) transport[0] = f.icmp;
    const packet = Buffer.alloc(f.six === 4 ? 20 : 40);
    if (f.six === 4) {
      packet[0] = ((4 + f.version) << 4) | f.words;
      packet.writeUInt16BE(f.fragment, 6);
      packet[9] = f.number;
    } else {
      packet[0] = (6 + f.version) << 4;
      packet[6] = f.number;
    }
    packet.set(address(f.six, f.host), f.six === 4 ? 16 : 24);
    const options = Buffer.alloc(f.six === 4 && f.words > 5 ? f.words * 4 - 20 : 0);
    const type = f.six === 4 ? [8, 0] : [0x86, 0xdd];
    const whole = Buffer.concat([f.mac, Uint8Array.of(2, 0, 0, 0, 0, 1, ...f.tags.flat(), ...type), packet, options, transport]);
    // Most frames whole, some cut: at the least an Ethernet header, the kernel tests no shorter ones.
    return f.kept < 40 ? whole.subarray(0, Math.max(14, whole.length - f.kept)) : whole;
  });

test('the kernel runs it as the slow twin says, for made-up services and frames', needs('root', 'xdp'), () => {
  const { maps, runs } = opened as NonNullable<typeof opened>;
  let redirected = 0;
  let passed = 0;
  fc.assert(
    fc.property(fc.array(service, { maxLength: 8 }), fc.array(frame, { minLength: 30, maxLength: 60 }), (services, frames) => {
      // From whatever services were before to these: each run is a reload.
      maps.setServices(services);
      for (const bytes of frames) {
        const wanted = isWanted(services, MAC, bytes);
        assert.equal(runs(bytes), wanted ? XDP_REDIRECT : XDP_PASS, Buffer.from(bytes).toString('hex'));
        if (wanted) redirected++;
        else passed++;
      }
    }),
    { numRuns: 150 },
  );
  assert.ok(redirected > 200 && passed > 200, `${redirected} redirected, ${passed} passed: both must be common`);
});

const of = (portFrom: number, portTo: number, host = 9): ServiceMatch => ({
  prefix: { bytes: Uint8Array.of(10, 7, 0, host), length: 32 },
  protocol: 6,
  portFrom,
  portTo,
});
const frameTo = (destination: number, host = 9): Uint8Array => {
  const bytes = Buffer.alloc(60);
  bytes.set(MAC);
  bytes[12] = 8;
  bytes[14] = 0x45;
  bytes[23] = 6;
  bytes.set([10, 7, 0, host], 30);
  bytes.writeUInt16BE(destination, 36);
  return bytes;
};

test('a reload never lets go of a service that stays, and leaves no entry of one that went', needs('root', 'xdp'), () => {
  const { maps, runs } = opened as NonNullable<typeof opened>;
  maps.setServices([of(80, 80), of(443, 443)]);
  // Port 80 stays while everything around it changes: after each write to a map it must still be found.
  const seen: number[] = [];
  maps.trace = () => seen.push(runs(frameTo(80)));
  maps.setServices([of(80, 80), of(8000, 9000), of(1, 65535, 10)]);
  maps.trace = () => {};
  assert.ok(seen.length > 10);
  assert.deepEqual([...new Set(seen)], [XDP_REDIRECT]);
  assert.deepEqual(
    [80, 443, 8000, 9000, 9001].map((number) => runs(frameTo(number))),
    [4, 2, 4, 4, 2],
  );
  maps.setServices([]);
  assert.deepEqual(maps.sizes(), { services4: 0, services6: 0, ports: 0 });
  assert.equal(runs(frameTo(80)), XDP_PASS);
});

test('services for which there is no room are refused, and the next ones are in force whole', needs('root', 'xdp'), () => {
  const room = 16;
  const { maps, runs, close } = openProgram(room);
  try {
    // A rule for each of them: even ports.
    const ports = (first: number, count: number, host = 9) =>
      Array.from({ length: count }, (_, k) => of(first + 2 * k, first + 2 * k, host));
    const taken = (first: number, count: number, host = 9) =>
      Array.from({ length: count }, (_, k) => runs(frameTo(first + 2 * k, host))).filter((answer) => answer === XDP_REDIRECT)
        .length;
    maps.setServices(ports(1000, 10));
    assert.throws(() => maps.setServices([...ports(2000, 10, 8), ...ports(3000, 10, 9)]), { code: 'GD_IO_XDP_ROOM' });
    // Rules of which some are there already.
    maps.setServices(ports(3000, 10));
    assert.deepEqual([taken(1000, 10), taken(2000, 10, 8), taken(3000, 10)], [0, 0, 10]);
    assert.deepEqual(maps.sizes(), { services4: 1, services6: 0, ports: 10 });
    // There is room for these when the others are gone.
    maps.setServices(ports(4000, room));
    assert.deepEqual([taken(3000, 10), taken(4000, room)], [0, room]);
    maps.setServices(Array.from({ length: room }, (_, host) => of(80, 80, host)));
    maps.setServices(Array.from({ length: room }, (_, host) => of(80, 80, 100 + host)));
    assert.deepEqual([runs(frameTo(80, 1)), runs(frameTo(80, 101))], [XDP_PASS, XDP_REDIRECT]);
    maps.setServices([]);
    assert.deepEqual(maps.sizes(), { services4: 0, services6: 0, ports: 0 });
  } finally {
    close();
  }
});

test('what the verifier refuses is refused with the end of its log', needs('root', 'xdp'), () => {
  // A byte of the frame without a look at where the frame ends.
  const bad = [load(4, 2, 1, 0), load(1, 0, 2, 0), exit()];
  assert.throws(() => loadXdpProgram('gd_bad', assemble(bad)), {
    code: 'GD_RAW_SOCKET_BPF_REFUSED',
    message: /gd_bad[\s\S]*invalid access to packet/,
  });
  assert.throws(() => loadXdpProgram('gd_bad', assemble([set(0, '=', r(6)), exit()])), /R6 !read_ok/);
  assert.throws(() => loadXdpProgram('gd_bad', assemble([call(9999), exit()])), /invalid func/);
});
