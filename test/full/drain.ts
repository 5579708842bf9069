// Drains and watched files under TCP connections that know their worker: what may move moves, and nothing else.

import { countsText, DrainStage } from './drain-stage.ts';
import type { Line, Outcome, Scale } from './line.ts';

const SIZES = {
  /**
   * Connections that stay (a quarter of them at least at the worker that is drained), short ones, seconds until the deadline; how often the watched
   * file is replaced, and how many of these contents are wrong.
   */
  full: { flows: 2400, least: 500, short: 600, deadline: 10, replacements: 100, bad: 20 },
  scaled: { flows: 120, least: 14, short: 60, deadline: 1, replacements: 4, bad: 2 },
} as const;

interface Told {
  readonly figures: Record<string, number | string>;
  readonly complaints: string[];
}

const DRAINED = 'worker-1';

async function drainPart(stage: DrainStage, scale: Scale): Promise<Told> {
  const { flows, least, short, deadline } = SIZES[scale];
  const figures: Record<string, number | string> = {};
  const complaints: string[] = [];
  const insist = (right: boolean, what: string) => {
    if (!right) complaints.push(what);
  };
  const opened = await stage.connect('open', flows);
  const mine = opened.owners[DRAINED] ?? 0;
  figures['connections that stay'] = countsText(opened.owners);
  insist(opened.failed === 0 && mine >= least, `${opened.failed} connections failed, ${mine} at ${DRAINED}`);

  const drained = await stage.command('drain', 'backend', `web/${DRAINED}`, '--deadline', '10m');
  insist(drained.code === 0, `drain said ${drained.code}: ${drained.output}`);
  const fresh = await stage.connect('new', short);
  figures['new connections while it drains'] = countsText(fresh.owners);
  insist(fresh.failed === 0, `${fresh.failed} new connections failed`);
  insist((fresh.owners[DRAINED] ?? 0) === 0, `${fresh.owners[DRAINED]} new connections at the draining worker`);
  const during = await stage.say();
  insist(during.strange === 0 && Object.keys(during.broken).length === 0, `while it drains: broken ${countsText(during.broken)}`);
  const half = Math.floor(mine / 2);
  const { finished, wrong } = await stage.finish(DRAINED, half);
  figures['of its connections, ended in good order while it drains'] = `${finished} of ${half}`;
  insist(finished === half && wrong === 0, `${wrong} connections did not end in good order`);
  const listing = await stage.command('drain', '--json');
  const listed = JSON.parse(listing.output) as { backends: { state: string; flows: { remembered: number } }[] };
  figures['flows left, as the listing counts them (an entry outlives its connection)'] = listed.backends[0].flows.remembered;
  insist(listed.backends[0].state === 'draining', `the listing says ${listing.output}`);
  insist(
    listed.backends[0].flows.remembered >= mine,
    `the listing counts ${listed.backends[0].flows.remembered} of ${mine} flows`,
  );

  const began = performance.now();
  const shorter = await stage.command('drain', 'backend', `web/${DRAINED}`, '--deadline', `${deadline}s`);
  insist(shorter.code === 0, `a shorter deadline said ${shorter.code}: ${shorter.output}`);
  await stage.logged('drain-deadline', deadline + 5);
  figures['seconds to its deadline, once that was shortened'] = ((performance.now() - began) / 1000).toFixed(1);
  const after = await stage.say();
  figures['connections that broke after the deadline'] = countsText(after.broken);
  figures['connections that live on'] = countsText(after.alive);
  const { [DRAINED]: brokenHere = 0, ...brokenElsewhere } = after.broken;
  insist(brokenHere === mine - half, `${brokenHere} of ${mine - half} connections left the worker that is down`);
  insist(Object.keys(brokenElsewhere).length === 0 && after.strange === 0, `others broke: ${countsText(brokenElsewhere)}`);
  const counters = await stage.counters();
  insist(
    counters.get(`gue_director_backend_state{pool="web",backend="${DRAINED}",state="down"}`) === 1,
    'the metric does not say down',
  );

  const cancelled = await stage.command('drain', 'backend', `web/${DRAINED}`, '--cancel');
  insist(cancelled.code === 0, `--cancel said ${cancelled.code}: ${cancelled.output}`);
  const again = await stage.connect('new', short);
  figures['new connections after the drain was cancelled'] = countsText(again.owners);
  insist((again.owners[DRAINED] ?? 0) > short / 12, `only ${again.owners[DRAINED]} new connections after the drain`);
  const end = await stage.say();
  insist(Object.keys(end.broken).length === 0 && end.strange === 0, `when it came back others broke: ${countsText(end.broken)}`);
  return { figures, complaints };
}

const FILE = 'found.yaml';
/** Named by the file in every content: no flow of theirs may move. */
const STEADY = 'worker-3';
const REMOVED = 'worker-4';

function fileText(stage: DrainStage, names: readonly string[], more = ''): string {
  const backends = stage.lab.workers.filter(({ role }) => names.includes(role));
  return `${backends.map(({ role, address4 }) => `- { name: ${role}, address: "${address4}" }`).join('\n')}\n${more}`;
}

