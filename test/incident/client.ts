// The client, a process of its own. Reads orders from standard input, one line of JSON each, and writes one line of results for each.

import { createInterface } from 'node:readline';
import type { Order } from './load.ts';
import { posts } from './posts.ts';
import { streams } from './streams.ts';

process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line) as Order;
  const result = order.kind === 'posts' ? await posts(order) : await streams(order);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
