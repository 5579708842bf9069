/**
 * The schema of the configuration file: the one place where a key, its limits, its default and its description stand. Errors,
 * the JSON Schema for editors and the test of docs/configuration.md all come from here. Strict: an unknown key is an error.
 *
 * What can be said about one value alone is checked here; what needs two places (names, overlaps, loops) is in `checks/`.
 */
import { z } from 'zod';
import { MAX_MEMBERS } from '../maglev-hash/index.ts';
import { SOURCE_PORT_RULES } from '../pipeline/spec.ts';
import { parseHostAddress, parsePrefix, type Refusal } from './address.ts';
import { PROFILE_NAMES } from './headers.ts';
import { healthSchema } from './health.ts';
import { parseLinkAddress } from './link-address.ts';
import { parseListen } from './listen.ts';
import { parsePorts } from './port.ts';
import { PROTOCOL_NAMES, protocolRefusal } from './protocol.ts';
import { schemeSchema } from './scheme.ts';
import { parseServerId } from './server-id.ts';
import { parseTunnelSource } from './tunnel-source.ts';

export const MIN_TABLE_SIZE = 3;
/** The greatest table: ten times the usual one, as in the Maglev paper's second size (65,537 and 655,373). */
export const MAX_TABLE_SIZE = 655_373;
/** Slots name a backend of the pool in 16 bits. */
export const MAX_POOL_BACKENDS = MAX_MEMBERS;

/** Of `fragments.hold-per-source`. */
export const DEFAULT_HOLD_PER_SOURCE = 512;

/** The text of a value, checked by a parser that returns its refusal. */
function parsedText(parse: (text: string) => { refusal: Refusal | null }) {
  return z.string().superRefine((text, context) => {
    const { refusal } = parse(text);
    if (refusal !== null) context.addIssue({ code: 'custom', message: refusal.message, params: { code: refusal.code } });
  });
}

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/);
export const poolName = name;
const hostAddress = parsedText(parseHostAddress);
const prefix = parsedText(parsePrefix);
const portNumber = z.int().min(1).max(65535);
const servicePort = z.union([z.int(), z.string()]).superRefine((port, context) => {
  const { refusal } = parsePorts(port);
  if (refusal !== null) context.addIssue({ code: 'custom', message: refusal.message, params: { code: refusal.code } });
});
const path = z.string().min(1).max(4096);
/** IFNAMSIZ is 16 with the final zero byte; dev_valid_name() of net/core/dev.c refuses "/", ":" and white space. */
const interfaceName = z.string().superRefine((text, context) => {
  if (/^[^\s/:]{1,15}$/.test(text) && text !== '.' && text !== '..') return;
  const message = `"${text}" can not name a network interface: 1 to 15 characters, no space, "/" or ":"`;
  context.addIssue({ code: 'custom', message, params: { code: 'GD_CONFIG_INTERFACE' } });
});

/** The least is TCP_MIN_MSS of Linux (include/net/tcp.h), the most what an IPv4 packet can hold. */
const MSS = { least: 88, most: 65495 };
const mssClamp = z.union([z.enum(['off', 'auto']), z.int().min(MSS.least).max(MSS.most)]).default('off');

const protocol = z.union([z.enum(PROTOCOL_NAMES), z.int().min(1).max(254)]).superRefine((value, context) => {
  const refusal = typeof value === 'number' ? protocolRefusal(value) : null;
  if (refusal !== null) context.addIssue({ code: 'custom', message: refusal.message, params: { code: refusal.code } });
});

/** Config rotation 7 says that an id is not to be routed by (draft-ietf-quic-load-balancers-21 §3.2). */
const rotation = z.int().min(0).max(6);

const quicSchema = z.strictObject({
  scheme: z
    .enum(['quic-lb', 'katran'])
    .describe('Where the server id stands: as in the IETF draft without a key, or as Katran has it.'),
  'server-id-length': z.int().min(1).max(15).optional().describe('Bytes of the server id. Only quic-lb, which needs it.'),
  'config-rotation': z
    .union([rotation, z.array(rotation).min(1)])
    .optional()
    .describe('Value of the first three bits of the ids that are read, or a list of them; unset: 0. Only quic-lb.'),
});

