// Answers to probes, byte for byte: what is right is accepted, what anybody else could have sent is not.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../../test/builder/addresses.ts';
import { packet } from '../../../test/builder/packet.ts';
import { tunnelOf } from '../../../test/pipeline/tunnels.ts';
import fc from '../../../test/property.ts';
import type { ServiceSpec } from '../../pipeline/spec.ts';
import type { ProbeOutcome } from '../probe.ts';
import type { TunnelCheckSpec } from '../spec.ts';
import { readAnswer } from './answer.ts';
import { Exchange } from './exchange.ts';
import { Exchanges } from './exchanges.ts';

const OURS = { 4: '10.0.0.254', 6: 'fd00::fe' } as const;
const SERVICE = { 4: '198.51.100.1', 6: '2001:db8:2::1' } as const;
const PORT = 61430;
const HTTP: TunnelCheckSpec['http'] = { method: 'GET', path: '/up?x=1', host: 'web.example', status: [{ from: 200, to: 299 }] };

type Family = 4 | 6;

class Wire {
  readonly exchanges = new Exchanges();
  /** Inner packets that were sent. */
  readonly sent: Uint8Array[] = [];
  readonly outcomes: ProbeOutcome[] = [];

  /** Starts a probe; `random`: what nobody else knows. */
  start(family: Family, protocol: number, more: Partial<TunnelCheckSpec> = {}, random = 0x5a): Exchange {
    const address = ip(SERVICE[family]);
    const service: ServiceSpec = {
      name: 's',
      prefix: { bytes: address, length: address.length * 8 },
      protocol,
      portFrom: 443,
      portTo: 443,
      affinity: '5-tuple',
      pool: 'p',
    };
    const backend = { name: 'w', address: ip('10.0.0.1'), weight: 1, state: 'active' as const };
    const isPorted = protocol === 6 || protocol === 17;
    const ends = { source: ip(OURS[family]), destination: address, sourcePort: PORT, destinationPort: isPorted ? 443 : 0 };
    const exchange = new Exchange({
      check: { type: 'tunnel', address: null, port: null, ...more },
      target: { pool: 'p', backend, tunnel: tunnelOf('gue', 'none'), services: [service] },
      service,
      ends,
      timeoutMs: 1000,
      deadline: 1000,
      heardBefore: 0,
      others: this.exchanges.of(ends, protocol),
      random: new Uint8Array(16).fill(random),
      send: (bytes) => {
        this.sent.push(bytes);
        return null;
      },
      resolve: (outcome) => this.outcomes.push(outcome),
      reject: (error) => assert.fail(String(error)),
    });
    this.exchanges.add(ends, protocol, exchange);
    exchange.start(0);
    return exchange;
  }

  /** What a packet socket would hand over. */
  arrive(bytes: Uint8Array, isFinished = true): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const answer = readAnswer(view, 0, bytes.length, { isFinished, isCut: false });
    if (answer !== null) this.exchanges.deliver(answer, 1);
  }
}

interface Given {
  readonly family: Family;
  readonly src?: string;
  readonly dst?: string;
  readonly sport?: number;
  readonly dport?: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly flags?: string | number;
  readonly payload?: Uint8Array;
}

function head(family: Family, src: string = SERVICE[family], dst: string = OURS[family]) {
  return family === 4 ? packet().ipv4({ src, dst }) : packet().ipv6({ src, dst });
}

function segment({
  family,
  src,
  dst,
  sport = 443,
  dport = PORT,
  seq = 7000,
  ack = 0,
  flags = 'SYN,ACK',
  payload,
}: Given): Uint8Array {
  return head(family, src, dst)
    .tcp({ sport, dport, seq, ack, flags })
    .payload(payload ?? new Uint8Array(0))
    .bytes();
}

/** Number of the SYN or segment that was sent as `bytes`. */
function sequenceOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer).getUint32((bytes[0] >> 4 === 6 ? 40 : 20) + 4);
}

function flagsOf(bytes: Uint8Array): number {
  return bytes[(bytes[0] >> 4 === 6 ? 40 : 20) + 13];
}

