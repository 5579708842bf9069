/** The real servers of one service → the backends of a pool. */
import { formatAddress } from '../base/address.ts';
import { parseHostAddress } from '../config/address.ts';
import { formatEndpoint, type IpvsServer, type IpvsService } from './ipvs-rules.ts';
import type { WeightRule } from './ipvs-scheduler.ts';
import { commonest, type PlannedTunnel, sameTunnel, tunnelOf, tunnelText } from './ipvs-tunnel.ts';
import { label } from './name.ts';
import { groupNotes, type Note, type NoteKind, type Say } from './note.ts';
import type { Place } from './place.ts';
import type { Wording } from './wording.ts';

export interface PlannedBackend {
  readonly name: string;
  readonly address: string;
  readonly weight: number;
  readonly draining: boolean;
  /** Null: the pool's. */
  readonly tunnel: PlannedTunnel | null;
  /** Why it is not in the configuration; null when it is. */
  readonly leftOut: string | null;
  readonly at: Place;
  readonly notes: readonly Note[];
}

interface Circumstances {
  readonly isMh: boolean;
  readonly weights: WeightRule;
  /** True for an address that belongs to a virtual service. */
  readonly isDirected: (address: Uint8Array) => boolean;
  readonly wording: Wording;
}

/** Weights of the configuration end there. */
const LARGEST_WEIGHT = 65535;

interface Draft {
  readonly server: IpvsServer;
  readonly tunnel: PlannedTunnel;
  readonly leftOut: string | null;
  weight: number;
}

/** `notes`: those that every backend would bear. */
export function planServers(
  service: IpvsService,
  circumstances: Circumstances,
  say: Say,
): { backends: PlannedBackend[]; tunnel: PlannedTunnel; notes: Note[] } {
  const told: Note[][] = [];
  const { servers } = service;
  const tunnel = commonest(servers.flatMap((server) => tunnelOf(server) ?? []));
  const weights = weightsOf(servers, circumstances, say);
  const drafts: Draft[] = [];
  const places = new Map<string, number>();
  servers.forEach((server, i) => {
    const text = formatEndpoint(server.address, server.port);
    const own: Note[] = [];
    const note = (kind: NoteKind, code: string, message: string, at = server.at) => {
      say(kind, code, message, { at, text });
      own.push({ kind, code, message, at, service: '', server: text });
    };
    const address = formatAddress(server.address);
    const place = places.get(address);
    const twin = place === undefined ? undefined : drafts[place];
    if (place !== undefined && twin?.leftOut === null) {
      note(
        'differs',
        'GD_IMPORT_SAME_ADDRESS',
        `${address} is in the pool already, with another port: the weights of both are added`,
      );
      told[place].push(...own);
      twin.weight = Math.min(LARGEST_WEIGHT, twin.weight + weights[i]);
      return;
    }
    const leftOut = reasonToLeaveOut(server, circumstances);
    if (leftOut !== null) note('left-out', 'GD_IMPORT_SERVER_LEFT_OUT', leftOut);
    else tellWorker(service, server, tunnelOf(server) ?? tunnel, circumstances.wording, note);
    if (leftOut === null && server.weight === 0) tellQuiesced(server, circumstances, note);
    if (server.upper > 0 || server.lower > 0) {
      const message = `${circumstances.wording.thresholds(server.upper, server.lower)}: connections are not counted, a server is never full`;
      note('left-out', 'GD_IMPORT_THRESHOLD', message);
    }
    for (const { kind, code, message, at } of server.told ?? []) note(kind, code, message, at);
    if (place === undefined) places.set(address, drafts.length);
    drafts.push({ server, tunnel: tunnelOf(server) ?? tunnel, leftOut, weight: weights[i] });
    told.push(own);
  });
  const kept = told.filter((_, i) => drafts[i].leftOut === null);
  const everyone = (note: Note) => kept.every((own) => own.some((one) => same(one, note)));
  const common = kept.length < 2 ? [] : groupNotes(kept.flat()).filter(([first]) => everyone(first));
  const isCommon = (note: Note) => common.some(([first]) => same(first, note));
  const backends = drafts.map((draft, i): PlannedBackend => {
    const address = formatAddress(draft.server.address);
    return {
      name: label(address),
      address,
      weight: draft.weight,
      draining: circumstances.isMh && draft.server.weight === 0 && draft.weight > 0,
      tunnel: sameTunnel(draft.tunnel, tunnel) ? null : draft.tunnel,
      leftOut: draft.leftOut,
      at: draft.server.at,
      notes: told[i].filter((note) => !isCommon(note)),
    };
  });
  return { backends, tunnel, notes: common.map(([first]) => first) };
}

