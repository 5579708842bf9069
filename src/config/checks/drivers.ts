/** Drivers and listeners: ports that exist, ports that are free, servers that are open to the world. */
import { formatAddress } from '../../base/address.ts';
import { parseAnyAddress } from '../address.ts';
import type { Draft } from '../draft.ts';
import { parseListen } from '../listen.ts';
import type { Report } from './index.ts';

/** net.ipv4.ip_local_port_range as the kernel sets it: ports that connect() gives to other programs. */
const EPHEMERAL = { from: 32768, to: 60999 };

/** Ways out that take outer packets as they are, fragments of them too. With others the kernel writes the outer header, or segments. */
const WHOLE_PACKETS: ReadonlySet<string> = new Set(['auto', 'raw', 'tap-offload', 'packet', 'xdp', 'pcap-file', 'memory']);

/** The interfaces that the ingress names. */
function devicesOf(ingress: Draft['ingress']): readonly (string | undefined)[] {
  if (ingress?.driver === 'tap') return [ingress.device, ingress.bridge];
  if (ingress?.driver === 'tun') return [ingress.device];
  return ingress?.driver === 'packet' || ingress?.driver === 'xdp' ? [ingress.interface] : [];
}

export function checkDrivers(draft: Draft, report: Report): void {
  const egress = draft.egress;
  if (egress?.driver === 'auto' || egress?.driver === 'udp') {
    const from = egress['source-port-base'];
    const to = from + egress['source-ports'] - 1;
    const at = ['egress', 'source-port-base'];
    if (to > 65535) {
      const most = 65536 - egress['source-ports'];
      report(at, 'GD_CONFIG_SOURCE_PORTS', `ports ${from} to ${to} end above 65535; the base may be ${most} at most`);
    } else if (from <= EPHEMERAL.to && to >= EPHEMERAL.from) {
      const range = `${EPHEMERAL.from} to ${EPHEMERAL.to}`;
      const message = `ports ${from} to ${to} lie in ${range}, which the kernel gives to other programs; 61440 is free of them`;
      report(at, 'GD_CONFIG_EPHEMERAL_PORTS', message, 'warning');
    }
  }
  checkProbes(draft, report);
  if (egress !== null && !WHOLE_PACKETS.has(egress.driver)) {
    for (const service of draft.services) {
      if (service.value.oversize !== 'fragment-outer') continue;
      const message = `fragment-outer needs "egress: { driver: auto }", which can send outer packets as they are; with ${egress.driver} choose fragment-inner`;
      report([...service.at, 'oversize'], 'GD_CONFIG_FRAGMENT_OUTER', message);
    }
  }
  const { ingress } = draft;
  if (egress?.driver === 'tap-offload' && devicesOf(ingress).includes(egress.device)) {
    const message = `the ingress names "${egress.device}" too; the egress needs a device of its own, which "run" makes`;
    report(['egress', 'device'], 'GD_CONFIG_DEVICE_TWICE', message);
  }
  if (
    (egress?.driver === 'packet' || egress?.driver === 'xdp') &&
    ingress?.driver !== 'packet' &&
    ingress?.driver !== 'xdp' &&
    devicesOf(ingress).includes(egress.interface)
  ) {
    const message = `"${egress.interface}" is a device of the ingress; the egress needs the interface that leads to the backends`;
    report(['egress', 'interface'], 'GD_CONFIG_DEVICE_TWICE', message);
  }
  const listen = draft.metrics?.listen ?? null;
  const address = listen === null ? null : parseListen(listen).value;
  if (address === null) return;
  const bytes = parseAnyAddress(address.host).value!;
  const loopback = bytes.length === 4 ? bytes[0] === 127 : formatAddress(bytes) === '::1';
  if (loopback) return;
  const message = `${address.host} can be reached by others, and nobody is asked for a password; 127.0.0.1 can not`;
  report(['metrics', 'listen'], 'GD_CONFIG_LISTEN_PUBLIC', message, 'warning');
}

/** Source ports of tunnel checks: below 65536, not those of traffic, not the kernel's to give away. Of no meaning where no pool has such a check. */
function checkProbes({ probes, egress, pools }: Draft, report: Report): void {
  const isUsed = pools.some(({ frame }) => frame?.health?.checks.some(({ type }) => type === 'tunnel') ?? false);
  if (probes === null || !isUsed) return;
  const from = probes['source-port-base'];
  const to = from + probes['source-ports'] - 1;
  const at = ['probes', 'source-port-base'];
  if (to > 65535) {
    const most = 65536 - probes['source-ports'];
    report(at, 'GD_CONFIG_PROBE_PORTS', `ports ${from} to ${to} end above 65535; the base may be ${most} at most`);
    return;
  }
  if (egress?.driver === 'auto' || egress?.driver === 'udp') {
    const first = egress['source-port-base'];
    const last = first + egress['source-ports'] - 1;
    if (from <= last && to >= first) {
      const message = `ports ${from} to ${to} of tunnel checks are ports ${first} to ${last} of traffic (egress) too; choose others`;
      report(at, 'GD_CONFIG_PROBE_PORTS', message);
      return;
    }
  }
  if (from > EPHEMERAL.to || to < EPHEMERAL.from) return;
  const range = `${EPHEMERAL.from} to ${EPHEMERAL.to}`;
  const message = `ports ${from} to ${to} lie in ${range}, which the kernel gives to other programs; 61424 is free of them`;
  report(at, 'GD_CONFIG_EPHEMERAL_PORTS', message, 'warning');
}
