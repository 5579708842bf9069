// Two namespaces joined by a veth pair, MTU 65,535, neighbours fixed: the wire that the driver contract is tested on.
//
//     near: va 10.1.0.1, fd00:1::1 ──────── vb 10.1.0.2, fd00:1::2 :far

import { HEADROOM } from '../../src/base/arena.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch } from '../../src/io/open.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';
import { RawEgress } from '../../src/io/raw/egress.ts';
import { openDatagramSocket } from '../../src/raw-socket/datagram.ts';
import { closeDescriptor, readDescriptor } from '../../src/raw-socket/file.ts';
import { pin } from '../../src/raw-socket/memory.ts';
import { completePartial } from '../../src/wire/checksum.ts';
import { Namespace, run } from '../host/namespace.ts';
import { receiveAll } from './driver.ts';

export const NEAR_MAC = [2, 0, 0, 0, 0, 1];
export const FAR_MAC = [2, 0, 0, 0, 0, 2];
export const NEAR4 = Uint8Array.from([10, 1, 0, 1]);
export const FAR4 = Uint8Array.from([10, 1, 0, 2]);
const six = (last: number) => Uint8Array.from([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
export const NEAR6 = six(1);
export const FAR6 = six(2);

export class Wire {
  readonly near = new Namespace();
  readonly far = new Namespace();

  constructor(mtu = 65535) {
    this.near.connect('va', this.far, 'vb');
    const end = (name: string, mac: number[], last: number, peer: number[], other: number) => {
      const text = (bytes: number[]) => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
      run(`ip link set ${name} address ${text(mac)} mtu ${mtu}`);
      run(`ip addr add 10.1.0.${last}/24 dev ${name}`);
      run(`ip addr add fd00:1::${last}/64 dev ${name} nodad`);
      run(`ip neigh replace 10.1.0.${other} lladdr ${text(peer)} dev ${name} nud permanent`);
      run(`ip neigh replace fd00:1::${other} lladdr ${text(peer)} dev ${name} nud permanent`);
    };
    this.near.inside(() => {
      end('va', NEAR_MAC, 1, FAR_MAC, 2);
      run('ip route add 10.9.9.0/24 via 10.1.0.2');
    });
    this.far.inside(() => end('vb', FAR_MAC, 2, NEAR_MAC, 1));
  }

  close(): void {
    this.near.close();
    this.far.close();
  }
}

/** Sends IPv4 packets as they are, from the namespace it was made in. */
export class Injector {
  readonly #egress = new RawEgress();

  deliver(packets: readonly Uint8Array[]): void {
    const mapped = createBatch(new MemoryIngress({ frames: [] }), 1);
    for (const packet of packets) {
      const { batch } = mapped;
      batch.count = 1;
      batch.outAt[0] = HEADROOM;
      batch.outLength[0] = packet.length;
      batch.outerFamily[0] = 4;
      batch.verdict[0] = VERDICT_FORWARD;
      batch.reason[0] = 0;
      batch.arena.bytes.set(packet, HEADROOM);
      this.#egress.send(batch);
      if (batch.verdict[0] !== VERDICT_FORWARD) throw new Error(`could not inject ${packet.length} bytes`);
    }
    mapped.release();
  }

  close(): void {
    this.#egress.close();
  }
}

/** The client's UDP socket: payloads that came to `address`, port 4000. */
export class Listener {
  readonly #descriptor: number;
  readonly #buffer = pin(65536);

  constructor(address: Uint8Array) {
    this.#descriptor = openDatagramSocket(address, 4000, 1 << 20);
  }

  payloads(): Uint8Array[] {
    const found: Uint8Array[] = [];
    for (;;) {
      const bytes = readDescriptor(this.#descriptor, this.#buffer.address, 65536);
      if (bytes < 0) return found;
      found.push(this.#buffer.bytes.slice(0, bytes));
    }
  }

  close(): void {
    closeDescriptor(this.#descriptor);
  }
}

/** Tunnel packets that arrive at an interface, as a capture sees them: UDP to port 6080, IP in IP, GRE. */
export class Capture {
  readonly #ingress: PacketIngress;

  constructor(device: string) {
    const tunnels = [
      { protocol: 17, portFrom: 6080, portTo: 6080 },
      ...[4, 41, 47].map((protocol) => ({ protocol, portFrom: 0, portTo: 65535 })),
    ];
    this.#ingress = new PacketIngress({
      device,
      services: tunnels.flatMap((tunnel) => [
        { ...tunnel, prefix: { bytes: FAR4, length: 32 } },
        { ...tunnel, prefix: { bytes: FAR6, length: 128 } },
      ]),
    });
  }

  take(count: number): Uint8Array[] {
    const mapped = createBatch(this.#ingress, 64);
    const found: Uint8Array[] = [];
    receiveAll(this.#ingress, mapped.batch, count, (batch) => {
      for (let i = 0; i < batch.count; i++) {
        const at = batch.frameAt[i];
        const end = at + batch.frameLength[i];
        // A sender on the same machine leaves the sum to a network card that is not there.
        if ((batch.virtioFlags[i] & 1) !== 0)
          completePartial(batch.arena.view, at + batch.csumStart[i], batch.csumOffset[i], end);
        found.push(batch.arena.bytes.slice(at + 14, end));
      }
    });
    mapped.release();
    return found;
  }

  close(): void {
    this.#ingress.close();
  }
}
