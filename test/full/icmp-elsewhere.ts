// ICMP errors with four threads: the kernel's hash of an error has only the addresses of who sends it, so the errors about a thousand flows come
// on one queue, while the flows have come on all four. Each must reach the worker of its own flow.

import { join } from 'node:path';
import { VIP4, VIP6 } from '../../src/demo/lab/topology.ts';
import { runIn } from '../uml/director.ts';
import { type FragmentStage, PORT } from './fragment-stage.ts';
import type { Scale } from './line.ts';
import { Program } from './program.ts';

const SCRIPT = join(import.meta.dirname, 'icmp_errors.py');
const FLOWS = { full: 1000, scaled: 200 };
/** As the client of fragments.py takes them: flow k has source k modulo 8 and port FIRST + k. */
const FIRST = 20_000;
const SOURCES = 8;
const PATIENCE_MS = 5000;
const COUNTER = 'gue_director_icmp_time_exceeded_steered_total';

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function icmpPart(
  stage: FragmentStage,
  scale: Scale,
): Promise<{ figures: Record<string, number | string>; complaints: string[] }> {
  const figures: Record<string, number | string> = {};
  const complaints: string[] = [];
  for (const family of [4, 6] as const) {
    const about = `ICMP errors, IPv${family}`;
    const target = family === 4 ? VIP4 : VIP6;
    const flows = FLOWS[scale];
    const common = { family, flows, datagrams: 0, bytes: 64, window: 32, bogus: 0, seed: 9, spread: false };
    const start = await stage.threads();
    const { owners, unanswered } = await stage.client(common);
    const middle = await stage.threads();
    const before = (await stage.counters()).get(COUNTER) ?? 0;
    const listeners = await Promise.all(
      stage.lab.workers.map((worker) => Program.start(worker, 'python3', [SCRIPT, 'listen', target], 'ready')),
    );
    const clients = owners.map((_, k): [string, number] => {
      const host = 100 + (k % SOURCES);
      return [family === 4 ? `10.80.0.${host}` : `fd80::${host}`, FIRST + k];
    });
    let steered = 0;
    const got: [string, number][][] = [];
    try {
      await runIn(stage.lab.client, 'python3', [SCRIPT, 'send', JSON.stringify({ family, target, port: PORT, clients })]);
      for (const deadline = Date.now() + PATIENCE_MS; steered < flows && Date.now() < deadline; await pause(50))
        steered = ((await stage.counters()).get(COUNTER) ?? 0) - before;
      // The last of them is on its way from the director to the worker's socket.
      await pause(200);
    } finally {
      for (const listener of listeners) {
        await listener.stop();
        got.push(JSON.parse(listener.words.slice(listener.words.indexOf('['))) as [string, number][]);
      }
    }
    const end = await stage.threads();
    const received = (from: typeof start, to: typeof start) =>
      to.map(({ number, received }) => received - (from.find((one) => one.number === number)?.received ?? 0));
    const flowsBy = received(start, middle);
    const errorsBy = received(middle, end);
    const queue = errorsBy.indexOf(Math.max(...errorsBy));
    const elsewhere = flows - flowsBy[queue];
    let right = 0;
    clients.forEach(([address, port], k) => {
      const at = stage.lab.workers.flatMap(({ role }, w) =>
        got[w].filter(([seen, number]) => seen === address && number === port).map(() => role),
      );
      if (at.length === 1 && at[0] === owners[k]) right++;
      else complaints.push(`${about}: flow ${k} of ${owners[k]}: its error came to ${at.join(', ') || 'nobody'}`);
    });
    figures[`${about}: flows, and errors, by thread`] = `${flowsBy.join(', ')}; ${errorsBy.join(', ')}`;
    figures[`${about}: at the worker of their flow`] =
      `${right} of ${flows}, of ${elsewhere} of which the flow had come on another queue`;
    if (unanswered > 0) complaints.push(`${about}: ${unanswered} flows without a worker`);
    if (steered !== flows) complaints.push(`${about}: ${steered} of ${flows} steered`);
    if (elsewhere < flows / 3) complaints.push(`${about}: only ${elsewhere} came on another queue than their flow`);
  }
  return { figures, complaints: complaints.slice(0, 8) };
}
