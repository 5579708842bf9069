// Drains and watched files under TCP connections that know their worker: what may move moves, and nothing else.

import { countsText, DrainStage } from './drain-stage.ts';
import type { Line, Outcome, Scale } from './line.ts';

const SIZES = {
  /** Connections that stay (a third of them at the worker that is drained), short ones, and seconds until the deadline. */
  full: { flows: 1800, least: 500, short: 600, deadline: 20 },
  scaled: { flows: 120, least: 20, short: 60, deadline: 3 },
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

  const began = performance.now();
  const drained = await stage.command('drain', 'backend', `web/${DRAINED}`, '--deadline', `${deadline}s`);
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
  const late = (performance.now() - began) / 1000;
  insist(late < deadline, `all that took ${late.toFixed(1)} s, longer than the deadline`);

  await stage.logged('drain-deadline', deadline + 5);
  figures['seconds until it was down'] = ((performance.now() - began) / 1000).toFixed(1);
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
  insist((again.owners[DRAINED] ?? 0) > short / 6, `only ${again.owners[DRAINED]} new connections after the drain`);
  const end = await stage.say();
  insist(Object.keys(end.broken).length === 0 && end.strange === 0, `when it came back others broke: ${countsText(end.broken)}`);
  return { figures, complaints };
}

async function run(scale: Scale): Promise<Outcome> {
  const figures: Record<string, number | string> = {};
  const complaints: string[] = [];
  const stage = await DrainStage.open(3, ({ lab }) => [
    'table-size: 5003',
    'backends:',
    ...lab.workers.map(({ role, address4 }) => `  - { name: ${role}, address: "${address4}" }`),
  ]);
  try {
    const told = await drainPart(stage, scale);
    Object.assign(figures, told.figures);
    complaints.push(...told.complaints);
  } finally {
    const code = await stage.close();
    if (code !== 0) complaints.push(`the director ended with ${code}`);
  }
  return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.join(' | ') || 'none' } };
}

export const drain: Line = {
  name: 'drain',
  claim: 'A draining backend takes no new flow while 500 of its flows go on or finish there; after its deadline only they move.',
  twin: 'test/full/drain.test.ts',
  run,
};
