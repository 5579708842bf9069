// What `gue-director trace` says when the director dies under it, or is asked to stop in vain.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const STARTED = { kind: 'started', filter: '', count: 1000, seconds: 60, rate: 1000, snap: 0, threads: 1 };
const TALLY = { kind: 'progress', matched: 3, told: 3, overRate: 0, noRoom: 0 };

/** Exit code and words of a trace whose director says `last` behind its first lines, and dies. */
async function traced(socket: string, last: string): Promise<{ code: number | null; words: string }> {
  let answer: ServerResponse | null = null;
  const server = createServer((_, response) => {
    answer = response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write(`${JSON.stringify(STARTED)}\n${JSON.stringify(TALLY)}\n${last}`);
  }).listen(socket);
  await new Promise((done) => server.once('listening', done));
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', 'trace', '--socket', socket]);
  let words = '';
  child.stderr.on('data', (bytes) => {
    words += String(bytes);
    if (words.includes('tracing ')) setTimeout(() => answer?.destroy(), 50);
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  server.close();
  return { code, words };
}

test('a director that goes away is said to have, also in the middle of a line', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-gone-'));
  try {
    for (const [k, last] of ['', '{"kind":"pack'].entries()) {
      const { code, words } = await traced(join(folder, `${k}.sock`), last);
      assert.equal(code, 69, words);
      assert.match(
        words,
        /^tracing every packet on 1 thread.*\n0 packets told of 3 that matched; ended: the director went away\n$/,
      );
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
