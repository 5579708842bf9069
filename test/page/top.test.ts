// `gue-director top` in a terminal: it draws, hears keys, and gives the terminal back however it ends.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Rates } from '../../src/cli/rates.ts';
import { nodeCommand } from '../../src/demo/cast.ts';
import { needs } from '../needs.ts';
import { PageStage } from './stage.ts';

const CLI = nodeCommand('../cli/main')[1];

interface Told {
  /** As Python has it: negative for a signal. */
  readonly code: number;
  readonly written: string;
  /** Keys came one by one. */
  readonly raw: boolean | null;
  readonly restored: boolean;
}

async function output(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 0);
  return text;
}

test('in a terminal: pictures, keys, and the terminal as it was, after q and after a signal', needs('python3'), async (t) => {
  const stage = new PageStage(1);
  const { host } = new URL(await stage.open());
  t.after(() => stage.close());
  const command = [process.execPath, ...CLI, 'top', '--listen', host];
  const inTerminal = async (asked: { keys: [string, string][]; signal: string | null }) =>
    JSON.parse(
      await output('python3', [join(import.meta.dirname, 'terminal.py'), JSON.stringify({ command, ...asked })]),
    ) as Told;
  const [typed, ended] = await Promise.all([
    inTerminal({
      keys: [
        ['sort: configuration', 's'],
        ['sort: rate', '?'],
        ['Ctrl-C', 'x'],
        ['forwarded 2', 'q'],
      ],
      signal: null,
    }),
    inTerminal({ keys: [], signal: 'SIGTERM' }),
  ]);
  assert.deepEqual([typed.code, typed.raw, typed.restored], [0, true, true]);
  assert.deepEqual([ended.code, ended.restored], [-15, true]);
  for (const { written } of [typed, ended]) {
    assert.ok(written.startsWith('\x1b[?1049h\x1b[?25l\x1b[H'), JSON.stringify(written.slice(0, 60)));
    assert.ok(written.endsWith('\x1b[?25h\x1b[?1049l'), JSON.stringify(written.slice(-60)));
    assert.match(written, /web-workers\/web-1/);
  }
});

test('without a terminal, and with --json: two looks, one picture', async (t) => {
  const stage = new PageStage(1);
  const { host } = new URL(await stage.open());
  t.after(() => stage.close());
  const [text, json] = await Promise.all([
    output(process.execPath, [...CLI, 'top', '--listen', host]),
    output(process.execPath, [...CLI, 'top', '--listen', host, '--json']),
  ]);
  assert.match(text, /\nweb +web-workers +ready +\d/);
  assert.ok(!text.includes('\x1b'), 'no colour and no screen in a pipe');
  const rates = JSON.parse(json) as Rates;
  assert.ok(rates.seconds >= 1 && rates.seconds < 3);
  assert.deepEqual(
    rates.services.map(({ name }) => name),
    ['web', 'uploads', 'quic', 'dns'],
  );
});
