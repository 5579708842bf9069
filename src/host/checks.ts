/** What `run` depends on and does not change: every check, in the order in which one would set a host up. */
import { CodedError, EXIT } from '../base/errors.ts';
import { checkFirewall } from './check-firewall.ts';
import { checkForwarding, checkIpv6 } from './check-forwarding.ts';
import { checkOffload } from './check-offload.ts';
import { checkMtu, checkReachability, checkTunnelSources, findPaths } from './check-paths.ts';
import { checkPrefixes } from './check-prefixes.ts';
import { checkCapabilities, checkDevices, checkSourcePorts } from './check-process.ts';
import type { Finding } from './finding.ts';
import { listLinks } from './links.ts';
import { notrackFindings } from './notrack.ts';
import type { Wanted } from './wanted.ts';

/**
 * Looks at the host and changes nothing. A finding of level `error` means that `run` must not start (see `refusal`). Needs no
 * privilege, except that the firewall is then reported as unknown. `firewall`: it is asked too, by a program of its own. Throws NetlinkError when the kernel can not be asked.
 */
export function checkHost(wanted: Wanted, { firewall = true } = {}): Finding[] {
  const links = listLinks();
  const paths = findPaths(wanted, links);
  return [
    ...checkCapabilities(wanted),
    ...checkDevices(wanted, links),
    ...checkIpv6(wanted),
    ...checkForwarding(wanted, links),
    ...(firewall ? checkFirewall(wanted) : []),
    ...notrackFindings(wanted),
    ...checkPrefixes(wanted, links, paths),
    ...checkTunnelSources(wanted, paths),
    ...checkReachability(paths),
    ...checkMtu(paths, links),
    ...checkOffload(wanted, links, paths),
    ...checkSourcePorts(wanted),
  ];
}

/** What is wrong with the host, all of it. */
export class HostRefusal extends CodedError {
  /** At least one, each of level `error`. */
  readonly findings: readonly Finding[];

  constructor(message: string, findings: readonly Finding[]) {
    const [{ exitCode = EXIT.FAILED, fix }] = findings;
    super('GD_HOST_CHECK', message, { exitCode, hint: fix });
    this.findings = findings;
  }
}

/** The error with which `run` stops because of findings of level `error`, or null when there are none. */
export function refusal(findings: readonly Finding[]): HostRefusal | null {
  const errors = findings.filter(({ level }) => level === 'error');
  if (errors.length === 0) return null;
  const more = errors.length === 1 ? '' : ` (and ${errors.length - 1} more)`;
  return new HostRefusal(`${errors[0].text}${more}`, errors);
}