export const serviceSchema = z.strictObject({
  name: name.describe('Name of the service, unique: metric label, log field. Letters, digits, ".", "_" and "-".'),
  address: z
    .union([prefix, z.array(prefix).min(1)])
    .describe('The virtual IP: an address or a prefix, IPv4 or IPv6, or a list of them. The longest prefix wins.'),
  protocol: protocol.describe('IP protocol, by name or number; any for whatever no other service of the address takes.'),
  port: z
    .union([servicePort, z.array(servicePort).min(1)])
    .optional()
    .describe(
      'Destination port: a number, a range such as "8000-8999", all, or a list of them. The narrowest range wins. TCP, UDP and SCTP need it.',
    ),
  affinity: z
    .enum(['5-tuple', '3-tuple', 'source-address', 'ports', 'none'])
    .default('5-tuple')
    .describe(
      'Which packets stay together on one backend: those of a connection; of a client, service address and protocol; of a client; of a pair of ports (SCTP); none (UDP).',
    ),
  oversize: z
    .enum(['segment', 'segment-and-tell', 'icmp', 'fragment-inner', 'fragment-outer', 'drop'])
    .default('segment')
    .describe(
      'What becomes of a packet too big for its tunnel: cut or fragmented and nothing said, cut and told, told, fragmented inside or outside, lost.',
    ),
  fragments: z
    .enum(['hold', 'by-address', 'drop'])
    .default('hold')
    .describe(
      'IP fragments: hold follows the first one of each packet and keeps early ones until it comes; by-address steers all by their addresses; drop takes none.',
    ),
  'mss-clamp': mssClamp.describe(
    'The largest MSS that a SYN may announce to the worker: off, bytes, or auto for what fits the tunnel whole. Only TCP.',
  ),
  quic: quicSchema
    .optional()
    .describe('Routing by QUIC connection id, so that a client which moves keeps its backend. Only UDP.'),
  pool: name.describe('Name of the pool that serves it.'),
});

const source = z.strictObject({
  ipv4: parsedText((text) => parseTunnelSource(text, 4))
    .optional()
    .describe('Outer source toward IPv4 backends: an address of this host, `by-route`, or a prefix that flows are spread over.'),
  ipv6: parsedText((text) => parseTunnelSource(text, 6))
    .optional()
    .describe('Outer source toward IPv6 backends: an address of this host, `by-route`, or a prefix that flows are spread over.'),
});

/** What the outer headers say: all optional, because the profile in `headers` has a value for each (docs/headers.md). */
const headerKeys = {
  headers: z
    .enum(PROFILE_NAMES)
    .optional()
    .describe('Whose outer headers to write: a value for each of the keys below that is not set here. Unset: default.'),
  ttl: z
    .union([z.enum(['copy']), z.int().min(1).max(255)])
    .optional()
    .describe("Outer TTL or hop limit; copy takes the inner packet's, after its one decrement. By default 64."),
  dscp: z
    .union([z.enum(['copy']), z.int().min(0).max(63)])
    .optional()
    .describe("Outer DSCP; copy takes the inner packet's. By default copy."),
  ecn: z
    .enum(['copy', 'zero', 'rfc3168'])
    .optional()
    .describe(
      'Outer ECN: copy is the normal mode of RFC 6040, zero its compatibility mode, rfc3168 copies but for CE, which becomes ECT(0). By default copy.',
    ),
  df: z
    .enum(['set', 'copy', 'clear'])
    .optional()
    .describe("DF of outer IPv4 packets; copy takes the inner packet's, IPv6 counting as without. By default set."),
  identification: z
    .enum(['fresh', 'zero'])
    .optional()
    .describe('Identification of outer IPv4 packets without DF: one of their own each (RFC 6864), or 0. By default fresh.'),
  'flow-label': z
    .enum(['auto', 'hash', 'zero'])
    .optional()
    .describe(
      'Flow label of outer IPv6 packets: hash is made from the flow, auto is hash where no UDP source port shows the flow. By default auto.',
    ),
  'source-port': z
    .enum(SOURCE_PORT_RULES)
    .optional()
    .describe('How the outer UDP source port is made from the flow: our rule, or that of a peer. By default default.'),
};

