/**
 * Packets of services as they come in, looked at while the doctor's probes are on their way: whether their TCP and UDP checksums are right. The packet path does not
 * ask (it forwards what came, as a router does), and the worker's kernel drops wrong ones without a word: that is seen nowhere else on a director.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { formatAddress, type Prefix, prefixContains } from '../base/address.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { closeDescriptor } from '../raw-socket/file.ts';
import { attachFilter, KEEP_ALL, keep } from '../raw-socket/filter.ts';
import { E, errno, must } from '../raw-socket/library.ts';
import { pin } from '../raw-socket/memory.ts';
import { MessageVector, MSG_TRUNC } from '../raw-socket/message.ts';
import {
  AUXDATA_BYTES,
  AUXDATA_STATUS,
  openNetworkSocket,
  STATUS_CHECKSUM_NOT_READY,
  STATUS_CHECKSUM_VALID,
} from '../raw-socket/packet-socket.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { transportChecksum } from '../wire/transport-checksum.ts';
import type { Found } from './finding.ts';

const BATCH = 16;
/** Jumbo frames; of what is longer, merged segments, the kernel has verified each. */
const SLOT = 9216;
/** Small: a busy director's kernel throws away what finds no room before it copies anything. */
const RECEIVE_BUFFER = 256 * 1024;
/** Packets of services after which enough was seen, and packets of any kind. */
const ENOUGH = 512;
const MOST = 4096;
/** Milliseconds of a look, longer than a client's first retransmission takes, and between two readings. */
const LOOK = 1200;
const LOOK_EVERY = 20;

/** What came of one sender. */
export interface Sender {
  readonly address: string;
  right: number;
  wrong: number;
  /** Of the last wrong one. */
  protocol: 'TCP' | 'UDP';
}

/** Looks for about a second, less when enough came; null without the privilege to look. */
export async function watchArrivals(prefixes: readonly Prefix[]): Promise<Sender[] | null> {
  let arrivals: Arrivals;
  try {
    arrivals = new Arrivals(prefixes);
  } catch (error) {
    if (error instanceof CodedError && error.exitCode === EXIT.PRIVILEGE) return null;
    throw error;
  }
  try {
    const since = Date.now();
    do {
      await delay(LOOK_EVERY);
      arrivals.poll();
    } while (!arrivals.saturated && Date.now() - since < LOOK);
    return arrivals.senders();
  } finally {
    arrivals.close();
  }
}

class Arrivals {
  readonly #prefixes: readonly Prefix[];
  readonly #memory = pin(BATCH * SLOT);
  readonly #view = new DataView(this.#memory.bytes.buffer);
  readonly #vector = new MessageVector({ messages: BATCH, segments: 1, nameBytes: 0, controlBytes: AUXDATA_BYTES });
  readonly #descriptors: number[] = [];
  readonly #senders = new Map<string, Sender>();
  #seen = 0;
  #judged = 0;

  /** Looks from now on at what comes for `prefixes`. Throws CodedError, EXIT.PRIVILEGE without CAP_NET_RAW. */
  constructor(prefixes: readonly Prefix[]) {
    this.#prefixes = prefixes;
    for (let i = 0; i < BATCH; i++) this.#vector.setSegment(i, 0, this.#memory.address + i * SLOT, SLOT);
    for (const [length, etherType] of [
      [4, ETHERTYPE_IPV4],
      [16, ETHERTYPE_IPV6],
    ] as const) {
      if (!prefixes.some(({ bytes }) => bytes.length === length)) continue;
      const descriptor = openNetworkSocket(etherType, RECEIVE_BUFFER, 'a look at packets of services');
      this.#descriptors.push(descriptor);
      attachFilter(descriptor, [keep(KEEP_ALL)]);
    }
  }

  get saturated(): boolean {
    return this.#seen >= MOST || this.#judged >= ENOUGH;
  }

