/**
 * The client, a process of its own. Reads lines of JSON from standard input, each a list of orders, does the orders of a line side by
 * side and writes one line of JSON per finished transfer. Ends with its input.
 */
import { createInterface } from 'node:readline';
import { type TransferOrder, transfer } from './transfer.ts';

for await (const line of createInterface({ input: process.stdin })) {
  const orders = JSON.parse(line) as TransferOrder[];
  await Promise.all(orders.map(async (order) => process.stdout.write(`${JSON.stringify(await transfer(order))}\n`)));
}
