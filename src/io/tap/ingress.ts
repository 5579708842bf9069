/** TAP: service addresses are hosts on an Ethernet link, and each thread reads its own queue of it. See README.md beside this file. */
import { LINK_ETHERNET } from '../../base/batch.ts';
import { DeviceQueue, type DeviceQueueOptions } from '../device-queue.ts';
import { checkLinkAddress, defaultLinkAddress } from './link-address.ts';

export interface TapIngressOptions extends DeviceQueueOptions {
  /** The MAC address we answer with, 6 bytes; default: derived from host and device. Another than the interface's own. */
  readonly linkAddress?: Uint8Array;
  /** The kernel routes to the device, and has decremented the TTL; default false: a bridge port, no router has seen the packet. */
  readonly routed?: boolean;
}

export class TapIngress extends DeviceQueue {
  /** Throws CodedError GD_IO_LINK_ADDRESS for an address that no single host can have. */
  constructor(options: TapIngressOptions) {
    const bytes = options.linkAddress ?? defaultLinkAddress(options.device);
    checkLinkAddress(bytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const linkAddress = { high: view.getInt32(0), low: view.getUint16(4) };
    const hopDone = options.routed ?? false;
    // Others may be on the link even so: nobody vouches for the header.
    super('tap', { link: LINK_ETHERNET, hopDone, canPass: false, headerVerified: false, linkAddress }, options);
  }
}
