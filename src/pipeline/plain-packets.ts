/**
 * classify of plain packets: whole single TCP and UDP packets without IP options or extension headers, of a service that was asked for a moment ago, with nothing that
 * speaks against them. For a batch whose columns lie in the arena's own WebAssembly memory: headers of four packets are read sixteen bytes at a time and turned so
 * that each field of all four lies in one vector; every question is asked of four. At the first four packets that are not all plain
 * `classifyStage` takes over, and everywhere that there is no such memory. What is written is what it writes; plain-packets.test.ts holds both together.
 */
import { type Batch, LINK_ETHERNET, LOOKUP_FLOW, VIRTIO_NEEDS_CSUM } from '../base/batch.ts';
import {
  add,
  addLanes,
  and,
  andLanes,
  anyLanes,
  anyOf,
  type Code,
  equalLanes,
  gather,
  get,
  i32,
  lane,
  lanesOf,
  leave,
  less,
  lessOrEqual,
  load32,
  loadVector,
  lowBytes,
  mixLanes,
  multiplyLanes,
  repeatWhile,
  set,
  shiftLanesLeft,
  shiftLanesRight,
  shiftLanesSigned,
  shiftLeft,
  someLane,
  store32,
  storeVector,
  subtractLanes,
  swappedLanes,
  transpose,
  turnedLanes,
  wasmFunctions,
  when,
  xorLanes,
} from '../base/wasm-code.ts';
import { type FlowLanes, TAIL4, TAIL6 } from '../maglev-hash/index.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { RECENT_MULTIPLIER, RECENT_SHIFT, RECENT_WORDS4, RECENT_WORDS6, type RecentServices } from './recent-services.ts';

/** `classify4` and `classify6` answer a packet from `from` on where others are to go on, `count` or a little less when there is none. */
export interface PlainPackets {
  readonly classify4: (from: number, count: number) => number;
  readonly classify6: (from: number, count: number) => number;
  /** Of the first `count` packets those whose flows were laid out: their flow hashes go from the lanes to the batch. */
  readonly keepHashes: (count: number) => void;
}

