/**
 * `gue-director demo`: a client, a router, the real director and three workers on one machine, each in a network namespace; real
 * HTTP through a virtual IP, both families, both ways; every byte verified by hash. The picture is in lab/topology.ts.
 */
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { Actor, lastLines } from './cast.ts';
import { directorConfiguration, METRICS, TUNNEL_PORT, WEB_PORT } from './configuration.ts';
import { contentHash } from './content.ts';
import { isUserNamespace, preparePrivilege } from './lab/privilege.ts';
import { Lab } from './lab/topology.ts';
import { Progress } from './progress.ts';
import { metricsExcerpt, type Transfer, transferTable } from './report.ts';
import type { TransferOrder, TransferResult } from './transfer.ts';

export interface DemoOptions {
  /** Leave everything up after the transfers, until Ctrl-C. */
  readonly keep: boolean;
  /** One JSON document on standard output; progress goes to standard error. */
  readonly json: boolean;
  /** Bytes of one transfer. Default 2,000,000. */
  readonly bytes?: number;
}

/** Start of the name of the folder with the director's configuration; the process id follows. */
const FOLDER = 'gue-director-demo-';
/** Transfers of each kind, family and round: a round of 2 × 2 × 3 runs at once. */
const SIDE_BY_SIDE = 3;
const ROUNDS = 2;
/** More rounds, of small transfers, until every worker was met over both families: chance alone decides who gets a connection. */
const MORE_ROUNDS = 10;

/** Runs the demo. Returns the exit code: 0 only if every transfer arrived whole, every worker served and nothing was left behind. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const elsewhere = await preparePrivilege();
  if (elsewhere !== null) return elsewhere;
  const started = performance.now();
  const progress = new Progress(options.json ? process.stderr : process.stdout);
  progress.line('gue-director demo: client – router – director – 3 workers, HTTP through a virtual IP');
  removeStaleFolders();
  const folder = mkdtempSync(join(tmpdir(), `${FOLDER}${process.pid}-`));
  const removeFolder = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', removeFolder);
  const lab = await progress.step(
    'build the network',
    () => Lab.create({ vipsOnWorkers: false }),
    (made) => made.namespaces.map((namespace) => namespace.role).join(', '),
  );
  try {
    const cast = start(lab, folder);
    await progress.step(`start 3 web servers and 3 × gue-director worker --port ${TUNNEL_PORT} --vip …`, () =>
      Promise.all([...cast.servers, ...cast.decapsulators].map((one) => one.says('ready'))),
    );
    await progress.step('start gue-director run --config director.yaml', () =>
      Promise.race([fetchInside(lab, `http://${METRICS}/-/ready`, 20), cast.director.fails(25)]),
    );
    const transfers = await progress.step(
      `download and upload through ${lab.vip4} and ${lab.vip6}`,
      () => transferAll(lab, options.bytes ?? 2_000_000),
      (done) => `${done.filter((one) => one.good).length} of ${done.length} with the right SHA-256`,
    );
    const metrics = metricsExcerpt(await fetchInside(lab, `http://${METRICS}/metrics`, 2));
    const workers = lab.workers.map((worker) => worker.role);
    const idle = workers.filter((name) => !transfers.some((one) => one.good && one.worker === name));
    show(workers, transfers, metrics, progress);
    if (transfers.some((one) => !one.good)) {
      for (const actor of everyone(cast)) progress.line(`--- ${actor.name}\n${lastLines(actor.words, 15)}`);
    }
    if (options.keep) await keep(lab, progress);

    const leftovers = await progress.step(
      'stop with SIGTERM',
      () => stop(lab, cast),
      (left) => (left.length === 0 ? 'no device, address, route or rule left' : `left behind: ${left.join('; ')}`),
    );
    const good = transfers.every((one) => one.good) && idle.length === 0 && leftovers.length === 0;
    const seconds = (performance.now() - started) / 1000;
    if (idle.length > 0) progress.line(`  no connection reached ${idle.join(', ')}`);
    progress.line(`${good ? 'Everything arrived whole' : 'The demo FAILED'} (${seconds.toFixed(1)} s).`);
    if (options.json) {
      const document = { ok: good, seconds, vips: [lab.vip4, lab.vip6], workers, idle, transfers, metrics, leftovers };
      process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
    }
    return good ? 0 : 1;
  } finally {
    lab.close();
  }
}

/** Folders of demos that were killed. One that another user owns stays. */
function removeStaleFolders(): void {
  for (const name of readdirSync(tmpdir())) {
    const owner = name.startsWith(FOLDER) ? Number(name.slice(FOLDER.length).split('-')[0]) : 0;
    if (owner === 0 || existsSync(`/proc/${owner}`)) continue;
    const path = join(tmpdir(), name);
    if (lstatSync(path).uid === process.getuid?.()) rmSync(path, { recursive: true, force: true });
  }
}

interface Cast {
  readonly director: Actor;
  readonly decapsulators: readonly Actor[];
  readonly servers: readonly Actor[];
}

function everyone(cast: Cast): Actor[] {
  return [cast.director, ...cast.decapsulators, ...cast.servers];
}

