// The flow table file on a disk that is full.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FlowKeeper } from '../../src/daemon/flow-keeper.ts';
import { flowWords } from '../../src/daemon/flow-memory.ts';
import { EventJournal } from '../../src/observe/events.ts';
import { createLog } from '../../src/observe/log.ts';
import { needs } from '../needs.ts';
import { backends, specOf } from '../pipeline/rig.ts';

test('a full disk: memory does, and nobody is ended by SIGBUS', needs('root'), (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder]);
  t.after(() => {
    execFileSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true });
  });
  const start = (entries: number) => {
    const journal = new EventJournal(createLog({ level: 'silent', format: 'json', write: () => {} }));
    const clock = { seconds: () => 5000 };
    const keeper = new FlowKeeper({ entries, threads: 1, file: join(folder, 'flows'), clock, journal });
    keeper.open();
    return { keeper, said: () => journal.since().map(({ level, text }) => `${level}: ${text}`) };
  };
  const none = start(65_536);
  assert.match(none.said().join(), /^warn: flows will not outlive this process: can not allocate 1052672 bytes: ENOSPC/);
  flowWords(none.keeper.memory).fill(7);
  none.keeper.close();
  const fits = start(4096);
  assert.deepEqual(fits.said(), ['info: a flow table file was made']);
  fits.keeper.build(specOf({ backends: backends(3) }), 5000);
  flowWords(fits.keeper.memory).fill(7);
  fits.keeper.close();
  // There is no room for the size that it is to have now.
  const larger = start(65_536);
  assert.match(larger.said().join(), /^warn: flows will not outlive this process: can not allocate/);
  flowWords(larger.keeper.memory).fill(7);
  larger.keeper.close();
  const again = start(4096);
  execFileSync('sh', ['-c', `head -c 1000000 /dev/zero > ${join(folder, 'filler')} 2>&- || true`]);
  again.keeper.build(specOf({ backends: backends(3) }), 5000);
  again.keeper.build(specOf({ backends: backends(4) }), 5001);
  assert.deepEqual(again.said(), [
    'info: a flow table file was made',
    'warn: whom flows belong to could not be written down: ENOSPC: no space left on device, write',
  ]);
  again.keeper.close();
});
