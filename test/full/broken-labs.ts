// Twelve labs, each broken in one way (test/full/broken): the client suffers, one command names the cause in its first screen, what it says mends it, and on the healthy
// lab it says nothing of the kind. docs/troubleshooting.md is the list for people.

import type { BrokenLab } from './broken/broken-lab.ts';
import { BROKEN_LABS } from './broken/index.ts';
import { Scene } from './broken/scene.ts';
import { firstScreen } from './broken/screen.ts';
import type { Line, Outcome, Scale } from './line.ts';

/**
 * The scaled twin has three of the twelve, those of which no other test of the suite has the like (test/doctor breaks ways and workers); the full size has all, and looks
 * again after the mending.
 */
const CHOSEN: Readonly<Record<Scale, readonly string[]>> = {
  full: BROKEN_LABS.map(({ cause }) => cause),
  scaled: ['service shadowed by another', 'corrupted checksum at source', 'flow stuck on a draining backend'],
};
/** Seconds until a mended lab must serve: routes are looked at again, a drain's deadline passes. */
const MEND_SECONDS = 8;

interface Told {
  readonly complaints: string[];
  readonly figure: string;
}

/** What the commands say of the lab while nothing is wrong; the same command is asked once. */
class Healthy {
  readonly #scene: Scene;
  readonly #said = new Map<string, Promise<string>>();

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  says({ at, command }: BrokenLab): Promise<string> {
    const words = command(this.#scene);
    const key = [at, ...words].join(' ');
    const known = this.#said.get(key) ?? this.#scene.program(at, words).then(({ output }) => output);
    this.#said.set(key, known);
    return known;
  }
}

async function untilFine(lab: BrokenLab, scene: Scene): Promise<string> {
  const deadline = performance.now() + MEND_SECONDS * 1000;
  for (;;) {
    const answer = await lab.client(scene);
    if (answer.startsWith('fine') || performance.now() > deadline) return answer;
  }
}

async function suffer(lab: BrokenLab, scene: Scene, healthy: string, again: boolean): Promise<Told> {
  const complaints: string[] = [];
  const complain = (text: string) => complaints.push(`${lab.cause}: ${text}`);
  const [first] = lab.names;
  if (first.test(healthy)) complain(`the healthy lab is said to have it: ${healthy}`);
  const before = await lab.client(scene);
  if (!before.startsWith('fine')) complain(`before it was broken: ${before}`);
  await lab.break(scene);
  const broken = await lab.client(scene);
  if (!lab.symptom.test(broken)) complain(`the client gets: ${broken}`);
  const { output } = await scene.program(lab.at, lab.command(scene));
  // What wraps is one line for whoever reads it.
  const screen = firstScreen(output);
  for (const name of lab.names) if (!name.test(screen)) complain(`no ${name} in the first screen:\n${screen}`);
  const mended = await lab.mend(scene, output);
  const after = await untilFine(lab, scene);
  if (!after.startsWith('fine')) complain(`after "${mended}": ${after}`);
  if (again) {
    const { output: later } = await scene.program(lab.at, lab.command(scene));
    if (first.test(later)) complain(`still said after "${mended}": ${firstScreen(later)}`);
  }
  await lab.restore?.(scene);
  const words = lab.command(scene).map((word) => (word === scene.file ? 'director.yaml' : word));
  return { complaints, figure: `${broken}; gue-director ${words.join(' ')} (${lab.at}): ${lab.finding}; mended by: ${mended}` };
}

async function run(scale: Scale): Promise<Outcome> {
  const chosen = BROKEN_LABS.filter(({ cause }) => CHOSEN[scale].includes(cause));
  const scene = await Scene.open(chosen.some(({ kernelWorker }) => kernelWorker));
  const figures: Record<string, string> = {};
  const complaints: string[] = [];
  try {
    const healthy = new Healthy(scene);
    await Promise.all(chosen.map((lab) => healthy.says(lab)));
    let named = 0;
    for (const lab of chosen) {
      const told = await suffer(lab, scene, await healthy.says(lab), scale === 'full');
      complaints.push(...told.complaints);
      figures[lab.cause] = told.figure;
      if (told.complaints.length === 0) named++;
    }
    figures['named in the first screen of one command'] = `${named} of ${chosen.length}`;
  } finally {
    await scene.close();
  }
  return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.join(' | ') || 'none' } };
}

export const brokenLabs: Line = {
  name: 'broken-labs',
  claim:
    'Twelve broken labs (worker rp_filter, VIP missing, decapsulation port closed, wrong GUE port, tunnel path MTU 1500 with a 1500-byte client, PMTU black hole, ip_forward off, service shadowed by another, corrupted checksum at source, backend blackholed, route missing on the director, flow stuck on a draining backend): for each, one command names the true cause in its first screen of 24 lines, what it says mends it, and on the healthy lab it says nothing of the kind.',
  twin: 'test/full/broken-labs.test.ts',
  run,
};
