/**
 * encapsulate and guard of packets in the plain tunnel (GUE variant 0, the header policy of nobody's), for a batch whose columns lie in the arena's own
 * WebAssembly memory: two functions that go over the batch in the time that C takes, because nothing is checked but the memory's end, and headers and sums go sixteen bytes
 * at a time. What they write and ask is what `encapsulateStage` and `guardStage` write and ask, in the same order; those take over at
 * the first packet that is not plain, and everywhere that there is no such memory. `test/pipeline/plain-tunnel.test.ts` holds both together.
 */
import type { Batch } from '../base/batch.ts';
import { VERDICT_FORWARD } from '../base/verdict.ts';
import {
  add,
  addLanes,
  and,
  andLanes,
  anyLanes,
  type Code,
  choose,
  equal,
  equalLanes,
  everyLane,
  fourLanes,
  gather,
  get,
  greater,
  i32,
  lane,
  lanesOf,
  leave,
  less,
  lessLanes,
  lessOrEqual,
  load8,
  load8Lanes,
  load16,
  load32,
  load64,
  loadVector,
  mixLanes,
  multiply,
  narrowed,
  notEqual,
  or,
  repeatWhile,
  set,
  shiftLanesLeft,
  shiftLanesRight,
  shiftLanesSigned,
  shiftLeft,
  shiftRight,
  someLane,
  splat,
  store8,
  store16,
  store32,
  store64,
  storeHalf,
  storeLane16,
  storeLane32,
  storeVector,
  subtract,
  subtractLanes,
  swapped16,
  swappedLanes,
  wasmFunctions,
  when,
  withLane,
  xor,
  xorLanes,
} from '../base/wasm-code.ts';
import * as gue from '../wire/gue.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { sumCode } from '../wire/vector-sum.ts';
import {
  B_CHECKSUM,
  B_DATAGRAM_SUM,
  B_FAMILY,
  B_GENERAL,
  B_HEADER_SUM,
  B_TEMPLATE,
  BACKEND_WORDS,
  CHECKSUM_ALL,
} from './layout.ts';
import { NEAR_PLACE, type NearBackends, PLAIN_CHECKSUM, PLAIN_OUTER6 } from './near-backends.ts';
import { GUE_LENGTH, OUTER4, OUTER6, UDP_LENGTH } from './outer-template.ts';
import { KIND_GUE } from './tunnel-kind.ts';

const TUNNEL = UDP_LENGTH + GUE_LENGTH;
/** Largest value of the IPv4 total length and the UDP length fields. */
const MAX_DATAGRAM = 65535;
const SIGN = 0x80000000 | 0;

/** Both answer a packet from `from` on where others are to go on, `count` or more when there is none. */
export interface PlainTunnel {
  /** Encapsulates; stops at a packet whose backend is not near, whose tunnel is not plain, or which is too big. */
  readonly write: (from: number, count: number) => number;
  /** Stops at a packet that is not plain or whose offsets do not agree. */
  readonly check: (from: number, count: number) => number;
}

// Parameters of both functions; then the words of `write`.
const [I, COUNT, BACKEND, RECORD, INNER, TRANSPORT, LENGTH, FAMILY4, OUTER_4] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const [TOTAL, CLASS, OUT, PORT, DATAGRAM, SUM, END, PROTOCOL, DONE, KIND, PLACE] = [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];
// Vectors of both.
const [A, B, V_RECORD, V_FROM, V_TO, V_TOTAL, V_CLASS, V_PORT, V_PORTS] = [20, 21, 22, 23, 24, 25, 26, 27, 28];
const [V_DATAGRAM, V_LENGTH, V_PROTOCOL, V_FIRST, V_SUM, V_INNER4] = [29, 30, 31, 32, 33, 34];
const [V_OUT, V_INNER, V_MASK, V_SLOT, V_END, V_NETWORK, V_UDP, V_GUE] = [35, 36, 37, 38, 39, 40, 41, 42];
const [V_TRANSPORT, V_FAMILY, V_OUTER, V_DISTANCE, V_NETWORK_WORD, V_INNER_WORD, V_GUE_WORD] = [43, 44, 45, 46, 47, 48, 49];
const LOCALS = { parameters: 2, words: 18, vectors: 30 } as const;

