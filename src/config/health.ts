/** The key `health` of a pool: which questions its backends are asked, how often, and what follows (docs/health.md). */
import { z } from 'zod';
import {
  type BodySpec,
  type CheckSpec,
  DNS_RCODES,
  DNS_TYPES,
  type HealthSpec,
  type HttpCheckSpec,
  type TlsSpec,
  type TunnelHttpSpec,
} from '../health/spec.ts';
import { parseAnyAddress } from './address.ts';
import { parsePorts } from './port.ts';

const MOST_CHECKS = 8;
/** What a check may be told to send or to find. */
const MOST_BYTES = 1024;
const MOST_PATTERN = 1000;

function custom(code: string, wrong: (text: string) => string | null) {
  return z.string().superRefine((text, context) => {
    const message = wrong(text);
    if (message !== null) context.addIssue({ code: 'custom', message, params: { code } });
  });
}

const port = z.int().min(1).max(65535);
const path = z.string().min(1).max(4096);
const text = z.string().min(1).max(MOST_BYTES);
const hexadecimal = custom('GD_CONFIG_HEALTH_BYTES', (value) =>
  /^([0-9a-fA-F]{2})+$/.test(value) && value.length <= 2 * MOST_BYTES
    ? null
    : `must be 1 to ${MOST_BYTES} bytes in hexadecimal, two digits each`,
);
/** RFC 9110 §5.5: what may stand in a header or request line must not end it. */
const headerText = custom('GD_CONFIG_HEALTH_TEXT', (value) =>
  /^[\x21-\x7e]{1,1024}$/.test(value)
    ? null
    : 'must be 1 to 1024 visible ASCII characters without spaces; others are written as %xx',
);
const requestPath = custom('GD_CONFIG_HEALTH_TEXT', (value) => {
  if (!value.startsWith('/')) return `"${value.slice(0, 80)}" is not the path of a request: it begins with "/"`;
  return /^[\x21-\x7e]{1,1024}$/.test(value)
    ? null
    : 'must be at most 1024 visible ASCII characters without spaces; others are written as %xx';
});
const pattern = custom('GD_CONFIG_HEALTH_PATTERN', (value) => {
  if (value.length < 1 || value.length > MOST_PATTERN) return `must have 1 to ${MOST_PATTERN} characters`;
  try {
    new RegExp(value, 'u');
    return null;
  } catch (error) {
    return (error as Error).message;
  }
});
const dnsName = custom('GD_CONFIG_HEALTH_DNS_NAME', (value) => {
  const name = value.endsWith('.') ? value.slice(0, -1) : value;
  if (value === '.') return null;
  if (name.length > 253) return 'a DNS name has at most 253 characters';
  return name.split('.').every((label) => /^[\x21-\x2d\x2f-\x7e]{1,63}$/.test(label))
    ? null
    : `"${value.slice(0, 80)}" is not a DNS name: labels of 1 to 63 ASCII characters, with dots between`;
});
const address = custom('GD_CONFIG_ADDRESS', (value) => parseAnyAddress(value).refusal?.message ?? null);

const STATUS_HINT = 'a status from 100 to 599, or a range such as "200-299"';
const status = z.union([z.int(), z.string()]).superRefine((value, context) => {
  if (statusRange(value) !== null) return;
  context.addIssue({ code: 'custom', message: `${value} is not ${STATUS_HINT}`, params: { code: 'GD_CONFIG_HEALTH_STATUS' } });
});

function statusRange(value: number | string): { from: number; to: number } | null {
  const parsed = value === 'all' ? null : parsePorts(value).value;
  return parsed !== null && parsed.from >= 100 && parsed.to <= 599 ? { from: parsed.from, to: parsed.to } : null;
}

