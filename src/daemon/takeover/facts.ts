/** What two directors must have in common for one to take over from the other: the descriptors are the same, so what reads them must be. */
import { CodedError } from '../../base/errors.ts';
import type { Config } from '../../config/config.ts';

/** Settings as an operator knows them, by key of the configuration. */
export type Facts = Readonly<Record<string, string>>;

export function factsOf({ threads, flows, ingress, egress }: Config): Facts {
  const devices: Record<string, string> = {};
  if (ingress.driver === 'packet' || ingress.driver === 'xdp') devices['ingress.interface'] = ingress.interface;
  if (ingress.driver === 'tun' || ingress.driver === 'tap') devices['ingress.device'] = ingress.device;
  if (ingress.driver === 'tap') devices['ingress.bridge'] = ingress.bridge ?? 'none';
  return {
    threads: String(threads),
    'flows.file': flows.file,
    'ingress.driver': ingress.driver,
    ...devices,
    // Any other egress opens sockets of its own: they can be of another kind.
    'egress of its own device': egress.driver === 'tap-offload' ? egress.device : 'none',
  };
}

/** Throws CodedError GD_TAKEOVER_DIFFERS, naming what is not the same. */
export function requireSame(mine: Facts, theirs: Facts): void {
  for (const key of new Set([...Object.keys(mine), ...Object.keys(theirs)])) {
    const [from, to] = [mine[key] ?? 'none', theirs[key] ?? 'none'];
    if (from === to) continue;
    throw new CodedError('GD_TAKEOVER_DIFFERS', `${key} is ${from} in the running director and ${to} in the new configuration`, {
      hint: 'queues can not change while they are handed over: systemctl restart gue-director',
    });
  }
}
