/**
 * What is wanted, and its way into force: the configuration and the layers over it (layers.ts) become a spec, which is published. Every change
 * goes through here: a reload, a drain, a backend found, a check that failed.
 */
import type { Config } from '../config/config.ts';
import type { Spec } from '../pipeline/spec.ts';
import { inForce, type Layers, NO_LAYERS } from './layers.ts';

export interface ControllerOptions {
  readonly config: Config;
  /** Puts a spec in force, made of `config` and `layers`. Throws when it can not be; then nothing has changed. */
  readonly publish: (config: Config, spec: Spec, layers: Layers) => void;
  /** A changed layer could not be put in force; the spec before it stays. */
  readonly refused: (layer: keyof Layers, error: unknown) => void;
}

/** Milliseconds until a change that was refused is tried again: a route that was missing may be back. */
const AGAIN_MS = 1000;

export class Controller {
  readonly #options: ControllerOptions;
  #config: Config;
  #layers: Layers = NO_LAYERS;
  readonly #dirty = new Set<keyof Layers>();
  #held = false;
  #scheduled: NodeJS.Immediate | null = null;
  /** While a change that was refused waits for its next try. */
  #again: NodeJS.Timeout | null = null;
  readonly #listeners: ((config: Config) => void)[] = [];
  #discover: ((config: Config) => Layers['discovered']) | null = null;
  #began = 0;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** The configuration in force. */
  get config(): Config {
    return this.#config;
  }

  get layers(): Layers {
    return this.#layers;
  }

  /** Milliseconds of this thread's `performance.now()` at which the work on what is published now, or was last, began. */
  get began(): number {
    return this.#began;
  }

  /** A layer was replaced and is not in force yet. */
  get waiting(): boolean {
    return this.#dirty.size > 0;
  }

  /** What would be in force with `config` instead of the one that is: what a plan is made of. */
  specWith(config: Config): Spec {
    return inForce(config.spec, this.#layersWith(config));
  }

  /**
   * Which backends another configuration finds depends on the files that it names: whoever owns that layer is asked for it before such a
   * configuration is in force, so that no backend is missing in between.
   */
  discoverBy(discover: (config: Config) => Layers['discovered']): void {
    this.#discover = discover;
  }

  #layersWith(config: Config): Layers {
    if (config === this.#config || this.#discover === null) return this.#layers;
    return { ...this.#layers, discovered: this.#discover(config) };
  }

  /** Whoever follows the configuration (checks, watched files) is told of each one that came into force. */
  onConfig(listener: (config: Config) => void): void {
    this.#listeners.push(listener);
  }

  /** Puts a configuration in force, the first one or another. Throws what `publish` throws; then the one before stays. */
  adopt(config: Config): void {
    this.#began = performance.now();
    const layers = this.#layersWith(config);
    this.#options.publish(config, inForce(config.spec, layers), layers);
    // Only what was asked for here: publishing may itself have replaced a layer (checks that follow the new backends).
    this.#layers = { ...this.#layers, discovered: layers.discovered };
    this.#config = config;
    for (const listener of this.#listeners) listener(config);
  }

  /** Replaces one layer. It is in force soon after: many changes at once cost one table. */
  setLayer<Name extends keyof Layers>(name: Name, layer: Layers[Name]): void {
    this.#layers = { ...this.#layers, [name]: layer };
    this.#dirty.add(name);
    if (!this.#held) this.#scheduled ??= setImmediate(() => this.flush());
  }

  /** Another process is about to have everything: changed layers wait until `release`. */
  hold(): void {
    this.#held = true;
    this.close();
  }

  /** It came to nothing: what changed meanwhile is put in force. */
  release(): void {
    this.#held = false;
    this.flush();
  }

  /** Puts changed layers in force now; what is refused is tried again a second later, and with the next change. */
  flush(): void {
    if (this.#held) return;
    this.close();
    const changed = [...this.#dirty];
    this.#dirty.clear();
    if (changed.length === 0) return;
    try {
      this.#publishLayers();
    } catch (error) {
      for (const layer of changed) {
        this.#dirty.add(layer);
        this.#options.refused(layer, error);
      }
      this.#tryAgain();
    }
  }

  /**
   * Replaces one layer and puts it in force now, with whatever else waits: for who wants to know whether it could be. Throws what `publish` throws; then
   * the layer before stays, and what waited goes on waiting.
   */
  putLayer<Name extends keyof Layers>(name: Name, layer: Layers[Name]): void {
    this.close();
    const waiting = [...this.#dirty];
    this.#dirty.clear();
    const before = this.#layers[name];
    this.#layers = { ...this.#layers, [name]: layer };
    try {
      this.#publishLayers();
    } catch (error) {
      this.#layers = { ...this.#layers, [name]: before };
      for (const one of waiting) this.#dirty.add(one);
      if (this.#dirty.size > 0) this.#tryAgain();
      throw error;
    }
  }

  #publishLayers(): void {
    this.#began = performance.now();
    this.#options.publish(this.#config, this.specWith(this.#config), this.#layers);
  }

  #tryAgain(): void {
    this.#again = setTimeout(() => this.flush(), AGAIN_MS);
    this.#again.unref();
  }

  /** Ends what is still scheduled. */
  close(): void {
    if (this.#scheduled !== null) clearImmediate(this.#scheduled);
    if (this.#again !== null) clearTimeout(this.#again);
    this.#scheduled = null;
    this.#again = null;
  }
}
