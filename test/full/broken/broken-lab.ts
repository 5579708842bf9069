// One thing that is wrong, as a script: it breaks a healthy lab, a client suffers, one command names the cause, its fix mends it.

import type { Place, Scene } from './scene.ts';

export interface BrokenLab {
  /** Of docs/troubleshooting.md. */
  readonly cause: string;
  /** True: it needs a worker whose kernel unwraps (User-Mode Linux). */
  readonly kernelWorker: boolean;
  /** Where the command is typed, and its words behind `gue-director`. */
  readonly at: Place;
  command(scene: Scene): readonly string[];
  /** The finding by which docs/troubleshooting.md knows it: an id of doctor's, or a word of the page of the command. */
  readonly finding: string;
  /** All of them stand in the first screen of the broken lab; the first of them nowhere in what the healthy one says. */
  readonly names: readonly RegExp[];
  break(scene: Scene): Promise<void>;
  /** What a client gets: a sentence that begins with `fine`, or what is wrong. */
  client(scene: Scene): Promise<string>;
  /** What a client of the broken lab gets. */
  readonly symptom: RegExp;
  /** Mends it, with the command that was printed where there is one that mends. `said`: the whole output. Returns what was typed. */
  mend(scene: Scene, said: string): Promise<string>;
  /** Undoes what is left of break and mend. */
  restore?(scene: Scene): Promise<void>;
}