/** Starts all processes side by side; who is not ready yet is waited for later. */
function start(lab: Lab, folder: string): Cast {
  const file = join(folder, 'director.yaml');
  writeFileSync(file, directorConfiguration(lab));
  const worker = ['worker', '--port', String(TUNNEL_PORT), '--vip', lab.vip4, '--vip', lab.vip6];
  return {
    director: Actor.start('the director', lab.director, '../cli/main', 'run', '--config', file),
    decapsulators: lab.workers.map((one) => Actor.start(`${one.role}'s decapsulator`, one, '../cli/main', ...worker)),
    servers: lab.workers.map((one) => Actor.start(`${one.role}'s web server`, one, './web-server', one.role, String(WEB_PORT))),
  };
}

/** Ends the processes as an operator would and returns what they left in their namespaces. */
async function stop(lab: Lab, cast: Cast): Promise<string[]> {
  await Promise.all(
    [cast.director, ...cast.decapsulators].map(async (actor) => {
      const code = await actor.stop();
      if (code === 0) return;
      throw new CodedError('GD_DEMO_EXIT', `${actor.name} ended with exit code ${code}`, { hint: lastLines(actor.words, 12) });
    }),
  );
  await Promise.all(cast.servers.map((server) => server.stop()));
  return lab.leftovers();
}

/** Asks a URL inside the director's namespace, as an operator's curl would. */
async function fetchInside(lab: Lab, url: string, seconds: number): Promise<string> {
  const actor = Actor.start(`fetch ${url}`, lab.director, './fetch', url, String(seconds));
  const code = await actor.ended;
  if (code !== 0) throw new CodedError('GD_DEMO_FETCH', `${url} did not answer`, { hint: lastLines(actor.words, 3) });
  return actor.output;
}

async function transferAll(lab: Lab, bytes: number): Promise<Transfer[]> {
  const client = Actor.start('the client', lab.client, './web-client');
  const expected = new Map<number, string>();
  const round = (size: number): TransferOrder[] =>
    [lab.vip4, lab.vip6].flatMap((address) =>
      (['download', 'upload'] as const).flatMap((kind) =>
        Array.from({ length: SIDE_BY_SIDE }, () => ({ kind, address, port: WEB_PORT, bytes: size })),
      ),
    );
  const done: Transfer[] = [];
  const perform = async (orders: TransferOrder[]) => {
    const size = orders[0].bytes;
    if (!expected.has(size)) expected.set(size, contentHash(size));
    // The slowest machine that is worth waiting for moves 20 MB a second.
    const seconds = 15 + (orders.length * size) / 20e6;
    client.child.stdin!.write(`${JSON.stringify(orders)}\n`);
    for (const line of (await client.lines(done.length + orders.length, seconds)).slice(done.length)) {
      const result = JSON.parse(line) as TransferResult;
      const hash = expected.get(size)!;
      const good = result.error === '' && result.bytes === size && result.sha256 === hash;
      done.push({ ...result, expected: hash, good });
    }
  };
  for (let i = 0; i < ROUNDS; i++) await perform(round(bytes));
  const met = () => new Set(done.map((one) => `${one.worker} over IPv${one.family}`)).size;
  const everyWorkerMet = () => met() === 2 * lab.workers.length;
  for (let i = 0; i < MORE_ROUNDS && done.every((one) => one.good) && !everyWorkerMet(); i++) await perform(round(1_000));
  client.child.stdin!.end();
  await client.ended;
  return done;
}

/** Shows how to look around and waits for the end of it. The lab's own signal hooks do not fire while this waits. */
async function keep(lab: Lab, progress: Progress): Promise<void> {
  const enter = isUserNamespace() ? `nsenter -t ${process.pid} -U -m -n --preserve-credentials ` : '';
  progress.line();
  progress.line('  The lab stays up. Try in another terminal:');
  progress.line(`    ${enter}ip netns exec ${lab.client.name} curl http://${lab.vip4}/`);
  progress.line(`    ${enter}ip netns exec ${lab.client.name} curl 'http://[${lab.vip6}]/'`);
  progress.line(`    ${enter}ip netns exec ${lab.director.name} curl http://${METRICS}/metrics`);
  progress.line(`    ${enter}ip netns exec ${lab.workers[0].name} tcpdump -ni eth0 udp port ${TUNNEL_PORT}`);
  progress.line('  Ctrl-C takes it down.');
  // Keeps the event loop alive; the lab's signal hook ends the process.
  await new Promise(() => setInterval(() => {}, 3_600_000));
}

function show(workers: readonly string[], transfers: readonly Transfer[], metrics: readonly string[], progress: Progress): void {
  progress.line();
  progress.line(transferTable(workers, transfers));
  progress.line();
  const whole = transfers.filter((one) => one.good);
  for (const line of new Set(whole.map((one) => `${one.bytes} bytes each, SHA-256 ${one.expected}`)))
    progress.line(`    ${line}`);
  for (const one of transfers.filter((one) => !one.good)) {
    progress.line(`    FAILED: ${one.kind} over IPv${one.family}: ${one.error || `wrong content from ${one.worker}`}`);
  }
  progress.line();
  for (const line of metrics) progress.line(`    ${line}`);
  progress.line();
}
