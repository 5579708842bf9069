// Executes the Dockerfile's own steps where no container engine runs: each stage is a Debian 12 root made by debootstrap, RUN is a
// chroot, COPY is a copy. Ends with the image's command, as its own user and with nothing but the capabilities it asks for.
//
//   node --import tsx test/container/run.ts        as root; about two minutes, 1 GB below /var/tmp

import { execFileSync, type StdioOptions, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { type Instruction, parseDockerfile, type Stage } from './dockerfile.ts';

const repository = resolve(import.meta.dirname, '../..');
const MIRROR = process.env.GUE_DIRECTOR_DEBIAN_MIRROR ?? 'http://deb.debian.org/debian';
/** What a chroot borrows from the host to reach the package registries: names, certificates, proxies' settings. */
const BORROWED = [
  '/etc/resolv.conf',
  '/etc/hosts',
  '/etc/ssl/certs/ca-certificates.crt',
  '/usr/local/share/ca-certificates',
  '/etc/apt/apt.conf.d',
];

/** Set for the half of this program that runs in a mount namespace of its own: what it mounts vanishes with it. */
const folder = process.env.GUE_DIRECTOR_CONTAINER_FOLDER ?? '';

function sh(command: string, args: readonly string[], stdio: StdioOptions = 'inherit'): void {
  execFileSync(command, args, { stdio });
}

/** A stage's root: the debootstrap, which has its device nodes, and /proc while it is being built. */
function makeRoot(base: string, name: string): string {
  const root = join(folder, name);
  sh('cp', ['-a', base, root]);
  sh('mount', ['-t', 'proc', 'proc', `${root}/proc`]);
  return root;
}

/** Environment of RUN: what an engine gives, and the certificates that the host trusts. */
const ENVIRONMENT = [
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'HOME=/root',
  'DEBIAN_FRONTEND=noninteractive',
  ...['http_proxy', 'https_proxy', 'no_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'npm_config_registry']
    .filter((variable) => process.env[variable] !== undefined)
    .map((variable) => `${variable}=${process.env[variable]}`),
  'NODE_EXTRA_CA_CERTS=/run/host-certificates.crt',
];

function execute(instruction: Instruction, root: string, roots: ReadonlyMap<string, string>, state: { directory: string }): void {
  switch (instruction.kind) {
    case 'run':
      sh('chroot', [
        root,
        'env',
        '-i',
        ...ENVIRONMENT,
        'sh',
        '-ec',
        `mkdir -p ${state.directory}; cd ${state.directory}; ${instruction.command}`,
      ]);
      return;
    case 'workdir':
      state.directory = instruction.path;
      mkdirSync(join(root, instruction.path), { recursive: true });
      return;
    case 'copy': {
      const from = instruction.from === null ? repository : roots.get(instruction.from);
      if (from === undefined) throw new Error(`Dockerfile:${instruction.line}: no stage ${instruction.from}`);
      const to = join(root, resolve(state.directory, instruction.to));
      for (const source of instruction.sources) copy(join(from, source), to, instruction.to.endsWith('/'));
      return;
    }
    default:
      // USER, ENTRYPOINT and CMD count when the image runs.
      return;
  }
}

/** Docker's rule: a folder's contents go into the target, a file goes to the target or, if that ends with a slash, into it. */
function copy(source: string, to: string, intoFolder: boolean): void {
  if (!existsSync(source)) throw new Error(`COPY: ${source} does not exist`);
  if (statSync(source).isDirectory()) {
    mkdirSync(to, { recursive: true });
    // -a keeps extended attributes: the binary's capabilities.
    for (const name of readdirSync(source)) sh('cp', ['-a', join(source, name), to]);
    return;
  }
  mkdirSync(intoFolder ? to : resolve(to, '..'), { recursive: true });
  sh('cp', ['-a', source, intoFolder ? join(to, basename(source)) : to]);
}

/** Runs the image's entry point as its user; only the listed capabilities are in the bounding set, as `--cap-drop ALL --cap-add …` does. */
function runImage(root: string, stage: Stage, args: readonly string[]): { status: number | null; output: string } {
  const user = stage.instructions.find((one) => one.kind === 'user')?.name ?? 'root';
  const entry = stage.instructions.find((one) => one.kind === 'entrypoint')?.words ?? [];
  const [id] = readFileSync(join(root, 'etc/passwd'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith(`${user}:`))
    .map((line) => line.split(':')[2]);
  const result = spawnSync(
    'unshare',
    [
      ...['--net', 'setpriv', '--bounding-set', '-all,+net_admin,+net_raw,+setuid,+setgid,+sys_chroot'],
      ...['chroot', `--userspec=${id}:${id}`, root, 'env', '-i', ENVIRONMENT[0], ...entry, ...args],
    ],
    { encoding: 'utf8' },
  );
  return { status: result.status, output: `${result.stdout}${result.stderr}` };
}

function expectRun(root: string, stage: Stage, args: readonly string[], status: number, words: RegExp): void {
  const ran = runImage(root, stage, args);
  console.log(`$ gue-director ${args.join(' ')}\n${ran.output.trimEnd()}\n(exit ${ran.status})`);
  if (ran.status !== status || !words.test(ran.output)) throw new Error(`expected exit ${status} and ${words}`);
}

function main(): void {
  const stages = parseDockerfile(readFileSync(join(repository, 'Dockerfile'), 'utf8'));
  const base = join(folder, 'base');
  console.log(`debootstrap bookworm from ${MIRROR}`);
  sh('debootstrap', ['--variant=minbase', 'bookworm', base, MIRROR], ['ignore', 'ignore', 'inherit']);
  for (const path of BORROWED.filter((one) => existsSync(one))) cpSync(path, base + path, { recursive: true, dereference: true });
  cpSync('/etc/ssl/certs/ca-certificates.crt', `${base}/run/host-certificates.crt`);
  const roots = new Map<string, string>();
  stages.forEach((stage, number) => {
    if (stage.image !== 'debian:12-slim') throw new Error(`stage ${number} is on ${stage.image}, not debian:12-slim`);
    const root = makeRoot(base, `stage-${number}`);
    roots.set(stage.name ?? String(number), root);
    const state = { directory: '/' };
    for (const instruction of stage.instructions) {
      console.log(
        `Dockerfile:${instruction.line} ${instruction.kind}${instruction.kind === 'run' ? ` ${instruction.command}` : ''}`,
      );
      execute(instruction, root, roots, state);
    }
  });
  const stage = stages.at(-1)!;
  const image = [...roots.values()].at(-1)!;
  expectRun(image, stage, ['--version'], 0, /^\d+\.\d+\.\d+/);
  expectRun(image, stage, ['check', '/opt/gue-director/config/director.yaml'], 0, /ok/);
  expectRun(image, stage, ['check', '/no/such/file.yaml'], 78, /GD_CONFIG/);
  for (const name of ['typescript', 'tsx', '@biomejs/cli-linux-x64']) {
    if (existsSync(join(image, 'opt/gue-director/node_modules', name)))
      throw new Error(`${name} is for development and has no place in the image`);
  }
  console.log('the image builds and its command runs');
}

/** Makes the folder, runs `main` in a mount namespace, and removes the folder where none of the mounts are. */
function outside(): number {
  const made = mkdtempSync('/var/tmp/gue-director-container-');
  try {
    const args = ['--mount', '--propagation', 'private', process.execPath, ...process.execArgv, import.meta.filename];
    const environment = { ...process.env, GUE_DIRECTOR_CONTAINER_FOLDER: made };
    return spawnSync('unshare', args, { stdio: 'inherit', env: environment }).status ?? 1;
  } finally {
    sh('rm', ['-rf', '--one-file-system', made]);
  }
}

if (folder === '') process.exitCode = outside();
else main();
