// node uploads.mjs TRANSFER-MODULE: standard input has lines of JSON, each a list of orders that are done side by side. Prints all results as one
// list, in the order of the orders.

import { text } from 'node:stream/consumers';

const { transfer } = await import(process.argv[2]);
const results = [];
for (const line of (await text(process.stdin)).split('\n')) results.push(...(await Promise.all(JSON.parse(line).map(transfer))));
process.stdout.write(JSON.stringify(results));
