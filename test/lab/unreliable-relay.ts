// A program between director and worker that does to datagrams what a network may do: `unreliable-relay <from port> <to port> <seed>`
// loses one in 100, holds one in 30 back behind the next few, sends one in 100 twice, and damages a byte in one of 80 (the outer
// checksum is right again: the damage is the inner packet's). Prints `ready`; at its end, on SIGTERM, how many it lost and so on.

import { createSocket } from 'node:dgram';
import { Random } from '../full/random.ts';

const [from, to, seed] = process.argv.slice(2).map(Number);
const random = new Random(seed);
const count = { passed: 0, lost: 0, late: 0, twice: 0, damaged: 0 };
const held: { datagram: Buffer; behind: number }[] = [];
const out = createSocket('udp4');
const socket = createSocket({ type: 'udp4', recvBufferSize: 8 << 20 });

socket.on('message', (datagram) => {
  count.passed++;
  for (const one of held) one.behind--;
  if (random.chance(80)) {
    count.damaged++;
    datagram[24 + random.below(datagram.length - 24)] ^= 0x20;
  }
  if (random.chance(100)) count.lost++;
  else if (random.chance(30)) {
    count.late++;
    held.push({ datagram, behind: 1 + random.below(5) });
  } else out.send(datagram, to, '127.0.0.1');
  if (random.chance(100)) {
    count.twice++;
    out.send(datagram, to, '127.0.0.1');
  }
  while (held.length > 0 && held[0].behind <= 0) out.send((held.shift() as { datagram: Buffer }).datagram, to, '127.0.0.1');
});
// Nothing came behind it: then it goes by itself.
setInterval(() => {
  for (const { datagram } of held.splice(0)) out.send(datagram, to, '127.0.0.1');
}, 5);
socket.bind(from, () => process.stdout.write('ready\n'));
process.on('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify(count)}\n`, () => process.exit(0));
});