const [FIN, SYN, RST, ACK] = [1, 2, 4, 16];
const families = fc.constantFrom<Family>(4, 6);
const text = (words: string) => new TextEncoder().encode(words);

test('a worker that answers a SYN is good, and nothing is left with it', () => {
  for (const family of [4, 6] as const) {
    const wire = new Wire();
    const exchange = wire.start(family, 6);
    const first = sequenceOf(wire.sent[0]);
    assert.equal(flagsOf(wire.sent[0]), SYN);
    wire.arrive(segment({ family, ack: first + 1 }));
    assert.deepEqual(
      wire.outcomes.map(({ ok, detail }) => [ok, detail]),
      [[true, 'SYN answered']],
    );
    assert.equal(flagsOf(wire.sent[1]), ACK | FIN);
    assert.equal(exchange.isClosed, false);
    // The worker closes too.
    wire.arrive(segment({ family, seq: 7001, ack: first + 2, flags: 'FIN,ACK' }));
    assert.equal(flagsOf(wire.sent[2]), ACK);
    assert.equal(exchange.isClosed, true);
  }
});

test('a worker that never closes, or closes first, gets a RST', () => {
  const slow = new Wire();
  const exchange = slow.start(4, 6);
  slow.arrive(segment({ family: 4, ack: sequenceOf(slow.sent[0]) + 1 }));
  exchange.tick(300);
  assert.equal(flagsOf(slow.sent[2]), RST | ACK);
  assert.equal(exchange.isClosed, true);

  const quick = new Wire();
  quick.start(4, 6, { http: HTTP });
  const first = sequenceOf(quick.sent[0]);
  quick.arrive(segment({ family: 4, ack: first + 1 }));
  const asked = quick.sent[1].length - 40;
  const answer = text('HTTP/1.1 204 No Content\r\n\r\n');
  quick.arrive(segment({ family: 4, seq: 7001, ack: first + 1 + asked, flags: 'FIN,ACK', payload: answer }));
  assert.equal(quick.outcomes[0].detail, 'HTTP 204');
  assert.equal(flagsOf(quick.sent[2]), RST | ACK);
});

test('HTTP: asked once the connection stands; the status decides; answers in pieces, again and out of order', () => {
  const wire = new Wire();
  wire.start(6, 6, { http: HTTP });
  const first = sequenceOf(wire.sent[0]);
  wire.arrive(segment({ family: 6, ack: first + 1 }));
  const request = new TextDecoder().decode(wire.sent[1].subarray(60));
  assert.match(request, /^GET \/up\?x=1 HTTP\/1\.1\r\nHost: web\.example\r\n(.+\r\n)*\r\n$/);
  const ack = first + 1 + request.length;
  const pieces = ['HTTP/1.1 100 Continue\r\n\r\nHTT', 'P/1.1 5', '03 Busy\r\n', 'x'];
  const at = [7001, 7001 + pieces[0].length, 7001 + pieces[0].length + pieces[1].length];
  const piece = (i: number) => wire.arrive(segment({ family: 6, seq: at[i], ack, flags: 'ACK', payload: text(pieces[i]) }));
  piece(1);
  piece(0);
  piece(0);
  piece(2);
  assert.equal(wire.outcomes.length, 0, 'the middle is missing');
  piece(1);
  piece(2);
  assert.deepEqual(
    wire.outcomes.map(({ ok, detail }) => [ok, detail]),
    [[false, 'HTTP 503, wanted 200-299']],
  );
});

