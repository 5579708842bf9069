import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as tick } from 'node:timers/promises';
import type { Config } from '../config/config.ts';
import type { Spec } from '../pipeline/spec.ts';
import { Controller } from './controller.ts';

function configOf(...backends: string[]): Config {
  const spec: Spec = {
    services: [],
    pools: [
      {
        name: 'a',
        tableSize: 251,
        seed: 0,
        tunnel: { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'auto' },
        backends: backends.map((name, i) => ({ name, address: Uint8Array.of(192, 0, 2, i + 1), weight: 1, state: 'active' })),
      },
    ],
  };
  return { spec, file: backends.join(' ') } as Config;
}

function rig() {
  const published: string[] = [];
  const refused: string[] = [];
  const told: string[] = [];
  let refuse = false;
  const controller = new Controller({
    config: configOf('w1'),
    publish: (config, spec) => {
      if (refuse) throw new Error('no');
      const backends = spec.pools[0].backends.map(({ name, state }) => `${name}=${state}`);
      published.push(`${config.file}: ${backends.join(' ')}`);
    },
    refused: (layer, error) => refused.push(`${layer} ${(error as Error).message}`),
  });
  controller.onConfig((config) => told.push(config.file));
  return { controller, published, refused, told, refuse: (now: boolean) => (refuse = now) };
}

test('a configuration comes into force whole or not at all', () => {
  const { controller, published, told, refuse } = rig();
  controller.adopt(configOf('w1'));
  refuse(true);
  assert.throws(() => controller.adopt(configOf('w1', 'w2')), /no/);
  assert.deepEqual([controller.config.file, published, told], ['w1', ['w1: w1=active'], ['w1']]);
  refuse(false);
  controller.adopt(configOf('w1', 'w2'));
  assert.deepEqual([controller.config.file, told], ['w1 w2', ['w1', 'w1 w2']]);
});

test('a layer that is replaced while a configuration comes into force is not forgotten', () => {
  const published: string[] = [];
  let isFirst = true;
  const controller = new Controller({
    config: configOf('w1'),
    publish: (_, spec) => {
      published.push(spec.pools[0].backends[0].state);
      if (isFirst) controller.setLayer('health', new Map([['a/w1', { serves: false, share: 0 }]]));
      isFirst = false;
    },
    refused: (_, error) => {
      throw error;
    },
  });
  controller.adopt(configOf('w1'));
  controller.flush();
  assert.deepEqual(published, ['active', 'down']);
});

test('layers that change together are published once, and stay over the next configuration', async () => {
  const { controller, published } = rig();
  controller.setLayer('drains', new Map([['a/w1', 'draining']]));
  controller.setLayer('health', new Map([['a/w2', { serves: false, share: 1 }]]));
  assert.deepEqual(published, []);
  await tick();
  await tick();
  controller.adopt(configOf('w1', 'w2'));
  assert.deepEqual(published, ['w1: w1=draining', 'w1 w2: w1=draining w2=down']);
});

test('what was refused is tried again by itself', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { controller, published, refused, refuse } = rig();
  refuse(true);
  controller.setLayer('drains', new Map([['a/w1', 'draining']]));
  controller.flush();
  t.mock.timers.tick(1000);
  assert.deepEqual([published, refused], [[], ['drains no', 'drains no']]);
  refuse(false);
  t.mock.timers.tick(1000);
  t.mock.timers.tick(5000);
  assert.deepEqual(published, ['w1: w1=draining']);
});

test('a layer that must be in force now or not at all: refused it is as before, and what waited goes on waiting', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  const { controller, published, refused, refuse } = rig();
  controller.putLayer('drains', new Map([['a/w1', 'draining']]));
  refuse(true);
  assert.throws(() => controller.putLayer('drains', new Map()), /no/);
  assert.deepEqual([...controller.layers.drains.keys(), controller.waiting, published], ['a/w1', false, ['w1: w1=draining']]);
  controller.setLayer('health', new Map([['a/w1', { serves: false, share: 1 }]]));
  assert.throws(() => controller.putLayer('drains', new Map()), /no/);
  refuse(false);
  t.mock.timers.tick(1000);
  assert.deepEqual([published, refused, controller.waiting], [['w1: w1=draining', 'w1: w1=down'].slice(0, 2), [], false]);
  controller.putLayer('health', new Map());
  assert.equal(published.at(-1), 'w1: w1=draining');
});

test('who publishes is told the layers that the spec is made of, also those that only this configuration has', () => {
  const seen: string[] = [];
  const controller = new Controller({
    config: configOf('w1'),
    publish: (config, _, layers) => seen.push(`${config.file}: ${[...layers.discovered.keys()]}`),
    refused: (_, error) => {
      throw error;
    },
  });
  controller.discoverBy((config) => new Map([[config.file, []]]));
  controller.adopt(configOf('w2'));
  assert.deepEqual([seen, [...controller.layers.discovered.keys()]], [['w2: w2'], ['w2']]);
});

test('a layer that can not be published is told, and the next one is tried again', async () => {
  const { controller, published, refused, refuse } = rig();
  refuse(true);
  controller.setLayer('drains', new Map([['a/w1', 'draining']]));
  controller.flush();
  assert.deepEqual([published, refused], [[], ['drains no']]);
  refuse(false);
  controller.setLayer('health', new Map());
  controller.flush();
  controller.flush();
  assert.deepEqual(published, ['w1: w1=draining']);
});

test('while it is held nothing comes into force; what changed meanwhile does behind it', async () => {
  const { controller, published } = rig();
  controller.adopt(configOf('w1', 'w2'));
  controller.setLayer('drains', new Map([['a/w1', 'draining']]));
  controller.hold();
  controller.setLayer('drains', new Map([['a/w2', 'draining']]));
  controller.flush();
  await tick();
  assert.equal(published.length, 1);
  controller.release();
  assert.deepEqual(published.slice(1), ['w1 w2: w1=active w2=draining']);
  await tick();
  assert.equal(published.length, 2);
});