/** Reading and writing a column at the packet `I`. */
const word = (column: Int32Array): Code => load32(shiftLeft(get(I), i32(2)), column.byteOffset);
const byte = (column: Uint8Array): Code => load8(get(I), column.byteOffset);
const storeWord = (column: Int32Array, value: Code): Code => store32(shiftLeft(get(I), i32(2)), column.byteOffset, value);
const storeShort = (column: Uint16Array, value: Code): Code => store16(shiftLeft(get(I), i32(1)), column.byteOffset, value);
const storeByte = (column: Uint8Array, value: Code): Code => store8(get(I), column.byteOffset, value);

const stopWhen = (condition: Code): Code => when(condition, leave(get(I)));

/** Takes one hop of the inner packet (ipv4.decrementTtl, ipv6.decrementHopLimit). */
const takeHop = (): Code => {
  const field = (at: number) => store8(get(INNER), at, subtract(load8(get(INNER), at), i32(1)));
  return when(
    get(FAMILY4),
    [
      ...field(ipv4.TTL_AT),
      ...set(SUM, load16(get(INNER), ipv4.CHECKSUM_AT)),
      ...set(SUM, add(swapped16(SUM), i32(0x100))),
      ...set(SUM, add(get(SUM), greater(get(SUM), i32(0xfffe)))),
      ...store16(get(INNER), ipv4.CHECKSUM_AT, swapped16(SUM)),
    ],
    field(ipv6.HOP_LIMIT_AT),
  );
};

