// node service.mjs NAME DOOR PORT…: what runs on a worker. Every PORT answers each request with NAME and the number of bytes that it carried.
//
//     DOOR   orders, POST JSON: { "shell": "…" } runs a script and answers { code, output }; { "shut": PORT } and { "open": PORT } end and begin a service
//
// An order is answered when it has been carried out. The door is on every address, the virtual IPs among them: labs only.

import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';

const [name, door, ...ports] = process.argv.slice(2);
const servers = new Map();

async function bodyOf(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

const listen = (port, handler) =>
  new Promise((done, failed) => {
    const server = createServer((request, response) => handler(request, response).catch(() => request.destroy()));
    server.once('error', failed);
    server.listen(port, '0.0.0.0', () => done(server));
  });

const open = async (port) => {
  const server = await listen(port, async (request, response) => {
    const { length } = await bodyOf(request);
    response.setHeader('connection', 'close');
    response.end(`${name} ${length}\n`);
  });
  servers.set(port, server);
};

async function shut(port) {
  const server = servers.get(port);
  servers.delete(port);
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
}

for (const port of ports) await open(Number(port));
await listen(Number(door), async (request, response) => {
  const order = JSON.parse(String(await bodyOf(request)));
  if (order.open !== undefined) await open(order.open);
  if (order.shut !== undefined) await shut(order.shut);
  if (order.shell === undefined) return response.end('{}');
  const { status, stdout, stderr } = spawnSync('sh', ['-c', order.shell], {
    encoding: 'utf8',
    env: { ...process.env, FORCE_COLOR: '' },
  });
  return response.end(JSON.stringify({ code: status, output: `${stdout}${stderr}` }));
});
process.stdout.write('ready\n');
