// docs/incident.md, typed: every command of the page on the host that it names, and what it prints held against the page.

import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { Lab, VIP4, VIP6 } from '../../src/demo/lab/topology.ts';
import { Program } from '../full/program.ts';
import { needs } from '../needs.ts';
import { read } from '../rules/sources.ts';
import { built } from '../uml/director.ts';
import { isAsPromised, type Step, stepsOf } from './page.ts';

const PAGE = read('docs/incident.md');

test('an output is held against every line of the page', () => {
  assert.ok(isAsPromised('a\nb 12 c\n', ['a', 'b … c']));
  assert.ok(isAsPromised('a\nx\ny\nb\n', ['a', '…', 'b']));
  assert.ok(isAsPromised('', []));
  assert.ok(!isAsPromised('a\nx\nb\n', ['a', 'b']), 'a line too many');
  assert.ok(!isAsPromised('a\n', ['a', 'b']), 'a line too few');
  assert.ok(!isAsPromised('a\nb\n', ['a']), 'more than is shown');
  assert.ok(!isAsPromised('ab\n', ['a.']));
  const steps = stepsOf('text\n```console\nclient$ echo a\na\nold# true\n```\n```yaml\nx: 1\n```\n');
  assert.deepEqual(steps, [
    { host: 'client', command: 'echo a', expected: ['a'] },
    { host: 'old', command: 'true', expected: [] },
  ]);
});

/** How long something in the background has until the next command: a capture that listens, a director that is ready. */
const SETTLING: readonly [RegExp, string][] = [
  [/^tcpdump /, 'listening on'],
  [/^gue-director run /, 'ready'],
];

class Stage {
  readonly folder = mkdtempSync(join(tmpdir(), 'gue-director-page-'));
  readonly #lab = Lab.create({ workers: 2 });
  readonly #programs: Program[] = [];

  get #hosts(): Readonly<Record<string, Namespace>> {
    const { client, router, director, workers } = this.#lab;
    return { client, router, old: director, worker: workers[0], new: workers[1] };
  }

  async open(): Promise<void> {
    const { old, worker, new: beside } = this.#hosts;
    beside.ip(`addr del ${VIP4}/32 dev lo`, `addr del ${VIP6}/128 dev lo`);
    beside.sysctl({ 'net.ipv4.ip_forward': 1 });
    // For tcpdump, which gives up being root.
    chmodSync(this.folder, 0o777);
    writeFileSync(join(this.folder, 'gue-director'), `#!/bin/sh\nexec ${process.execPath} ${built('cli/main')} "$@"\n`, {
      mode: 0o755,
    });
    const [, yaml] = /^```yaml\n([\s\S]*?)^```$/m.exec(PAGE) ?? ['', ''];
    writeFileSync(join(this.folder, 'director.yaml'), yaml);
    const own = join(this.folder, 'old.yaml');
    writeFileSync(own, yaml.replaceAll(beside.address4, old.address4));
    const script = resolve(import.meta.dirname, 'old-director.ts');
    const start = (...what: Parameters<typeof Program.start>) =>
      Program.start(...what).then((program) => this.#programs.push(program));
    await Promise.all([
      start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready'),
      start(worker, process.execPath, [built('demo/web-server'), 'worker-1', '80'], 'ready'),
      start(old, process.execPath, ['--import', 'tsx', script, own], 'ready'),
    ]);
  }

  /** What a command prints, both streams. */
  async type({ host, command }: Step): Promise<string> {
    const namespace = this.#hosts[host];
    const line = `cd ${this.folder}; PATH=${this.folder}:$PATH; `;
    const background = /^(.*) &$/.exec(command);
    if (background !== null) {
      const [, word] = SETTLING.find(([pattern]) => pattern.test(command)) ?? [null, ''];
      this.#programs.push(await Program.start(namespace, 'sh', ['-c', `${line}exec ${background[1]}`], word));
      return '';
    }
    const program = await Program.start(namespace, 'sh', ['-c', `${line}${command}`], '');
    await program.end(20);
    return program.words;
  }

  async close(): Promise<void> {
    try {
      await Promise.all(this.#programs.map((program) => program.stop()));
    } finally {
      this.#lab.close();
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}

test('docs/incident.md is what happens', needs('root', 'namespaces', 'tun', 'tunnel-gso', 'tcpdump', 'curl'), async (t) => {
  const steps = stepsOf(PAGE);
  assert.ok(steps.length >= 12, `${steps.length} commands`);
  const stage = new Stage();
  t.after(() => stage.close());
  await stage.open();
  for (const step of steps) {
    const { host, command, expected } = step;
    const said = await stage.type(step);
    assert.ok(isAsPromised(said, expected), `${host}: ${command}\npage:\n${expected.join('\n')}\nhere:\n${said}`);
    // A packet that was captured is in the file a moment later.
    if (/^head/.test(command)) await delay(100);
  }
});
