// A director for the status page: the real admin server and the real page over a state that moves on by itself, and answers of `explain` by a real
// configuration. What a forwarding director adds to that is seen in daemon.test.ts.

import type { Condition } from '../../src/admin/server.ts';
import { type AdminServer, openAdminServer } from '../../src/admin/server.ts';
import type { Status, StatusBackend } from '../../src/admin/status.ts';
import { CodedError } from '../../src/base/errors.ts';
import { loadText } from '../../src/config/load.ts';
import { flowFrame, hexFrame } from '../../src/explain/question.ts';
import type { JournalEvent } from '../../src/observe/events.ts';
import { answerOffline } from '../../src/replay/explained.ts';

/** A flow of the service `web`. */
export const FLOW = 'tcp 203.0.113.77:40000 192.0.2.10:443';
/** What nobody may be able to do to the page. */
export const HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>';

interface Row {
  readonly pool: string;
  readonly name: string;
  readonly address: string;
  readonly weight: number;
  readonly state?: 'draining' | 'down';
}

const ROWS: readonly Row[] = [
  { pool: 'web-workers', name: 'web-1', address: '198.51.100.1', weight: 2 },
  { pool: 'web-workers', name: 'web-2', address: '198.51.100.2', weight: 2 },
  { pool: 'web-workers', name: 'web-3', address: '198.51.100.3', weight: 1 },
  { pool: 'web-workers', name: 'web-4', address: '198.51.100.4', weight: 2, state: 'draining' },
  { pool: 'uploads', name: 'up-1', address: '198.51.100.21', weight: 1 },
  { pool: 'uploads', name: 'up-2', address: '198.51.100.22', weight: 1 },
  { pool: 'uploads', name: 'up-3', address: '198.51.100.23', weight: 1, state: 'down' },
  { pool: 'resolvers', name: 'dns-1', address: '2001:db8:53::1', weight: 1 },
  { pool: 'resolvers', name: 'dns-2', address: '2001:db8:53::2', weight: 1 },
];

/** Name, pool, packets a second at most, bytes of a packet. */
const SERVICES = [
  ['web', 'web-workers', 18_400, 420],
  ['uploads', 'uploads', 6200, 1380],
  ['quic', 'web-workers', 3900, 1210],
  ['dns', 'resolvers', 2100, 74],
] as const;

const CONFIG = loadText(
  `services:
  - { name: web, address: 192.0.2.10, protocol: tcp, port: 443, pool: web-workers }
  - { name: uploads, address: 192.0.2.11, protocol: tcp, port: 443, pool: uploads }
  - { name: quic, address: 192.0.2.10, protocol: udp, port: 443, pool: web-workers }
  - { name: dns, address: 192.0.2.53, protocol: udp, port: 53, pool: resolvers }
pools:
${[...new Set(ROWS.map(({ pool }) => pool))]
  .map(
    (pool) => `  ${pool}:
    backends:
${ROWS.filter((row) => row.pool === pool)
  .map(
    ({ name, address, weight, state = 'active' }) =>
      `      - { name: ${name}, address: "${address}", weight: ${weight}, state: ${state} }`,
  )
  .join('\n')}`,
  )
  .join('\n')}
tunnel: { source: { ipv4: 198.51.100.200, ipv6: "2001:db8:53::200" } }
`,
  'stage.yaml',
);

/** A wave with a second one in it, 0.5–1: the same whenever it is asked. */
function wave(second: number, phase: number): number {
  const slow = Math.sin(second / 47 + phase);
  const quick = Math.sin(second / 5.3 + 3 * phase) * Math.sin(second / 2.1 + phase);
  return 0.78 + 0.14 * slow + 0.06 * quick;
}

export class PageStage {
  /** Seconds that a look at the state lets pass. */
  readonly pace: number;
  #second = 0;
  #server: AdminServer | null = null;
  readonly #counts = new Map<string, number>();
  /** Asked for the page or its parts, without the query. */
  looks = 0;
  ready: Condition = { ok: true, reasons: [] };
  version = '0.1.0';
  pid = 4242;
  readonly events: JournalEvent[] = [];
  readonly failures: unknown[] = [];

