// Loaded before the program (`node --import`): any step toward the network throws, and so does having loaded the FFI library.

import dgram from 'node:dgram';
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';

function refuse(what) {
  return () => {
    process.stderr.write(`TOUCHED THE NETWORK: ${what}\n`);
    process.exit(99);
  };
}

net.Socket.prototype.connect = refuse('net.connect');
net.Server.prototype.listen = refuse('net.listen');
dgram.createSocket = refuse('dgram.createSocket');
for (const name of ['lookup', 'resolve', 'resolve4', 'resolve6', 'reverse']) {
  dns[name] = refuse(`dns.${name}`);
  dns.promises[name] = refuse(`dns.promises.${name}`);
}
syncBuiltinESMExports();

process.on('exit', () => {
  if (/koffi[^\n]*\.node/.test(readFileSync('/proc/self/maps', 'utf8'))) refuse('koffi is loaded')();
});