const tunnelKeys = {
  encapsulation: z
    .enum(['gue', 'gue-v1', 'fou', 'ipip', 'gre'])
    .describe('How packets are wrapped: GUE variant 0, GUE variant 1 or FOU over UDP; IP in IP; GRE.'),
  port: portNumber.describe('UDP destination port of the tunnel: where the backends listen. With fou, for IPv4 packets inside.'),
  'port-ipv6': portNumber.describe('With fou, the UDP destination port for IPv6 packets inside. Unset: the same as port.'),
  checksum: z
    .enum(['auto', 'none', 'full', 'remcsum'])
    .describe(
      'Outer checksum: auto is full for UDP over IPv6; over IPv4 it is none, but full for trains sent by egress auto or udp; full always fills it; none never does; remcsum (gue) also leaves partial inner checksums to the worker.',
    ),
};

const sourceDescription = 'Outer source addresses; one for each address family that a backend uses.';

export const tunnelSchema = z.strictObject({
  encapsulation: tunnelKeys.encapsulation.default('gue').describe(tunnelKeys.encapsulation.description!),
  port: tunnelKeys.port.default(6080).describe(tunnelKeys.port.description!),
  'port-ipv6': tunnelKeys['port-ipv6'].optional().describe(tunnelKeys['port-ipv6'].description!),
  source: source.prefault({}).describe(sourceDescription),
  checksum: tunnelKeys.checksum.default('auto').describe(tunnelKeys.checksum.description!),
  ...headerKeys,
});

export const poolTunnelSchema = z.strictObject({
  encapsulation: tunnelKeys.encapsulation.optional().describe(tunnelKeys.encapsulation.description!),
  port: tunnelKeys.port.optional().describe(tunnelKeys.port.description!),
  'port-ipv6': tunnelKeys['port-ipv6'].optional().describe(tunnelKeys['port-ipv6'].description!),
  source: source.optional().describe(sourceDescription),
  checksum: tunnelKeys.checksum.optional().describe(tunnelKeys.checksum.description!),
  ...headerKeys,
});

/** Its source addresses are its pool's. */
const backendTunnelSchema = poolTunnelSchema.pick({ encapsulation: true, port: true, 'port-ipv6': true, checksum: true });

/** Thirty days: more is a mistake. */
const drainDeadline = z.int().min(0).max(2_592_000);

const serverId = z.union([z.int().min(0).max(0xffffffff), parsedText(parseServerId)]);

export const backendSchema = z.strictObject({
  name: name.describe('Name of the backend, unique in its pool: metric label, log field.'),
  address: hostAddress.describe("The worker's tunnel address, IPv4 or IPv6; also its identity in the table."),
  weight: z.int().min(0).max(65535).default(1).describe('Share of new flows, relative to the other backends; 0 takes none.'),
  state: z
    .enum(['active', 'draining', 'down'])
    .default('active')
    .describe('active serves; draining keeps its flows and takes no new one; down gets nothing.'),
  tunnel: backendTunnelSchema.optional().describe("What differs from the pool's tunnel for this backend."),
  'drain-deadline': drainDeadline.optional().describe("The pool's drain-deadline, for this backend."),
  'server-id': z
    .union([serverId, z.array(serverId).min(1)])
    .optional()
    .describe('Its number in QUIC connection ids, unique in the pool: a number, or bytes in hexadecimal, or a list of them.'),
});

/** That it is a prime, and which ones a peer takes, is in `checks/`: it depends on the scheme. */
const tableSize = z.int().min(MIN_TABLE_SIZE).max(MAX_TABLE_SIZE);

/** Patterns of files that one pool may name. */
export const MOST_PATTERNS = 64;

const poolKeys = {
  scheme: schemeSchema,
  'table-size': tableSize
    .optional()
    .describe(
      'Slots of the table: a prime, at least 100 for each backend so that shares are even within 1 %. Unset: 65537; as the peer has it with another scheme.',
    ),
  seed: z
    .int()
    .min(0)
    .max(0xffffffff)
    .default(0)
    .describe(
      'Seed of table and flow hashes. Directors that share traffic must have the same; changing it moves every flow. Only with scheme maglev.',
    ),
  tunnel: poolTunnelSchema.prefault({}).describe('What differs from the tunnel defaults for this pool.'),
  'backends-from': z
    .union([path, z.array(path).min(1).max(MOST_PATTERNS)])
    .optional()
    .describe(
      'Watched files that name further backends, or a list of them: paths, relative to this file; the last part may have * and ?.',
    ),
  'shrink-limit': z
    .int()
    .min(0)
    .max(100)
    .default(50)
    .describe(
      'Percent of its backends by which a watched file may shrink at once; one that shrinks by more is believed after 30 s, or with a reload. 100: always at once.',
    ),
  health: healthSchema.optional().describe('Health checks of the backends. Unset: none, all serve.'),
  'drain-deadline': drainDeadline
    .optional()
    .describe('Seconds after which a backend that is draining is down, and its flows move. Unset: never.'),
};
const backendsDescription =
  'The workers. Their order has no meaning, but with scheme ipvs-mh. Needed where no backends-from names some.';

