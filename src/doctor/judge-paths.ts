/** What tried ways (path-probes.ts) mean. */
import { formatAddress } from '../base/address.ts';
import type { Found } from './finding.ts';
import type { Probed, Tried } from './path-probes.ts';

/** For each way the one cause from which the rest follows. */
export function judgePaths({ tried, left }: Probed): Found[] {
  const found = group(tried.filter(({ size }) => size > 0));
  const unprivileged = tried.some(({ size, short }) => size > 0 && short === null);
  if (unprivileged) {
    found.push({
      id: 'path-not-probed',
      level: 'skipped',
      text: 'pings need CAP_NET_RAW: whether backends answer, and whether long packets vanish on their way, is not known',
      fix: 'sudo gue-director doctor',
    });
  }
  if (left > 0) {
    found.push({ id: 'path-not-probed', level: 'info', text: `${left} backends beyond the first were not probed`, fix: '' });
  }
  return found;
}

/**
 * For how many backends it holds that they answer and refuse nothing, in words; null when for none: nothing reached one. What is wrong with the others is a finding of its own. Of a way
 * on which only long packets are lost the worker is known to answer.
 */
export function answeringText({ tried, left }: Probed): string | null {
  const answering = tried.filter((one) => {
    const kind = kindOf(one);
    return one.size > 0 && one.short !== null && (kind === null || kind === SMALLER || kind === BLACK_HOLE);
  }).length;
  const of = tried.length + left;
  if (answering === 0) return null;
  return answering === of
    ? 'each backend answers, and none refuses tunnel packets'
    : `${answering} of ${of} backends answer, and none of these refuses tunnel packets`;
}

