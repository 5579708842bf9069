/** What became of a traced packet, in words: for text, and for the comments of captures. */
import { DROP_REASONS } from '../base/drop-reason.ts';
import type { LeftPacket, TracedPacket } from './told.ts';

/** `forward: web → workers/w1 (10.0.0.1), gue, source port 51234`, `drop too-big: …`. */
export function verdictText(packet: TracedPacket): string {
  const { verdict, reason, service, pool, backend, address, encapsulation, sourcePort } = packet;
  if (verdict === 'drop') {
    const text = DROP_REASONS.find(({ word }) => word === reason)?.text ?? '';
    const whose = service === undefined ? '' : ` (service ${service})`;
    return `drop ${reason}: ${text}${whose}`;
  }
  if (verdict === 'held')
    return 'held: a fragment that waits for the first one of its packet; when that has come it is told again';
  if (verdict === 'pass') return 'pass: left to the kernel';
  if (verdict === 'reply') return `reply: answered here${service === undefined ? '' : ` (service ${service})`}`;
  const port = sourcePort === undefined ? '' : `, source port ${sourcePort}`;
  return `forward: ${service ?? 'a service that is gone'} → ${pool}/${backend ?? '?'} (${address ?? '?'}), ${encapsulation}${port}`;
}

/** `3 packets left: 2 × 1,492 and 1 × 380 bytes`; null when none did. */
export function leftText(packet: TracedPacket): string | null {
  const sent = packet.left.filter(({ by }) => by === 'egress').flatMap(lengthsOf);
  const back = packet.left.filter(({ by }) => by === 'ingress').map(({ length }) => length);
  const told = [
    ...(sent.length === 0 ? [] : [`${counted(sent.length)} left: ${lengthsText(sent)}`]),
    ...(back.length === 0 ? [] : [`${counted(back.length)} went back: ${lengthsText(back)}`]),
  ];
  return told.length === 0 ? null : told.join('; ');
}

/** Bytes of each packet on the wire: one, but of what the kernel cuts. */
export function lengthsOf({ length, cutInto }: LeftPacket): readonly number[] {
  return cutInto ?? [length];
}

function counted(packets: number): string {
  return packets === 1 ? '1 packet' : `${packets} packets`;
}

function lengthsText(lengths: readonly number[]): string {
  const runs: { length: number; times: number }[] = [];
  for (const length of lengths) {
    const last = runs.at(-1);
    if (last?.length === length) last.times++;
    else runs.push({ length, times: 1 });
  }
  if (runs.length === 1 && runs[0].times === 1) return `${runs[0].length} bytes`;
  return `${runs.map(({ length, times }) => (times === 1 ? `${length}` : `${times} × ${length}`)).join(', ')} bytes`;
}