export const poolSchema = z.strictObject({
  ...poolKeys,
  backends: z.array(backendSchema).max(MAX_POOL_BACKENDS).optional().describe(backendsDescription),
});

/** A pool without looking at its backends: lets the rest be checked when a backend is wrong. */
export const poolFrameSchema = z.strictObject({ ...poolKeys, backends: z.unknown() });

const linkAddress = parsedText(parseLinkAddress);
const queueLength = z
  .int()
  .min(1)
  .max(1_000_000)
  .default(10_000)
  .describe('Packets the device may queue (txqueuelen); 500, the default of the kernel, loses bursts.');

export const ingressSchema = z.discriminatedUnion('driver', [
  z
    .strictObject({
      driver: z.literal('tun').describe('Name of the driver.'),
      device: interfaceName.default('gd0').describe('Name of the TUN device that `run` creates.'),
      'queue-length': queueLength,
    })
    .describe('A TUN device: the kernel routes service prefixes to it. Works everywhere.'),
  z
    .strictObject({
      driver: z.literal('tap').describe('Name of the driver.'),
      device: interfaceName.default('gdt0').describe('Name of the TAP device that `run` creates.'),
      mac: linkAddress
        .optional()
        .describe(
          "The MAC address that service addresses answer with; not the device's own. Unset: derived from host and device.",
        ),
      bridge: interfaceName
        .optional()
        .describe('Bridge whose port the device becomes. Unset: the kernel routes service prefixes to the device.'),
      'queue-length': queueLength,
    })
    .describe('A TAP device, on whose link the director answers ARP and neighbour discovery for service addresses.'),
  z
    .strictObject({
      driver: z.literal('packet').describe('Name of the driver.'),
      interface: interfaceName.describe('Interface whose incoming packets are read.'),
      ring: z
        .enum(['frames', 'blocks', 'none'])
        .default('frames')
        .describe(
          'How packets wait: frames hands over each at once; blocks many together, 1 ms or more later, for the least CPU; none has them read by calls.',
        ),
    })
    .describe('AF_PACKET: a copy of what arrives on one interface; a blackhole route silences the originals.'),
  z
    .strictObject({
      driver: z.literal('xdp').describe('Name of the driver.'),
      interface: interfaceName.describe(
        'Interface whose incoming packets are taken; it has as many receive queues as there are threads.',
      ),
      'zero-copy': z
        .boolean()
        .default(false)
        .describe('Have the device read and write the frames itself, where it can (untried); elsewhere the kernel copies.'),
    })
    .describe('AF_XDP: packets for services are taken before the kernel sees them, all others are left to it.'),
  z
    .strictObject({
      driver: z.literal('pcap-file').describe('Name of the driver.'),
      path: path.describe('Capture to read; relative to the configuration file.'),
    })
    .describe('Packets from a capture file.'),
  z.strictObject({ driver: z.literal('memory').describe('Name of the driver.') }).describe('Packets from memory, for tests.'),
]);

const powerOfTwo = z
  .int()
  .min(1)
  .max(4096)
  .superRefine((count, context) => {
    if (count < 1 || count > 4096 || (count & (count - 1)) === 0) return;
    const below = 2 ** Math.floor(Math.log2(count));
    const message = `${count} is not a power of two; the nearest are ${below} and ${below * 2}`;
    context.addIssue({ code: 'custom', message, params: { code: 'GD_CONFIG_SOURCE_PORTS' } });
  });

