// Sends probes from the director's namespace and tells which of them the client heard an answer to.

import { resolve } from 'node:path';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { Program } from '../full/program.ts';
import { runIn } from '../uml/director.ts';
import { CLIENT_PORT, type Probe } from './probes.ts';

const folder = import.meta.dirname;
/** From the last probe to the end; answers come within milliseconds. */
const LISTEN_MS = 1000;

/** Names of the probes that were answered, one entry for each answer. */
export async function answeredOf(lab: Lab, probes: readonly Probe[]): Promise<string[]> {
  const client = resolve(folder, 'udp-client.mjs');
  const listener = await Program.start(lab.client, process.execPath, [client, 'listen', `${CLIENT_PORT}`], 'ready');
  const lines = probes.map((probe) => Buffer.from(probe.packet).toString('hex'));
  await runIn(lab.director, 'python3', [resolve(folder, 'inject.py')], `${lines.join('\n')}\n`);
  await new Promise((resolve) => setTimeout(resolve, LISTEN_MS));
  await listener.stop();
  return JSON.parse(listener.words.slice(listener.words.indexOf('\n') + 1)) as string[];
}

/** What differs from what is known of Linux, a sentence each. */
export function disagreements(probes: readonly Probe[], answered: readonly string[]): string[] {
  return probes.flatMap((probe) => {
    const times = answered.filter((name) => name === probe.name).length;
    return times === (probe.answered ? 1 : 0) ? [] : [`${probe.name}: answered ${times} times`];
  });
}