const typeWord = <T extends string>(word: T) => z.literal(word).describe('Kind of the check.');
const bytesKeys = {
  send: text.optional().describe('What is sent, as text.'),
  'send-hex': hexadecimal.optional().describe('What is sent, as bytes in hexadecimal.'),
  expect: text.optional().describe('What the answer must begin with, as text.'),
  'expect-hex': hexadecimal.optional().describe('What the answer must begin with, as bytes in hexadecimal.'),
};

const httpKeys = {
  method: z.enum(['GET', 'HEAD', 'POST', 'OPTIONS']).default('GET').describe('Method of the request; it has no body.'),
  path: requestPath.default('/').describe('Path of the request, with its query. Redirects are not followed.'),
  host: headerText.optional().describe("Header Host. Unset: the backend's address, with the port where it is not the usual one."),
  status: z
    .union([status, z.array(status).min(1)])
    .default('200-299')
    .describe('Status that is good: a number, a range such as "200-299", or a list of them.'),
  body: z
    .strictObject({
      contains: text.optional().describe('Text that the body must contain.'),
      matches: pattern.optional().describe('Regular expression (JavaScript, flag u) that must match the body.'),
    })
    .optional()
    .describe('What the body must say; its first 64 KiB are looked at. One of the two keys. Unset: anything.'),
};

const tunnelHost = headerText.optional().describe('Header Host. Unset: the service address, with the port where it is not 80.');

export const checkSchema = z.discriminatedUnion('type', [
  z
    .strictObject({ type: typeWord('tcp'), port: port.describe('TCP port of the worker.'), ...bytesKeys })
    .describe('A connection to the worker, and if wished something said and answered.'),
  z
    .strictObject({ type: typeWord('http'), port: port.default(80).describe('TCP port of the worker.'), ...httpKeys })
    .describe('A request to the worker, HTTP/1.1.'),
  z
    .strictObject({
      type: typeWord('https'),
      port: port.default(443).describe('TCP port of the worker.'),
      ...httpKeys,
      verify: z.boolean().default(true).describe('The certificate must be valid, for the name that was asked for.'),
      ca: path
        .optional()
        .describe('PEM file with the roots that are trusted; relative to the configuration file. Unset: those of Node.'),
      certificate: path.optional().describe('PEM file with the certificate that is shown to the worker; needs key.'),
      key: path.optional().describe('PEM file with its private key.'),
      'server-name': headerText
        .optional()
        .describe('Name in the TLS handshake, and in the certificate. Unset: host; without it the address of the backend.'),
    })
    .describe('The same with TLS.'),
  z.strictObject({ type: typeWord('icmp') }).describe('A ping.'),
  z
    .strictObject({
      type: typeWord('dns'),
      port: port.default(53).describe('UDP port of the worker.'),
      name: dnsName.describe('Name that is asked for.'),
      query: z
        .enum(Object.keys(DNS_TYPES) as (keyof typeof DNS_TYPES)[])
        .default('A')
        .describe('Type of the record that is asked for.'),
      rcode: z
        .enum(Object.keys(DNS_RCODES) as (keyof typeof DNS_RCODES)[])
        .default('NOERROR')
        .describe('Response code that is good.'),
    })
    .describe('A DNS question over UDP.'),
  z
    .strictObject({
      type: typeWord('udp'),
      port: port.describe('UDP port of the worker.'),
      ...bytesKeys,
      answer: z
        .enum(['required', 'optional'])
        .default('required')
        .describe('optional: only "port unreachable" and a wrong answer are bad, silence is not.'),
    })
    .describe('A datagram to the worker, and its answer.'),
  z
    .strictObject({
      type: typeWord('tunnel'),
      address: address
        .optional()
        .describe('Service address inside the tunnel. Unset: the first address of a TCP service of the pool that is no prefix.'),
      port: port.optional().describe('TCP or UDP port inside the tunnel. Unset: the first port of that service.'),
      http: z
        .strictObject({ method: httpKeys.method, path: httpKeys.path, host: tunnelHost, status: httpKeys.status })
        .optional()
        .describe(
          'A request over the connection, HTTP/1.1; of the answer the status counts. Unset: the connection is enough. Only TCP.',
        ),
      ...bytesKeys,
      hops: z
        .int()
        .min(0)
        .max(63)
        .default(0)
        .describe(
          'Routers behind the tunnel device that the packet may pass: 1 where the worker routes the service to containers.',
        ),
      source: address
        .optional()
        .describe('Address of this host that the packet comes from inside the tunnel. Unset: that of the route to the worker.'),
    })
    .describe(
      'A client of the service, its packets wrapped as traffic is: the whole path of the worker. TCP, UDP, or a ping for others.',
    ),
]);

