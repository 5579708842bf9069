// Every encapsulation × outer family × inner family × checksum, to a real Linux kernel as worker; the table of docs/interop.md comes from here.

import { readFileSync, writeFileSync } from 'node:fs';
import { Lab } from '../../src/demo/lab/topology.ts';
import { answeredOf, disagreements } from '../interop/ask.ts';
import { CELLS } from '../interop/cells.ts';
import { throughDirector } from '../interop/director.ts';
import { bootKernelWorker, endpointOf } from '../interop/kernel-worker.ts';
import { PAGE, page } from '../interop/page.ts';
import { cellProbes, oddProbes, type Place } from '../interop/probes.ts';
import type { Guest } from '../uml/guest.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** Bytes of each cell's upload. */
const BYTES: Readonly<Record<Scale, number>> = { full: 16_000_000, scaled: 1_000_000 };

async function run(scale: Scale): Promise<Outcome> {
  const lab = Lab.create({ workers: 0 });
  let guest: Guest | undefined;
  try {
    lab.router.ip(
      `route add 10.80.9.0/24 via ${lab.director.address4}`,
      `route add fd80:0:0:9::/64 via ${lab.director.address6}`,
    );
    guest = await bootKernelWorker(lab);
    const place: Place = {
      client: { 4: lab.client.address4, 6: lab.client.address6 },
      director: { 4: lab.director.address4, 6: lab.director.address6 },
      endpoint: endpointOf,
    };
    const right = cellProbes(place);
    const odd = oddProbes(place);
    const answered = await answeredOf(lab, [...right, ...odd]);
    const wrongByHand = disagreements([...right, ...odd], answered);
    const { findings, superPackets, read, exitCode, drops } = await throughDirector(lab, endpointOf, BYTES[scale]);
    const release = /^uml-kernel (.*?)\r?$/m.exec(guest.console)?.[1] ?? '';
    const kernel = /^Linux \d+\.\d+/.exec(release)?.[0] ?? release;
    const bad = [...findings].filter(([, sentences]) => sentences.length > 0);
    const text = page({ kernel, findings, odd, answered: new Set(answered) });
    const passed =
      wrongByHand.length === 0 && bad.length === 0 && superPackets > CELLS.length && exitCode === 0 && drops === 'none';
    if (scale === 'full' && passed) writeFileSync(PAGE, text);
    const isCurrent = readFileSync(PAGE, 'utf8') === text;
    const figures = {
      'worker kernel': release,
      cells: CELLS.length,
      'packets written by hand': `${right.length + odd.length}, ${wrongByHand.length === 0 ? 'each answered or dropped as known' : wrongByHand.join('; ')}`,
      'bytes uploaded to each cell': BYTES[scale],
      'cells in which TCP and UDP were delivered and answered': CELLS.length - bad.length,
      ...Object.fromEntries(bad.map(([name, sentences]) => [name, sentences.join('; ')])),
      'super-packets that the director cut': superPackets,
      'packets of the capture that the reference decoder read': read,
      'packets that the director dropped': drops,
      'the director’s exit code': String(exitCode),
      'docs/interop.md': isCurrent ? 'says the same' : 'says something else',
    };
    return { passed: passed && isCurrent, figures };
  } finally {
    await guest?.stop();
    lab.close();
  }
}

export const interop: Line = {
  name: 'interop',
  claim:
    'A real Linux kernel as worker (User-Mode Linux): GUE variant 0, GUE variant 1, FOU, IP in IP and GRE, outer IPv4 and IPv6, inner IPv4 and IPv6, checksum none, full and remcsum where they exist: in each of the 40 cells TCP and UDP are delivered and answered. docs/interop.md is made from it.',
  twin: 'test/full/interop.test.ts',
  run,
};