function same(a: Note, b: Note): boolean {
  return a.code === b.code && a.message === b.message;
}

function reasonToLeaveOut(server: IpvsServer, { isDirected }: Circumstances): string | null {
  const address = formatAddress(server.address);
  const { refusal } = parseHostAddress(address);
  if (refusal !== null) return `${refusal.message}: the director itself served here, and it serves nothing now`;
  if (isDirected(server.address)) return `${address} is itself a virtual address: packets to it would come back to the director`;
  return null;
}

type Tell = (kind: NoteKind, code: string, message: string) => void;

/** What the worker must be able to do, that it did not need under IPVS. */
function tellWorker({ name }: IpvsService, server: IpvsServer, tunnel: PlannedTunnel, wording: Wording, note: Tell): void {
  if (server.forwarding === 'gatewaying') {
    note('worker', 'GD_IMPORT_DIRECT_ROUTING', `direct routing had no tunnel: the worker must unwrap ${tunnelText(tunnel)}`);
  }
  if (server.forwarding === 'masquerading') {
    const message = `masquerading translated addresses, and answers came back through the director: here the worker must have the virtual address, unwrap ${tunnelText(tunnel)} and answer the client itself`;
    note('worker', 'GD_IMPORT_MASQUERADING', message);
  }
  const port = name.kind === 'address' ? name.port : 0;
  if (server.forwarding === 'masquerading' && server.port !== port && server.port !== 0) {
    const arrives = port === 0 ? "packets arrive with the client's destination port" : `packets arrive with port ${port}`;
    note('worker', 'GD_IMPORT_PORT', `the server listened on port ${server.port}; ${arrives}, which nobody translates`);
  }
  if (server.forwarding !== 'masquerading' && server.writtenPort !== server.port) {
    note(
      'remark',
      'GD_IMPORT_PORT',
      `the port ${server.writtenPort} is not the service's; ${wording.program} itself takes ${server.port} without masquerading`,
    );
  }
}

function tellQuiesced(server: IpvsServer, { isMh, wording }: Circumstances, note: Tell): void {
  if (!isMh) note('remark', 'GD_IMPORT_QUIESCED', 'weight 0 as under IPVS: keeps the flows it has, takes no new one');
  else if (server.lastWeight > 0) {
    note(
      'remark',
      'GD_IMPORT_QUIESCED',
      `weight 0 after ${server.lastWeight}: under mh it keeps its slots, and gets none of their flows`,
    );
  } else {
    const message = `weight 0: ${wording.asAdded} it has no slots; where it had a weight before, the kernel keeps its slots: then write that weight and "state: draining"`;
    note('remark', 'GD_IMPORT_QUIESCED', message);
  }
}

/** One for each server, within the range of the configuration. */
function weightsOf(servers: readonly IpvsServer[], { isMh, weights }: Circumstances, say: Say): number[] {
  if (isMh)
    return fitted(
      servers.map(({ weight, lastWeight }) => (weight === 0 ? lastWeight : weight)),
      say,
    );
  if (weights === 'equal') return servers.map(({ weight }) => (weight === 0 ? 0 : 1));
  if (weights === 'highest') {
    const highest = servers.reduce((most, { weight }) => Math.max(most, weight), 0);
    // Of equals the kernel takes the first of its list, which was added last.
    const first = servers.findLastIndex(({ weight }) => weight === highest);
    return servers.map((_, i) => (i === first && highest > 0 ? 1 : 0));
  }
  return fitted(
    servers.map(({ weight }) => weight),
    say,
  );
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** Weights of IPVS go up to 2^31 − 1. Divided by what they have in common nothing changes, under mh neither. */
function fitted(weights: readonly number[], say: Say): number[] {
  const most = weights.reduce((all, weight) => Math.max(all, weight), 0);
  if (most <= LARGEST_WEIGHT) return [...weights];
  const common = weights.reduce(gcd, 0);
  if (most / common <= LARGEST_WEIGHT) {
    say(
      'remark',
      'GD_IMPORT_WEIGHT',
      `weights up to ${most} are divided by ${common}, which all have in common: the shares stay`,
    );
    return weights.map((weight) => weight / common);
  }
  say(
    'differs',
    'GD_IMPORT_WEIGHT',
    `weights up to ${most} are scaled to ${LARGEST_WEIGHT}, the largest here: the shares are rounded`,
  );
  return weights.map((weight) => (weight === 0 ? 0 : Math.max(1, Math.round((weight / most) * LARGEST_WEIGHT))));
}