function writeCode(batch: Batch, near: NearBackends, portBase: number, portMask: number): Code {
  const { backend, networkAt, transportAt, networkLength, family, flowHash, sourcePort } = batch;
  const { outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily, encapsulation } = batch;
  const record = (number: number) => load32(get(RECORD), near.words.byteOffset + number * 4);
  const recordAt = near.words.byteOffset + B_TEMPLATE * 4;
  const copyVector = (at: number) => storeVector(get(OUT), at, loadVector(get(RECORD), recordAt + at));
  const inner = (offset: number) => subtract(get(INNER), i32(offset));
  /** UDP's word of ports: the template's has the destination port's bytes in its upper half, and a source port of 0. */
  const ports = (header: number) => store32(inner(TUNNEL), 0, or(load32(get(RECORD), recordAt + header), swapped16(PORT)));

  const header4: Code = [
    ...set(OUT, inner(OUTER4 + TUNNEL)),
    ...[...copyVector(0), ...store32(get(OUT), 16, load32(get(RECORD), recordAt + 16))],
    // Version and header length, traffic class, total length; little-endian.
    ...store32(get(OUT), 0, or(or(i32(0x45), shiftLeft(get(CLASS), i32(8))), shiftLeft(swapped16(TOTAL), i32(16)))),
    ...set(SUM, add(add(record(B_HEADER_SUM), get(CLASS)), get(TOTAL))),
    ...set(SUM, add(and(get(SUM), i32(0xffff)), shiftRight(get(SUM), i32(16)))),
    ...set(SUM, xor(add(get(SUM), shiftRight(get(SUM), i32(16))), i32(-1))),
    ...store16(get(OUT), ipv4.CHECKSUM_AT, swapped16(SUM)),
    ...ports(OUTER4),
  ];
  const header6: Code = [
    ...set(OUT, inner(OUTER6 + TUNNEL)),
    ...[...copyVector(0), ...copyVector(16), ...store64(get(OUT), 32, load64(get(RECORD), recordAt + 32))],
    // Version and traffic class, no flow label.
    ...store32(get(OUT), 0, or(or(i32(0x60), shiftRight(get(CLASS), i32(4))), shiftLeft(and(get(CLASS), i32(15)), i32(12)))),
    ...store16(get(OUT), ipv6.PAYLOAD_LENGTH_AT, swapped16(DATAGRAM)),
    ...ports(OUTER6),
  ];
  const folded = add(and(get(SUM), i32(0xffff)), shiftRight(get(SUM), i32(16)));
  const checksum: Code = [
    // An IPv4 header that is right (classify or the kernel has verified it) sums to 0xffff, which is zero in this arithmetic. Here END is a place
    // to begin at, and TOTAL, which is not needed any more, the end.
    ...set(TOTAL, add(get(INNER), get(LENGTH))),
    ...set(END, choose(get(FAMILY4), get(TRANSPORT), get(INNER))),
    ...sumCode(END, TOTAL, SUM, A, B),
    ...[...set(SUM, folded), ...set(SUM, folded)],
    // Length counts twice: in the pseudo-header and in the UDP header. GUE's first word is the protocol alone, its second 0.
    ...set(TOTAL, add(add(record(B_DATAGRAM_SUM), shiftLeft(get(DATAGRAM), i32(1))), add(get(PORT), get(PROTOCOL)))),
    ...set(SUM, add(swapped16(SUM), add(and(get(TOTAL), i32(0xffff)), shiftRight(get(TOTAL), i32(16))))),
    ...[...set(SUM, folded), ...set(SUM, folded)],
    ...set(SUM, and(xor(get(SUM), i32(-1)), i32(0xffff))),
    // 0 means "no checksum" (RFC 768).
    ...store16(inner(TUNNEL), 6, choose(get(SUM), swapped16(SUM), i32(0xffff))),
  ];
  const overhead = choose(get(OUTER_4), i32(OUTER4 + TUNNEL), i32(OUTER6 + TUNNEL));
  const class6 = (word16: number) => or(shiftLeft(and(get(word16), i32(15)), i32(4)), shiftRight(get(word16), i32(12)));

  const one: Code = [
    ...set(BACKEND, word(backend)),
    ...set(RECORD, and(get(BACKEND), i32(NEAR_PLACE))),
    ...stopWhen(notEqual(load32(shiftLeft(get(RECORD), i32(2)), near.ids.byteOffset), get(BACKEND))),
    ...set(RECORD, multiply(get(RECORD), i32(BACKEND_WORDS * 4))),
    ...stopWhen(record(B_GENERAL)),
    ...set(INNER, word(networkAt)),
    ...set(LENGTH, word(networkLength)),
    ...set(OUTER_4, equal(record(B_FAMILY), i32(4))),
    ...set(TOTAL, add(overhead, get(LENGTH))),
    ...stopWhen(greater(subtract(get(TOTAL), choose(get(OUTER_4), i32(0), i32(OUTER6))), i32(MAX_DATAGRAM))),
    ...set(FAMILY4, equal(byte(family), i32(4))),
    ...(batch.ingress.hopDone ? [] : takeHop()),
    ...set(CLASS, load16(get(INNER), 0)),
    ...set(CLASS, choose(get(FAMILY4), shiftRight(get(CLASS), i32(8)), class6(CLASS))),
    ...set(DATAGRAM, add(get(LENGTH), i32(TUNNEL))),
    ...set(PORT, word(flowHash)),
    ...set(PORT, add(i32(portBase), and(xor(get(PORT), shiftRight(get(PORT), i32(16))), i32(portMask)))),
    ...set(PROTOCOL, choose(get(FAMILY4), i32(gue.PROTOCOL_IPV4), i32(gue.PROTOCOL_IPV6))),
    ...storeWord(outLength, get(TOTAL)),
    ...when(get(OUTER_4), header4, header6),
    ...store32(inner(TUNNEL), 4, swapped16(DATAGRAM)),
    ...store32(inner(GUE_LENGTH), 0, shiftLeft(get(PROTOCOL), i32(8))),
    ...when(equal(record(B_CHECKSUM), i32(CHECKSUM_ALL)), [...set(TRANSPORT, word(transportAt)), ...checksum]),
    ...[...storeWord(outAt, get(OUT)), ...storeWord(outerNetworkAt, get(OUT))],
    ...[...storeWord(outerTransportAt, inner(TUNNEL)), ...storeWord(tunnelAt, inner(GUE_LENGTH))],
    ...storeByte(outerFamily, choose(get(OUTER_4), i32(4), i32(6))),
    ...storeByte(encapsulation, i32(KIND_GUE)),
    ...storeShort(sourcePort, get(PORT)),
  ];
  return [
    ...repeatWhile(less(get(I), get(COUNT)), [
      ...writeFourCode(batch, near, portBase, portMask),
      ...when(get(DONE), set(I, add(get(I), i32(4))), [
        ...when(equal(byte(batch.verdict), i32(VERDICT_FORWARD)), one),
        ...set(I, add(get(I), i32(1))),
      ]),
    ]),
    ...get(I),
  ];
}

