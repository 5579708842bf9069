// The control plane without a kernel: controller, layers, tunnel sources, snapshot builder with its file of identities, publisher; as the director puts them together.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../src/config/config.ts';
import { Controller } from '../src/control/controller.ts';
import { Publisher } from '../src/control/publisher.ts';
import { FlowKeeper } from '../src/daemon/flow-keeper.ts';
import { PathTunnels } from '../src/daemon/path-tunnels.ts';
import { keepTunnelSources, resolveTunnelSources, withSourcesOf } from '../src/daemon/tunnel-sources.ts';
import { EventJournal } from '../src/observe/events.ts';
import { createLog } from '../src/observe/log.ts';
import { boottimeClock } from '../src/raw-socket/clock.ts';

export interface Change {
  /** Milliseconds from the wish until every thread read it. */
  readonly everywhere: number;
  /** Of those, main's own work. */
  readonly main: number;
}

const SOURCE = Uint8Array.of(10, 98, 0, 1);

export class ScaleControl {
  readonly controller: Controller;
  readonly publisher: Publisher;
  readonly #flows: FlowKeeper;
  readonly #paths = new PathTunnels();
  readonly #folder = mkdtempSync(join(tmpdir(), 'gue-director-scale-'));
  #everywhere: Promise<void> = Promise.resolve();
  #worked = 0;

  constructor(config: Config) {
    const clock = boottimeClock();
    const journal = new EventJournal(createLog({ level: 'silent', format: 'json' }));
    const file = join(this.#folder, 'flows');
    this.#flows = new FlowKeeper({ entries: 65_536, threads: 2, file, clock, journal });
    this.#flows.open();
    this.publisher = new Publisher({ builder: this.#flows, now: () => clock.seconds() });
    this.controller = new Controller({
      config,
      publish: (wanted, spec) => {
        const before = this.publisher.spec;
        const isSame = before !== null && wanted === this.controller.config;
        const resolved = isSame
          ? keepTunnelSources(spec, before, () => SOURCE)
          : resolveTunnelSources(before === null ? spec : withSourcesOf(spec, before), () => SOURCE).spec;
        const { parts, everywhere } = this.publisher.publish(resolved);
        if (this.#paths.of(resolved, parts.names) !== null) this.#paths.known();
        this.#everywhere = everywhere;
        this.#worked = performance.now() - this.controller.began;
      },
      refused: (_, error) => {
        throw error;
      },
    });
  }

  /** Another configuration is put in force, as a reload does. */
  async adopt(config: Config): Promise<Change> {
    return this.#changed(() => this.controller.adopt(config));
  }

  /** What checks say of one backend of a pool: down, or up again. */
  async flap(pool: string, backend: string, serves: boolean): Promise<Change> {
    const layer = new Map(serves ? [] : [[`${pool}/${backend}`, { serves, share: 0 }]]);
    return this.#changed(() => this.controller.putLayer('health', layer));
  }

  async #changed(change: () => void): Promise<Change> {
    const began = performance.now();
    change();
    await this.#everywhere;
    return { everywhere: performance.now() - began, main: this.#worked };
  }

  close(): void {
    this.controller.close();
    this.publisher.close();
    this.#flows.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