// Parameters, words, vectors.
const [I, COUNT, P0, P1, P2, P3] = [0, 1, 2, 3, 4, 5];
const [A0, A1, A2, A3, B0, B1, B2, B3, C0, C1, C2, C3] = [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
const [E0, E1, E2, E3, F0, F1, F2, F3, T, U] = [18, 19, 20, 21, 22, 23, 24, 25, 26, 27];
const [AT, LENGTH, TOTAL, PROTOCOL, IS_TCP, KEY, SIZE, BAD, PORTS, HEADER] = [28, 29, 30, 31, 32, 33, 34, 35, 36, 37];
const LOCALS = { parameters: 2, words: 4, vectors: 32 } as const;
const PLACES = [P0, P1, P2, P3];

const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;

const words = (column: Int32Array): Code => loadVector(shiftLeft(get(I), i32(2)), column.byteOffset);
const storeWords = (column: Int32Array, value: Code): Code => storeVector(shiftLeft(get(I), i32(2)), column.byteOffset, value);
const bytes = (column: Uint8Array): Code => load32(get(I), column.byteOffset);
const storeBytes = (column: Uint8Array, value: Code): Code => store32(get(I), column.byteOffset, value);
const everyByte = (value: number): Code => i32(value * 0x01010101);

const stopWhen = (condition: Code): Code => when(condition, leave(get(I)));
const toPlaces = (places: Code): Code => PLACES.flatMap((place, l) => set(place, lane(places, l)));
/** The four words from `offset` on of what lies at each of the four places: word w of all four in vector `into[w]`. */
const fields = (into: readonly [number, number, number, number], offset: number): Code => [
  ...PLACES.flatMap((place, l) => set(into[l], loadVector(get(place), offset))),
  ...transpose(...into, T, U),
];
/** Bits in the lanes of packets for which it is wrong. */
const wrongWhen = (...bits: readonly Code[]): Code => set(BAD, anyLanes(get(BAD), ...bits));
const minus = (a: Code, b: Code): Code => subtractLanes(a, b);
const unequal = (a: Code, b: Code): Code => xorLanes(a, b);
const ifNegative = (value: Code): Code => shiftLanesSigned(value, 31);
const folded = (sum: number): Code => set(sum, addLanes(andLanes(get(sum), lanesOf(0xffff)), shiftLanesRight(get(sum), 16)));
/** `size` becomes the lower, or upper, half of each lane of `value` with its bytes in the other order. */
const lowerHalf = (size: number, value: Code): Code => [
  ...set(size, andLanes(value, lanesOf(0xffff))),
  ...set(size, swappedLanes(size)),
];
const upperHalf = (size: number, value: Code): Code => [
  ...set(size, shiftLanesRight(value, 16)),
  ...set(size, swappedLanes(size)),
];

/** Where the network headers are and how many bytes from there on; leaves at what is no single packet of the family, or for no host. */
function linkCode(batch: Batch, etherType: number): Code {
  const { frameAt, frameLength, reason, gsoType, virtioFlags } = batch;
  const odd = anyOf(bytes(reason), bytes(gsoType), and(bytes(virtioFlags), everyByte(VIRTIO_NEEDS_CSUM)));
  if (batch.ingress.link !== LINK_ETHERNET) {
    return [...stopWhen(odd), ...set(AT, words(frameAt)), ...set(LENGTH, words(frameLength)), ...set(BAD, lanesOf(0))];
  }
  const type = ((etherType & 0xff) << 8) | (etherType >> 8);
  return [
    ...stopWhen(odd),
    ...set(AT, words(frameAt)),
    // First bit of the destination: a group. Then the EtherType, little-endian.
    ...set(BAD, andLanes(gather(get(AT)), lanesOf(1))),
    ...wrongWhen(unequal(andLanes(gather(get(AT), ethernet.TYPE_AT), lanesOf(0xffff)), lanesOf(type))),
    ...set(AT, addLanes(get(AT), lanesOf(ethernet.HEADER_LENGTH))),
    ...set(LENGTH, minus(words(frameLength), lanesOf(ethernet.HEADER_LENGTH))),
  ];
}

/**
 * What TCP and UDP have in common. `header`: of IP. `flags`: vector with the word of the TCP header that begins with its length; `second`: with the word behind the
 * ports; `ports`: as it lies there.
 */
function transportCode(header: number, flags: number, second: number, ports: number): Code {
  const length = andLanes(shiftLanesRight(get(flags), 2), lanesOf(0x3c));
  const least = mixLanes(get(IS_TCP), lanesOf(tcp.HEADER_LENGTH), lanesOf(udp.HEADER_LENGTH));
  return [
    ...set(IS_TCP, equalLanes(get(PROTOCOL), lanesOf(TCP))),
    ...wrongWhen(unequal(anyLanes(get(IS_TCP), equalLanes(get(PROTOCOL), lanesOf(UDP))), lanesOf(-1))),
    // UDP's own length, TCP's header length: not below the least, and not above what is there.
    ...lowerHalf(SIZE, get(second)),
    ...set(SIZE, mixLanes(get(IS_TCP), length, get(SIZE))),
    ...wrongWhen(
      ifNegative(minus(get(SIZE), least)),
      ifNegative(minus(minus(get(TOTAL), lanesOf(header)), get(SIZE))),
      ifNegative(minus(minus(get(TOTAL), lanesOf(header)), least)),
    ),
    ...set(PORTS, turnedLanes(get(ports))),
    ...set(KEY, anyLanes(shiftLanesLeft(get(PROTOCOL), 16), andLanes(get(PORTS), lanesOf(0xffff)))),
  ];
}

/**
 * partial-checksum.ts: wrong are checksums that look as if they were only begun, which is then asked one by one. `addresses`: their words, turned. Other arguments as for
 * `transportCode`.
 */
function begunCode(header: number, second: number, addresses: readonly number[]): Code {
  const [sum, field, ofUdp] = [E0, E1, E2];
  const halves = addresses.flatMap((w) => [andLanes(get(w), lanesOf(0xffff)), shiftLanesRight(get(w), 16)]);
  return [
    ...set(sum, [...halves, get(PROTOCOL), minus(get(TOTAL), lanesOf(header))].reduce(addLanes)),
    ...[...folded(sum), ...folded(sum)],
    ...lowerHalf(field, gather(get(AT), header + tcp.CHECKSUM_AT)),
    ...upperHalf(ofUdp, get(second)),
    ...wrongWhen(equalLanes(get(sum), mixLanes(get(IS_TCP), get(field), get(ofUdp)))),
  ];
}

/** The place of the recent service whose question, its words xor-ed, is `question`. */
function recentCode(entries: Int32Array, question: Code, shift: number): Code {
  const place = shiftLanesRight(multiplyLanes(question, lanesOf(RECENT_MULTIPLIER)), RECENT_SHIFT);
  return [...set(E0, addLanes(shiftLanesLeft(place, shift + 2), lanesOf(entries.byteOffset))), ...toPlaces(get(E0))];
}

/** Columns and lanes of four packets that are plain; `plain`: their services, `flags` as for `transportCode`. */
function storeCode(batch: Batch, lanes: FlowLanes, family: 4 | 6, header: number, plain: number, flags: number): Code {
  const flagByte = andLanes(get(IS_TCP), shiftLanesRight(get(flags), 8));
  return [
    ...storeWords(batch.networkAt, get(AT)),
    ...storeWords(batch.transportAt, addLanes(get(AT), lanesOf(header))),
    ...storeWords(batch.networkLength, get(TOTAL)),
    ...storeWords(batch.service, get(plain)),
    ...storeWords(batch.backend, lanesOf(-1)),
    ...storeBytes(batch.lookup, everyByte(LOOKUP_FLOW)),
    ...storeBytes(batch.family, everyByte(family)),
    ...storeBytes(batch.protocol, lowBytes(get(PROTOCOL))),
    ...storeBytes(batch.tcpFlags, lowBytes(flagByte)),
    ...storeWords(lanes.ports, get(PORTS)),
    ...storeWords(lanes.tail, anyLanes(get(PROTOCOL), lanesOf(family === 4 ? TAIL4 : TAIL6))),
  ];
}

/** IPv4: all header words in A0–A3 and B0; ports in B1, the word behind them in B2. */
function code4(batch: Batch, lanes: FlowLanes, { entries4 }: RecentServices, minimumTtl: number): Code {
  const header = ipv4.HEADER_LENGTH;
  const [source] = lanes.addresses;
  const sums = [A0, A1, A2, A3, B0].flatMap((w) => [andLanes(get(w), lanesOf(0xffff)), shiftLanesRight(get(w), 16)]);
  // Sixteen-bit words in either order of bytes sum to 0xffff when the header is right (RFC 1071 §2 B).
  const verify: Code = [
    ...[...set(HEADER, sums.reduce(addLanes)), ...folded(HEADER), ...folded(HEADER)],
    ...wrongWhen(unequal(get(HEADER), lanesOf(0xffff))),
  ];
  const four: Code = [
    ...linkCode(batch, ethernet.ETHERTYPE_IPV4),
    ...toPlaces(get(AT)),
    ...[...fields([A0, A1, A2, A3], 0), ...fields([B0, B1, B2, B3], 16)],
    ...upperHalf(TOTAL, get(A0)),
    ...set(PROTOCOL, andLanes(shiftLanesRight(get(A2), 8), lanesOf(0xff))),
    ...wrongWhen(
      // Version 4 and five words of header; neither a fragment nor followed by one; hops left; as long as it says.
      unequal(andLanes(get(A0), lanesOf(0xff)), lanesOf(0x45)),
      andLanes(get(A1), lanesOf(0xff3f0000)),
      ifNegative(minus(andLanes(get(A2), lanesOf(0xff)), lanesOf(minimumTtl))),
      ifNegative(minus(get(LENGTH), get(TOTAL))),
    ),
    ...(batch.ingress.headerVerified ? [] : verify),
    ...set(C0, gather(get(AT), header + tcp.DATA_OFFSET_AT)),
    ...transportCode(header, C0, B2, B1),
    ...[...set(A3, turnedLanes(get(A3))), ...set(B0, turnedLanes(get(B0)))],
    ...(batch.ingress.checksumsUnknown === true ? begunCode(header, B2, [A3, B0]) : []),
    ...recentCode(entries4, xorLanes(get(B0), get(KEY)), RECENT_WORDS4),
    ...fields([E0, E1, E2, E3], 0),
    ...wrongWhen(unequal(get(E0), get(B0)), unequal(get(E1), get(KEY)), ifNegative(get(E3))),
    ...stopWhen(someLane(get(BAD))),
    ...storeCode(batch, lanes, 4, header, E3, C0),
    ...[...storeWords(source, get(A3)), ...storeWords(lanes.addresses[1], get(B0))],
  ];
  return [...repeatWhile(lessOrEqual(add(get(I), i32(4)), get(COUNT)), [...four, ...set(I, add(get(I), i32(4)))]), ...get(I)];
}

/** IPv6: the first two words in A0 and A1, source in A2, A3, B0, B1, destination in B2, B3, C0, C1; ports in C2, the word behind them in C3. */
function code6(batch: Batch, lanes: FlowLanes, { entries6 }: RecentServices, minimumTtl: number): Code {
  const header = ipv6.HEADER_LENGTH;
  const addresses = [A2, A3, B0, B1, B2, B3, C0, C1];
  const destination = [B2, B3, C0, C1];
  const four: Code = [
    ...linkCode(batch, ethernet.ETHERTYPE_IPV6),
    ...toPlaces(get(AT)),
    ...[...fields([A0, A1, A2, A3], 0), ...fields([B0, B1, B2, B3], 16), ...fields([C0, C1, C2, C3], 32)],
    ...lowerHalf(TOTAL, get(A1)),
    ...set(TOTAL, addLanes(get(TOTAL), lanesOf(header))),
    ...set(PROTOCOL, andLanes(shiftLanesRight(get(A1), 16), lanesOf(0xff))),
    ...wrongWhen(
      unequal(andLanes(get(A0), lanesOf(0xf0)), lanesOf(0x60)),
      ifNegative(minus(shiftLanesRight(get(A1), 24), lanesOf(minimumTtl))),
      ifNegative(minus(get(LENGTH), get(TOTAL))),
    ),
    ...set(HEADER, gather(get(AT), header + tcp.DATA_OFFSET_AT)),
    ...transportCode(header, HEADER, C3, C2),
    ...addresses.flatMap((w) => set(w, turnedLanes(get(w)))),
    ...(batch.ingress.checksumsUnknown === true ? begunCode(header, C3, addresses) : []),
    ...recentCode(entries6, [...destination, KEY].map(get).reduce(xorLanes), RECENT_WORDS6),
    ...[...fields([E0, E1, E2, E3], 0), ...fields([F0, F1, F2, F3], 16)],
    ...wrongWhen(...destination.map((w, d) => unequal(get(w), get([E0, E1, E2, E3][d])))),
    ...wrongWhen(unequal(get(F0), get(KEY)), ifNegative(get(F2))),
    ...stopWhen(someLane(get(BAD))),
    ...storeCode(batch, lanes, 6, header, F2, HEADER),
    ...addresses.flatMap((w, column) => storeWords(lanes.addresses[column], get(w))),
  ];
  return [...repeatWhile(lessOrEqual(add(get(I), i32(4)), get(COUNT)), [...four, ...set(I, add(get(I), i32(4)))]), ...get(I)];
}

/** Parameters are `from`, which is 0, and `count`. */
function hashesCode(batch: Batch, lanes: FlowLanes): Code {
  const isLaidOut = equalLanes(words(lanes.tail), lanesOf(0));
  return [
    ...repeatWhile(less(get(I), get(COUNT)), [
      ...storeWords(batch.flowHash, mixLanes(isLaidOut, words(batch.flowHash), words(lanes.hash))),
      ...set(I, add(get(I), i32(4))),
    ]),
    ...get(I),
  ];
}

/**
 * null where columns, lanes or recent services do not lie in the arena's WebAssembly memory (it has none, or no room was left), and on a link that is ours to answer
 * for, where every frame is asked who it is for.
 */
export function plainPackets(batch: Batch, lanes: FlowLanes, recent: RecentServices): PlainPackets | null {
  const { memory } = batch.arena;
  const { frameAt, frameLength, reason, gsoType, virtioFlags, networkAt, transportAt, networkLength, service, backend } = batch;
  const { lookup, family, protocol, tcpFlags, flowHash } = batch;
  if (batch.ingress.linkAddress !== undefined) return null;
  const columns = [
    ...[frameAt, frameLength, reason, gsoType, virtioFlags, networkAt, transportAt, networkLength, service, backend],
    ...[lookup, family, protocol, tcpFlags, flowHash, lanes.ports, lanes.tail, lanes.hash, ...lanes.addresses],
    ...[recent.entries4, recent.entries6],
  ];
  if (columns.some(({ buffer }) => buffer !== memory)) return null;
  const minimumTtl = batch.ingress.hopDone ? 1 : 2;
  const functions = wasmFunctions(memory, [
    { name: 'classify4', ...LOCALS, body: code4(batch, lanes, recent, minimumTtl) },
    { name: 'classify6', ...LOCALS, body: code6(batch, lanes, recent, minimumTtl) },
    { name: 'keep', ...LOCALS, body: hashesCode(batch, lanes) },
  ]);
  if (functions === null) return null;
  const { classify4, classify6, keep } = functions;
  return {
    classify4,
    classify6,
    keepHashes: (count) => {
      keep(0, count);
    },
  };
}
