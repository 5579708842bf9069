// The kernel's own IPVS as a director: packets in, what it puts on the wire out.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runInGuest } from './once.ts';

export interface Incoming {
  /** A whole IP packet. */
  readonly packet: Uint8Array;
  /** Set when the transport checksum is partial: where summing starts, and where in the transport header its result goes. */
  readonly partial: { readonly start: number; readonly offset: number } | null;
}

export interface IpvsTunnel {
  readonly vip: string;
  readonly protocols: readonly ('tcp' | 'udp')[];
  readonly port: number;
  /** Where IPVS sends to; the only real server. */
  readonly endpoint: string;
  /** Words for `ipvsadm -a` behind `-i`. */
  readonly words: readonly string[];
  readonly packets: readonly Incoming[];
}

/** Addresses of the guest on the wire: its tunnels' sources. */
export const WIRE4 = '10.77.1.1';
export const WIRE6 = 'fd77::1';

/** For tens of thousands of packets on a busy machine. */
const PATIENCE_MS = 300_000;

const SETUP = [
  'ip link set lo up',
  // No router solicitations and no duplicate address detection on the wire.
  'for name in clients wire; do echo 0 > /proc/sys/net/ipv6/conf/$name/accept_dad; ip link set $name addrgenmode none; done',
  'ip link set clients mtu 9000 up; ip link set wire mtu 9000 up',
  `ip addr add ${WIRE4}/24 dev wire; ip addr add ${WIRE6}/64 dev wire nodad`,
  'ip route add default dev clients; ip -6 route add default dev clients',
  'for name in all default clients wire; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done',
  'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding',
  // Any first packet of a TCP flow makes a connection.
  'echo 1 > /proc/sys/net/ipv4/vs/sloppy_tcp',
];

function commands(tunnel: IpvsTunnel): string[] {
  const six = tunnel.vip.includes(':');
  const name = (address: string) => (address.includes(':') ? `[${address}]:${tunnel.port}` : `${address}:${tunnel.port}`);
  return [
    `ip addr add ${tunnel.vip}/${six ? '128' : '32'} dev lo${six ? ' nodad' : ''}`,
    ...tunnel.protocols.flatMap((protocol) => {
      const service = `-${protocol[0]} ${name(tunnel.vip)}`;
      return [`ipvsadm -A ${service} -s rr`, `ipvsadm -a ${service} -r ${name(tunnel.endpoint)} -i ${tunnel.words.join(' ')}`];
    }),
  ];
}

/** For each tunnel what left for each of its packets; null when nothing did. */
export async function forwardThroughIpvs(tunnels: readonly IpvsTunnel[]): Promise<(Uint8Array | null)[][]> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-ipvs-'));
  try {
    const question = {
      setup: [...SETUP, ...tunnels.flatMap(commands)],
      cases: tunnels.map(({ endpoint, packets }) => ({
        endpoint,
        packets: packets.map(({ packet, partial }) => [
          Buffer.from(packet).toString('hex'),
          partial?.start ?? -1,
          partial?.offset ?? 0,
        ]),
      })),
    };
    writeFileSync(join(folder, 'question'), JSON.stringify(question));
    const script = [
      'for module in ipv6 ip_vs ip_vs_rr tun; do modprobe $module; done',
      `mkdir /run/share; mount -t hostfs -o ${folder} none /run/share`,
      'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad',
      `python3 ${resolve(import.meta.dirname, 'ipvs-forward.py')} < /run/share/question > /run/share/answer 2> /run/share/said`,
    ];
    const said = await runInGuest(script, [], PATIENCE_MS);
    const answer = readFileSync(join(folder, 'answer'), 'utf8');
    if (answer === '') throw new Error(`${said}\n${readFileSync(join(folder, 'said'), 'utf8')}`);
    const made = JSON.parse(answer) as (string | null)[][];
    return made.map((list) => list.map((text) => (text === null ? null : Uint8Array.from(Buffer.from(text, 'hex')))));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
