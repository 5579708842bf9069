// Another configuration, taken back: what is in force is what it was, whoever knows it. Drains, watched files and checks, without threads.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from '../../test/property.ts';
import type { Config } from '../config/config.ts';
import { loadText } from '../config/load.ts';
import { Controller } from '../control/controller.ts';
import { inForce, NO_LAYERS } from '../control/layers.ts';
import { EventJournal } from '../observe/events.ts';
import { createLog } from '../observe/log.ts';
import type { Spec } from '../pipeline/spec.ts';
import { boottimeClock } from '../raw-socket/clock.ts';
import { DiscoveryKeeper } from './discovery-keeper.ts';
import { DrainKeeper } from './drain-keeper.ts';
import { HealthKeeper } from './health-keeper.ts';

/** Backends of the configuration by number, of its file, and who of them `state: draining` with a deadline. */
interface Shape {
  readonly own: readonly number[];
  readonly found: readonly number[];
  readonly draining: readonly number[];
  readonly checked: boolean;
}

class Bench {
  readonly folder: string;
  readonly controller: Controller;
  readonly drains: DrainKeeper;
  readonly discovery: DiscoveryKeeper;
  readonly health: HealthKeeper;
  spec: Spec | null = null;
  /** Of every spec since the last change began, who was in service. */
  served = new Set<string>();
  refuse: string | null = null;
  #files = 0;

  constructor(t: TestContext, shape: Shape) {
    this.folder = mkdtempSync(join(tmpdir(), 'gd-rollback-'));
    t.after(() => rmSync(this.folder, { recursive: true, force: true }));
    const clock = boottimeClock();
    const journal = new EventJournal(createLog({ level: 'silent', format: 'json' }));
    const config = this.config(shape);
    this.controller = new Controller({
      config,
      publish: (next, spec, layers) => {
        if (this.refuse !== null) throw new Error(this.refuse);
        this.spec = spec;
        for (const { name, state } of spec.pools[0].backends) if (state === 'active') this.served.add(name);
        this.health.follow({
          health: next.health,
          inForce: spec,
          wanted: inForce(next.spec, { ...layers, health: NO_LAYERS.health }),
        });
      },
      refused: (_, error) => {
        throw error;
      },
    });
    const { controller } = this;
    this.health = new HealthKeeper({
      journal,
      clock,
      setLayer: (layer) => controller.setLayer('health', layer),
      file: null,
      tunnel: () => ({ probe: () => new Promise(() => {}) }),
    });
    this.discovery = new DiscoveryKeeper({ controller, journal, changed: () => this.drains.follow() });
    this.drains = new DrainKeeper({
      journal,
      clock,
      controller,
      shards: () => [],
      names: () => ({ services: [], pools: [], backends: [] }),
      uncertain: () => this.discovery.uncertain(),
      stop: () => {},
      file: join(this.folder, 'drains.json'),
    });
    controller.onConfig(() => this.drains.follow());
    this.discovery.start();
    controller.adopt(config);
    controller.flush();
  }

  config({ own, found, draining, checked }: Shape): Config {
    const file = join(this.folder, `found-${this.#files++}.yaml`);
    const one = (n: number) =>
      `{ name: w${n}, address: 198.51.100.${n + 1}${draining.includes(n) ? ', state: draining, drain-deadline: 600' : ''} }`;
    writeFileSync(file, `[${found.map(one).join(', ')}]`);
    // Nobody is asked: whoever is checked is down as long as the test lasts.
    const health = checked ? '\n    health: { checks: [{ type: tunnel }], interval: 3600, initial: down }' : '';
    const yaml = `services: [{ name: s, address: 192.0.2.1, protocol: tcp, port: 80, pool: p }]
pools:
  p:
    table-size: 251
    backends: [${own.map(one).join(', ')}]
    backends-from: ${file}${health}
tunnel: { source: { ipv4: 203.0.113.1 } }
`;
    return loadText(yaml, join(this.folder, 'director.yaml'));
  }

  /** As the daemon brings it in force (reload-keeper.ts). */
  change(next: Config, back: boolean): void {
    this.served.clear();
    for (const one of [this.drains, this.discovery, this.health]) back ? one.bringBack() : one.setAside();
    this.controller.adopt(next);
    this.controller.flush();
  }

