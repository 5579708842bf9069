/** Services: ports where the protocol has some, affinities that fit it, and server ids that QUIC connection ids can carry. */
import { listOf } from '../compile.ts';
import type { Draft, DraftBackend, DraftService } from '../draft.ts';
import type { Path } from '../problem.ts';
import { hasPorts, protocolNumber, protocolText } from '../protocol.ts';
import { parseServerId, serverIdBytes } from '../server-id.ts';
import type { Report } from './index.ts';

/** Katran's third version has 32 bits, and its numbers start at 1. */
const KATRAN_BYTES = 4;

export function checkProtocols(draft: Draft, report: Report): void {
  for (const service of draft.services) {
    checkPorts(service, report);
    checkAffinity(service, report);
    checkQuic(service, draft, report);
  }
  for (const pool of draft.pools) checkUnique(pool.backends, report);
}

function checkPorts({ at, value }: DraftService, report: Report): void {
  const number = protocolNumber(value.protocol);
  const portAt = [...at, 'port'];
  if (hasPorts(number)) {
    if (value.port === undefined) report(portAt, 'GD_CONFIG_MISSING_KEY', 'the key "port" is missing');
  } else if (value.port !== undefined) {
    const why = value.protocol === 'any' ? 'a service for any protocol has all ports' : `${protocolText(number)} has no ports`;
    report(portAt, 'GD_CONFIG_PORT_UNUSED', `${why}; remove this key`);
  }
}

function checkAffinity({ at, value }: DraftService, report: Report): void {
  const { affinity } = value;
  const name = protocolText(protocolNumber(value.protocol));
  if (affinity === 'none' && name !== 'udp') {
    report(
      [...at, 'affinity'],
      'GD_CONFIG_AFFINITY',
      `none sends each packet by itself, which ${name} does not survive; it is for udp`,
    );
  }
  if (affinity === 'ports' && name !== 'sctp') {
    const message = `ports keeps the paths of an association together, which ${name} has not; it is for sctp`;
    report([...at, 'affinity'], 'GD_CONFIG_AFFINITY', message);
  }
}

function checkQuic({ at, value }: DraftService, draft: Draft, report: Report): void {
  const { quic } = value;
  if (quic === undefined) return;
  const quicAt = [...at, 'quic'];
  if (protocolNumber(value.protocol) !== protocolNumber('udp')) {
    report(quicAt, 'GD_CONFIG_QUIC', 'QUIC runs over UDP; this service needs "protocol: udp"');
    return;
  }
  if (value.affinity === 'none') {
    const message =
      'with affinity none packets without a server id, the first of every connection, would be scattered; choose another';
    report([...at, 'affinity'], 'GD_CONFIG_QUIC', message);
  }
  const length = quic['server-id-length'];
  if (quic.scheme === 'quic-lb' && length === undefined) {
    report([...quicAt, 'server-id-length'], 'GD_CONFIG_MISSING_KEY', 'the key "server-id-length" is missing');
    return;
  }
  if (quic.scheme === 'katran') {
    for (const key of ['server-id-length', 'config-rotation'] as const) {
      if (quic[key] === undefined) continue;
      report([...quicAt, key], 'GD_CONFIG_QUIC', "Katran's connection ids tell it themselves; remove this key");
    }
  }
  const pool = draft.pools.find(({ name }) => name === value.pool);
  if (pool === undefined) return;
  const most = quic.scheme === 'katran' ? KATRAN_BYTES : (length as number);
  for (const backend of pool.backends) checkServerId(backend, quic.scheme, most, value.name, report);
}

function checkServerId({ at, value }: DraftBackend, scheme: string, most: number, service: string, report: Report): void {
  const ids = value['server-id'];
  if (ids === undefined) {
    const message = `no server-id, but service "${service}" routes by it: connections of this backend are lost when their client moves`;
    report([...at, 'address'], 'GD_CONFIG_SERVER_ID', message, 'warning');
    return;
  }
  listOf(ids).forEach((id, i) => {
    const value = parseServerId(id).value;
    if (value === null) return;
    const length = serverIdBytes(value);
    if (length > most) {
      const message = `${id} needs ${length} bytes, but connection ids of service "${service}" have ${most}`;
      report(placeOf(at, ids, i), 'GD_CONFIG_SERVER_ID', message);
    } else if (scheme === 'katran' && length === 0) {
      report(placeOf(at, ids, i), 'GD_CONFIG_SERVER_ID', "0 names nobody in Katran's connection ids; begin with 1");
    }
  });
}

function placeOf(at: Path, ids: unknown, i: number): Path {
  return Array.isArray(ids) ? [...at, 'server-id', i] : [...at, 'server-id'];
}

function checkUnique(backends: readonly DraftBackend[], report: Report): void {
  const owners = new Map<string, string>();
  for (const { at, value } of backends) {
    const ids = value['server-id'];
    listOf(ids ?? []).forEach((id, i) => {
      const key = parseServerId(id).value?.join();
      if (key === undefined) return;
      const owner = owners.get(key);
      if (owner === undefined) owners.set(key, value.name);
      else report(placeOf(at, ids, i), 'GD_CONFIG_SERVER_ID', `backend "${owner}" of this pool has this server id already`);
    });
  }
}