export const egressSchema = z.discriminatedUnion('driver', [
  z
    .strictObject({
      driver: z.literal('auto').describe('Name of the driver.'),
      'source-port-base': z.int().min(1024).max(65535).default(61440).describe('First of the UDP source ports.'),
      'source-ports': powerOfTwo.default(256).describe('Number of UDP source ports, a power of two.'),
    })
    .describe('Single packets as with `raw`, large packets as with `udp`; a flow has the same source port with both.'),
  z
    .strictObject({ driver: z.literal('raw').describe('Name of the driver.') })
    .describe('One raw socket for each family and thread; the source port follows the flow.'),
  z
    .strictObject({
      driver: z.literal('udp').describe('Name of the driver.'),
      'source-port-base': z.int().min(1024).max(65535).default(61440).describe('First of the UDP source ports.'),
      'source-ports': powerOfTwo.default(64).describe('Number of UDP source ports, a power of two.'),
    })
    .describe('UDP sockets with a small range of source ports, outside the range the kernel gives to other programs.'),
  z
    .strictObject({
      driver: z.literal('tap-offload').describe('Name of the driver.'),
      device: interfaceName.default('gdx0').describe('Name of the TAP device that `run` creates.'),
    })
    .describe('A TAP device through which the kernel itself cuts super-packets inside their tunnel. Needs Linux 6.17 or later.'),
  z
    .strictObject({
      driver: z.literal('packet').describe('Name of the driver.'),
      interface: interfaceName.describe(
        'Interface that frames leave by. Routes to the backends leave by it, or by a VLAN of it.',
      ),
    })
    .describe(
      'AF_PACKET: whole frames, to the MAC addresses that the kernel knows for the next hops, past its routing and firewall.',
    ),
  z
    .strictObject({
      driver: z.literal('xdp').describe('Name of the driver.'),
      interface: interfaceName.describe(
        'Interface that frames leave by; of the ingress `xdp` also. Routes to the backends leave by it, or by a VLAN of it.',
      ),
    })
    .describe('AF_XDP: whole frames, to the MAC addresses that the kernel knows for the next hops.'),
  z
    .strictObject({
      driver: z.literal('pcap-file').describe('Name of the driver.'),
      path: path.describe('Capture to write; relative to the configuration file.'),
    })
    .describe('Packets into a capture file.'),
  z.strictObject({ driver: z.literal('memory').describe('Name of the driver.') }).describe('Packets into memory, for tests.'),
]);

/** A user or group of the system: what useradd takes, or a number but (uid_t)-1, which means none. */
const systemName = z.union([z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/), z.int().min(0).max(0xfffffffe)]);

const listen = z.union([parsedText(parseListen), z.null()]);

