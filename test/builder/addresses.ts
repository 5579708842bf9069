/** Addresses from text, for tests only: an own small parser, so that builder and checks share nothing with the code under test. */

/** Bytes of `192.0.2.1` or `2001:db8::1`; bytes are taken as they are. */
export function ip(address: string | Uint8Array): Uint8Array {
  if (typeof address !== 'string') return address;
  return address.includes(':') ? ip6(address) : Uint8Array.from(address.split('.'), Number);
}

function ip6(address: string): Uint8Array {
  const [head, tail] = address.split('::');
  const groups = (part: string | undefined) => (part ? part.split(':').map((group) => Number.parseInt(group, 16)) : []);
  const front = groups(head);
  const back = groups(tail);
  const zeros = tail === undefined ? [] : new Array<number>(8 - front.length - back.length).fill(0);
  const bytes = [...front, ...zeros, ...back].flatMap((group) => [group >> 8, group & 0xff]);
  if (bytes.length !== 16) throw new Error(`not an IPv6 address: ${address}`);
  return Uint8Array.from(bytes);
}

/** Bytes of `02:00:00:00:00:01`. */
export function mac(address: string | Uint8Array): Uint8Array {
  if (typeof address !== 'string') return address;
  return Uint8Array.from(address.split(':'), (part) => Number.parseInt(part, 16));
}
