/** Health checks: keys that exclude or need each other, times that fit, a service for each tunnel check. */
import { prefixContains } from '../../base/address.ts';
import { parseAnyAddress, parsePrefix } from '../address.ts';
import { portsOf } from '../compile.ts';
import type { Draft, DraftPool, DraftService } from '../draft.ts';
import type { CheckSection, HealthSection } from '../health.ts';
import { parsePorts } from '../port.ts';
import type { Path } from '../problem.ts';
import { protocolNumber } from '../protocol.ts';
import type { Report } from './index.ts';

export function checkHealth(draft: Draft, report: Report): void {
  for (const pool of draft.pools) {
    const health = pool.frame?.health;
    if (health === undefined) continue;
    const at = [...pool.at, 'health'];
    checkTimes(health, at, report);
    checkMinimum(health, pool, at, report);
    health.checks.forEach((check, i) => {
      checkKeys(check, [...at, 'checks', i], report);
      if (check.type === 'tunnel') checkTunnel(check, pool.name, draft, [...at, 'checks', i], report);
    });
  }
}

function checkTimes(health: HealthSection, at: Path, report: Report): void {
  const { interval, timeout, damping } = health;
  if (timeout > interval) {
    const message = `${timeout} s are longer than the interval of ${interval} s: a run would not end before the next one`;
    report([...at, 'timeout'], 'GD_CONFIG_HEALTH_TIMES', message);
  }
  if (damping !== 'off' && damping.reuse >= damping.suppress) {
    const message = `reuse (${damping.reuse}) must be less than suppress (${damping.suppress}): nothing would be held`;
    report([...at, 'damping'], 'GD_CONFIG_HEALTH_TIMES', message);
  }
}

function checkMinimum(health: HealthSection, pool: DraftPool, at: Path, report: Report): void {
  const minimum = health['minimum-healthy'];
  const count = pool.backends.filter(({ value }) => value.state === 'active' && value.weight > 0).length;
  if (typeof minimum !== 'number' || !pool.complete || minimum <= Math.max(1, count)) return;
  const message = `${minimum} good backends are asked for, but only ${count} of the pool take flows`;
  report([...at, 'minimum-healthy'], 'GD_CONFIG_HEALTH_MINIMUM', message, 'warning');
}

function checkKeys(check: CheckSection, at: Path, report: Report): void {
  if (check.type === 'tcp' || check.type === 'udp') {
    for (const key of ['send', 'expect'] as const) {
      const hex = `${key}-hex` as const;
      if (check[key] === undefined || check[hex] === undefined) continue;
      report([...at, hex], 'GD_CONFIG_HEALTH_BYTES', `${key} says already what these bytes are; one of the two`);
    }
  }
  if (check.type === 'udp' && check.send === undefined && check['send-hex'] === undefined) {
    report(at, 'GD_CONFIG_HEALTH_BYTES', 'a udp check needs something to send: set send or send-hex');
  }
  if (check.type !== 'http' && check.type !== 'https') return;
  const { body } = check;
  if (body !== undefined && (body.contains === undefined) === (body.matches === undefined)) {
    report([...at, 'body'], 'GD_CONFIG_HEALTH_BODY', 'one of contains and matches must be set');
  } else if (body !== undefined && check.method === 'HEAD') {
    report([...at, 'body'], 'GD_CONFIG_HEALTH_BODY', 'the answer to HEAD has no body');
  }
  if (check.type !== 'https') return;
  if ((check.certificate === undefined) !== (check.key === undefined)) {
    const [there, missing] = check.key === undefined ? ['certificate', 'key'] : ['key', 'certificate'];
    report([...at, there], 'GD_CONFIG_HEALTH_TLS', `needs ${missing} too`);
  }
  if (!check.verify && check.ca !== undefined) {
    report([...at, 'ca'], 'GD_CONFIG_HEALTH_TLS', 'has no meaning with verify: false', 'warning');
  }
}

