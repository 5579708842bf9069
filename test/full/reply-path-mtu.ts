// Path MTU discovery of the workers: a link on the way of their replies is smaller than they know. The router in front of it answers the service
// address, which routes to the director; only the worker that sent the reply can make use of the answer.
//
//     client 1500 ──1300── router ◄───── replies of 1500 with DF ───── worker 1, 2, 3       (direct server return)
//                             │  "fragmentation needed, 1300", to the service
//                             └────────► director ──GUE──► the worker of the flow
//
// The workers' stacks are the host's kernel. A download fits through or it does not; `ip route get` on each worker says what it learned.

import { contentHash } from '../../src/demo/content.ts';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { Lab, VIP4, VIP6 } from '../../src/demo/lab/topology.ts';
import type { TransferOrder, TransferResult } from '../../src/demo/transfer.ts';
import { built, RunningDirector, runIn } from '../uml/director.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Program } from './program.ts';

const PORT = 80;
const WORKERS = 3;
/** Of the router's link to the client; IPv6 has none smaller than 1,280. */
const SMALL = 1300;
/** Many packets, all of them full, so that without path MTU discovery nothing gets through. */
const FIRST_BYTES = 200_000;
const SIZES: Readonly<Record<Scale, { readonly bytes: number; readonly atOnce: number; readonly rounds: number }>> = {
  full: { bytes: 5_000_000, atOnce: 16, rounds: 6 },
  scaled: { bytes: 300_000, atOnce: 6, rounds: 1 },
};
/** By then every worker has served somebody, or something is wrong: the odds against it are a million to one. */
const MOST_ROUNDS = 12;

const FAMILIES = [4, 6] as const;
type Family = (typeof FAMILIES)[number];
const vipOf = (family: Family) => (family === 4 ? VIP4 : VIP6);

function configuration(lab: Lab, ingress: string, icmp: string): string {
  const pool = (family: Family) => {
    const list = lab.workers.map((one) => `{ name: ${one.role}, address: "${family === 4 ? one.address4 : one.address6}" }`);
    return `  pool-${family}: { table-size: 251, backends: [${list.join(', ')}] }`;
  };
  return [
    'services:',
    ...FAMILIES.map(
      (family) => `  - { name: web-${family}, address: "${vipOf(family)}", protocol: tcp, port: ${PORT}, pool: pool-${family} }`,
    ),
    'pools:',
    ...FAMILIES.map(pool),
    `tunnel: { port: 6080, source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" } }`,
    `ingress: ${ingress}`,
    'egress: { driver: raw }',
    `icmp: ${icmp}`,
    'flows: { entries: 4096 }',
    'log: { format: text }',
    '',
  ].join('\n');
}

/** The MTU that a worker's kernel has learned for the client, null when none. */
function learned(worker: Namespace, client: Namespace, family: Family): number | null {
  const to = family === 4 ? client.address4 : client.address6;
  const text = worker.run('ip', [`-${family}`, 'route', 'get', to, 'from', vipOf(family)]);
  const mtu = /\bmtu (\d+)/.exec(text)?.[1];
  return mtu === undefined ? null : Number(mtu);
}

/** Names of the workers that have learned the small MTU, and that only. */
function learners(lab: Lab, family: Family): string[] {
  return lab.workers.filter((worker) => learned(worker, lab.client, family) === SMALL).map((worker) => worker.role);
}

class Scene {
  readonly lab: Lab;
  readonly director: RunningDirector;

  constructor(lab: Lab, director: RunningDirector) {
    this.lab = lab;
    this.director = director;
  }

  /** Downloads side by side. */
  async download(families: readonly Family[], bytes: number, count: number): Promise<TransferResult[]> {
    const orders = families.flatMap((family): TransferOrder[] =>
      new Array(count).fill({ kind: 'download', address: vipOf(family), port: PORT, bytes }),
    );
    const output = await runIn(this.lab.client, process.execPath, [built('demo/web-client')], `${JSON.stringify(orders)}\n`);
    return output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as TransferResult);
  }

  async counter(name: string): Promise<number> {
    const line = (await this.director.metrics()).split('\n').find((one) => one.startsWith(`gue_director_${name} `));
    if (line === undefined) throw new Error(`no counter ${name}`);
    return Number(line.slice(line.lastIndexOf(' ') + 1));
  }

  /** What `ping` prints; it fails when nobody answers, which is an answer too. */
  async ping(family: Family, ...more: string[]): Promise<string> {
    const args = [`-${family}`, '-n', '-c', '1', '-W', '2', ...more, vipOf(family)];
    const script = `ping ${args.join(' ')} 2>&1 || true`;
    return runIn(this.lab.client, 'sh', ['-c', script]);
  }
}

interface Report {
  readonly figures: Record<string, string | number>;
  readonly complaints: string[];
}

/** Runs `act` with a director of its own; a director that does not end well is a complaint. */
async function withDirector(
  lab: Lab,
  report: Report,
  ingress: string,
  icmp: string,
  act: (scene: Scene) => Promise<void>,
): Promise<void> {
  const director = await RunningDirector.start(lab.director, configuration(lab, ingress, icmp));
  try {
    await act(new Scene(lab, director));
  } finally {
    const code = await director.stop();
    if (code !== 0) report.complaints.push(`the director ended with ${code}: ${director.log.slice(-500)}`);
  }
}

const right = (one: TransferResult, bytes: number) =>
  one.error === '' && one.bytes === bytes && one.sha256 === contentHash(bytes);