  constructor(pace = 2) {
    this.pace = pace;
    const start = Date.UTC(2026, 10, 23, 13, 42, 10);
    const say = (seconds: number, level: JournalEvent['level'], kind: string, text: string) =>
      this.events.push({ sequence: this.events.length + 1, time: start + 1000 * seconds, level, kind, text, fields: {} });
    say(0, 'info', 'ready', 'forwarding');
    say(64, 'info', 'reloaded', 'generation 12 is in force, by command');
    say(245, 'warn', 'path-mtu', 'web-workers/web-3 (198.51.100.3): the path carries 1400 bytes now, ICMP says; 1500 before');
    say(511, 'info', 'drain-started', 'web-workers/web-4 is drained, down in 10 min');
    say(760, 'warn', 'health-down', 'uploads/up-3 is down: http:8080: connection refused');
  }

  async open(port = 0): Promise<string> {
    this.#server = await openAdminServer(
      { host: '127.0.0.1', port },
      {
        version: this.version,
        healthy: () => ({ ok: true, reasons: [] }),
        ready: () => this.ready,
        serviceReady: () => null,
        status: () => this.state(),
        events: () => this.events,
        explain: (query) => this.#explain(query),
        history: () => ({ status: 404, body: {} }),
        metrics: { contentType: 'text/plain', render: async () => '' },
        failed: (error) => this.failures.push(error),
      },
    );
    return `http://127.0.0.1:${this.#server.port}`;
  }

  async close(): Promise<void> {
    await this.#server?.close();
  }

  #explain(query: URLSearchParams): { status: number; body: object } {
    try {
      const flow = query.get('flow');
      const length = query.get('length');
      const wishes = { flags: query.get('flags') ?? undefined, length: length === null ? undefined : Number(length) };
      const frame = flow === null ? hexFrame(query.get('packet') ?? '') : flowFrame(flow, wishes);
      return { status: 200, body: answerOffline(CONFIG, frame, 1500, query.get('without')) };
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      return { status: 400, body: { message: error.message, hint: error.hint, code: error.code } };
    }
  }

  #count(name: string, rate: number): number {
    const count = (this.#counts.get(name) ?? 900 * rate) + this.pace * rate;
    this.#counts.set(name, count);
    return Math.round(count);
  }

  /** What /-/status answers; each look moves the clock on by `pace`. */
  state(): Status {
    this.looks++;
    this.#second += this.pace;
    const at = this.#second;
    const rates = new Map(SERVICES.map(([name, , most], i) => [name as string, most * wave(at, i)]));
    const services = SERVICES.map(([name, pool, , size]) => {
      const rate = rates.get(name) as number;
      const ready = this.ready.ok ? { ok: true, reasons: [] } : this.ready;
      return { name, pool, ready, packets: this.#count(name, rate), bytes: this.#count(`${name} bytes`, rate * size) };
    });
    const forwarded = [...rates.values()].reduce((sum, rate) => sum + rate, 0);
    const dropRates = {
      'not-a-service': 34 * wave(at, 5),
      'no-backend': 0,
      'path-mtu': at % 120 > 70 && at % 120 < 96 ? 210 * wave(at, 7) : 0,
    };
    const drops = Object.fromEntries(
      Object.entries(dropRates).map(([reason, rate]) => [reason, this.#count(`drop ${reason}`, rate)]),
    );
    const dropped = Object.values(drops).reduce((sum, count) => sum + count, 0);
    const good = this.#count('forwarded', forwarded);
    const replied = this.#count('replied', 3 * wave(at, 9));
    return {
      version: this.version,
      pid: this.pid,
      config: '/etc/gue-director/director.yaml',
      uptime: 98_230 + at,
      generation: 12,
      reload: {
        digest: '5f1c09ab77d2e460',
        cause: 'start',
        result: 'success',
        age: 98_230 + at,
        problem: null,
        confirmWithin: null,
        counts: { success: 0 },
      },
      healthy: { ok: true, reasons: [] },
      ready: this.ready,
      draining: null,
      packets: { received: good + dropped + replied, forwarded: good, replied, passed: 0, dropped, lost: 0 },
      drops: Object.fromEntries(Object.entries(drops).filter(([, packets]) => packets > 0)),
      services,
      pools: [...new Set(ROWS.map(({ pool }) => pool))].map((name) => ({
        name,
        scheme: 'maglev',
        tableSize: 65_537,
        seed: 0,
        digest: { 'web-workers': 'ba7022c5b7c08500', uploads: '77aa01c2d9be4f10', resolvers: '2f7c9fd1a5b0c3e8' }[name] as string,
        health: name === 'uploads' ? { good: 2, of: 3, wanted: 2, belowMinimum: false } : null,
      })),
      backends: ROWS.map((row) => this.#backend(row, rates, at)),
      discovery: [],
      flowTable: {
        path: '/run/gue-director/flows',
        outcome: 'made',
        reason: '',
        pickedUp: { entries: 0, confirmed: 0 },
        bytes: 67_108_864,
        entries: 4_194_304,
        regions: 2,
      },
      threads: [0, 1].map((id) => ({
        number: id,
        state: 'forwarding' as const,
        ingress: 'tun:gd0',
        egress: 'auto',
        received: this.#count(`thread ${id}`, forwarded * (0.47 + 0.06 * id)),
        failures: 0,
        heartbeatAge: 0,
      })),
    };
  }

  #backend({ pool, name, address, weight, state }: Row, rates: ReadonlyMap<string, number>, at: number): StatusBackend {
    const active = ROWS.filter((row) => row.pool === pool && row.state === undefined);
    const total = active.reduce((sum, row) => sum + row.weight, 0);
    const share = state === undefined ? weight / total : 0;
    const own = SERVICES.filter((service) => service[1] === pool);
    const rate = own.reduce((sum, [service]) => sum + (rates.get(service) as number), 0);
    const part = state === 'down' ? 0 : state === 'draining' ? 0.06 / (1 + at / 200) : share * 0.97;
    const size = own.reduce((sum, [, , , bytes]) => sum + bytes, 0) / own.length;
    const icmp = name === 'web-3';
    return {
      pool,
      name,
      address,
      state: state ?? 'active',
      drain: state === 'draining' ? { cause: 'command', age: 190 + at, downIn: Math.max(1, 410 - at) } : null,
      weight,
      effectiveWeight: state === undefined ? weight : 0,
      encapsulation: 'gue',
      ports: [6080],
      overhead: address.includes(':') ? 52 : 32,
      share,
      packets: this.#count(`${pool}/${name}`, rate * part),
      bytes: this.#count(`${pool}/${name} bytes`, rate * part * size),
      pathMtu: {
        bytes: icmp ? 1400 : 1500,
        innerBytes: (icmp ? 1400 : 1500) - (address.includes(':') ? 52 : 32),
        cause: icmp ? 'icmp' : 'route',
        routeBytes: 1500,
        interface: 'eth1',
        wantedBytes: 0,
        age: 450,
        expiresIn: icmp ? 150 : null,
      },
      unreachable: { port: 0, protocol: 0, host: 0, net: 0, prohibited: 0, last: null, age: null },
      health:
        pool !== 'uploads'
          ? null
          : {
              up: state === undefined,
              serves: state === undefined,
              share: 1,
              age: state === undefined ? 98_200 : 48 + at,
              heldFor: 0,
              penalty: 0,
              checks: [
                {
                  check: 'http:8080',
                  good: state === undefined,
                  contrary: 0,
                  detail: state === undefined ? '200' : 'connection refused',
                  milliseconds: state === undefined ? 2.4 : 0.3,
                  age: 1,
                },
              ],
            },
    };
  }
}