const seconds = (least: number, most: number) => z.number().min(least).max(most);

const dampingSchema = z.strictObject({
  'half-life': seconds(1, 3600).default(60).describe('Seconds in which the penalty halves; every time down adds 1 to it.'),
  suppress: z
    .number()
    .min(1)
    .max(100)
    .default(3)
    .describe('A backend whose penalty is that high is held down when it is good again.'),
  reuse: z.number().min(0.1).max(100).default(1).describe('It is let go when the penalty is below this.'),
  longest: seconds(1, 86_400).default(300).describe('Seconds that one is held at most.'),
});

const PERCENT = /^([1-9][0-9]?|100)%$/;

export const healthSchema = z.strictObject({
  checks: z
    .array(checkSchema)
    .min(1)
    .max(MOST_CHECKS)
    .describe("The questions; a backend is good when all are answered well. They go to the backend's address, but for tunnel."),
  interval: seconds(0.1, 3600).default(2).describe('Seconds between two runs of a check.'),
  timeout: seconds(0.05, 3600).default(1).describe('Seconds after which a run is bad; at most interval.'),
  rise: z.int().min(1).max(100).default(2).describe('Good runs in a row that bring a backend up.'),
  fall: z.int().min(1).max(100).default(3).describe('Bad runs in a row that take it down.'),
  jitter: z.number().min(0).max(0.5).default(0.1).describe('Part of the interval by which a run comes earlier, by chance.'),
  initial: z.enum(['up', 'down']).default('up').describe('What a backend is before its first run; the first good one proves it.'),
  damping: z
    .union([z.enum(['off']), dampingSchema])
    .prefault({})
    .describe('Flap damping: one that goes down too often is held down for a time. off for none.'),
  'slow-start': seconds(0, 3600)
    .default(0)
    .describe('Seconds in which the weight of a backend that came up grows to its full size, in ten steps; 0: at once.'),
  'minimum-healthy': z
    .union([z.int().min(0).max(65535), z.string()])
    .superRefine((value, context) => {
      if (typeof value === 'number' || PERCENT.test(value)) return;
      const message = `"${value}" must be a number of backends, or a share of them such as "50%"`;
      context.addIssue({ code: 'custom', message, params: { code: 'GD_CONFIG_HEALTH_MINIMUM' } });
    })
    .default(1)
    .describe('How many backends must be good: a number, or a share such as "50%"; 0 for no such rule.'),
  'below-minimum': z
    .enum(['keep', 'unready'])
    .default('keep')
    .describe("With fewer: keep goes on with the last backends that were enough; unready makes the pool's services not ready."),
  'when-down': z
    .enum(['move', 'keep-flows'])
    .default('move')
    .describe(
      'Flows of a backend that goes down: move gives them to others; keep-flows leaves them there, new ones go elsewhere.',
    ),
  'port-unreachable': z
    .enum(['fail', 'ignore'])
    .default('fail')
    .describe('ICMP "port unreachable" about tunnel packets: fail counts it as a bad run and asks again at once.'),
});

export type HealthSection = z.infer<typeof healthSchema>;
export type CheckSection = z.infer<typeof checkSchema>;