  /** Reads what came since. Throws CodedError when a socket fails. */
  poll(): void {
    for (const descriptor of this.#descriptors) this.#receive(descriptor);
  }

  /** What was judged so far, whoever had most wrong packets first. */
  senders(): Sender[] {
    return [...this.#senders.values()].sort((a, b) => b.wrong - a.wrong);
  }

  close(): void {
    for (const descriptor of this.#descriptors.splice(0)) closeDescriptor(descriptor);
  }

  #receive(descriptor: number): void {
    const vector = this.#vector;
    while (!this.saturated) {
      for (let i = 0; i < BATCH; i++) vector.setControlLength(i, AUXDATA_BYTES);
      const received = vector.receive(descriptor, BATCH);
      if (received < 0) {
        const number = errno();
        if (number === E.EAGAIN || number === E.EINTR || number === E.ENETDOWN) return;
        must(received, 'recvmmsg of packets of services');
      }
      for (let i = 0; i < received; i++) {
        const known = vector.controlLength(i) >= AUXDATA_STATUS + 4;
        const status = known ? vector.int32[(vector.controlAt(i) + AUXDATA_STATUS) >> 2] : STATUS_CHECKSUM_NOT_READY;
        this.#seen++;
        // A partial one, or one of merged segments, is another's to finish.
        if ((status & STATUS_CHECKSUM_NOT_READY) !== 0 || (vector.flags(i) & MSG_TRUNC) !== 0) continue;
        this.#judge(i * SLOT, i * SLOT + vector.transferred(i), (status & STATUS_CHECKSUM_VALID) !== 0);
      }
      if (received < BATCH) return;
    }
  }

  /** `verified`: somebody has, and merged datagrams perhaps (GRO with a list of fragments), whose header is of the whole. */
  #judge(at: number, end: number, verified: boolean): void {
    const view = this.#view;
    if (end - at < ipv4.HEADER_LENGTH) return;
    const six = view.getUint8(at) >> 4 === 6;
    if (six && end - at < ipv6.HEADER_LENGTH) return;
    const length = six ? 16 : 4;
    const bytes = (offset: number) => this.#memory.bytes.slice(at + offset, at + offset + length);
    const destination = bytes(six ? ipv6.DESTINATION_AT : ipv4.DESTINATION_AT);
    if (!this.#prefixes.some((prefix) => prefix.bytes.length === length && prefixContains(prefix, destination))) return;
    const verdict = verified ? 'right' : transportChecksum(view, at, end);
    if (verdict === null) return;
    this.#judged++;
    const address = formatAddress(bytes(six ? ipv6.SOURCE_AT : ipv4.SOURCE_AT));
    const sender = this.#senders.get(address) ?? { address, right: 0, wrong: 0, protocol: 'TCP' as const };
    this.#senders.set(address, sender);
    sender[verdict]++;
    const protocol = six ? ipv6.nextHeader(view, at) : ipv4.protocol(view, at);
    if (verdict === 'wrong') sender.protocol = protocol === ipv4.PROTOCOL_UDP ? 'UDP' : 'TCP';
  }
}

/** A sender whose own packets are damaged is told apart from a way on which everybody's are. */
export function judgeArrivals(senders: readonly Sender[]): Found[] {
  const [worst, ...others] = senders.filter(({ wrong }) => wrong > 0);
  if (worst === undefined) return [];
  const { address, right, wrong, protocol } = worst;
  const rest = senders.filter((sender) => sender !== worst);
  const good = rest.reduce((sum, sender) => sum + sender.right, 0);
  const more = others.length === 0 ? '' : ` (and of ${others.length} more senders)`;
  const beside = others.length === 0 && good > 0 ? `, ${good} of others were right` : '';
  return [
    {
      id: 'checksums-wrong',
      level: 'error',
      text: `${wrong} of ${wrong + right} packets from ${address}${more} came in with a wrong ${protocol} checksum${beside}: damaged by ${
        others.length === 0 ? 'their sender or its network card' : 'a link or offload in front of this host'
      }. They are forwarded as they are, and workers drop them without a word`,
      fix: `ethtool -K eth0 tx off   # on ${address}, if it is yours: a driver that computes checksums wrong`,
    },
  ];
}
