// The client's side of UDP, a process of its own; one line of JSON out.
//
//     node udp-client.mjs listen PORT              prints `ready`, and on SIGTERM the texts of all datagrams that have come
//     node udp-client.mjs ask PORT                 for each of the addresses and sizes on standard input (JSON: [[address, [size, …]], …]):
//                                                  sends a datagram of each size, again after three seconds without its echo; prints for each
//                                                  address how many echoes were right

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function listen(port) {
  const heard = [];
  await Promise.all(
    ['udp4', 'udp6'].map((type) => {
      const socket = createSocket({ type, ipv6Only: type === 'udp6' });
      socket.on('message', (data) => heard.push(data.toString('latin1').split(';')[0]));
      socket.bind(port);
      return once(socket, 'listening');
    }),
  );
  const told = once(process, 'SIGTERM');
  process.stdout.write('ready\n');
  await told;
  process.stdout.write(`${JSON.stringify(heard)}\n`);
}

/** True when a datagram came back as it was, from the address it was sent to. */
async function echoes(socket, address, port, size) {
  const data = Buffer.alloc(size);
  for (let i = 0; i < size; i++) data[i] = (i * 31 + size) & 255;
  for (let attempt = 0; attempt < 3; attempt++) {
    socket.send(data, port, address);
    const answer = await Promise.race([once(socket, 'message'), pause(3000)]);
    if (answer?.[0].equals(data) && answer[1].port === port) return true;
  }
  return false;
}

async function ask(port) {
  const orders = JSON.parse(await text(process.stdin));
  const right = await Promise.all(
    orders.map(async ([address, sizes]) => {
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      socket.bind(0);
      await once(socket, 'listening');
      let count = 0;
      for (const size of sizes) if (await echoes(socket, address, port, size)) count++;
      return count;
    }),
  );
  process.stdout.write(`${JSON.stringify(right)}\n`);
}

const [mode, port] = process.argv.slice(2);
await (mode === 'listen' ? listen(Number(port)) : ask(Number(port)));
process.exit(0);
