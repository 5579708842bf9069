/** `gue-director top`: rates of the running director, live in a terminal. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { CodedError, EXIT } from '../../base/errors.ts';
import { configOption, jsonOption, wholeNumber } from '../options.ts';
import type { Look, Rates } from '../rates.ts';
import { paintFor } from '../render/paint.ts';
import type { TopView } from '../render/top.ts';
import type { FoundDirector, PlaceOptions } from '../running-director.ts';

interface Options extends PlaceOptions {
  readonly json: boolean;
  readonly interval: number;
  readonly once: boolean;
}

const MOST_INTERVAL = 3600;

export function register(program: Command): void {
  program
    .command('top')
    .summary('rates of a running director, live: services, backends, drops')
    .description(
      'Shows what a running director does now: packets and bits per second of each service and backend, drops by reason, shares and health. ' +
        'In a terminal it draws itself again every second until q; elsewhere, and with --once or --json, it looks twice and prints one picture.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .option('--interval <seconds>', 'between two looks', wholeNumber(1, MOST_INTERVAL), 1)
    .option('--once', 'look twice, print one picture, end', false)
    .option('--socket <path>', 'the director behind this unix socket, whatever the configuration says')
    .option('-l, --listen <address:port>', 'ask there, whatever the configuration says')
    .addHelpText(
      'after',
      `
Keys: q ends, s sorts otherwise, ? shows help.

Examples:
  gue-director top
  gue-director top --interval 5
  gue-director top --once | grep web
  gue-director top --json | jq '.drops'

Exit code 69 when no director answers.`,
    )
    .action(async (options: Options, command: Command) => {
      process.exitCode = await top(options, command.getOptionValueSource('config') === 'cli');
    });
}

async function top(options: Options, named: boolean): Promise<number> {
  const { findDirector } = await import('../running-director.ts');
  const found = await findDirector(options, named);
  const isLive = process.stdout.isTTY === true && process.env.TERM !== 'dumb' && !options.once && !options.json;
  if (isLive) await live(found, options.interval);
  else await once(found, options);
  return EXIT.OK;
}

async function once({ place, status }: FoundDirector, { interval, json }: Options): Promise<void> {
  const { askStatus } = await import('../../admin/client.ts');
  const { ratesBetween } = await import('../rates.ts');
  const { topLines } = await import('../render/top.ts');
  const before: Look = { at: performance.now(), status };
  await delay(1000 * interval);
  const after: Look = { status: await askStatus(place), at: performance.now() };
  const rates = ratesBetween(before, after);
  if (json) {
    process.stdout.write(`${JSON.stringify(rates, null, 2)}\n`);
    return;
  }
  const size = { rows: Number.POSITIVE_INFINITY, columns: Number.POSITIVE_INFINITY };
  const view: TopView = { sort: 'configuration', isHelp: false };
  const lines = topLines({ status: after.status, rates, problem: null }, view, size, paintFor(process.stdout));
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function live({ place, status }: FoundDirector, interval: number): Promise<void> {
  const { askStatus } = await import('../../admin/client.ts');
  const { ratesBetween } = await import('../rates.ts');
  const { pressed, topLines } = await import('../render/top.ts');
  const { LiveScreen } = await import('../live-screen.ts');
  const paint = paintFor(process.stdout);
  const screen = new LiveScreen(process.stdin, process.stdout);
  const end = new AbortController();
  let view: TopView = { sort: 'configuration', isHelp: false };
  let last: Look = { at: performance.now(), status };
  let rates: Rates | null = null;
  let problem: string | null = null;
  const draw = () => screen.draw(topLines({ status: last.status, rates, problem }, view, screen.size, paint));
  screen.open((key) => {
    const next = pressed(view, key);
    if (next === null) end.abort();
    else {
      view = next;
      draw();
    }
  }, draw);
  try {
    while (!end.signal.aborted) {
      draw();
      await delay(1000 * interval, undefined, { signal: end.signal }).catch((error: Error) => {
        if (error.name !== 'AbortError') throw error;
      });
      if (end.signal.aborted) return;
      try {
        const look: Look = { status: await askStatus(place), at: performance.now() };
        rates = ratesBetween(last, look);
        last = look;
        problem = null;
      } catch (error) {
        // It may be on its way back: an upgrade, a restart.
        if (!(error instanceof CodedError)) throw error;
        problem = error.message;
      }
    }
  } finally {
    screen.close();
  }
}
