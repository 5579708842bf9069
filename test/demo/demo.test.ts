// The demo as a user runs it: the built program, as a child; what it says must be true, and nothing of it may stay.

import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { labNamespaces, sweep } from '../../src/demo/lab/sweep.ts';
import { needs } from '../needs.ts';

const program = resolve(import.meta.dirname, '../../dist/cli/main.js');
const BYTES = 1_500_000;
const SECONDS = 30;

interface Document {
  ok: boolean;
  seconds: number;
  workers: string[];
  idle: string[];
  leftovers: string[];
  metrics: string[];
  transfers: { kind: string; family: number; worker: string; bytes: number; sha256: string; good: boolean }[];
}

class Demo {
  /** Inherited by every process of the demo, so that a stray one is found wherever it went. */
  readonly mark = `demo-test-${randomUUID()}`;
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output = '';
  progress = '';

  constructor(t: TestContext, ...options: string[]) {
    assert.ok(existsSync(program), 'dist/ is not built: npm run build');
    this.child = spawn(process.execPath, [program, 'demo', '--json', '--bytes', String(BYTES), ...options], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, GUE_DIRECTOR_TEST_MARK: this.mark },
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.progress += text;
    });
    this.ended = once(this.child, 'close').then(([code]) => code as number | null);
    t.after(() => this.child.kill('SIGTERM'));
  }

  async says(word: string): Promise<void> {
    while (!this.progress.includes(word)) await once(this.child.stderr!, 'data', { signal: AbortSignal.timeout(SECONDS * 1000) });
  }

  processes(): string[] {
    return readdirSync('/proc').filter((name) => {
      if (!/^\d+$/.test(name)) return false;
      try {
        return readFileSync(`/proc/${name}/environ`, 'latin1').includes(this.mark);
      } catch {
        // It ended while we looked.
        return false;
      }
    });
  }

  namespaces(): string[] {
    return labNamespaces()
      .filter(({ owner }) => owner === this.child.pid)
      .map(({ name }) => name);
  }

  assertNothingIsLeft(): void {
    assert.deepEqual(this.processes(), [], 'processes');
    assert.deepEqual(this.namespaces(), [], 'namespaces');
  }
}

/** Names of what the demo could have left outside its namespaces. */
function outside(): string[] {
  const links = execFileSync('ip', ['-o', 'link', 'show'], { encoding: 'utf8' }).matchAll(/^\d+: ([^:@]+)/gm);
  const folders = readdirSync(tmpdir()).filter((name) => name.startsWith('gue-director-demo-'));
  return [...[...links].map((match) => match[1]), ...folders.map((name) => join(tmpdir(), name))].sort();
}

/** The content of a transfer, made another way than the demo makes it: one number at a time. */
function contentByHand(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let chunk = 0, x = 0x6775652d; chunk < length; chunk += 4) {
    x = (x ^ (x * 8192)) >>> 0;
    x = (x ^ Math.floor(x / 131072)) >>> 0;
    x = (x ^ (x * 32)) >>> 0;
    for (let i = 0; i < 4 && chunk + i < length; i++) bytes[chunk + i] = Math.floor(x / 256 ** i) % 256;
  }
  return bytes;
}

test('the demo moves files both ways over both families, and leaves nothing', needs('namespaces', 'tun'), async (t) => {
  const before = outside();
  const started = performance.now();
  const demo = new Demo(t);
  const code = await demo.ended;
  assert.equal(code, 0, demo.progress);
  assert.ok(performance.now() - started < SECONDS * 1000, `under ${SECONDS} seconds`);
  demo.assertNothingIsLeft();
  assert.deepEqual(outside(), before);

  const found = JSON.parse(demo.output) as Document;
  assert.deepEqual([found.ok, found.idle, found.leftovers], [true, [], []]);
  const hash = createHash('sha256').update(contentByHand(BYTES)).digest('hex');
  const large = found.transfers.filter((one) => one.bytes === BYTES);
  for (const kind of ['download', 'upload']) {
    for (const family of [4, 6]) {
      const own = large.filter((one) => one.kind === kind && one.family === family);
      assert.ok(own.length >= 3, `${own.length} transfers: ${kind} over IPv${family}`);
      for (const one of own) assert.deepEqual([one.sha256, one.good], [hash, true]);
    }
  }
  assert.deepEqual([...new Set(found.transfers.map((one) => one.worker))].sort(), found.workers);
  // 6 uploads of full segments and their outer headers, at the least, went through the director.
  const forwarded = found.metrics.find((line) => line.startsWith('gue_director_forwarded_bytes_total'));
  assert.ok(Number(forwarded?.split(' ')[1]) > 6 * BYTES, forwarded);
});

