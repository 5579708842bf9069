/** A configuration with the backends of its watched files in it, for commands that look at pools without a director. */
import type { Config } from '../config/config.ts';
import type { Problem } from '../config/problem.ts';

/** `problems`: what is wrong with the files; what is right of them is in the pools. */
export async function withFoundBackends(
  config: Config,
): Promise<{ readonly config: Config; readonly problems: readonly Problem[] }> {
  if (config.discovery === null) return { config, problems: [] };
  const { examineFiles } = await import('../control/discovery.ts');
  const { inForce, NO_LAYERS } = await import('../control/layers.ts');
  const { found, problems } = examineFiles(config.discovery);
  return { config: { ...config, spec: inForce(config.spec, { ...NO_LAYERS, discovered: found }) }, problems };
}
