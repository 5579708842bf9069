/** Which services a packet's destination fits, nearly fits, or would fit if a narrower one did not go before. Slow and obvious: for one packet. */
import { formatPrefix, prefixContains } from '../base/address.ts';
import { PROTOCOL_ANY, type ServiceSpec, type Spec } from '../pipeline/spec.ts';
import type { ServiceMatch, ServiceStep } from './trail.ts';

const WORDS: ReadonlyMap<number, string> = new Map([
  [6, 'tcp'],
  [17, 'udp'],
  [132, 'sctp'],
  [PROTOCOL_ANY, 'any protocol'],
]);
/** So that a thousand services at one address fill no screen. */
const MOST_NEAR = 8;

export interface Destination {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly protocol: number;
  /** Destination port, null for what has none. */
  readonly port: number | null;
}

function protocolWord(protocol: number): string {
  return WORDS.get(protocol) ?? `protocol ${protocol}`;
}

function portsText({ portFrom, portTo }: ServiceSpec): string {
  if (portFrom === 0 && portTo === 65535) return '';
  return portFrom === portTo ? ` port ${portFrom}` : ` ports ${portFrom}-${portTo}`;
}

export function serviceMatch(service: ServiceSpec): ServiceMatch {
  const { name, pool, protocol, prefix } = service;
  return { name, pool, takes: `${protocolWord(protocol)} ${formatPrefix(prefix)}${portsText(service)}` };
}

/** What speaks against the service; empty when nothing does. */
function against(service: ServiceSpec, { address, protocol, port }: Destination): string[] {
  const wrong: string[] = [];
  if (!prefixContains(service.prefix, address)) wrong.push('another address');
  if (service.protocol !== PROTOCOL_ANY && service.protocol !== protocol)
    wrong.push(`it takes ${protocolWord(service.protocol)}, this is ${protocolWord(protocol)}`);
  const asked = port ?? 0;
  if (asked < service.portFrom || asked > service.portTo)
    wrong.push(`it takes${portsText(service)}, this is ${port === null ? 'without a port' : `port ${port}`}`);
  return wrong;
}

/** `matched`: index of the service that the path found, −1 for none. */
export function serviceStep(spec: Spec, matched: number, destination: Destination | null): ServiceStep {
  const own = matched < 0 ? null : spec.services[matched];
  if (destination === null) return { matched: own === null ? null : serviceMatch(own), shadowed: [], near: [] };
  const shadowed: ServiceMatch[] = [];
  const near: (ServiceMatch & { but: string })[] = [];
  for (const service of spec.services) {
    if (service === own) continue;
    if (service.prefix.bytes.length !== destination.address.length) continue;
    const wrong = against(service, destination);
    if (wrong.length === 0) shadowed.push(serviceMatch(service));
    else if (wrong.length === 1 && near.length < MOST_NEAR) near.push({ ...serviceMatch(service), but: wrong[0] });
  }
  return {
    matched: own === null ? null : serviceMatch(own),
    shadowed,
    near: near.filter(({ but }) => own === null || but !== 'another address'),
  };
}
