/**
 * Services that can not be ordered. For a packet the longest prefix wins, then the narrowest port range; a packet whose port no
 * service of the longest prefix has falls through to a shorter prefix. So different prefixes never conflict, and port ranges
 * of one prefix and protocol may be disjoint or strictly one inside the other, but neither equal nor partly overlapping.
 */
import { formatPrefix } from '../../base/address.ts';
import type { ServiceSpec } from '../../pipeline/spec.ts';
import { compileService, portsOf } from '../compile.ts';
import type { Draft } from '../draft.ts';
import { formatPorts } from '../port.ts';
import type { Path } from '../problem.ts';
import { hasPorts, protocolText } from '../protocol.ts';
import type { Report } from './index.ts';

interface Claim {
  readonly spec: ServiceSpec;
  readonly at: Path;
  /** Order in the file: the later of two is the one reported. */
  readonly order: number;
}

export function checkOverlaps(draft: Draft, report: Report): void {
  const groups = new Map<string, Claim[]>();
  let order = 0;
  for (const service of draft.services) {
    const ports = portsOf(service.value).length;
    for (const [i, spec] of compileService(service.value).entries()) {
      const { port } = service.value;
      const portAt = port === undefined ? [] : Array.isArray(port) ? ['port', i % ports] : ['port'];
      const key = `${formatPrefix(spec.prefix)} ${spec.protocol}`;
      const group = groups.get(key);
      const claim = { spec, at: [...service.at, ...portAt], order: order++ };
      if (group === undefined) groups.set(key, [claim]);
      else group.push(claim);
    }
  }
  for (const group of groups.values()) checkGroup(group, report);
}

/** A sweep over the ranges by their beginning, wider first: `open` holds ranges each inside the one before it. */
function checkGroup(group: Claim[], report: Report): void {
  if (group.length < 2) return;
  group.sort((a, b) => a.spec.portFrom - b.spec.portFrom || b.spec.portTo - a.spec.portTo || a.order - b.order);
  const open: Claim[] = [];
  for (const claim of group) {
    while (open.length > 0 && open[open.length - 1].spec.portTo < claim.spec.portFrom) open.pop();
    const around = open[open.length - 1];
    if (around !== undefined && conflict(around.spec, claim.spec)) {
      const [first, second] = around.order < claim.order ? [around, claim] : [claim, around];
      report(second.at, 'GD_CONFIG_OVERLAP', sentence(first.spec, second.spec));
      // Only the wider range stays, so that each range is reported against one other.
      if (claim.spec.portTo <= around.spec.portTo) continue;
      open.pop();
    }
    open.push(claim);
  }
}

/** Given a.portFrom ≤ b.portFrom ≤ a.portTo: true when b is not strictly inside a. */
function conflict(a: ServiceSpec, b: ServiceSpec): boolean {
  return b.portTo > a.portTo || (a.portFrom === b.portFrom && a.portTo === b.portTo);
}

function sentence(first: ServiceSpec, second: ServiceSpec): string {
  const target = `${formatPrefix(second.prefix)} ${protocolText(second.protocol)}`;
  const range = { from: second.portFrom, to: second.portTo };
  const other = { from: first.portFrom, to: first.portTo };
  const whose = first.name === second.name ? 'this same service' : `service "${first.name}"`;
  if (!hasPorts(second.protocol)) return `${target} belongs to ${whose} already`;
  if (range.from === other.from && range.to === other.to) return `${target} ${formatPorts(range)} belongs to ${whose} already`;
  return `${target} ${formatPorts(range)} overlaps ${formatPorts(other)} of ${whose}; one range must lie inside the other or apart`;
}
