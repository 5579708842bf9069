// One line of what the project must show: run at full size by `npm run test:full -- NAME`, and scaled down by its twin in the suite.

export type Scale = 'full' | 'scaled';

export interface Outcome {
  readonly passed: boolean;
  /** What was measured or counted, in the order to be read. */
  readonly figures: Readonly<Record<string, number | string>>;
}

export interface Line {
  readonly name: string;
  /** The claim, in one sentence, with its numbers. */
  readonly claim: string;
  /** The test file that runs it scaled down, relative to the repository. */
  readonly twin: string;
  /** The full size is the twin itself, run again and again: it names nothing back. */
  readonly repeatsTwin?: true;
  run(scale: Scale): Promise<Outcome>;
}