/** The test can fail: when the director keeps the errors from the workers, no download gets through. */
async function control(scene: Scene, { figures, complaints }: Report): Promise<void> {
  const results = await scene.download(FAMILIES, FIRST_BYTES, 1);
  const through = results.filter((one) => one.error === '');
  if (through.length > 0) complaints.push(`without ICMP ${through.length} downloads got through: the link is not small`);
  for (const family of FAMILIES) {
    const names = learners(scene.lab, family);
    if (names.length > 0) complaints.push(`IPv${family}: ${names} learned an MTU from nobody`);
  }
  const kept = await scene.counter('dropped_packets_total{reason="icmp-not-steered"}');
  if (kept === 0) complaints.push('no error came to the director');
  figures['control, icmp.errors: drop'] =
    `${results.length - through.length} of ${results.length} downloads stood still until they were given up (${results.map(({ error }) => error).join('; ')}); ${kept} errors kept back`;
}

/** One download for each family: its worker, and no other, learns the MTU. Then many, until every worker has served and learned. */
async function discover(scene: Scene, scale: Scale, { figures, complaints }: Report): Promise<void> {
  const { lab } = scene;
  const { bytes, atOnce, rounds } = SIZES[scale];
  for (const family of FAMILIES) {
    const [one] = await scene.download([family], FIRST_BYTES, 1);
    if (!right(one, FIRST_BYTES)) complaints.push(`IPv${family}, alone: ${one.error || 'wrong content'}`);
    const names = learners(lab, family);
    if (names.join() !== one.worker)
      complaints.push(`IPv${family}: ${one.worker} served, and ${names.join() || 'nobody'} learned ${SMALL}`);
    figures[`IPv${family}: one download`] =
      `from ${one.worker}, right hash; mtu ${SMALL} in the routes of ${names.join() || 'nobody'} only`;
  }
  const served = new Map(FAMILIES.map((family) => [family, new Set<string>()]));
  let downloads = 0;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    if (round >= rounds && FAMILIES.every((family) => served.get(family)?.size === WORKERS)) break;
    for (const one of await scene.download(FAMILIES, bytes, atOnce)) {
      downloads++;
      if (right(one, bytes)) served.get(one.family as Family)?.add(one.worker);
      else complaints.push(`IPv${one.family} from ${one.worker}: ${one.error || 'wrong content'}`);
    }
  }
  for (const family of FAMILIES) {
    const names = learners(lab, family);
    if (names.length !== WORKERS)
      complaints.push(`IPv${family}: only ${names} learned ${SMALL}, ${[...(served.get(family) ?? [])]} served`);
  }
  const steered = await scene.counter('icmp_too_big_steered_total');
  if (steered < 2 * WORKERS) complaints.push(`only ${steered} errors were steered`);
  figures['many downloads'] =
    `${downloads} of ${bytes} bytes each, IPv4 and IPv6, ${atOnce * 2} at once: every hash right; ${WORKERS} of ${WORKERS} workers served and learned ${SMALL}, in both families`;
  figures['errors forwarded to workers'] = steered;
}

/** What else people ask a service address by ICMP: pings that a worker answers, and who is on the way. */
async function ask(scene: Scene, { figures, complaints }: Report): Promise<void> {
  for (const family of FAMILIES) {
    // The router takes the first hop of two; the second ends at the director, which says so from the service address.
    const expired = await scene.ping(family, '-t', '2');
    if (!/Time to live exceeded|Hop limit/.test(expired) || !expired.includes(`From ${vipOf(family)}`))
      complaints.push(`IPv${family}, TTL 2: ${expired}`);
    const answered = await scene.ping(family);
    if (!/ 1 received/.test(answered)) complaints.push(`IPv${family}, ping: ${answered}`);
    figures[`IPv${family}: ping with TTL 2, and with enough`] =
      `${/From .*/.exec(expired)?.[0] ?? 'no answer'}; ${/\d+ bytes from .*/.exec(answered)?.[0] ?? 'no answer'}`;
  }
  const [expired, forwarded] = [await scene.counter('ttl_expired_answers_total'), await scene.counter('echo_forwarded_total')];
  if (expired !== 2 || forwarded !== 2) complaints.push(`${expired} answers and ${forwarded} pings forwarded, not 2 and 2`);
}

async function run(scale: Scale): Promise<Outcome> {
  const report: Report = { figures: {}, complaints: [] };
  const lab = Lab.create({ workers: WORKERS });
  const programs: Program[] = [];
  try {
    // The client goes on believing in 1,500 bytes, and says so in its SYNs.
    lab.router.ip(`link set out0 mtu ${SMALL}`);
    for (const worker of lab.workers) {
      programs.push(
        ...(await Promise.all([
          Program.start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready'),
          Program.start(worker, process.execPath, [built('demo/web-server'), worker.role, String(PORT)], 'ready'),
        ])),
      );
    }
    const tun = '{ driver: tun, device: gd0 }';
    await withDirector(lab, report, tun, '{ errors: drop }', (scene) => control(scene, report));
    await withDirector(lab, report, tun, '{}', (scene) => discover(scene, scale, report));
    const own = '{ driver: packet, interface: eth0 }';
    await withDirector(lab, report, own, '{ echo: forward }', (scene) => ask(scene, report));
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
    lab.close();
  }
  const { figures, complaints } = report;
  return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.slice(0, 8).join(' | ') || 'none' } };
}

export const replyPathMtu: Line = {
  name: 'reply-path-mtu',
  claim:
    'Downloads from three workers through a router whose link to the client is smaller than the workers know: the ICMP error comes back to the service address and reaches the worker that sent the reply, which learns the MTU and nobody else does; IPv4 and IPv6, every hash right; without the director’s forwarding they stand still.',
  twin: 'test/full/reply-path-mtu.test.ts',
  run,
};