test('Ctrl-C in the middle of it leaves nothing', needs('namespaces', 'tun'), async (t) => {
  const before = outside();
  const demo = new Demo(t);
  await demo.says('3 × gue-director worker');
  assert.ok(demo.namespaces().length > 0 && demo.processes().length > 5);
  demo.child.kill('SIGINT');
  assert.equal(await demo.ended, 130);
  demo.assertNothingIsLeft();
  assert.deepEqual(outside(), before);
});

test('--keep stays up until it is told to end', needs('namespaces', 'tun'), async (t) => {
  const demo = new Demo(t, '--keep');
  await demo.says('Ctrl-C takes it down');
  const client = demo.namespaces().find((name) => name.endsWith('-client'));
  const script = "fetch('http://10.80.9.1/').then((r) => r.text()).then((text) => process.stdout.write(text))";
  const name = execFileSync('ip', ['netns', 'exec', client!, process.execPath, '-e', script], { encoding: 'utf8' });
  assert.match(name, /^worker-[123]\n$/);
  demo.child.kill('SIGTERM');
  assert.equal(await demo.ended, 143);
  demo.assertNothingIsLeft();
});

test('after kill -9 the next lab clears away what was left', needs('namespaces', 'tun'), async (t) => {
  const demo = new Demo(t);
  await demo.says('3 × gue-director worker');
  demo.child.kill('SIGKILL');
  await demo.ended;
  const left = demo.namespaces();
  assert.ok(left.length > 0, 'kill -9 leaves namespaces, or this test shows nothing');
  const swept = sweep();
  for (const name of left) assert.ok(swept.includes(name), `${name} was swept`);
  demo.assertNothingIsLeft();
  for (const name of outside()) if (name.includes(`gue-director-demo-${demo.child.pid}-`)) rmSync(name, { recursive: true });
});

/**
 * Runs a command as nobody, in a mount namespace where nobody may read this repository (as $REPOSITORY) and Node, wherever they lie,
 * and may open /dev/net/tun, as most distributions allow.
 */
function asNobody(command: string): { code: number | null; said: string } {
  const script = `set -e
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/repository; mount --bind "$0" /mnt/repository
    touch /mnt/node; mount --bind "$1" /mnt/node
    mknod -m 666 /mnt/tun c 10 200; mount --bind /mnt/tun /dev/net/tun
    cd /
    exec setpriv --reuid 65534 --regid 65534 --clear-groups ${command}`;
  const repository = resolve(import.meta.dirname, '../..');
  const result = spawnSync('unshare', ['-m', 'sh', '-c', script, repository, process.execPath], { encoding: 'utf8' });
  return { code: result.status, said: result.stdout + result.stderr };
}

test('as a plain user it runs in a user namespace, or says what is missing', needs('root', 'namespaces', 'tun'), () => {
  const { code, said } = asNobody('/mnt/node /mnt/repository/dist/cli/main.js demo --bytes 100000');
  // Inside a chroot, and where sysctls say so, the kernel gives no user namespace.
  if (asNobody('unshare --user --map-root-user --net --mount true').code === 0) {
    assert.equal(code, 0, said);
    assert.match(said, /: (\d+) of \1 with the right SHA-256/);
  } else {
    assert.equal(code, 77, said);
    assert.match(said, /GD_LAB_NO_PRIVILEGE[\s\S]*run as root, or/);
  }
});

test('root without capabilities is told what is missing', needs('root', 'tun'), () => {
  // The kernel lets such a root make a user namespace, but not be root in it.
  const bare = ['--bounding-set=-all', '--inh-caps=-all', process.execPath, program, 'demo'];
  const result = spawnSync('setpriv', bare, { encoding: 'utf8' });
  assert.equal(result.status, 77, result.stderr);
  assert.match(result.stderr, /GD_LAB_NO_PRIVILEGE[\s\S]*run as root, or.*--privileged/);
});

test('the command to make namespaces is missing: the package is named', async () => {
  const child = spawn(process.execPath, [program, 'demo'], { env: { PATH: '/nowhere' }, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 1);
  assert.match(said, /apt-get install -y iproute2/);
});