/** What is true of several backends for the same reason is said once, with the first one's name. */
function group(tried: readonly Tried[]): Found[] {
  const groups = new Map<string, { readonly first: Tried; readonly kind: Kind; count: number }>();
  for (const one of tried) {
    const kind = kindOf(one);
    if (kind === null) continue;
    const key = `${kind.id} ${kind.key(one)}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { first: one, kind, count: 1 });
    else group.count++;
  }
  return [...groups.values()].map(({ first, kind, count }) => {
    const others = count === 1 ? '' : ` and ${count - 1} more`;
    const { pool, name, address } = first;
    const who = `backend ${pool}/${name} (${formatAddress(address)})${others}`;
    return { id: kind.id, level: kind.level, text: kind.text(first, who), fix: kind.fix(first) };
  });
}

interface Kind {
  readonly id: string;
  readonly level: Found['level'];
  /** Findings with the same key are one. */
  key(tried: Tried): string;
  text(tried: Tried, who: string): string;
  fix(tried: Tried): string;
}

const family = ({ address }: Tried) => (address.length === 4 ? '' : ' -6');
const device = ({ route }: Tried) => route?.interface ?? '';

const MISSING: Kind = {
  id: 'neighbour-missing',
  level: 'error',
  key: ({ unresolved }) => `${unresolved}`,
  text: ({ unresolved, address, route }, who) => {
    const hop = formatAddress(unresolved as Uint8Array);
    const question = address.length === 4 ? 'ARP' : 'neighbour discovery';
    const role = route?.gateway == null ? '' : `, the next hop to ${who},`;
    const what = route?.gateway == null ? who : hop;
    return `nobody answers ${question} for ${what}${role} on ${route?.interface}: the host is off, or on another network`;
  },
  fix: (tried) =>
    `ip${family(tried)} neigh show dev ${device(tried)}; ip${family(tried)} route get ${formatAddress(tried.address)}`,
};

const CLOSED: Kind = {
  id: 'tunnel-port-closed',
  level: 'error',
  key: ({ port, encapsulation }) => `${port} ${encapsulation}`,
  text: ({ port, encapsulation }, who) =>
    `${who} refuses tunnel packets: nothing unwraps ${encapsulation} at UDP port ${port} there (port unreachable)`,
  fix: (tried) =>
    `ip${family(tried)} fou add port ${tried.port}${tried.encapsulation === 'fou' ? ' ipproto 4' : ' gue'}   # on the worker; gue-director doctor --worker there says more`,
};

const NO_WAY: Kind = {
  id: 'backend-unreachable',
  level: 'error',
  key: ({ refused, route }) => `${refused} ${route?.interface}`,
  text: ({ refused, route }, who) =>
    `a router on the way by ${route?.interface} has no way to ${who}, or a firewall there refuses (${refused === 'ENETUNREACH' ? 'network' : 'host'} unreachable)`,
  fix: ({ address }) => `tracepath -n ${formatAddress(address)}`,
};

const PROHIBITED: Kind = {
  id: 'tunnel-prohibited',
  level: 'error',
  key: ({ refused }) => `${refused}`,
  text: ({ refused }, who) => `a firewall, here or on the way, refuses tunnel packets to ${who} (${refused})`,
  fix: () => 'nft list ruleset',
};

const SMALLER: Kind = {
  id: 'path-mtu',
  level: 'warning',
  key: ({ learned, size }) => `${learned} ${size}`,
  text: ({ learned, size }, who) =>
    `a router on the way to ${who} carries ${learned} bytes and refused ${size}: larger packets are cut, fragmented or answered (docs/oversize.md)`,
  fix: ({ address }) => `tracepath -n ${formatAddress(address)}   # the hop where pmtu falls is the one whose MTU to raise`,
};

const BLACK_HOLE: Kind = {
  id: 'path-black-hole',
  level: 'error',
  key: ({ largest, size }) => `${largest} ${size}`,
  text: ({ largest, size }, who) =>
    `packets of ${size} bytes to ${who} vanish without a word, ${largest === 0 ? 'short ones' : `those of ${largest}`} arrive: a link on the way is smaller, and its ICMP is filtered`,
  fix: (tried) => {
    const { route, largest, address } = tried;
    const text = formatAddress(address);
    const via = route?.gateway == null ? '' : ` via ${formatAddress(route.gateway)}`;
    const least = address.length === 4 ? 576 : 1280;
    return `ip${family(tried)} route replace ${text}/${address.length * 8}${via} dev ${device(tried)} mtu ${Math.max(largest, least)}`;
  },
};

/** What the silence of a backend behind routers comes from, as far as routers tell. */
function vanishingText({ vanishing, route }: Tried): string {
  if (vanishing?.last != null) {
    const { address, hop } = vanishing.last;
    return `packets vanish behind ${formatAddress(address)} (hop ${hop}), the last router on the way that answers: a blackhole route or filter there, or the host is off or filters`;
  }
  if (route?.gateway != null) return 'no router on the way tells more: it is off, cut off, or filters';
  return 'it is on this link and its link-layer address is known: it filters, or has just gone';
}

const SILENT: Kind = {
  id: 'backend-silent',
  level: 'warning',
  key: ({ route, vanishing }) => `${route?.interface} ${vanishing?.last?.address ?? ''}`,
  text: (tried, who) => `${who} does not answer pings, so whether packets arrive is not known; ${vanishingText(tried)}`,
  fix: ({ address }) => `tracepath -n ${formatAddress(address)}`,
};

const SWALLOWED: Kind = {
  id: 'backend-blackholed',
  level: 'error',
  key: ({ route }) => `${route?.gateway}`,
  text: ({ route }, who) =>
    `${formatAddress(route?.gateway as Uint8Array)}, the first router on the way to ${who}, throws its packets away without a word, and not those of other backends: a blackhole route or a filter there`,
  fix: ({ address, route }) =>
    `ip${address.length === 4 ? '' : ' -6'} route get ${formatAddress(address)}; nft list ruleset   # on ${formatAddress(route?.gateway as Uint8Array)}`,
};

function kindOf(tried: Tried): Kind | null {
  const { refused, short, long, unresolved, learned, size, vanishing } = tried;
  if (refused === 'ECONNREFUSED') return CLOSED;
  if (unresolved !== null && short !== true) return MISSING;
  if (refused === 'EHOSTUNREACH' || refused === 'ENETUNREACH') return NO_WAY;
  if (refused === 'EACCES' || refused === 'EPERM') return PROHIBITED;
  if (refused === 'EMSGSIZE' || (learned > 0 && learned < size)) return SMALLER;
  if (short === true && long === false) return BLACK_HOLE;
  if (short !== false) return null;
  return vanishing?.swallowed === true ? SWALLOWED : SILENT;
}