test('refused, reset, silent, half silent: each is said', () => {
  const refused = new Wire();
  refused.start(4, 6);
  refused.arrive(segment({ family: 4, seq: 0, ack: sequenceOf(refused.sent[0]) + 1, flags: 'RST,ACK' }));
  assert.equal(refused.outcomes[0].detail, 'connection refused');

  const silent = new Wire();
  const exchange = silent.start(4, 6);
  exchange.tick(600);
  assert.deepEqual(silent.sent.map(flagsOf), [SYN, SYN], 'once more');
  assert.equal(sequenceOf(silent.sent[0]), sequenceOf(silent.sent[1]));
  exchange.tick(700);
  exchange.tick(1000);
  assert.deepEqual(silent.sent.map(flagsOf), [SYN, SYN, RST]);
  assert.equal(
    silent.outcomes[0].detail,
    "no answer to SYN within 1 s: is the worker's tunnel device up, 198.51.100.1 on it, rp_filter 0",
  );

  const half = new Wire();
  const other = half.start(4, 6, { http: HTTP });
  half.arrive(segment({ family: 4, ack: sequenceOf(half.sent[0]) + 1 }));
  other.tick(1000);
  assert.equal(half.outcomes[0].detail, 'SYN answered, no HTTP answer within 1 s');

  const reset = new Wire();
  reset.start(4, 6, { http: HTTP });
  const first = sequenceOf(reset.sent[0]);
  reset.arrive(segment({ family: 4, ack: first + 1 }));
  reset.arrive(segment({ family: 4, seq: 7001, ack: first + 1, flags: 'RST,ACK' }));
  assert.equal(reset.outcomes[0].detail, 'connection reset, no HTTP answer');
});

test('an ICMP error about the inner packet says where it ended, and the worker may still contradict', () => {
  const quote = (bytes: Uint8Array, type: number, code: number, src = '10.0.0.1') =>
    head(4, src).icmp4({ type, code }).payload(bytes.subarray(0, 28)).bytes();
  const wire = new Wire();
  const exchange = wire.start(4, 6);
  wire.arrive(quote(wire.sent[0], 11, 0));
  exchange.tick(100);
  assert.equal(wire.outcomes.length, 0);
  exchange.tick(200);
  assert.equal(wire.outcomes[0].detail, 'unwrapped and sent on by 10.0.0.1: 198.51.100.1 is not an address of the worker');

  const answered = new Wire();
  answered.start(4, 6);
  answered.arrive(quote(answered.sent[0], 3, 1));
  answered.arrive(segment({ family: 4, ack: sequenceOf(answered.sent[0]) + 1 }));
  assert.equal(answered.outcomes[0].ok, true);

  // Its HTTP answer may take its time, whatever came before and after the connection stood.
  for (const isBefore of [true, false]) {
    const slow = new Wire();
    const patient = slow.start(4, 6, { http: HTTP });
    const reply = segment({ family: 4, ack: sequenceOf(slow.sent[0]) + 1 });
    const error = quote(slow.sent[0], 3, 1);
    for (const bytes of isBefore ? [error, reply] : [reply, error]) slow.arrive(bytes);
    patient.tick(900);
    assert.equal(slow.outcomes.length, 0);
    patient.tick(1000);
    assert.equal(slow.outcomes[0].detail, 'SYN answered, no HTTP answer within 1 s');
  }

  const forged = new Wire();
  const unmoved = forged.start(4, 6);
  const guess = forged.sent[0].slice();
  guess[24] ^= 0x80;
  forged.arrive(quote(guess, 11, 0));
  unmoved.tick(500);
  assert.equal(forged.outcomes.length, 0, 'a quote with another sequence number is not of our packet');

  const udp = new Wire();
  const datagram = udp.start(4, 17);
  udp.arrive(quote(udp.sent[0], 3, 3, SERVICE[4]));
  datagram.tick(200);
  assert.equal(udp.outcomes[0].detail, 'port unreachable: nothing at 198.51.100.1 takes UDP port 443');
});

test('UDP and ping', () => {
  const udp = new Wire();
  udp.start(6, 17, { send: text('ask'), expect: text('an') });
  assert.equal(new TextDecoder().decode(udp.sent[0].subarray(48)), 'ask');
  udp.arrive(head(6).udp({ sport: 444, dport: PORT }).payload(text('answer')).bytes());
  assert.equal(udp.outcomes.length, 0);
  udp.arrive(head(6).udp({ sport: 443, dport: PORT }).payload(text('answer')).bytes());
  assert.equal(udp.outcomes[0].detail, 'datagram answered');

  const wrong = new Wire();
  wrong.start(4, 17, { expect: text('yes') });
  wrong.arrive(head(4).udp({ sport: 443, dport: PORT }).payload(text('no')).bytes());
  assert.equal(wrong.outcomes[0].ok, false);

  const ping = new Wire();
  ping.start(4, 132);
  const rest = (PORT << 16) | 0x5a5a;
  const reply = (payload: Uint8Array, more = 0) =>
    head(4)
      .icmp4({ type: 0, code: 0, rest: (rest + more) >>> 0 })
      .payload(payload)
      .bytes();
  ping.arrive(reply(new Uint8Array(16).fill(0x5a), 1));
  ping.arrive(reply(new Uint8Array(16).fill(0x5b)));
  assert.equal(ping.outcomes.length, 0);
  ping.arrive(reply(new Uint8Array(16).fill(0x5a)));
  assert.equal(ping.outcomes[0].detail, 'ping answered');
});

