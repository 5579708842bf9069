// Executes the Dockerfile's own steps where no container engine runs: each stage is a Debian 12 root made by debootstrap, RUN is a
// chroot, COPY is a copy. Ends with the image's command, as its own user and with nothing but the capabilities it asks for.
//
//   node --import tsx test/container/run.ts        as root; about two minutes, 1 GB below /var/tmp

import { execFileSync, type StdioOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { capabilitySet, readCredentials } from '../../src/raw-socket/privileges.ts';
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
      // USER, ENTRYPOINT, CMD and HEALTHCHECK count when the image runs.
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

/** What `docker run --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW` leaves, and what chroot itself needs. */
const GRANTED = ['--bounding-set', '-all,+net_admin,+net_raw,+setuid,+setgid,+sys_chroot'];
/** Without the capabilities; and with --security-opt no-new-privileges, where a file's capabilities do not count. */
const NOT_GRANTED = ['--bounding-set', '-all,+setuid,+setgid,+sys_chroot'];
const NO_NEW_PRIVILEGES = [...GRANTED, '--no-new-privs'];

/** The command for the image's entry point as its user, with `privileges` as arguments of setpriv. */
function imageCommand(root: string, stage: Stage, args: readonly string[], privileges = GRANTED): string[] {
  const user = stage.instructions.find((one) => one.kind === 'user')?.name ?? 'root';
  const entry = stage.instructions.find((one) => one.kind === 'entrypoint')?.words ?? [];
  const [id] = readFileSync(join(root, 'etc/passwd'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith(`${user}:`))
    .map((line) => line.split(':')[2]);
  return [
    ...['setpriv', ...privileges],
    ...['chroot', `--userspec=${id}:${id}`, root, 'env', '-i', ENVIRONMENT[0], ...entry, ...args],
  ];
}

function runImage(
  root: string,
  stage: Stage,
  args: readonly string[],
  privileges = GRANTED,
): { status: number | null; output: string } {
  const result = spawnSync('unshare', ['--net', ...imageCommand(root, stage, args, privileges)], { encoding: 'utf8' });
  return { status: result.status, output: `${result.stdout}${result.stderr}` };
}

function expectRun(
  root: string,
  stage: Stage,
  args: readonly string[],
  status: number,
  words: RegExp,
  privileges = GRANTED,
): void {
  const ran = runImage(root, stage, args, privileges);
  console.log(`$ gue-director ${args.join(' ')}\n${ran.output.trimEnd()}\n(exit ${ran.status})`);
  if (ran.status !== status || !words.test(ran.output)) throw new Error(`expected exit ${status} and ${words}`);
}

const CONFIGURATION = `services:
  - { name: web, address: [198.51.100.1, '2001:db8:2::1'], protocol: tcp, port: 443, pool: workers }
pools:
  workers:
    backends: [{ name: w1, address: 10.0.0.1 }]
tunnel:
  source: { ipv4: 10.0.0.254 }
ingress: { driver: tun, device: gd0 }
log: { level: info, format: json }
`;
const READY_SECONDS = 30;

/** What an engine does every half minute, in the running container. */
function healthCheck(root: string, stage: Stage, enter: string): void {
  const [, ...words] = stage.instructions.find((one) => one.kind === 'healthcheck')?.words ?? [];
  const checked = spawnSync('nsenter', [enter, ...imageCommand(root, stage, words)], { encoding: 'utf8' });
  console.log(`$ gue-director ${words.join(' ')}\n(exit ${checked.status})`);
  if (checked.status !== 0) throw new Error(`the health check of a healthy director: ${checked.stdout}${checked.stderr}`);
}

/** Every thread has the two capabilities and no-new-privs; the ambient set is empty, because the binary carries them. */
function rightsOfTasks(pid: number): void {
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const { permitted, effective, inheritable, noNewPrivileges } = readCredentials(
      readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8'),
    );
    const needed = capabilitySet(['CAP_NET_ADMIN', 'CAP_NET_RAW']);
    if (noNewPrivileges && [permitted, effective, inheritable].every((set) => set === needed)) continue;
    throw new Error(`task ${task} has other rights: ${[permitted, effective, inheritable].join(' ')} ${noNewPrivileges}`);
  }
}

/** In a network namespace, the image's own command directs as the image's user: rules and routes are there, and gone after SIGTERM. */
async function directTraffic(root: string, stage: Stage): Promise<void> {
  const holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' });
  await once(holder, 'spawn');
  const enter = `--net=/proc/${holder.pid}/ns/net`;
  const inside = (command: string) => execFileSync('nsenter', [enter, 'sh', '-ec', command], { encoding: 'utf8' });
  const state = () =>
    inside('nft list tables; ip -o link; ip route show table all; ip -6 route show table all; ss -xlH src @gue-director');
  let director: ReturnType<typeof spawn> | null = null;
  try {
    // Between spawn and exec it is still in this process's namespace.
    while (readlinkSync(`/proc/${holder.pid}/ns/net`) === readlinkSync('/proc/self/ns/net')) await delay(20);
    inside(
      'ip link set lo up; ip link add wire type veth peer name far; ip link set far up; ip addr add 10.0.0.254/24 dev wire; ip link set wire up; ' +
        'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1',
    );
    // Addresses of IPv6 are tentative for a while, and their routes come later.
    await delay(3000);
    const before = state();
    mkdirSync(join(root, 'dev/net'), { recursive: true });
    sh('sh', ['-ec', `test -e ${root}/dev/net/tun || mknod -m 666 ${root}/dev/net/tun c 10 200`]);
    mkdirSync(join(root, 'etc/gue-director'), { recursive: true });
    writeFileSync(join(root, 'etc/gue-director/director.yaml'), CONFIGURATION);
    const command = stage.instructions.find((one) => one.kind === 'cmd')?.words ?? [];
    director = spawn('nsenter', [enter, ...imageCommand(root, stage, command)], { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(director, 'exit');
    let log = '';
    for (const stream of [director.stdout!, director.stderr!]) stream.on('data', (text) => (log += text));
    for (let left = READY_SECONDS * 10; !log.includes('"event":"ready"'); left--) {
      if (left === 0 || director.exitCode !== null) throw new Error(`the image's director is not ready:\n${log}`);
      await delay(100);
    }
    const user = readFileSync(`/proc/${director.pid}/status`, 'utf8').match(/^Uid:\t(\d+)/m)?.[1];
    if (user === undefined || user === '0') throw new Error(`the image's director runs as user ${user}`);
    healthCheck(root, stage, enter);
    rightsOfTasks(director.pid!);
    const rules = inside('nft list table inet gue_director');
    if (!rules.includes('notrack')) throw new Error(`no notrack rule: ${rules}`);
    if (!inside('ip route show proto 77').includes('198.51.100.1')) throw new Error('no route to the service');
    director.kill('SIGTERM');
    const [code] = await ended;
    console.log(
      `$ gue-director ${command.join(' ')}\n${log.trimEnd()}\n(ready as user ${user} with notrack rules; exit ${code} after SIGTERM)`,
    );
    if (code !== 0) throw new Error('SIGTERM did not end it with exit code 0');
    const after = state();
    if (after !== before) throw new Error(`something is left:\n${after}\nbefore:\n${before}`);
  } finally {
    director?.kill('SIGKILL');
    holder.kill('SIGKILL');
  }
}

async function main(): Promise<void> {
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
  expectRun(image, stage, ['status', '--check', 'healthy', '--listen', '127.0.0.1:6079'], 69, /no director answers/);
  await directTraffic(image, stage);
  const run = stage.instructions.find((one) => one.kind === 'cmd')?.words ?? [];
  expectRun(image, stage, run, 77, /CAP_NET_ADMIN/, NO_NEW_PRIVILEGES);
  expectRun(image, stage, run, 126, /Operation not permitted/, NOT_GRANTED);
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
else await main();
