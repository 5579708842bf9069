import assert from 'node:assert/strict';
import { test } from 'node:test';
import { read } from '../rules/sources.ts';
import { parseDockerfile } from './dockerfile.ts';

test('the Dockerfile is understood: two stages on debian:12-slim, not root, the promised command', () => {
  const stages = parseDockerfile(read('Dockerfile'));
  assert.deepEqual(
    stages.map(({ image, name }) => [image, name]),
    [
      ['debian:12-slim', 'build'],
      ['debian:12-slim', null],
    ],
  );
  const last = stages[1].instructions;
  assert.ok(last.some((one) => one.kind === 'user' && one.name !== 'root'));
  assert.deepEqual(last.find((one) => one.kind === 'entrypoint')?.words, ['gue-director']);
  assert.equal(last.find((one) => one.kind === 'cmd')?.words[0], 'run');
  assert.deepEqual(last.find((one) => one.kind === 'healthcheck')?.words, [
    'gue-director',
    'status',
    '--listen',
    '127.0.0.1:6079',
    '--check',
    'healthy',
  ]);
});

test('continued lines are one instruction, and what is unknown is an error with its line', () => {
  const [stage] = parseDockerfile('FROM a AS b\n# note\nRUN one && \\\n  two\nCOPY --from=b x y /z/');
  assert.deepEqual(stage.instructions, [
    { kind: 'run', command: 'one && two', line: 3 },
    { kind: 'copy', from: 'b', sources: ['x', 'y'], to: '/z/', line: 5 },
  ]);
  assert.throws(() => parseDockerfile('FROM a\nSHELL ["sh"]'), /Dockerfile:2/);
});