const minus = (a: number, b: number) => subtractLanes(get(a), get(b));
/** Reading and writing a column at four packets from `I` on. */
const words = (column: Int32Array) => loadVector(shiftLeft(get(I), i32(2)), column.byteOffset);
const bytes = (column: Uint8Array) => load8Lanes(get(I), column.byteOffset);
const storeWords = (column: Int32Array, value: Code) => storeVector(shiftLeft(get(I), i32(2)), column.byteOffset, value);
const storeBytes = (column: Uint8Array, value: number) => store32(get(I), column.byteOffset, i32(value * 0x01010101));
/** `four` in the lanes of `mask`, `six` in the others. */
const ofFamily = (mask: Code, four: number, six: number) => addLanes(lanesOf(six), andLanes(mask, lanesOf(four - six)));

/**
 * As `writeCode` for four packets at a time, which all are forwarded, into plain tunnels over one family and with or without a checksum; what is computed is
 * computed for four. Sets `DONE` to 1; to 0, with nothing done, when they are not.
 */
function writeFourCode(batch: Batch, near: NearBackends, portBase: number, portMask: number): Code {
  const { verdict, backend, networkAt, transportAt, networkLength, family, flowHash, sourcePort } = batch;
  const { outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily, encapsulation } = batch;
  const ofRecords = (number: number) => gather(get(V_RECORD), near.words.byteOffset + number * 4);
  const templateAt = near.words.byteOffset + B_TEMPLATE * 4;
  const isInner4 = get(V_INNER4);
  const foldLanes = (v: number) => set(v, addLanes(andLanes(get(v), lanesOf(0xffff)), shiftLanesRight(get(v), 16)));
  /** Header bytes of each packet: `place` is where its outer header begins. */
  const each = (code: (l: number) => Code) =>
    [0, 1, 2, 3].flatMap((l) => [...set(PLACE, lane(get(V_OUT), l)), ...set(RECORD, lane(get(V_RECORD), l)), ...code(l)]);
  const copyVector = (at: number) => storeVector(get(PLACE), at, loadVector(get(RECORD), templateAt + at));
  const tunnelWords = (header: number, l: number): Code => [
    ...storeLane32(get(PLACE), header, get(V_PORTS), l),
    ...storeLane32(get(PLACE), header + 4, get(V_LENGTH), l),
    ...storeLane32(get(PLACE), header + UDP_LENGTH, shiftLanesLeft(get(V_PROTOCOL), 8), l),
  ];
  const prepare = (header: number): Code => [
    ...set(V_TOTAL, addLanes(get(V_DATAGRAM), lanesOf(header))),
    ...set(V_OUT, subtractLanes(get(V_INNER), lanesOf(header + TUNNEL))),
    ...set(V_PORTS, anyLanes(gather(get(V_RECORD), templateAt + header), swappedLanes(V_PORT))),
  ];
  const header4: Code = [
    ...prepare(OUTER4),
    // Version and header length, traffic class, total length; little-endian.
    ...set(
      V_FIRST,
      anyLanes(
        anyLanes(lanesOf(0x45), shiftLanesLeft(get(V_CLASS), 8)),
        shiftLanesLeft(get(V_TOTAL), 24),
        shiftLanesLeft(andLanes(get(V_TOTAL), lanesOf(0xff00)), 8),
      ),
    ),
    ...set(V_SUM, addLanes(addLanes(ofRecords(B_HEADER_SUM), get(V_CLASS)), get(V_TOTAL))),
    ...[...foldLanes(V_SUM), ...foldLanes(V_SUM)],
    ...set(V_SUM, xorLanes(get(V_SUM), lanesOf(0xffff))),
    ...set(V_SUM, swappedLanes(V_SUM)),
    ...each((l) => [
      ...[...copyVector(0), ...store32(get(PLACE), 16, load32(get(RECORD), templateAt + 16))],
      ...storeLane32(get(PLACE), 0, get(V_FIRST), l),
      ...storeLane16(get(PLACE), ipv4.CHECKSUM_AT, get(V_SUM), l),
      ...tunnelWords(OUTER4, l),
    ]),
    ...storeBytes(outerFamily, 4),
  ];
  const header6: Code = [
    ...prepare(OUTER6),
    // Version and traffic class, no flow label.
    ...set(
      V_FIRST,
      anyLanes(
        anyLanes(lanesOf(0x60), shiftLanesRight(get(V_CLASS), 4)),
        shiftLanesLeft(andLanes(get(V_CLASS), lanesOf(15)), 12),
      ),
    ),
    ...each((l) => [
      ...[...copyVector(0), ...copyVector(16), ...store64(get(PLACE), 32, load64(get(RECORD), templateAt + 32))],
      ...storeLane32(get(PLACE), 0, get(V_FIRST), l),
      ...storeLane16(get(PLACE), ipv6.PAYLOAD_LENGTH_AT, get(V_LENGTH), l),
      ...tunnelWords(OUTER6, l),
    ]),
    ...storeBytes(outerFamily, 6),
  ];
  const checksum: Code = [
    // What is summed, and where it ends: see `writeCode`.
    ...set(V_FROM, mixLanes(isInner4, words(transportAt), get(V_INNER))),
    ...set(V_TO, addLanes(get(V_INNER), words(networkLength))),
    ...[0, 1, 2, 3].flatMap((l) => [
      ...[...set(PLACE, lane(get(V_FROM), l)), ...set(END, lane(get(V_TO), l))],
      ...[...sumCode(PLACE, END, SUM, A, B), ...set(V_SUM, withLane(get(V_SUM), l, get(SUM)))],
    ]),
    ...[...foldLanes(V_SUM), ...foldLanes(V_SUM), ...set(V_SUM, swappedLanes(V_SUM))],
    ...set(V_FROM, addLanes(ofRecords(B_DATAGRAM_SUM), shiftLanesLeft(get(V_DATAGRAM), 1))),
    ...set(V_FROM, addLanes(get(V_FROM), addLanes(get(V_PORT), get(V_PROTOCOL)))),
    ...[...foldLanes(V_FROM), ...set(V_SUM, addLanes(get(V_SUM), get(V_FROM)))],
    ...[...foldLanes(V_SUM), ...foldLanes(V_SUM), ...set(V_SUM, xorLanes(get(V_SUM), lanesOf(0xffff)))],
    ...set(V_SUM, swappedLanes(V_SUM)),
    // 0 means "no checksum" (RFC 768).
    ...set(V_SUM, anyLanes(get(V_SUM), andLanes(equalLanes(get(V_SUM), lanesOf(0)), lanesOf(0xffff)))),
    ...[0, 1, 2, 3].flatMap((l) => storeLane16(subtract(lane(get(V_INNER), l), i32(TUNNEL)), 6, get(V_SUM), l)),
  ];
  const hop: Code = [0, 1, 2, 3].flatMap((l) => [
    ...[...set(INNER, lane(get(V_INNER), l)), ...set(FAMILY4, lane(isInner4, l))],
    ...takeHop(),
  ]);
  const four: Code = [
    ...set(V_INNER4, equalLanes(bytes(family), lanesOf(4))),
    ...(batch.ingress.hopDone ? [] : hop),
    ...set(V_CLASS, gather(get(V_INNER))),
    ...set(
      V_CLASS,
      mixLanes(
        isInner4,
        andLanes(shiftLanesRight(get(V_CLASS), 8), lanesOf(0xff)),
        anyLanes(
          shiftLanesLeft(andLanes(get(V_CLASS), lanesOf(15)), 4),
          andLanes(shiftLanesRight(get(V_CLASS), 12), lanesOf(15)),
        ),
      ),
    ),
    ...set(V_PORT, words(flowHash)),
    ...set(V_PORT, andLanes(xorLanes(get(V_PORT), shiftLanesRight(get(V_PORT), 16)), lanesOf(portMask))),
    ...set(V_PORT, addLanes(get(V_PORT), lanesOf(portBase))),
    ...set(V_PROTOCOL, ofFamily(isInner4, gue.PROTOCOL_IPV4, gue.PROTOCOL_IPV6)),
    ...set(V_LENGTH, swappedLanes(V_DATAGRAM)),
    ...when(and(get(KIND), i32(PLAIN_OUTER6)), header6, header4),
    ...when(and(get(KIND), i32(PLAIN_CHECKSUM)), checksum),
    ...[...storeWords(outAt, get(V_OUT)), ...storeWords(outLength, get(V_TOTAL)), ...storeWords(outerNetworkAt, get(V_OUT))],
    ...storeWords(outerTransportAt, subtractLanes(get(V_INNER), lanesOf(TUNNEL))),
    ...storeWords(tunnelAt, subtractLanes(get(V_INNER), lanesOf(GUE_LENGTH))),
    ...storeBytes(encapsulation, KIND_GUE),
    ...storeHalf(shiftLeft(get(I), i32(1)), sourcePort.byteOffset, narrowed(get(V_PORT))),
    ...set(DONE, i32(1)),
  ];
  const areForwards = equal(load32(get(I), verdict.byteOffset), i32(VERDICT_FORWARD * 0x01010101));
  const places = shiftLanesLeft(get(V_RECORD), 2);
  return [
    ...set(DONE, i32(0)),
    ...when(and(lessOrEqual(add(get(I), i32(4)), get(COUNT)), areForwards), [
      ...set(V_FROM, words(backend)),
      ...set(V_RECORD, andLanes(get(V_FROM), lanesOf(NEAR_PLACE))),
      ...set(V_FROM, equalLanes(gather(places, near.ids.byteOffset), get(V_FROM))),
      ...set(V_TO, gather(places, near.kinds.byteOffset)),
      ...set(KIND, lane(get(V_TO), 0)),
      ...set(V_FROM, andLanes(get(V_FROM), equalLanes(get(V_TO), splat(get(KIND))))),
      ...set(V_INNER, words(networkAt)),
      ...set(V_DATAGRAM, addLanes(words(networkLength), lanesOf(TUNNEL))),
      // Shorter than any header allows: packets that are too big are looked at one by one.
      ...set(V_FROM, andLanes(get(V_FROM), lessLanes(get(V_DATAGRAM), lanesOf(MAX_DATAGRAM - OUTER6)))),
      ...when(and(everyLane(get(V_FROM)), get(KIND)), [...set(V_RECORD, shiftLanesLeft(get(V_RECORD), 7)), ...four]),
    ]),
  ];
}

