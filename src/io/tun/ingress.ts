/** TUN: the kernel routes service prefixes to a device, and each thread reads its own queue of it. See README.md beside this file. */
import { LINK_RAW_IP } from '../../base/batch.ts';
import { DeviceQueue, type DeviceQueueOptions } from '../device-queue.ts';

export type TunIngressOptions = DeviceQueueOptions;

export class TunIngress extends DeviceQueue {
  constructor(options: TunIngressOptions) {
    super('tun', { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true }, options);
  }
}
