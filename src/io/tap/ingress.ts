/** TAP: service addresses are hosts on an Ethernet link, and each thread reads its own queue of it. See README.md beside this file. */
import { LINK_ETHERNET } from '../../base/batch.ts';
import { DeviceQueue, type DeviceQueueOptions } from '../device-queue.ts';
import { checkLinkAddress, defaultLinkAddress } from './link-address.ts';

export interface TapIngressOptions extends DeviceQueueOptions {
  /** The MAC address we answer with, 6 bytes; default: derived from host and device. Another than the interface's own. */
  readonly linkAddress?: Uint8Array;
}

export class TapIngress extends DeviceQueue {
  /** Throws CodedError GD_IO_LINK_ADDRESS for an address that no single host can have. */
  constructor(options: TapIngressOptions) {
    const bytes = options.linkAddress ?? defaultLinkAddress(options.device);
    checkLinkAddress(bytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const linkAddress = { high: view.getInt32(0), low: view.getUint16(4) };
    // A frame may have passed no router at all (a bridge port): neither its TTL nor its header is settled.
    super('tap', { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false, linkAddress }, options);
  }
}
