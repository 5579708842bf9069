/** Says what a drain, a watched file or a check wanted and could not be put in force. */
import { CodedError } from '../base/errors.ts';
import type { ControllerOptions } from '../control/controller.ts';
import type { EventJournal } from '../observe/events.ts';
import { RepeatedLines } from '../observe/log.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';

export function refusedChanges(journal: EventJournal, clock: BoottimeClock): ControllerOptions['refused'] {
  const repeated = new RepeatedLines();
  return (layer, error) => {
    const message = error instanceof Error ? error.message : String(error);
    const hint = error instanceof CodedError ? error.hint : '';
    // Tried again every second.
    const equal = repeated.admit(`${layer} ${message}`, clock.milliseconds());
    if (equal < 0) return;
    journal.record('error', 'change-refused', `a change could not be put in force: ${message}`, { layer, hint, equal });
  };
}
