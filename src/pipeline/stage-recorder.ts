/** Who watches a batch go through the stages: `explain` and `trace`. The stages are the same with and without. */
import type { Batch } from '../base/batch.ts';

export type StageName = 'classify' | 'appoint' | 'steer' | 'clamp' | 'segment' | 'encapsulate' | 'guard';

export interface StageRecorder {
  /** The stage, and what belongs to it, has looked at every packet of `batch`; the next one has not begun. */
  after(stage: StageName, batch: Batch): void;
}
