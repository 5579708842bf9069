/** What the host around the worker must be like, and the few things the worker changes for its own life time. */
import { readFileSync, writeFileSync } from 'node:fs';
import { formatAddress, sameAddress } from '../base/address.ts';
import { CodedError } from '../base/errors.ts';
import { addAddress, deleteAddress, listAddresses } from '../host/addresses.ts';
import { linkByName, requireLink, setLink } from '../host/links.ts';

/** 192.0.0.8, the IPv4 dummy address: for devices that need one which nobody will ever talk to (RFC 7600 §4.8). */
const DUMMY_ADDRESS = Uint8Array.of(192, 0, 0, 8);

/** Refuses a device name that is in use: opening it would only add a queue to somebody else's device. */
export function requireFreeName(device: string): void {
  if (linkByName(device) === null) return;
  throw new CodedError('GD_WORKER_DEVICE_TAKEN', `there is a network device ${device} already; is another worker running?`, {
    hint: `name another one with --device, or see: ip -d link show ${device}`,
  });
}

/**
 * Brings the device up and lets packets of clients in on it: their way back is another interface, so strict reverse path filtering would
 * drop every one in silence. Returns warnings with the exact command for what could not be set.
 */
export function openDoor(device: string): string[] {
  const link = requireLink(device);
  setLink(link, { ipv6LinkLocal: false });
  setLink(link, { up: true });
  const warnings: string[] = [];
  // The kernel takes the larger of `all` and the device's own: against a strict `all` (1) only loose (2) helps, and loose filtering drops
  // everything on a device that has no IPv4 address (__fib_validate_source, no_addr).
  const strict = readSetting('net.ipv4.conf.all.rp_filter') !== '0';
  if (strict) addAddress(link, DUMMY_ADDRESS, 32);
  ensure(`net.ipv4.conf.${device}.rp_filter`, strict ? '2' : '0', 'the kernel would drop IPv4 packets of clients', warnings);
  ensure(`net.ipv6.conf.${device}.disable_ipv6`, '0', 'the kernel would drop IPv6 packets', warnings);
  return warnings;
}

function settingPath(name: string): string {
  // The device name may hold dots, which sysctl(8) writes as slashes; ours is one path part.
  const [, family, rest] = /^net\.(ipv[46])\.conf\.(.+)$/.exec(name)!;
  const dot = rest.lastIndexOf('.');
  return `/proc/sys/net/${family}/conf/${rest.slice(0, dot)}/${rest.slice(dot + 1)}`;
}

function readSetting(name: string): string | null {
  try {
    return readFileSync(settingPath(name), 'utf8').trim();
  } catch (error) {
    // A kernel without IPv6 has no such file.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function ensure(name: string, value: string, otherwise: string, warnings: string[]): void {
  const found = readSetting(name);
  if (found === null || found === value) return;
  try {
    writeFileSync(settingPath(name), value);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    warnings.push(
      `${otherwise} (${name} is ${found}, and setting it failed: ${code}); run: sysctl -w ${name.replaceAll('.', '/')}=${value}`,
    );
  }
}

/** Adds virtual IPs to lo unless they are there; the returned function takes back exactly what was added. */
export function addVirtualAddresses(addresses: readonly Uint8Array[]): () => void {
  const loopback = requireLink('lo');
  const added: Uint8Array[] = [];
  const giveBack = () => {
    for (const address of added.splice(0)) deleteAddress(loopback, address, address.length * 8);
  };
  try {
    for (const address of addresses) {
      if (listAddresses().some((present) => sameAddress(present.address, address))) continue;
      addAddress(loopback, address, address.length * 8);
      added.push(address);
    }
  } catch (error) {
    giveBack();
    throw error;
  }
  return giveBack;
}

/** What to type so that packets to `address` are delivered here. */
export function notLocalWarning(address: Uint8Array): string {
  const text = formatAddress(address);
  return `packets arrive for ${text}, which is not an address of this host; run: ip address add ${text}/${address.length * 8} dev lo`;
}