/** The same two workers in ever other words, and wrong contents between them, while every connection is asked all the time. */
async function replacePart(stage: DrainStage, scale: Scale): Promise<Told> {
  const { replacements, bad, flows } = SIZES[scale];
  const complaints: string[] = [];
  await stage.connect('open', Math.ceil(flows / 3));
  const before = await stage.say();
  const wrong = [
    '- { name: worker-3, adress: 10.0.0.1 }\n',
    '- [',
    fileText(stage, [STEADY], `- { name: loop, address: "${stage.lab.vip4}" }\n`),
    fileText(stage, [STEADY, REMOVED, 'worker-1']),
    '',
  ];
  let over = false;
  const rounds: Awaited<ReturnType<DrainStage['pace']>>[] = [];
  const asking = (async () => {
    while (!over) rounds.push(await stage.pace(1));
  })();
  const seen = () => [
    stage.director.log.split('"event":"discovery"').length - 1,
    stage.director.log.split('"discovery-failed"').length - 1,
  ];
  const started = performance.now();
  let [taken, refused] = seen();
  for (let i = 0; i < replacements; i++) {
    const isBad = i % Math.ceil(replacements / bad) === 1;
    // A third worker that nobody is sent to comes and goes; the order changes.
    const extra = i % 2 === 0 ? '- { name: extra, address: "10.80.1.99", weight: 0 }\n' : '';
    const right = i % 4 < 2 ? `${fileText(stage, [STEADY, REMOVED])}${extra}` : `${extra}${fileText(stage, [STEADY, REMOVED])}`;
    stage.write(FILE, isBad ? wrong[i % wrong.length] : `# ${i}\n${right}`);
    const end = performance.now() + 15_000;
    while (seen()[isBad ? 1 : 0] === (isBad ? refused : taken) && performance.now() < end)
      await new Promise((done) => setTimeout(done, 20));
    const [nowTaken, nowRefused] = seen();
    if (isBad ? nowRefused === refused : nowTaken === taken) complaints.push(`content ${i} was not seen`);
    [taken, refused] = [nowTaken, nowRefused];
  }
  over = true;
  await asking;
  const after = await stage.say();
  const broken = rounds.reduce((sum, { broken: each }) => sum + Object.values(each).reduce((all, one) => all + one, 0), 0);
  const strange = rounds.reduce((sum, one) => sum + one.strange, after.strange);
  if (broken > 0 || strange > 0 || countsText(after.alive) !== countsText(before.alive)) {
    complaints.push(
      `${broken} connections broke while the file was replaced, ${strange} answers of others: ${countsText(after.alive)}`,
    );
  }
  return {
    figures: {
      'the watched file': `replaced ${replacements} times in ${((performance.now() - started) / 1000).toFixed(0)} s, ${refused} contents refused`,
      'connections meanwhile': `${countsText(before.alive)}; asked ${rounds.reduce((sum, one) => sum + (one.rounds ?? 0), 0)} times each; broke: ${broken}`,
    },
    complaints,
  };
}

/** A backend leaves the file without being drained. */
async function removePart(stage: DrainStage): Promise<Told> {
  const complaints: string[] = [];
  const before = await stage.say();
  stage.write(FILE, fileText(stage, [STEADY]));
  await stage.logged('names 1 backend:', 15);
  // The thread takes a snapshot between two batches, at the latest when it wakes by itself.
  await new Promise((done) => setTimeout(done, 200));
  const after = await stage.say();
  const { [REMOVED]: broken = 0, ...others } = after.broken;
  if (broken === 0 || broken !== before.alive[REMOVED])
    complaints.push(`${broken} of ${before.alive[REMOVED]} left the removed worker`);
  if (Object.keys(others).length > 0 || after.strange > 0) complaints.push(`others broke: ${countsText(others)}`);
  return {
    figures: { 'a backend removed without drain': `broke: ${countsText(after.broken)}; live on: ${countsText(after.alive)}` },
    complaints,
  };
}

async function run(scale: Scale): Promise<Outcome> {
  const figures: Record<string, number | string> = {};
  const complaints: string[] = [];
  const stage = await DrainStage.open(4, (one) => {
    one.write(FILE, fileText(one, [STEADY, REMOVED]));
    const own = one.lab.workers.slice(0, 2).map(({ role, address4 }) => `  - { name: ${role}, address: "${address4}" }`);
    // Who writes these files means it.
    return ['table-size: 5003', 'shrink-limit: 100', `backends-from: ${one.folder}/${FILE}`, 'backends:', ...own];
  });
  try {
    for (const part of [drainPart, replacePart, removePart]) {
      const told = await part(stage, scale);
      Object.assign(figures, told.figures);
      complaints.push(...told.complaints);
    }
  } finally {
    const code = await stage.close();
    if (code !== 0) complaints.push(`the director ended with ${code}`);
  }
  return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.join(' | ') || 'none' } };
}

export const drain: Line = {
  name: 'drain',
  claim:
    'A draining backend takes no new flow while 500 of its flows go on or finish there; after its deadline only they move; removing a backend without draining it breaks only its own flows; a watched file is replaced 100 times, 20 times by something wrong, and no flow moves.',
  twin: 'test/full/drain.test.ts',
  run,
};