  inForce(): string[] {
    return (this.spec?.pools[0].backends ?? []).map(({ name, state, weight }) => `${name} ${state} ${weight}`);
  }

  close(): void {
    this.drains.close({ stopped: false });
    this.discovery.close();
    this.controller.close();
    this.health.close();
  }
}

const SIX = [0, 1, 2, 3, 4, 5];
const shapes = fc
  .record({
    places: fc.array(fc.constantFrom('own', 'found', 'none'), { minLength: 6, maxLength: 6 }),
    draining: fc.subarray(SIX),
    checked: fc.boolean(),
  })
  .map(({ places, draining, checked }): Shape => {
    const at = (place: string) => SIX.filter((n) => places[n] === place);
    return { own: at('own'), found: at('found'), draining, checked };
  });

test('whatever the other configuration is, what is in force is the same after it was taken back', async (t) => {
  await fc.assert(
    fc.asyncProperty(shapes, shapes, fc.subarray(SIX), fc.boolean(), async (one, other, drained, broken) => {
      const bench = new Bench(t, one);
      try {
        for (const n of drained) await bench.drains.action({ backend: `p/w${n}`, deadline: 600, force: true });
        const before = bench.inForce();
        const known = JSON.stringify(bench.drains.exportState());
        const { config } = bench.controller;
        bench.change(bench.config(other), false);
        const kept = new Set(bench.drains.exportState().backends.map((drain) => JSON.stringify(drain)));
        for (const drain of JSON.parse(known).backends) assert.ok(kept.has(JSON.stringify(drain)), 'also for who is killed now');
        if (broken) writeFileSync(join(bench.folder, 'found-0.yaml'), '- [');
        bench.change(config, true);
        assert.deepEqual(bench.inForce(), before);
        const active = before.filter((text) => text.includes(' active ')).map((text) => text.split(' ')[0]);
        assert.deepEqual([...bench.served].sort(), active.sort(), 'nobody else, not for a moment');
        assert.equal(JSON.stringify(bench.drains.exportState()), known);
      } finally {
        bench.close();
      }
    }),
    { numRuns: 60 },
  );
});

test('a drain that can not be put in force is refused with the reason, and nothing is another', async (t) => {
  const bench = new Bench(t, { own: [0, 1], found: [2], draining: [], checked: false });
  t.after(() => bench.close());
  const before = bench.inForce();
  bench.refuse = 'the table is too small';
  const refused = await bench.drains.action({ backend: 'p/w2', deadline: 60 });
  assert.equal(refused.status, 409);
  assert.match(JSON.stringify(refused.body), /w2 is not drained: .* the table is too small.*GD_DRAIN_NOT_IN_FORCE/);
  bench.refuse = null;
  assert.deepEqual((await bench.drains.action({})).body, { director: null, backends: [] });
  assert.equal((await bench.drains.action({ backend: 'p/w2' })).status, 200);
  assert.deepEqual(bench.inForce(), ['w0 active 1', 'w1 active 1', 'w2 draining 1']);
  bench.refuse = 'no';
  assert.equal((await bench.drains.action({ backend: 'p/w2', cancel: true })).status, 409);
  assert.deepEqual(bench.inForce(), ['w0 active 1', 'w1 active 1', 'w2 draining 1']);
  bench.refuse = null;
  assert.equal((await bench.drains.action({ backend: 'p/w2', cancel: true })).status, 200);
  assert.deepEqual(bench.inForce(), before);
});

test('a backend that is down by its checks and moves between the configuration and a file stays down', (t) => {
  const bench = new Bench(t, { own: [0, 1], found: [2], draining: [], checked: true });
  t.after(() => bench.close());
  assert.deepEqual(bench.inForce(), ['w0 down 1', 'w1 down 1', 'w2 down 1']);
  bench.change(bench.config({ own: [0, 2], found: [1], draining: [], checked: true }), false);
  assert.deepEqual(bench.inForce(), ['w0 down 1', 'w2 down 1', 'w1 down 1']);
  assert.deepEqual([...bench.served], [], 'not for a moment');
});
