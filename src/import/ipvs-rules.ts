/** Commands → the virtual services that a kernel has after them, as `ipvsadm-restore` leaves it. */
import { formatAddress, formatPrefix, sameAddress } from '../base/address.ts';
import type { PlannedHealth } from './health-plan.ts';
import type { IpvsCommand, ServerOptions, ServiceName, ServiceOptions } from './ipvs-save.ts';
import type { Note, Told } from './note.ts';
import type { Place, Problems } from './place.ts';

export interface IpvsServer extends ServerOptions {
  /** Where it was added. */
  readonly at: Place;
  /** The last weight above 0 that it had; 0: none. The scheduler mh gives a quiesced server the slots of that weight. */
  readonly lastWeight: number;
  /** What its own file says beyond IPVS. */
  readonly told?: readonly Told[];
}

export interface IpvsService {
  readonly at: Place;
  readonly name: ServiceName;
  readonly options: ServiceOptions;
  /** In the order in which they were added; the kernel's own list (/proc/net/ip_vs) is the other way round. */
  readonly servers: readonly IpvsServer[];
  /** As its own file calls it; absent: as ipvsadm-save prints it. */
  readonly title?: string;
  /** What its own file says beyond IPVS. */
  readonly told?: readonly Told[];
  /** How its servers were checked; absent: nobody checked them. */
  readonly health?: PlannedHealth;
}

interface Draft {
  at: Place;
  name: ServiceName;
  options: ServiceOptions;
  servers: IpvsServer[];
}

/** `-t 192.0.2.1:80`, `-u [2001:db8::1]:53`, `--sctp-service …`, `-f 7`, `-f 7 -6`: as ipvsadm-save prints it. */
export function formatServiceName(name: ServiceName): string {
  if (name.kind === 'mark') return `-f ${name.mark}${name.family === 6 ? ' -6' : ''}`;
  const option = { tcp: '-t', udp: '-u', sctp: '--sctp-service' }[name.protocol];
  if (name.length !== undefined && name.length < name.address.length * 8) {
    return `${option} ${formatPrefix({ bytes: name.address, length: name.length })} ${name.port}`;
  }
  return `${option} ${formatEndpoint(name.address, name.port)}`;
}

/** `192.0.2.1:80`, `[2001:db8::1]:80`. */
export function formatEndpoint(address: Uint8Array, port: number): string {
  const text = formatAddress(address);
  return address.length === 16 ? `[${text}]:${port}` : `${text}:${port}`;
}

export interface IpvsRules {
  readonly services: readonly IpvsService[];
  /** Commands that are no rules: timeouts, the synchronisation daemon. */
  readonly asides: readonly { readonly at: Place; readonly what: string }[];
  /** What else the file holds, in words. */
  readonly notes?: readonly Note[];
}

/** What the kernel would refuse (a server for no service, a service twice) is a problem with its place. */
export function applyCommands(commands: readonly IpvsCommand[], problems: Problems): IpvsRules {
  let services = new Map<string, Draft>();
  const asides: { at: Place; what: string }[] = [];
  for (const command of commands) {
    const { at } = command;
    if (command.does === 'clear') {
      services = new Map();
      continue;
    }
    if (command.does === 'aside') {
      asides.push({ at, what: command.what });
      continue;
    }
    const key = formatServiceName(command.service);
    const service = services.get(key);
    if (command.does === 'add-service') {
      const { service: name, options } = command;
      if (service !== undefined) {
        problems.add(at, 'GD_IMPORT_TWICE', `the service ${key} was added in line ${service.at.line} already`);
      } else if (name.kind === 'address' && name.port === 0 && options.persistence === null) {
        problems.add(at, 'GD_IMPORT_SERVICE', 'a service of every port (port 0) must be persistent (-p); the kernel refuses it');
      } else services.set(key, { at, name, options, servers: [] });
      continue;
    }
    if (service === undefined) {
      problems.add(at, 'GD_IMPORT_NO_SERVICE', `no line before this one adds the service ${key}`);
      continue;
    }
    if (command.does === 'edit-service') service.options = command.options;
    else if (command.does === 'delete-service') services.delete(key);
    else if (command.does === 'delete-server') removeServer(service, command, problems);
    else putServer(service, command as Putting, problems);
  }
  return { services: [...services.values()], asides };
}

type Putting = Extract<IpvsCommand, { does: 'add-server' | 'edit-server' }>;

function putServer(service: Draft, { does, at, server }: Putting, problems: Problems): void {
  const place = placeOf(service, server.address, server.port);
  const text = formatEndpoint(server.address, server.port);
  if (does === 'add-server') {
    if (place >= 0) {
      const { line } = service.servers[place].at;
      problems.add(at, 'GD_IMPORT_TWICE', `the real server ${text} was added in line ${line} already`);
    } else service.servers.push({ ...server, at, lastWeight: server.weight });
    return;
  }
  if (place < 0) {
    problems.add(at, 'GD_IMPORT_NO_SERVER', `no line before this one adds the real server ${text} to this service`);
    return;
  }
  const before = service.servers[place];
  const lastWeight = server.weight === 0 ? before.lastWeight : server.weight;
  service.servers[place] = { ...server, at: before.at, lastWeight };
}

type Removing = Extract<IpvsCommand, { does: 'delete-server' }>;

function removeServer(service: Draft, { at, address, port }: Removing, problems: Problems): void {
  const place = placeOf(service, address, port);
  if (place >= 0) service.servers.splice(place, 1);
  else {
    const message = `no line before this one adds the real server ${formatEndpoint(address, port)} to this service`;
    problems.add(at, 'GD_IMPORT_NO_SERVER', message);
  }
}

function placeOf(service: Draft, address: Uint8Array, port: number): number {
  return service.servers.findIndex((server) => server.port === port && sameAddress(server.address, address));
}
