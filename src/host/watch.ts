/** Change notifications: whether links, addresses, routes or neighbours changed since the last look. */
import { NetlinkSocket } from '../raw-socket/netlink.ts';
import {
  ROUTING_GROUPS,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
} from '../raw-socket/netlink-route.ts';

export interface HostChanges {
  links: boolean;
  addresses: boolean;
  routes: boolean;
  neighbours: boolean;
}

const KINDS: ReadonlyMap<number, keyof HostChanges> = new Map([
  [RTM_NEWLINK, 'links'],
  [RTM_DELLINK, 'links'],
  [RTM_NEWADDR, 'addresses'],
  [RTM_DELADDR, 'addresses'],
  [RTM_NEWROUTE, 'routes'],
  [RTM_DELROUTE, 'routes'],
  [RTM_NEWNEIGH, 'neighbours'],
  [RTM_DELNEIGH, 'neighbours'],
]);

/** Watches the network namespace in which it was made. Our own changes are reported like anyone's. */
export class HostWatch {
  readonly #socket = new NetlinkSocket({
    groups: ROUTING_GROUPS,
  });

  /** What changed since the last call, without blocking. After an overrun of the queue everything counts as changed. */
  poll(): HostChanges {
    const { messages, overrun } = this.#socket.drain();
    const changes: HostChanges = { links: overrun, addresses: overrun, routes: overrun, neighbours: overrun };
    for (const message of messages) {
      const kind = KINDS.get(message.type);
      if (kind !== undefined) changes[kind] = true;
    }
    return changes;
  }

  close(): void {
    this.#socket.close();
  }
}
