/** The questions that a running director answers from what its parts know: what becomes of a packet, and what happened. */
import type { AdminSource } from '../admin/server.ts';
import type { Publisher } from '../control/publisher.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';
import { ExplainKeeper } from './explain-keeper.ts';
import type { FlowKeeper } from './flow-keeper.ts';
import type { ForwardingThreads } from './forwarding-threads.ts';
import { HistoryKeeper, type HistoryKeeperOptions } from './history-keeper.ts';
import type { PathKeeper } from './path-keeper.ts';

export interface QuestionedParts {
  readonly clock: BoottimeClock;
  readonly journal: HistoryKeeperOptions['journal'];
  readonly publisher: Publisher;
  readonly flows: FlowKeeper;
  readonly paths: PathKeeper;
  readonly threads: ForwardingThreads;
}

/** The history is kept from now on. */
export function adminQuestions({
  clock,
  journal,
  publisher,
  flows,
  paths,
  threads,
}: QuestionedParts): Pick<AdminSource, 'explain' | 'history'> {
  const explain = new ExplainKeeper(clock, publisher, flows, paths, threads);
  const history = new HistoryKeeper({ clock, journal, publisher, threads }).run();
  return {
    explain: (query) => explain.explain(query),
    history: (query, isLocal) => history.answer(query, isLocal),
  };
}
