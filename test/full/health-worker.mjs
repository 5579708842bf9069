// node health-worker.mjs NAME ADDRESS VIP: a worker's HTTP servers, on its own address and, as a service of its own, on the VIP; and a door for orders.
//
//     ADDRESS:80       what a direct check asks
//     VIP:80, VIP:81   the service
//     ADDRESS:9000     orders: POST JSON { "service": "open" | "shut" } | { "delay": ms } | { "shell": "…" }
//
// An order is answered when it has been carried out.

import { exec } from 'node:child_process';
import { createServer } from 'node:http';

const [name, own, vip] = process.argv.slice(2);
const SERVICE_PORTS = [80, 81];
let delay = 0;

const answer = (_request, response) => {
  setTimeout(() => response.end(`${name}\n`), delay);
};
const listen = (address, port, handler) =>
  new Promise((done, failed) => {
    const server = createServer(handler);
    server.once('error', failed);
    server.listen(port, address, () => done(server));
  });

let services = [];
async function open() {
  if (services.length > 0) return;
  services = await Promise.all(SERVICE_PORTS.map((port) => listen(vip, port, answer)));
}
async function shut() {
  const closing = services.splice(0);
  for (const server of closing) server.closeAllConnections();
  await Promise.all(closing.map((server) => new Promise((done) => server.close(done))));
}
const shell = (script) =>
  new Promise((done) => {
    exec(script, (error, output, complaint) => done(error === null ? output : `failed: ${complaint}`));
  });

async function carryOut(order) {
  if (order.service === 'open') await open();
  if (order.service === 'shut') await shut();
  if (order.delay !== undefined) delay = order.delay;
  return order.shell === undefined ? 'done' : shell(order.shell);
}

await listen(own, 80, answer);
await open();
await listen(own, 9000, async (request, response) => {
  let text = '';
  for await (const piece of request) text += piece;
  response.end(await carryOut(JSON.parse(text)));
});
process.stdout.write('ready\n');
