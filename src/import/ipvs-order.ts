/**
 * The kernel's own order of a service's real servers, which the table of `mh` depends on and `ipvsadm-save` does not tell, because it sorts. Read from a
 * copy of /proc/net/ip_vs or from `ipvsadm -Ln --nosort`, which print the server first that was added last.
 */
import { formatAddress } from '../base/address.ts';
import { parseAnyAddress } from '../config/address.ts';
import { formatEndpoint, formatServiceName, type IpvsService } from './ipvs-rules.ts';
import type { IpvsProtocol, ServiceName } from './ipvs-save.ts';
import type { Problems } from './place.ts';

/** `formatServiceName` of each service → `formatEndpoint` of its servers, in the kernel's order. */
export type KernelOrder = ReadonlyMap<string, readonly string[]>;

/** Problems are reported at their line. */
export function parseKernelOrder(text: string, problems: Problems): KernelOrder {
  const order = new Map<string, string[]>();
  const lines = text.split('\n');
  // /proc/net/ip_vs has one space between the titles, and all numbers are hexadecimal; ipvsadm pads its titles.
  const hexadecimal = /RemoteAddress:Port Forward Weight/.test(text);
  if (!/^IP Virtual Server version/.test(text)) {
    const message = 'this is neither a copy of /proc/net/ip_vs nor the output of "ipvsadm -Ln --nosort"';
    problems.add({ line: 1, column: 1 }, 'GD_IMPORT_KERNEL_LIST', message);
    return order;
  }
  let servers: string[] | null = null;
  for (let i = 3; i < lines.length; i++) {
    const words = lines[i].trim().split(/\s+/);
    if (words[0] === '') continue;
    const at = { line: i + 1, column: lines[i].search(/\S/) + 1 };
    if (words[0] === '->') {
      const server = endpoint(words[1] ?? '', hexadecimal);
      if (server === null || servers === null) {
        problems.add(at, 'GD_IMPORT_KERNEL_LIST', `"${words[1] ?? ''}" is not the address of a real server`);
        return order;
      }
      servers.push(formatEndpoint(server.address, server.port));
      continue;
    }
    const name = serviceName(words, hexadecimal);
    if (name === null) {
      problems.add(at, 'GD_IMPORT_KERNEL_LIST', `"${words.slice(0, 2).join(' ')}" is not a virtual service`);
      return order;
    }
    servers = [];
    // The kernel's file does not tell the family of a mark; two marks of one number are told apart by their servers.
    const key = formatServiceName(name);
    order.set(order.has(key) && name.kind === 'mark' ? `${key} -6` : key, servers);
  }
  return order;
}

/** The service with its servers in the order in which they must have been added; null when the kernel's list has others. */
export function inKernelOrder(service: IpvsService, order: KernelOrder): IpvsService | null {
  const listed = order.get(formatServiceName(service.name));
  if (listed === undefined || listed.length !== service.servers.length) return null;
  const byName = new Map(service.servers.map((server) => [formatEndpoint(server.address, server.port), server]));
  const servers = [...listed].reverse().map((name) => byName.get(name));
  return servers.includes(undefined) ? null : { ...service, servers: servers as IpvsService['servers'] };
}

function serviceName(words: readonly string[], hexadecimal: boolean): ServiceName | null {
  if (words[0] === 'FWM') {
    const mark = hexadecimal ? Number.parseInt(words[1], 16) : Number(words[1]);
    return Number.isInteger(mark) ? { kind: 'mark', mark, family: words[2] === 'IPv6' ? 6 : 4 } : null;
  }
  if (!/^(TCP|UDP|SCTP)$/.test(words[0])) return null;
  const found = endpoint(words[1] ?? '', hexadecimal);
  return found === null ? null : { kind: 'address', protocol: words[0].toLowerCase() as IpvsProtocol, ...found };
}

/** `C0000201:0050`, `[2001:0db8:…:0001]:0050`, and as ipvsadm prints them `192.0.2.1:80`, `[2001:db8::1]:80`. */
function endpoint(text: string, hexadecimal: boolean): { address: Uint8Array; port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9a-fA-F.]+)):([0-9a-fA-F]{1,5})$/.exec(text);
  if (match === null) return null;
  const port = Number.parseInt(match[3], hexadecimal ? 16 : 10);
  const plain =
    match[2] !== undefined && hexadecimal && /^[0-9a-fA-F]{8}$/.test(match[2])
      ? formatAddress(Uint8Array.from(match[2].match(/../g)!, (byte) => Number.parseInt(byte, 16)))
      : (match[1] ?? match[2]);
  const address = parseAnyAddress(plain).value;
  return address === null ? null : { address, port };
}