/** `fileAt` makes the path of a file absolute, from where the configuration lies. */
export function compileHealth(section: HealthSection, fileAt: (path: string) => string): HealthSpec {
  const { damping } = section;
  const minimum = section['minimum-healthy'];
  return {
    checks: section.checks.map((check) => compileCheck(check, fileAt)),
    interval: section.interval,
    timeout: section.timeout,
    rise: section.rise,
    fall: section.fall,
    jitter: section.jitter,
    initial: section.initial,
    damping:
      damping === 'off'
        ? null
        : { halfLife: damping['half-life'], suppress: damping.suppress, reuse: damping.reuse, longest: damping.longest },
    slowStart: section['slow-start'],
    minimum: minimum === 0 ? null : typeof minimum === 'number' ? { count: minimum } : { percent: Number.parseInt(minimum, 10) },
    belowMinimum: section['below-minimum'],
    whenDown: section['when-down'],
    portUnreachable: section['port-unreachable'],
  };
}

function compileCheck(check: CheckSection, fileAt: (path: string) => string): CheckSpec {
  switch (check.type) {
    case 'tcp':
      return { type: 'tcp', port: check.port, send: bytesOf(check, 'send'), expect: bytesOf(check, 'expect') };
    case 'udp': {
      const [send, expect] = [bytesOf(check, 'send') ?? new Uint8Array(0), bytesOf(check, 'expect')];
      return { type: 'udp', port: check.port, send, expect, answer: check.answer };
    }
    case 'http':
      return compileHttp(check, null);
    case 'https':
      return compileHttp(check, {
        verify: check.verify,
        ca: check.ca === undefined ? null : fileAt(check.ca),
        certificate: check.certificate === undefined ? null : fileAt(check.certificate),
        key: check.key === undefined ? null : fileAt(check.key),
        serverName: check['server-name'] ?? null,
      });
    case 'dns':
      return { type: 'dns', port: check.port, name: check.name, query: check.query, rcode: check.rcode };
    case 'tunnel': {
      const [inner, source] = [check.address, check.source].map((text) =>
        text === undefined ? null : parseAnyAddress(text).value,
      );
      return {
        type: 'tunnel',
        address: inner,
        port: check.port ?? null,
        source,
        hops: check.hops,
        http: check.http === undefined ? null : tunnelHttp(check.http),
        send: bytesOf(check, 'send') ?? new Uint8Array(0),
        expect: bytesOf(check, 'expect'),
      };
    }
    default:
      return { type: 'icmp' };
  }
}

function tunnelHttp({
  method,
  path,
  host,
  status,
}: NonNullable<Extract<CheckSection, { type: 'tunnel' }>['http']>): TunnelHttpSpec {
  return { method, path, host: host ?? null, status: rangesOf(status) };
}

function rangesOf(status: number | string | (number | string)[]): HttpCheckSpec['status'] {
  return [status].flat().map((range) => statusRange(range) ?? { from: 200, to: 299 });
}

function compileHttp(check: Extract<CheckSection, { type: 'http' | 'https' }>, tls: TlsSpec | null): HttpCheckSpec {
  return {
    type: check.type,
    port: check.port,
    method: check.method,
    path: check.path,
    host: check.host ?? null,
    status: rangesOf(check.status),
    body: bodyOf(check.body),
    tls,
  };
}

function bodyOf(body: { contains?: string | undefined; matches?: string | undefined } | undefined): BodySpec | null {
  if (body?.contains !== undefined) return { contains: body.contains };
  return body?.matches === undefined ? null : { matches: body.matches };
}

type BytesKeys = { readonly [key in keyof typeof bytesKeys]?: string | undefined };

function bytesOf(check: BytesKeys, key: 'send' | 'expect'): Uint8Array | null {
  const [plain, hex] = [check[key], check[`${key}-hex`]];
  if (plain !== undefined) return new TextEncoder().encode(plain);
  return hex === undefined ? null : Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
