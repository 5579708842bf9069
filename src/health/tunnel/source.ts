/** Where probes come from: an address of this host that the worker can answer to. */
import { formatAddress } from '../../base/address.ts';
import { CodedError } from '../../base/errors.ts';
import { listAddresses } from '../../host/addresses.ts';
import { routeTo } from '../../host/routes.ts';

/** Addresses that a worker has no way to, or another one than to us. */
function isLocal(address: Uint8Array): boolean {
  if (address.length === 4) return address[0] === 127 || (address[0] === 169 && address[1] === 254);
  const isLoopback = address.every((byte, i) => byte === (i === 15 ? 1 : 0));
  return isLoopback || (address[0] === 0xfe && (address[1] & 0xc0) === 0x80);
}

/**
 * The address of `family` from which to ask a worker: that of the route to it; where the tunnel is of the other family, one of the interface that this
 * route leaves by, else any. Throws CodedError GD_HEALTH_TUNNEL_SOURCE when there is none.
 */
export function probeSource(backend: Uint8Array, family: 4 | 6): Uint8Array {
  const length = family === 4 ? 4 : 16;
  const route = routeTo(backend);
  if (route?.source != null && backend.length === length && !isLocal(route.source)) return route.source;
  const usable = listAddresses().filter(({ address }) => address.length === length && !isLocal(address));
  const found = usable.find(({ interfaceIndex }) => interfaceIndex === route?.interfaceIndex) ?? usable[0];
  if (found !== undefined) return found.address;
  throw new CodedError(
    'GD_HEALTH_TUNNEL_SOURCE',
    `this host has no IPv${family} address from which ${formatAddress(backend)} could be asked`,
    { hint: `give an interface an IPv${family} address that workers can answer to: ip address show` },
  );
}
