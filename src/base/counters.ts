/**
 * Counters are memory: one bank per forwarding thread, written by that thread alone, summed by whoever reads. Float64, because
 * it counts exactly to 2^53 and costs as little as an int32 increment (a metrics library costs 40 times as much).
 *
 *     bank: | fixed counters | drops by reason | send errors by errno | service: packets, bytes | backend: packets, bytes |
 */
import { DROP_REASON_COUNT } from './drop-reason.ts';
import { SEND_ERRORS } from './send-error.ts';

/** Fixed counters: [metric name without the `gue_director_` prefix, help]. The index is the counter's place in the bank. */
export const FIXED_COUNTERS = [
  ['received_packets_total', 'Packets taken from the ingress driver.'],
  ['received_bytes_total', 'Bytes taken from the ingress driver, link headers included.'],
  ['forwarded_packets_total', 'Packets encapsulated and handed to the egress driver without error.'],
  ['forwarded_bytes_total', 'Bytes of encapsulated packets, outer IP header included.'],
  [
    'replied_packets_total',
    'Packets answered by the director itself (ICMP echo, too-big and time exceeded, ARP, neighbour advertisement).',
  ],
  ['passed_packets_total', 'Packets left to the kernel.'],
  ['flow_table_hits_total', 'Packets that followed an entry of their own thread’s flow table.'],
  [
    'flow_table_misses_total',
    'Packets that found no entry in their own thread’s flow table, first packets of flows included: steered by a sibling’s entry or a Maglev table.',
  ],
  ['flow_table_inserts_total', 'Flow entries created.'],
  ['flow_table_evictions_total', 'Live flow entries replaced by a newer flow.'],
  ['flow_table_refused_total', 'Packets whose flow got no entry, because all places for it are confirmed flows in use.'],
  ['completed_checksums_total', 'Packets whose partial transport checksum (virtio-net NEEDS_CSUM) was completed.'],
  ['segmented_packets_total', 'Super-packets cut into segments.'],
  ['segments_sent_total', 'Segments and fragments of packets that were cut, handed to the egress driver without error.'],
  ['resegmented_packets_total', 'TCP packets cut into smaller segments because they were too big for their tunnel.'],
  ['offloaded_packets_total', 'Super-packets handed to the kernel whole, for it to cut (egress tap-offload).'],
  ['offloaded_segments_total', 'Segments that the kernel makes of super-packets that it was handed whole.'],
  [
    'too_big_answers_total',
    'Packets too big for their tunnel that were answered with ICMP, so that the sender learns the size that fits; forwarded or not.',
  ],
  ['ttl_expired_answers_total', 'Packets whose TTL or hop limit ran out here that were answered with ICMP time exceeded.'],
  ['icmp_unreachable_steered_total', 'ICMP errors “unreachable” about a flow that were forwarded to its backend.'],
  [
    'icmp_too_big_steered_total',
    'ICMP errors “fragmentation needed” and “packet too big” about a flow, forwarded to its backend.',
  ],
  ['icmp_time_exceeded_steered_total', 'ICMP errors “time exceeded” about a flow that were forwarded to its backend.'],
  ['icmp_parameter_problem_steered_total', 'ICMP errors “parameter problem” about a flow that were forwarded to its backend.'],
  ['echo_forwarded_total', 'Echo requests to a service address that were forwarded to a backend.'],
  ['refused_trains_total', 'Trains that the kernel refused to take in one message; they were sent segment by segment.'],
  [
    'too_big_answers_lost_total',
    'ICMP answers to packets too big for their tunnel, forwarded nonetheless, which the reply path could not send.',
  ],
  ['fragmented_inner_packets_total', 'IPv4 packets too big for their tunnel that were fragmented before they were encapsulated.'],
  ['fragmented_outer_packets_total', 'Packets too big for their tunnel whose tunnel packets were fragmented.'],
  ['fragments_steered_total', 'Fragments without ports that were given the backend of their packet, or one by their addresses.'],
  ['fragments_found_elsewhere_total', 'Fragments without ports whose packet only another thread knew.'],
  ['fragments_held_total', 'Fragments that came before the first one of their packet and were kept until it came.'],
  ['fragments_released_total', 'Fragments that were kept and went on because the first one of their packet came.'],
  [
    'fragments_timed_out_total',
    'Fragments that were kept and were dropped because the first one did not come, or because newer ones needed the room.',
  ],
  ['fragment_table_evictions_total', 'Packets whose fragments were still expected and that gave their entry to a newer packet.'],
  ['mss_clamped_packets_total', 'SYNs whose maximum segment size was lowered.'],
  ['quic_routed_packets_total', 'QUIC packets that went to the backend whose server id is in their connection id.'],
  [
    'quic_unknown_server_packets_total',
    'QUIC packets whose connection id carries a server id that no backend which serves has; they were steered by their flow.',
  ],
  ['batches_total', 'Batches processed: received packets divided by this is the mean batch size.'],
  ['wakeups_total', 'Times a forwarding thread woke from poll.'],
  ['forwarding_cpu_seconds_total', 'CPU time that the forwarding threads used.'],
] as const satisfies readonly (readonly [string, string])[];

export type FixedCounter = (typeof FIXED_COUNTERS)[number][0];

/** Most services and backends that a process can ever have counted separately; ids above share the last cell. */
export const MAX_SERVICES = 8192;
export const MAX_BACKENDS = 2 ** 20;

export const DROPS_AT = FIXED_COUNTERS.length;
/** In the order of SEND_ERRORS; written by the egress drivers. */
export const SEND_ERRORS_AT = DROPS_AT + DROP_REASON_COUNT;
export const SERVICES_AT = SEND_ERRORS_AT + SEND_ERRORS.length;
export const BACKENDS_AT = SERVICES_AT + 2 * MAX_SERVICES;
export const BANK_LENGTH = BACKENDS_AT + 2 * MAX_BACKENDS;

/** Place of a fixed counter. For module-level constants only. */
export function counterAt(name: FixedCounter): number {
  return FIXED_COUNTERS.findIndex((row) => row[0] === name);
}

/** A thread's bank in memory that other threads may read. Untouched pages cost nothing. */
export function createBank(): Float64Array {
  return new Float64Array(new SharedArrayBuffer(BANK_LENGTH * 8));
}

/** Sum of one cell over all banks. */
export function sumOf(banks: readonly Float64Array[], at: number): number {
  let sum = 0;
  for (const bank of banks) sum += bank[at];
  return sum;
}