/**
 * offsets.ts, `offsetsOf`, for four packets at a time: there it says why each question is asked. It answers the first of four when one of them is
 * not right.
 */
function checkCode(batch: Batch): Code {
  const { slotAt, outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily } = batch;
  const { networkAt, networkLength, transportAt, family, encapsulation, verdict } = batch;
  const isInner4 = equalLanes(get(V_FAMILY), lanesOf(4));
  const negative = anyLanes(
    subtractLanes(minus(V_INNER, V_UDP), lanesOf(TUNNEL)),
    minus(V_OUT, V_SLOT),
    subtractLanes(addLanes(get(V_SLOT), lanesOf(batch.arena.stride)), get(V_END)),
    subtractLanes(minus(V_TRANSPORT, V_INNER), lanesOf(1)),
    minus(V_END, V_TRANSPORT),
  );
  const columnsWrong = anyLanes(
    shiftLanesSigned(negative, 31),
    xorLanes(get(V_OUT), get(V_NETWORK)),
    xorLanes(minus(V_UDP, V_NETWORK), ofFamily(equalLanes(get(V_OUTER), lanesOf(4)), OUTER4, OUTER6)),
    xorLanes(minus(V_GUE, V_UDP), lanesOf(UDP_LENGTH)),
    xorLanes(addLanes(get(V_INNER), words(networkLength)), get(V_END)),
    xorLanes(bytes(encapsulation), lanesOf(KIND_GUE)),
  );
  // The first four bytes of each header, little-endian. Of a packet that is not forwarded: of the memory.
  const firstWords = (place: number) => gather(andLanes(get(place), get(V_MASK)));
  const version = (words: number) => andLanes(shiftLanesRight(get(words), 4), lanesOf(15));
  const gueLength = shiftLanesLeft(andLanes(get(V_GUE_WORD), lanesOf(31)), 2);
  const gueProtocol = andLanes(shiftLanesRight(get(V_GUE_WORD), 8), lanesOf(0xff));
  const firstByte4 = anyLanes(lanesOf(0x40), shiftLanesRight(get(V_DISTANCE), 2));
  const bytesWrong = anyLanes(
    xorLanes(version(V_NETWORK_WORD), get(V_OUTER)),
    xorLanes(version(V_INNER_WORD), get(V_FAMILY)),
    xorLanes(minus(V_INNER, V_GUE), addLanes(gueLength, lanesOf(GUE_LENGTH))),
    xorLanes(gueProtocol, ofFamily(isInner4, gue.PROTOCOL_IPV4, gue.PROTOCOL_IPV6)),
    andLanes(get(V_DISTANCE), lanesOf(3)),
    mixLanes(
      isInner4,
      xorLanes(andLanes(get(V_INNER_WORD), lanesOf(0xff)), firstByte4),
      andLanes(subtractLanes(get(V_DISTANCE), lanesOf(ipv6.HEADER_LENGTH)), lanesOf(SIGN)),
    ),
  );
  const stopWhenForward = (wrong: Code) => stopWhen(someLane(andLanes(wrong, get(V_MASK))));
  return [
    ...repeatWhile(less(get(I), get(COUNT)), [
      ...set(V_MASK, lessLanes(addLanes(splat(get(I)), fourLanes(0, 1, 2, 3)), splat(get(COUNT)))),
      ...set(V_MASK, andLanes(get(V_MASK), equalLanes(bytes(verdict), lanesOf(VERDICT_FORWARD)))),
      ...[...set(V_SLOT, words(slotAt)), ...set(V_OUT, words(outAt)), ...set(V_END, addLanes(get(V_OUT), words(outLength)))],
      ...[...set(V_NETWORK, words(outerNetworkAt)), ...set(V_UDP, words(outerTransportAt)), ...set(V_GUE, words(tunnelAt))],
      ...[...set(V_INNER, words(networkAt)), ...set(V_TRANSPORT, words(transportAt))],
      ...[...set(V_FAMILY, bytes(family)), ...set(V_OUTER, bytes(outerFamily))],
      // Offsets that lie outside the packet are not followed to its bytes.
      ...stopWhenForward(columnsWrong),
      ...set(V_DISTANCE, minus(V_TRANSPORT, V_INNER)),
      ...[...set(V_NETWORK_WORD, firstWords(V_NETWORK)), ...set(V_INNER_WORD, firstWords(V_INNER))],
      ...set(V_GUE_WORD, firstWords(V_GUE)),
      ...stopWhenForward(bytesWrong),
      ...set(I, add(get(I), i32(4))),
    ]),
    ...get(I),
  ];
}

/** null where the batch's columns and the near records do not lie in the arena's WebAssembly memory: it has none, or no room was left. */
export function plainTunnel(batch: Batch, near: NearBackends, portBase: number, portMask: number): PlainTunnel | null {
  const { memory } = batch.arena;
  const { slotAt, backend, networkAt, transportAt, networkLength, family, flowHash, sourcePort, verdict } = batch;
  const { outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily, encapsulation } = batch;
  const columns = [
    near.kinds,
    ...[slotAt, backend, networkAt, transportAt, networkLength, family, flowHash, sourcePort, verdict, near.words, near.ids],
    ...[outAt, outLength, outerNetworkAt, outerTransportAt, tunnelAt, outerFamily, encapsulation],
  ];
  if (columns.some(({ buffer }) => buffer !== memory)) return null;
  const functions = wasmFunctions(memory, [
    { name: 'write', ...LOCALS, body: writeCode(batch, near, portBase, portMask) },
    { name: 'check', ...LOCALS, body: checkCode(batch) },
  ]);
  return functions === null ? null : { write: functions.write, check: functions.check };
}
