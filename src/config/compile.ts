/** A checked configuration → the plain data that the other rooms are told. */
import { dirname, isAbsolute, join } from 'node:path';
import type { BackendSpec, PoolSpec, QuicSpec, ServiceSpec, Spec, TunnelSpec } from '../pipeline/spec.ts';
import { parseHostAddress, parsePrefix } from './address.ts';
import { servicePort } from './checks/schemes.ts';
import type { Config, EgressConfig, IngressConfig } from './config.ts';
import { draftOf } from './draft.ts';
import { compileHeaders } from './headers.ts';
import { compileHealth } from './health.ts';
import { parseLinkAddress } from './link-address.ts';
import { parseListen } from './listen.ts';
import { parsePorts } from './port.ts';
import type { Problem } from './problem.ts';
import { hasPorts, protocolNumber } from './protocol.ts';
import type { BackendSection, ConfigSection, PoolSection, ServiceSection, TunnelSection } from './schema.ts';
import { compileScheme, DEFAULT_TABLE_SIZE, hopsOf } from './scheme.ts';
import { parseServerId } from './server-id.ts';
import { parseTunnelSource, spreadOf } from './tunnel-source.ts';

/** `section` has passed the schema and every check without error. */
export function compile(section: ConfigSection, file: string, warnings: readonly Problem[]): Omit<Config, 'text'> {
  const listen = section.metrics.listen === null ? null : must(parseListen(section.metrics.listen));
  return {
    spec: compileSpec(section),
    health: new Map(
      Object.entries(section.pools).flatMap(([name, { health }]) =>
        health === undefined ? [] : [[name, compileHealth(health, (path) => besideFile(file, path))] as const],
      ),
    ),
    ingress: compileIngress(section.ingress, file),
    egress: compileEgress(section.egress, file),
    threads: section.threads,
    processors: section.processors,
    flows: { entries: section.flows.entries, file: pathOrWord(file, section.flows.file) },
    fragments: {
      entries: section.fragments.entries,
      timeout: section.fragments.timeout,
      holdBytes: section.fragments['hold-bytes'],
      holdPackets: section.fragments['hold-packets'],
      holdPerSource: section.fragments['hold-per-source'],
      holdTimeout: section.fragments['hold-timeout'],
    },
    probes: { sourcePortBase: section.probes['source-port-base'], sourcePorts: section.probes['source-ports'] },
    listen: { metrics: listen },
    admin: { socket: pathOrWord(file, section.admin.socket) },
    privileges: { user: section.privileges.user ?? null, group: section.privileges.group ?? null },
    reload: { watch: section.reload.watch },
    discovery: null,
    log: { level: section.log.level, format: section.log.format },
    file,
    warnings,
  };
}

function compileSpec(section: ConfigSection): Spec {
  const draft = draftOf(section);
  return {
    services: section.services.flatMap(compileService),
    pools: Object.entries(section.pools).map(([name, pool]) =>
      compilePool(name, pool, section.tunnel, servicePort(name, draft) ?? 0),
    ),
    icmp: section.icmp,
  };
}

/** One ServiceSpec for each pair of address and port range; all bear the service's name. */
export function compileService(service: ServiceSection): ServiceSpec[] {
  const specs: ServiceSpec[] = [];
  for (const address of listOf(service.address)) {
    for (const port of portsOf(service)) {
      const { from, to } = must(parsePorts(port))!;
      specs.push({
        name: service.name,
        prefix: must(parsePrefix(address))!,
        protocol: protocolNumber(service.protocol),
        portFrom: from,
        portTo: to,
        affinity: service.affinity,
        oversize: service.oversize,
        mssClamp: service['mss-clamp'],
        fragments: service.fragments,
        ...(service.quic === undefined ? {} : { quic: compileQuic(service.quic) }),
        pool: service.pool,
      });
    }
  }
  return specs;
}

/** What has no ports, or was given none, is asked for by port 0 and has them all. */
export function portsOf(service: ServiceSection): readonly (number | string)[] {
  return service.port === undefined || !hasPorts(protocolNumber(service.protocol)) ? ['all'] : listOf(service.port);
}

function compileQuic(quic: NonNullable<ServiceSection['quic']>): QuicSpec {
  if (quic.scheme === 'katran') return { scheme: 'katran' };
  // The check has seen to it that the length is there.
  return { scheme: 'quic-lb', rotations: listOf(quic['config-rotation'] ?? 0), serverIdLength: quic['server-id-length'] ?? 1 };
}

/** `port`: that of the services, for schemes that ask for it. */
function compilePool(name: string, pool: PoolSection, defaults: TunnelSection, port: number): PoolSpec {
  const scheme = compileScheme(pool.scheme, port);
  const own = pool.backends ?? [];
  const hops = hopsOf(scheme, own);
  const tunnel = { ...compileTunnel(pool.tunnel, defaults), ...(hops === null ? {} : { hops }) };
  const backends = compileBackends(own, pool, tunnel);
  const tableSize = pool['table-size'] ?? DEFAULT_TABLE_SIZE[scheme.name];
  return { name, scheme, tableSize, seed: pool.seed, tunnel, backends };
}