test('connections with the same addresses and ports take their own answers, and only these', () => {
  const wire = new Wire();
  // The same random bytes: numbers must be made to differ.
  for (let i = 0; i < 50; i++) wire.start(4, 6);
  const firsts = wire.sent.map(sequenceOf);
  assert.equal(new Set(firsts).size, 50);
  wire.arrive(segment({ family: 4, ack: (firsts[17] + 1) >>> 0 }));
  assert.equal(wire.outcomes.length, 1);
  assert.equal(wire.exchanges.all().filter(({ isClosed }) => isClosed).length, 0, 'still closing');
  assert.equal(sequenceOf(wire.sent[50]), (firsts[17] + 1) >>> 0);
});

test('no packet of anybody else is an answer: whoever does not know our number, or is somewhere else', () => {
  const field = fc.constantFrom('src', 'dst', 'sport', 'dport', 'ack', 'flags', 'seq');
  let accepted = 0;
  fc.assert(
    fc.property(families, field, fc.integer({ min: 1, max: 0xffffffff }), fc.boolean(), (family, name, change, http) => {
      const wire = new Wire();
      wire.start(family, 6, http ? { http: HTTP } : {});
      const right = { family, ack: (sequenceOf(wire.sent[0]) + 1) >>> 0 };
      const other = {
        src: { src: family === 4 ? '198.51.100.2' : '2001:db8:2::2' },
        dst: { dst: family === 4 ? '10.0.0.253' : 'fd00::fd' },
        sport: { sport: (443 + (change % 65535) + 1) % 65536 },
        dport: { dport: (PORT + (change % 65535) + 1) % 65536 },
        ack: { ack: (right.ack + change) >>> 0 },
        // Neither an accepted nor a refused connection.
        flags: { flags: [0, FIN, SYN, FIN | ACK, ACK, SYN | FIN | ACK, RST, SYN | RST][change % 8] },
        // Any number of theirs is right: so this one must be accepted, or the test says nothing.
        seq: { seq: change },
      }[name];
      wire.arrive(segment({ ...right, ...other }));
      const moved = wire.outcomes.length > 0 || wire.sent.length > 1;
      assert.equal(moved, name === 'seq', name);
      if (moved) accepted++;
    }),
  );
  assert.notEqual(accepted, 0);
});

test('a right answer with one byte changed is not taken, wherever the byte is', () => {
  fc.assert(
    fc.property(families, fc.nat(), fc.integer({ min: 1, max: 255 }), (family, at, change) => {
      const wire = new Wire();
      wire.start(family, 6);
      const bytes = segment({ family, ack: (sequenceOf(wire.sent[0]) + 1) >>> 0 });
      const place = at % bytes.length;
      bytes[place] ^= change;
      wire.arrive(bytes);
      // IPv6 has no header checksum: traffic class, flow label and hop limit are no part of who it is from.
      const isNobodys = family === 6 && (place < 4 || place === 7) && bytes[0] >> 4 === 6;
      assert.equal(wire.outcomes.length, isNobodys ? 1 : 0, `byte ${place}`);
    }),
  );
});

test('cut, long and senseless packets are read to their end and no further', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom(0x45, 0x46, 0x60, 0x00),
      fc.nat(255),
      (bytes, first, protocol) => {
        const wire = new Wire();
        wire.start(4, 6);
        const copy = Uint8Array.from(bytes);
        if (copy.length > 9) {
          copy[0] = first;
          copy[9] = protocol;
        }
        wire.arrive(copy, false);
        assert.equal(wire.outcomes.length, 0);
      },
    ),
  );
});
