/**
 * A pool's header policy, written over an outer IP header that the template has just filled: the part of the general writer (outer-headers.ts) that
 * is about the IP header's own fields. Lengths, protocol and checksums are the writer's.
 *
 *     IPv4:  |ver| class |      | id   | DF |  | TTL |     | source |          class, id, DF, TTL; the end of source
 *     IPv6:  |ver| class | flow label  |        | hops |   | source        |   class, label, hops; the end of source
 */
import type { Batch } from '../base/batch.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import {
  FLOW_LABEL,
  flagsOf,
  flowLabelOf,
  hopsOf,
  needsIdentification,
  ruleOf,
  SPREAD,
  trafficClassOf,
} from './header-policy.ts';
import type { Identifiers } from './identifiers.ts';
import {
  B_FAMILY,
  B_POLICY,
  B_POOL,
  B_SPREAD,
  H_POOLS,
  KATRAN_DESTINATION_PORT_ONLY,
  P_SCHEME,
  P_SCHEME_AT,
  POOL_WORDS,
  SCHEME_KATRAN,
  X_FLAGS,
} from './layout.ts';
import { glbPortOf, ipvsSourcePort, katranBitsOf, katranPortOf, sourceBitsOf, sourcePortOf } from './source-port.ts';
import { SOURCE_PORT_RULES } from './spec.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FAMILY = B_FAMILY;
const POLICY = B_POLICY;
const SPREAD_MASK = B_SPREAD;
const IS_SPREAD = SPREAD;
const LABELLED = FLOW_LABEL;
const IPVS = SOURCE_PORT_RULES.indexOf('ipvs');
const KATRAN = SOURCE_PORT_RULES.indexOf('katran');
const GLB = SOURCE_PORT_RULES.indexOf('glb');
const CLASS4 = ipv4.TRAFFIC_CLASS_AT;
const TTL4 = ipv4.TTL_AT;
const FLAGS4 = ipv4.FRAGMENT_AT;
const IDENTIFICATION4 = ipv4.IDENTIFICATION_AT;
const SOURCE4 = ipv4.SOURCE_AT;
const DESTINATION4 = ipv4.DESTINATION_AT;
const DF = ipv4.DONT_FRAGMENT;
const HOPS6 = ipv6.HOP_LIMIT_AT;
/** The last four bytes of the source address. */
const SOURCE6_END = ipv6.SOURCE_AT + 12;

/** Katran hashes the destination port alone: then it takes the client's address for 0 wherever it looks at it. */
function hidesClient(words: Int32Array, record: number): boolean {
  const pool = words[H_POOLS] + words[record + B_POOL] * POOL_WORDS;
  return (
    words[pool + P_SCHEME] === SCHEME_KATRAN && (words[words[pool + P_SCHEME_AT] + X_FLAGS] & KATRAN_DESTINATION_PORT_ONLY) !== 0
  );
}

export interface OuterPolicy {
  /** Outer UDP source port of packet `i` by the rule of the backend of `record`. */
  port(i: number, words: Int32Array, record: number): number;
  /**
   * Over the IPv4 header at `at`, whose checksum is made later: `inner` is the inner IP header that will follow it, its hop counted. `datagrams`: what
   * the kernel makes of it, 1 but for a super-packet that leaves whole.
   */
  write4(i: number, words: Int32Array, record: number, at: number, inner: number, datagrams: number): void;
  /** The same for IPv6. */
  write6(i: number, words: Int32Array, record: number, at: number, inner: number): void;
  /**
   * True when a UDP socket of this host can send the packet whose outer IP header stands at `at`, its kernel writing that header: from an address of
   * this host, with DF, and from `port`.
   */
  suitsSockets(words: Int32Array, record: number, at: number, port: number): boolean;
}

/** The policies of one batch. Ports of the rule `default` are `portBase` + (hash & `portMask`). */
export function outerPolicy(batch: Batch, identifiers: Identifiers, portBase: number, portMask: number): OuterPolicy {
  const { family, flowHash } = batch;
  const { view } = batch.arena;

  function port(i: number, words: Int32Array, record: number): number {
    const outerFamily = words[record + FAMILY] === 4 ? 4 : 6;
    const rule = ruleOf(words[record + POLICY]);
    if (rule === KATRAN) return katranPortOf(batch, i, outerFamily, hidesClient(words, record));
    if (rule === GLB) return glbPortOf(batch, i);
    return rule === IPVS ? ipvsSourcePort(flowHash[i]) : sourcePortOf(flowHash[i], portBase, portMask);
  }

  /** The bits of the flow, of those that the record's prefix leaves open. */
  function spreadBits(i: number, words: Int32Array, record: number, policy: number, outerFamily: 4 | 6): number {
    const bits =
      ruleOf(policy) === KATRAN ? katranBitsOf(batch, i, outerFamily, hidesClient(words, record)) : sourceBitsOf(flowHash[i]);
    return bits & words[record + SPREAD_MASK];
  }

  function write4(i: number, words: Int32Array, record: number, at: number, inner: number, datagrams: number): void {
    const policy = words[record + POLICY];
    const isInner4 = family[i] === 4;
    const trafficClass = isInner4 ? view.getUint8(inner + CLASS4) : ipv6.trafficClass(view, inner);
    const hops = view.getUint8(inner + (isInner4 ? TTL4 : HOPS6));
    const flags = flagsOf(policy, isInner4 ? view.getUint16(inner + FLAGS4) : 0);
    view.setUint8(at + CLASS4, trafficClassOf(policy, trafficClass));
    view.setUint8(at + TTL4, hopsOf(policy, view.getUint8(at + TTL4), hops));
    view.setUint16(at + FLAGS4, flags);
    if (needsIdentification(policy, flags)) {
      view.setUint16(at + IDENTIFICATION4, identifiers.between4(view.getInt32(at + DESTINATION4), datagrams));
    }
    if ((policy & IS_SPREAD) !== 0) {
      view.setInt32(at + SOURCE4, view.getInt32(at + SOURCE4) | spreadBits(i, words, record, policy, 4));
    }
  }

  function write6(i: number, words: Int32Array, record: number, at: number, inner: number): void {
    const policy = words[record + POLICY];
    const isInner4 = family[i] === 4;
    const trafficClass = isInner4 ? view.getUint8(inner + CLASS4) : ipv6.trafficClass(view, inner);
    const hops = view.getUint8(inner + (isInner4 ? TTL4 : HOPS6));
    const label = (policy & LABELLED) !== 0 ? flowLabelOf(flowHash[i]) : 0;
    view.setInt32(at, 0x60000000 | (trafficClassOf(policy, trafficClass) << 20) | label);
    view.setUint8(at + HOPS6, hopsOf(policy, view.getUint8(at + HOPS6), hops));
    if ((policy & IS_SPREAD) !== 0) {
      view.setInt32(at + SOURCE6_END, view.getInt32(at + SOURCE6_END) | spreadBits(i, words, record, policy, 6));
    }
  }

  function suitsSockets(words: Int32Array, record: number, at: number, port: number): boolean {
    const policy = words[record + POLICY];
    if ((policy & IS_SPREAD) !== 0 || port < portBase || port > portBase + portMask) return false;
    return words[record + FAMILY] !== 4 || (view.getUint16(at + FLAGS4) & DF) !== 0;
  }

  return { port, write4, write6, suitsSockets };
}
