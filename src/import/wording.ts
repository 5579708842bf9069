/** The words of what is imported: both describe the kernel's IPVS, each in options of its own. */
export interface Wording {
  /** `gue-director import COMMAND`. */
  readonly command: string;
  /** Backends bear the line that they come from; services and checks always do. */
  readonly showsPlaces: boolean;
  readonly netmask: (mask: string) => string;
  readonly engine: (engine: string) => string;
  readonly thresholds: (upper: number, lower: number) => string;
  /** Who puts the service's port in the place of another one where nothing is translated. */
  readonly program: string;
  /** What the order of servers is when nobody gives the kernel's own. */
  readonly order: string;
  /** The same in half a sentence. */
  readonly shortOrder: string;
  /** What a server of weight 0 that never had another is like. */
  readonly asAdded: string;
}

export const IPVSADM: Wording = {
  command: 'ipvs',
  showsPlaces: false,
  netmask: (mask) => `-M ${mask}`,
  engine: (engine) => `--pe ${engine}`,
  thresholds: (upper, lower) => `-x ${upper} -y ${lower}`,
  program: 'ipvsadm',
  order:
    'mh depends on the order in which servers were added: here they stand as ipvsadm-restore of this file adds them; for rules that were made ' +
    'otherwise import with --order and a copy of /proc/net/ip_vs',
  shortOrder: 'the order is that after ipvsadm-restore',
  asAdded: 'as after ipvsadm-restore',
};

export const KEEPALIVED: Wording = {
  command: 'keepalived',
  showsPlaces: true,
  netmask: (mask) => `persistence_granularity ${mask}`,
  engine: (engine) => `persistence_engine ${engine}`,
  thresholds: (upper, lower) => [upper > 0 ? `uthreshold ${upper}` : '', lower > 0 ? `lthreshold ${lower}` : ''].join(' ').trim(),
  program: 'keepalived',
  order:
    'mh depends on the order in which servers were added: here they stand as keepalived adds them when it starts; it removes one that fails, and adds it ' +
    'again at the end: where that has happened import with --order and a copy of /proc/net/ip_vs',
  shortOrder: 'the order is that after a start of keepalived',
  asAdded: 'as after a start of keepalived',
};
