// The host's kernel as judge of what a router says and does to a packet that is too big for its way out, or whose TTL runs out: written into one TUN device,
// routed to a second one by a route with an MTU. What the kernel answers comes back out of the first, what it forwards out of the second.
//
//     write: | virtio-net header | packet |  ──► in0 ──► route with mtu ──► out0 ──►  read: packet, or its fragments
//     read:  | virtio-net header | ICMP error | ◄── in0 ◄──┘
//
// Both happen inside the write: when it returns, everything is waiting.

import { Namespace, run, setSysctl } from '../host/namespace.ts';
import { Device, EVERY_OFFLOAD, type Facts } from './kernel.ts';

const VIRTIO_HEADER = 10;
/** The kernel's own addresses, from which it answers. */
const ROUTER4 = '10.8.255.254';
const ROUTER6 = 'fd00:8::ffff';

export interface Outcome {
  /** ICMP errors and whatever else came back to the sender. */
  readonly answers: readonly Uint8Array[];
  readonly forwarded: readonly Uint8Array[];
}

/** Destination behind a way of MTU `mtus[k]`: 10.9.k.1 and fd00:9:k::1. Clients are every other address. */
export class KernelRouter {
  readonly #space = new Namespace();
  readonly #mtus: readonly number[];
  #in: Device | undefined;
  #out: Device | undefined;

  constructor(mtus: readonly number[]) {
    this.#mtus = mtus;
    try {
      this.#space.inside(() => {
        this.#in = new Device({ name: 'in0', kind: 'tun', offload: EVERY_OFFLOAD, headerBytes: VIRTIO_HEADER });
        this.#out = new Device({ name: 'out0', kind: 'tun', offload: 0, headerBytes: 0 });
        setSysctl('net/ipv4/ip_forward', 1);
        setSysctl('net/ipv6/conf/all/forwarding', 1);
        for (const device of ['all', 'in0']) setSysctl(`net/ipv4/conf/${device}/rp_filter`, 0);
        for (const device of ['in0', 'out0']) setSysctl(`net/ipv6/conf/${device}/router_solicitations`, 0);
        // A label of its own for each flow can not be foretold: the kernel mixes it from a secret.
        setSysctl('net/ipv6/auto_flowlabels', 0);
        // Linux limits how often it says that a TTL ran out; here it is asked for what it says, every time.
        setSysctl('net/ipv4/icmp_ratemask', 0);
        setSysctl('net/ipv4/icmp_ratelimit', 0);
        setSysctl('net/ipv6/icmp/ratelimit', 0);
        setSysctl('net/ipv6/icmp/ratemask', 255);
        run('ip link set in0 mtu 65521 up');
        run('ip link set out0 mtu 65535 txqueuelen 20000 up');
        run(`ip addr add ${ROUTER4}/16 dev in0`);
        run(`ip addr add ${ROUTER6}/32 dev in0 nodad`);
        run('ip route add default dev in0');
        run('ip -6 route add default dev in0');
        for (const [k, mtu] of mtus.entries()) {
          run(`ip route add 10.9.${k}.0/24 dev out0 mtu ${mtu}`);
          // Locked, so that it counts where the kernel forwards and not only where it sends (ip6_dst_mtu_maybe_forward): as a device's does.
          if (mtu >= 1280) run(`ip -6 route add fd00:9:${k.toString(16)}::/48 dev out0 mtu lock ${mtu}`);
        }
      });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  destination4(mtu: number): string {
    return `10.9.${this.#mtus.indexOf(mtu)}.1`;
  }

  destination6(mtu: number): string {
    return `fd00:9:${this.#mtus.indexOf(mtu).toString(16)}::1`;
  }

  /** What comes of an IP packet. `facts`: its virtio-net header, when it is not an ordinary packet. */
  route(packet: Uint8Array, facts?: Facts): Outcome {
    const header = new DataView(new ArrayBuffer(VIRTIO_HEADER));
    if (facts !== undefined) {
      header.setUint8(0, facts.flags);
      header.setUint8(1, facts.gsoType);
      header.setUint16(2, facts.headerLength, true);
      header.setUint16(4, facts.gsoSize, true);
      header.setUint16(6, facts.csumStart, true);
      header.setUint16(8, facts.csumOffset, true);
    }
    (this.#in as Device).write(new Uint8Array(header.buffer), packet);
    const answers = drain(this.#in as Device).map((frame) => frame.subarray(VIRTIO_HEADER));
    return { answers: answers.filter(isNoGreeting), forwarded: drain(this.#out as Device).filter(isNoGreeting) };
  }

  close(): void {
    this.#in?.close();
    this.#out?.close();
    this.#space.close();
  }
}

function drain(device: Device): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let packet = device.read(); packet !== null; packet = device.read()) found.push(packet);
  return found;
}

/** False for the kernel's own multicasts: neighbour discovery, MLD. */
function isNoGreeting(packet: Uint8Array): boolean {
  return packet[0] >> 4 === 4 || packet[24] !== 0xff;
}
