// Fragments of tunnel packets, put together as a worker's kernel does: RFC 791 §3.2, RFC 8200 §4.5.

import { naiveChecksum, naiveSum } from '../../reference/checksum.ts';
import { setWord, word } from './anatomy.ts';

/** Outer headers' bytes by the family of the outer packet. */
export const overheadOf = (output: Uint8Array) => (output[0] >> 4 === 4 ? 32 : 52);

interface Fragment {
  readonly headers: number;
  readonly offset: number;
  readonly more: boolean;
  readonly key: string;
}

/** A fragment's own facts, null for a whole packet, or what is wrong with it. */
function fragmentOf(output: Uint8Array): Fragment | null | string {
  if (output[0] >> 4 === 4) {
    const field = word(output, 6);
    if ((field & 0x3fff) === 0) return null;
    if ((field & 0xc000) !== 0) return 'a fragment with DF';
    if (word(output, 2) !== output.length || naiveSum(output, 0, 20, 0) !== 0xffff) return 'a fragment with a wrong header';
    if (word(output, 4) === 0) return 'a fragment without identification';
    return { headers: 20, offset: (field & 0x1fff) * 8, more: (field & 0x2000) !== 0, key: `${word(output, 4)}` };
  }
  if (output[6] !== 44) return null;
  if (word(output, 4) !== output.length - 40 || output[40] !== 17) return 'a fragment with a wrong header';
  const field = word(output, 42);
  return { headers: 48, offset: field & 0xfff8, more: (field & 1) !== 0, key: output.slice(44, 48).join() };
}

/** Whole tunnel packets of what left in order, or what is wrong. Over IPv4 they have DF and no identification, as unfragmented ones have. */
export function reassembled(outputs: readonly Uint8Array[]): Uint8Array[] | string {
  const whole: Uint8Array[] = [];
  const keys = new Set<string>();
  let parts: Uint8Array[] = [];
  let open: string | null = null;
  for (const output of outputs) {
    const fragment = fragmentOf(output);
    if (typeof fragment === 'string') return fragment;
    const have = open === null ? 0 : parts.slice(1).reduce((sum, part) => sum + part.length, 0);
    if (fragment === null) {
      if (open !== null) return 'a packet between fragments of another';
      whole.push(output);
      continue;
    }
    const { headers, offset, more, key } = fragment;
    if (open === null && keys.has(key)) return 'an identification twice';
    if ((open !== null && open !== key) || offset !== have) return 'fragments that do not belong together';
    const body = output.subarray(headers);
    if (more && (body.length % 8 !== 0 || body.length === 0)) return `a fragment of ${body.length} bytes that is not the last`;
    if (open === null) parts = [output.slice(0, headers === 20 ? 20 : 40)];
    parts.push(body);
    open = more ? key : null;
    keys.add(key);
    if (!more) whole.push(joined(parts));
  }
  return open === null ? whole : 'the last fragment is missing';
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const packet = Uint8Array.from(Buffer.concat(parts));
  if (packet[0] >> 4 === 4) {
    setWord(packet, 2, packet.length);
    setWord(packet, 4, 0);
    setWord(packet, 6, 0x4000);
    setWord(packet, 10, 0);
    setWord(packet, 10, naiveChecksum(packet, 0, 20));
  } else {
    setWord(packet, 4, packet.length - 40);
    packet[6] = 17;
  }
  return packet;
}
