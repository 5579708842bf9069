// node udp-echo.mjs PORT ADDRESS…: sends every datagram back to where it came from, from the address it was sent to.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const [port, ...addresses] = process.argv.slice(2);
await Promise.all(
  addresses.map((address) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.on('message', (data, from) => socket.send(data, from.port, from.address));
    socket.bind(Number(port), address);
    return once(socket, 'listening');
  }),
);
process.stdout.write('ready\n');
