import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { has, needs, PARTS, packagesFor, remedy } from './needs.ts';

/** Runs `body` with other environment variables and puts the old ones back. */
function withEnvironment(changes: Record<string, string | undefined>, body: () => void): void {
  const before = { ...process.env };
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  try {
    body();
  } finally {
    for (const name of Object.keys(changes)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
}

test('a missing part skips the test and names the package', () => {
  withEnvironment({ GUE_DIRECTOR_WITHOUT: 'tshark,uml', CI: undefined, GUE_DIRECTOR_NEEDS: undefined }, () => {
    assert.deepEqual(needs('tshark', 'uml'), { skip: 'needs tshark, uml: apt-get install tshark user-mode-linux kmod' });
  });
});

test('under CI a missing part is an error', () => {
  withEnvironment({ GUE_DIRECTOR_WITHOUT: 'tshark', CI: 'true', GUE_DIRECTOR_NEEDS: undefined }, () => {
    assert.throws(() => needs('tshark'), /may not be skipped.*apt-get install tshark/);
  });
});

test('a part that is there skips nothing', () => {
  withEnvironment({ GUE_DIRECTOR_PARTS: 'root,tun', GUE_DIRECTOR_WITHOUT: undefined, GUE_DIRECTOR_NEEDS: undefined }, () => {
    assert.deepEqual(needs('root', 'tun'), {});
    assert.equal(has('nft'), false);
  });
});

test('every part says how to get it', () => {
  for (const part of PARTS) assert.match(remedy(part), /\S/, part);
});

test('docs/development.md says of every part what it comes with, and .ci/run installs every package', () => {
  const page = readFileSync(new URL('../docs/development.md', import.meta.url), 'utf8');
  const script = readFileSync(new URL('../.ci/run', import.meta.url), 'utf8');
  const installed = new Set(script.match(/apt-get install -y [\s\S]*? >\/dev\/null/)?.[0].split(/\s+/));
  for (const part of PARTS) {
    assert.match(page, new RegExp(`^\\| (\`[a-z0-9-]+\`, )*\`${part}\`[,| ]`, 'm'), part);
    for (const name of packagesFor(part)) assert.ok(installed.has(name), `.ci/run does not install ${name}, which ${part} needs`);
  }
});