/** The sections beside services and pools, which need no other to be understood. */
export const sectionSchemas = {
  tunnel: tunnelSchema.prefault({}).describe('Tunnel defaults, for every pool that says nothing else.'),
  ingress: ingressSchema.prefault({ driver: 'tun' }).describe('How packets come in.'),
  egress: egressSchema.prefault({ driver: 'auto' }).describe('How packets go out.'),
  threads: z.int().min(1).max(64).default(1).describe('Forwarding threads; one does for a gigabit, never more than processors.'),
  processors: z
    .strictObject({
      pin: z
        .union([z.boolean(), z.array(z.int().min(0).max(1023)).min(1).max(64)])
        .default(false)
        .describe(
          'Processors that forwarding threads are kept on: a list, in the order of the threads; true for the first ones that the director may use; false for none.',
        ),
      idle: z
        .enum(['wait', 'spin', 'busy'])
        .default('wait')
        .describe(
          'What a forwarding thread does without packets: sleeps until the kernel wakes it; looks on for a moment and sleeps then; never sleeps, and has a processor for itself.',
        ),
      spin: z
        .int()
        .min(1)
        .max(100_000)
        .default(50)
        .describe('With `idle: spin`, microseconds after the last packet until it sleeps.'),
    })
    .prefault({})
    .describe('Where forwarding threads run, and what they do without packets.'),
  flows: z
    .strictObject({
      entries: z
        .int()
        .min(1024)
        .max(67_108_864)
        .default(1_048_576)
        .describe('Entries of the flow table, all threads together; 16 bytes each. It never grows.'),
      file: path
        .default('auto')
        .describe(
          'File that the flow table lies in, so that flows outlive the director: its path; auto for flows in the runtime directory; off for memory alone.',
        ),
    })
    .prefault({})
    .describe('The flow table, which keeps flows on their backend while the table changes.'),
  probes: z
    .strictObject({
      'source-port-base': z.int().min(1024).max(65535).default(61424).describe('First of the source ports of tunnel checks.'),
      'source-ports': z
        .int()
        .min(1)
        .max(1024)
        .default(16)
        .describe('Number of them: so many datagrams to one service are asked about at once; two descriptors each.'),
    })
    .prefault({})
    .describe('Where tunnel checks ask from.'),
  icmp: z
    .strictObject({
      echo: z
        .enum(['answer', 'forward', 'drop'])
        .default('answer')
        .describe('Pings to a service address: answered by the director, forwarded to a backend by their addresses, or dropped.'),
      errors: z
        .enum(['forward', 'drop'])
        .default('forward')
        .describe('ICMP errors about a flow, such as "fragmentation needed": forwarded to the backend of the flow, or dropped.'),
    })
    .prefault({})
    .describe('What becomes of ICMP and ICMPv6 to service addresses.'),
  fragments: z
    .strictObject({
      entries: z
        .int()
        .min(64)
        .max(16_777_216)
        .default(65_536)
        .describe('Packets in fragments that are followed at a time, all threads together; 64 bytes each.'),
      timeout: z
        .int()
        .min(1)
        .max(60)
        .default(5)
        .describe('Seconds without a fragment after which a packet is no longer followed.'),
      'hold-bytes': z
        .int()
        .min(65_536)
        .max(268_435_456)
        .default(4_194_304)
        .describe('Bytes of fragments that each thread may keep until the first one of their packet comes.'),
      'hold-packets': z.int().min(16).max(65_536).default(4096).describe('The number of such fragments, for each thread.'),
      'hold-per-source': z
        .int()
        .min(1)
        .max(65_535)
        .default(DEFAULT_HOLD_PER_SOURCE)
        .describe('How many of them may come from one address (IPv6: from one network of 64 bits).'),
      'hold-timeout': z.int().min(1).max(30).default(1).describe('Seconds that one may wait; then it is dropped.'),
    })
    .prefault({})
    .describe('IP fragments: how many packets are followed, and what waits for the first fragment.'),
  metrics: z
    .strictObject({
      listen: listen
        .default('127.0.0.1:6079')
        .describe('Address and port of the HTTP server for /metrics, /-/healthy, /-/ready and /-/status; null or off for none.'),
    })
    .prefault({})
    .describe('What is shown to Prometheus.'),
  admin: z
    .strictObject({
      socket: path
        .default('auto')
        .describe(
          'Unix socket for commands that change the running director: its path; auto for admin.sock in the runtime directory; off for none.',
        ),
    })
    .prefault({})
    .describe('How a running director is changed: reload, drain, upgrade.'),
  privileges: z
    .strictObject({
      user: systemName
        .optional()
        .describe(
          'User that `run`, started as root, becomes before it begins: a name or number; root to stay root. Unset: whoever it was started as.',
        ),
      group: systemName.optional().describe("Group of that process, by name or number. Unset: the user's own."),
    })
    .prefault({})
    .describe('Who the director is.'),
  reload: z
    .strictObject({
      watch: z
        .boolean()
        .default(false)
        .describe('Whether this file is reloaded by itself when it changes; without, by SIGHUP or gue-director reload.'),
    })
    .prefault({})
    .describe('When this file is read again.'),
  log: z
    .strictObject({
      level: z
        .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
        .default('info')
        .describe('The least serious event that is logged.'),
      format: z.enum(['auto', 'json', 'text']).default('auto').describe('auto is text on a terminal and JSON elsewhere.'),
    })
    .prefault({})
    .describe('The log, on standard error.'),
};

export const configSchema = z
  .strictObject({
    services: z
      .array(serviceSchema)
      .min(1)
      .describe('What is directed: virtual IP, protocol and ports. Their order has no meaning.'),
    pools: z.record(name, poolSchema).describe('Sets of backends, by name.'),
    ...sectionSchemas,
  })
  .describe('Configuration of gue-director.');

export type ServiceSection = z.infer<typeof serviceSchema>;
export type TunnelSection = z.infer<typeof tunnelSchema>;
export type PoolSection = z.infer<typeof poolSchema>;
export type BackendSection = z.infer<typeof backendSchema>;
export type ConfigSection = z.infer<typeof configSchema>;
