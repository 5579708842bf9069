// Echo requests and their GUE wrapping, written byte by byte and on their own: the harness must not be judged by the code under test.

import { isIPv6 } from 'node:net';

/** RFC 1071 sum over whole buffers, folded and complemented. */
function checksum(...parts: Buffer[]): number {
  let sum = 0;
  const bytes = Buffer.concat(parts);
  for (let at = 0; at < bytes.length; at++) sum += at % 2 === 0 ? bytes[at] << 8 : bytes[at];
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

/** Address text as 4 or 16 bytes; `::` once. */
export function addressBytes(text: string): Buffer {
  if (!isIPv6(text)) return Buffer.from(text.split('.').map(Number));
  const [head, tail] = text.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const groups = tail === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail];
  const bytes = Buffer.alloc(16);
  groups.forEach((group, index) => {
    bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  });
  return bytes;
}

/** An ICMP or ICMPv6 echo request as a whole IP packet. */
export function echoRequest(source: string, destination: string, payload = Buffer.from('gue-director')): Buffer {
  const from = addressBytes(source);
  const to = addressBytes(destination);
  const six = from.length === 16;
  const echo = Buffer.concat([Buffer.from([six ? 128 : 8, 0, 0, 0, 0x12, 0x34, 0, 1]), payload]);
  const pseudo = six ? Buffer.concat([from, to, Buffer.from([0, 0, 0, echo.length, 0, 0, 0, 58])]) : Buffer.alloc(0);
  echo.writeUInt16BE(checksum(pseudo, echo), 2);
  if (six) return Buffer.concat([Buffer.from([0x60, 0, 0, 0, 0, echo.length, 58, 64]), from, to, echo]);
  const header = Buffer.from([0x45, 0, 0, 20 + echo.length, 0, 1, 0, 0, 64, 1, 0, 0, ...from, ...to]);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, echo]);
}

/** GUE variant 0 header (draft-ietf-intarea-gue-09 §3): version 0, no fields, and the inner packet's protocol number. */
export function wrap(inner: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0, inner[0] >> 4 === 6 ? 41 : 4, 0, 0]), inner]);
}
