// Our own worker is held against the kernel: what Linux lets in it lets in, what Linux refuses it refuses (the line `interop` shows that the
// probes are what the kernel does).

import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { Program } from '../full/program.ts';
import { needs } from '../needs.ts';
import { answeredOf, disagreements } from './ask.ts';
import { CELLS, ECHO_PORT, FOU_PORT } from './cells.ts';
import { cellProbes, oddProbes, type Place } from './probes.ts';

/** GRE devices of the kernel take packets with a checksum or packets without; our worker takes both. */
const TAKEN_HERE = /^GRE with(out)? a checksum/;

test(
  'our own worker unwraps every encapsulation, and refuses what the kernel refuses',
  needs('root', 'namespaces', 'tun', 'python3'),
  async (t) => {
    const lab = Lab.create({ workers: 1, vipsOnWorkers: false });
    t.after(() => lab.close());
    const [worker] = lab.workers;
    lab.router.ip(`route add 10.80.9.0/24 via ${lab.director.address4}`);
    const vips = CELLS.map((cell) => cell.vip);
    worker.ip(...vips.map((vip) => `addr add ${vip}/${vip.includes(':') ? '128' : '32'} dev lo`));
    const fou = ([4, 6] as const).flatMap((inner) => ['--fou', `${FOU_PORT[inner]}=${inner === 4 ? 4 : 41}`]);
    const actor = Actor.start('worker', worker, '../cli/main', 'worker', ...fou, '--ipip', '--gre');
    await actor.says('ready: UDP port 6080, 6084 (FOU, IPv4), 6086 (FOU, IPv6), IP in IP, GRE on every address');
    const echo = await Program.start(
      worker,
      process.execPath,
      [resolve(import.meta.dirname, 'udp-echo.mjs'), `${ECHO_PORT}`, ...vips],
      'ready',
    );
    t.after(() => echo.stop());

    const place: Place = {
      client: { 4: lab.client.address4, 6: lab.client.address6 },
      director: { 4: lab.director.address4, 6: lab.director.address6 },
      endpoint: (cell) => (cell.outer === 4 ? worker.address4 : worker.address6),
    };
    const probes = [...cellProbes(place), ...oddProbes(place)].map((probe) => ({
      ...probe,
      answered: probe.answered || TAKEN_HERE.test(probe.name),
    }));
    const answered = await answeredOf(lab, probes);
    assert.equal(await actor.stop(), 0);
    assert.deepEqual(disagreements(probes, answered), [], actor.output);
    assert.match(
      actor.output,
      /refused: gue-variant 2, gue-control 1, gue-header-length 1, gue-flags 4, gue-protocol 1, gue-remote-checksum 2, gre-checksum 4, inner-version 6; lost before they were received: 16\n$/,
    );
    assert.deepEqual(
      lab.leftovers().filter((fact) => !/10\.80\.9|fd80:0:0:9/.test(fact)),
      [],
    );
  },
);
