// Shorthand for what a configuration would want.

import { isIP } from 'node:net';
import type { Prefix } from '../../src/base/address.ts';
import type { Wanted, WantedBackend, WantedService } from '../../src/host/wanted.ts';

export function address(text: string): Uint8Array {
  if (isIP(text) === 4) return Uint8Array.from(text.split('.').map(Number));
  const [head, tail] = text.split('::');
  const groups = (part = '') => part.split(':').filter((group) => group !== '');
  const [front, back] = [groups(head), groups(tail)];
  const all = [...front, ...Array(8 - front.length - back.length).fill('0'), ...back].map((group) => Number.parseInt(group, 16));
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

export function prefix(text: string): Prefix {
  const [bytes, length] = text.split('/');
  return { bytes: address(bytes), length: Number(length) };
}

export function service(text: string): WantedService {
  return { name: `service-${text}`, prefix: prefix(text), protocol: 6, portFrom: 80, portTo: 80 };
}

export function backend(text: string): WantedBackend {
  const bytes = address(text);
  return { pool: 'web', name: text, address: bytes, overhead: bytes.length === 4 ? 32 : 52 };
}

export function wanted(parts: Partial<Wanted>): Wanted {
  return {
    ingress: { driver: 'tun', device: 'gd0', queueLength: 10000 },
    services: [service('203.0.113.0/24'), service('2001:db8:1::/48')],
    backends: [],
    tunnelSources: [],
    tunnelPorts: [6080],
    tunnelProtocols: [],
    egressDevice: null,
    udpSourcePorts: null,
    ...parts,
  };
}