/** The probe is wrapped as traffic of a service is: there must be one that it would be traffic of. */
function checkTunnel(
  check: Extract<CheckSection, { type: 'tunnel' }>,
  pool: string,
  draft: Draft,
  at: Path,
  report: Report,
): void {
  if (!draft.servicesComplete) return;
  const all = draft.services.filter(({ value }) => value.pool === pool);
  const protocol = check.http !== undefined ? 'tcp' : hasBytes(check) ? 'udp' : null;
  const services = protocol === null ? all : all.filter(({ value }) => value.protocol === protocol);
  const kind = protocol === null ? 'service' : `${protocol.toUpperCase()} service`;
  if (check.http !== undefined && hasBytes(check)) {
    report([...at, 'http'], 'GD_CONFIG_HEALTH_TUNNEL', 'excludes send and expect: one is for TCP services, the others for UDP');
    return;
  }
  if (services.length === 0) {
    report(at, 'GD_CONFIG_HEALTH_TUNNEL', `a tunnel check asks a service, but no ${kind} has this pool`);
    return;
  }
  const { address, source } = check;
  checkQuestion(check, services, at, report);
  if (address === undefined) {
    if (!services.some(hasOneAddress)) {
      const message = 'the services of this pool are prefixes: set address to the one inside that shall be asked';
      report(at, 'GD_CONFIG_HEALTH_TUNNEL', message);
    }
  } else if (!services.some((service) => prefixesOf(service).some((prefix) => contains(prefix, address)))) {
    report([...at, 'address'], 'GD_CONFIG_HEALTH_TUNNEL', `${address} is in no ${kind} of this pool`);
  }
  if (source !== undefined && address !== undefined && source.includes(':') !== address.includes(':')) {
    report([...at, 'source'], 'GD_CONFIG_HEALTH_TUNNEL', `${source} and ${address} are of different families`);
  }
}

/** Of UDP there is no answer that is known without a question: no service answers a datagram without bytes. */
function checkQuestion(
  check: Extract<CheckSection, { type: 'tunnel' }>,
  services: readonly DraftService[],
  at: Path,
  report: Report,
): void {
  if (check.send !== undefined || check['send-hex'] !== undefined) return;
  const { address, port } = check;
  const asked = services.filter((service) => {
    const isThere = address === undefined || prefixesOf(service).some((prefix) => contains(prefix, address));
    return isThere && (port === undefined || portsOf(service.value).some((text) => holds(text, port)));
  });
  // As the prober chooses (health/tunnel/prober.ts): TCP, where there is some.
  const speaks = ({ value }: DraftService, protocol: 'tcp' | 'udp') =>
    protocolNumber(value.protocol) === protocolNumber(protocol);
  const first = asked.find((service) => speaks(service, 'tcp')) ?? asked[0];
  if (first === undefined || !speaks(first, 'udp')) return;
  const message = `asks service "${first.value.name}" by UDP, and needs something to send that it answers: set send or send-hex`;
  report(at, 'GD_CONFIG_HEALTH_TUNNEL', message);
}

function holds(ports: number | string, port: number): boolean {
  const range = parsePorts(ports).value;
  return range !== null && port >= range.from && port <= range.to;
}

function hasBytes(check: Extract<CheckSection, { type: 'tunnel' }>): boolean {
  return (
    check.send !== undefined || check['send-hex'] !== undefined || check.expect !== undefined || check['expect-hex'] !== undefined
  );
}

function prefixesOf({ value }: DraftService): readonly string[] {
  return Array.isArray(value.address) ? value.address : [value.address];
}

function hasOneAddress(service: DraftService): boolean {
  return prefixesOf(service).some((text) => {
    const prefix = parsePrefix(text).value;
    return prefix !== null && prefix.length === prefix.bytes.length * 8;
  });
}

function contains(prefix: string, address: string): boolean {
  const [outer, inner] = [parsePrefix(prefix).value, parseAnyAddress(address).value];
  return outer !== null && inner !== null && prefixContains(outer, inner);
}