/** Backends of a pool, in the file or found elsewhere; `tunnel` is the pool's. */
export function compileBackends(backends: readonly BackendSection[], pool: PoolSection, tunnel: TunnelSpec): BackendSpec[] {
  return backends.map(
    (backend): BackendSpec => ({
      name: backend.name,
      address: must(parseHostAddress(backend.address))!,
      weight: backend.weight,
      state: backend.state,
      ...(backend.tunnel === undefined ? {} : { tunnel: backendTunnel(backend.tunnel, tunnel) }),
      ...(backend['server-id'] === undefined
        ? {}
        : { serverIds: listOf(backend['server-id']).map((id) => must(parseServerId(id))!) }),
      ...drainDeadlineOf(backend, pool),
    }),
  );
}

function drainDeadlineOf(backend: BackendSection, pool: PoolSection): { drainDeadline?: number } {
  const seconds = backend['drain-deadline'] ?? pool['drain-deadline'];
  return seconds === undefined ? {} : { drainDeadline: seconds };
}

/** What a backend says of its own tunnel, completed with its pool's. */
function backendTunnel(own: NonNullable<BackendSection['tunnel']>, pool: TunnelSpec): TunnelSpec {
  const port6 = own['port-ipv6'] ?? pool.port6;
  return {
    ...pool,
    encapsulation: own.encapsulation ?? pool.encapsulation,
    port: own.port ?? pool.port,
    ...(port6 === undefined ? {} : { port6 }),
    checksum: own.checksum ?? pool.checksum,
  };
}

/** What a pool says of its tunnel, completed with the defaults; the two source addresses are completed one by one. */
export function compileTunnel(own: PoolSection['tunnel'], defaults: TunnelSection): TunnelSpec {
  const source4 = compileSource(own.source?.ipv4 ?? defaults.source.ipv4, 4);
  const source6 = compileSource(own.source?.ipv6 ?? defaults.source.ipv6, 6);
  const port6 = own['port-ipv6'] ?? defaults['port-ipv6'];
  return {
    encapsulation: own.encapsulation ?? defaults.encapsulation,
    port: own.port ?? defaults.port,
    ...(port6 === undefined ? {} : { port6 }),
    source4: source4.address,
    source6: source6.address,
    spread4: source4.spread,
    spread6: source6.spread,
    byRoute4: source4.byRoute,
    byRoute6: source6.byRoute,
    checksum: own.checksum ?? defaults.checksum,
    headers: compileHeaders([own, defaults]),
  };
}

/** An outer source: its address (null: the kernel's choice), how many bits of it flows fill in, and whether each backend has its own. */
function compileSource(text: string | undefined, family: 4 | 6) {
  const source = text === undefined ? null : must(parseTunnelSource(text, family));
  return {
    address: source?.kind === 'address' ? source.address : source?.kind === 'prefix' ? source.prefix.bytes : null,
    spread: source?.kind === 'prefix' ? spreadOf(source.prefix) : 0,
    byRoute: source?.kind === 'by-route',
  };
}

function compileIngress(ingress: ConfigSection['ingress'], file: string): IngressConfig {
  if (ingress.driver === 'tun') return { driver: 'tun', device: ingress.device, queueLength: ingress['queue-length'] };
  if (ingress.driver === 'tap') {
    const { device, mac, bridge = null } = ingress;
    const address = mac === undefined ? null : must(parseLinkAddress(mac));
    return { driver: 'tap', device, mac: address, bridge, queueLength: ingress['queue-length'] };
  }
  if (ingress.driver === 'pcap-file') return { driver: 'pcap-file', path: besideFile(file, ingress.path) };
  if (ingress.driver === 'xdp') return { driver: 'xdp', interface: ingress.interface, zeroCopy: ingress['zero-copy'] };
  return ingress;
}

function compileEgress(egress: ConfigSection['egress'], file: string): EgressConfig {
  if (egress.driver === 'auto' || egress.driver === 'udp') {
    return { driver: egress.driver, sourcePortBase: egress['source-port-base'], sourcePorts: egress['source-ports'] };
  }
  if (egress.driver === 'pcap-file') return { driver: 'pcap-file', path: besideFile(file, egress.path) };
  return egress;
}

/** A relative path in a configuration counts from the file it stands in: what it means does not depend on who reads it from where. */
export function besideFile(file: string, path: string): string {
  return isAbsolute(path) ? path : join(dirname(file), path);
}

function pathOrWord(file: string, text: string): string {
  return text === 'auto' || text === 'off' ? text : besideFile(file, text);
}

export function listOf<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? value : [value as T];
}

/** The value of a text that the schema has accepted. */
function must<T>(parsed: { value: T; refusal: null } | { value: null; refusal: { message: string } }): T {
  if (parsed.refusal !== null) throw new Error(`accepted by the schema, but ${parsed.refusal.message}`);
  return parsed.value;
}
