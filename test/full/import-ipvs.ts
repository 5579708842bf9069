// Rules of IPVS imported and held against a kernel that has the same rules: every service, every server, how each is reached, and for the
// scheduler mh the server of every flow.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatAddress } from '../../src/base/address.ts';
import { loadText } from '../../src/config/load.ts';
import type { BackendSpec, PoolSpec, ServiceSpec, Spec } from '../../src/pipeline/spec.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { manyServices, SOURCES, shapes } from '../import/shapes.ts';
import { Rig } from '../pipeline/rig.ts';
import { built } from '../uml/director.ts';
import { askRestoredIpvs, type IpvsFlow, type IpvsQuestion, type RestoredIpvs } from '../uml/ipvs-restored.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** Flows of each service with scheduler mh. */
const FLOWS = { full: 2_000, scaled: 100 };
/** Of the fleet, three in five of them with mh. */
const SERVICES_OF_MANY = { full: 200, scaled: 30 };
const FLOWS_OF_MANY = { full: 250, scaled: 10 };
/** Of each service of the shape that has every other scheduler: who gets any is compared there. */
const FLOWS_OF_OTHERS = 60;
const OTHERS = 'schedulers';

interface Case {
  readonly name: string;
  readonly question: IpvsQuestion;
  /** Options of `import ipvs`. */
  readonly options: readonly string[];
  /** What is imported: the rules as they are, or what the kernel says of itself after them. */
  readonly from: 'rules' | 'kernel';
}

/** Clients from all over the address space; neighbours in number are far apart. */
function clientOf(i: number, six: boolean): { address: string; port: number } {
  const x = Math.imul(i + 1, 0x9e3779b1) >>> 0;
  const port = 1024 + (x % 60_000);
  if (six) return { address: `2001:db8:${(x >>> 16).toString(16)}::${(x & 0xffff).toString(16)}:${(i + 1).toString(16)}`, port };
  return { address: `10.${x >>> 24}.${(x >>> 16) & 255}.${(x >>> 8) & 255}`, port };
}

/** Traffic of every line that adds a service (of scheduler mh): to its address, or what gets its mark. */
function flowsOf(rules: string, count: number, scheduler = ' -s mh'): IpvsFlow[] {
  const flows: IpvsFlow[] = [];
  for (const line of rules.split('\n')) {
    const words = line.split(' ');
    if (words[0] !== '-A' || !line.includes(scheduler)) continue;
    const protocol = ({ '-t': 'tcp', '-u': 'udp', '--sctp-service': 'sctp' } as const)[words[1]];
    const [, host, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(words[2]) ?? [];
    for (let i = 0; i < count; i++) {
      if (protocol === undefined) {
        // Mark 8 of marks.ipvs: every UDP port of 2001:db8:64::/64.
        const { address, port: from } = clientOf(i, true);
        flows.push(['udp', address, from, `2001:db8:64::${(i % 500) + 1}`, 1000 + (i % 7)]);
        continue;
      }
      const { address, port: from } = clientOf(i, host.includes(':'));
      flows.push([protocol, address, from, host, Number(port)]);
    }
  }
  return flows;
}

function addressesOf(rules: string): string[] {
  const found = [...rules.matchAll(/^-A (?:-t|-u|--sctp-service) \[?([^\]\s]+?)\]?:\d+ /gm)].map((match) => match[1]);
  return [...new Set(found)];
}

function cases(scale: Scale): Case[] {
  const list = shapes().map(({ name, text, options }): Case => {
    const marks = (options.marks ?? []).flatMap((mark) => ['--fwmark', mark]);
    const isMarked = marks.length > 0;
    // ipvsadm-restore takes no comments.
    const rules = text.replace(/^#.*\n/gm, '');
    return {
      name,
      question: {
        rules,
        addresses: [...addressesOf(rules), ...(isMarked ? ['192.0.2.64/28', '2001:db8:64::/64'] : [])],
        marks: isMarked
          ? [
              [7, '192.0.2.64/28', 'tcp'],
              [8, '2001:db8:64::/64', 'udp'],
            ]
          : [],
        flows: name === OTHERS ? flowsOf(rules, FLOWS_OF_OTHERS, ' -s ') : flowsOf(rules, FLOWS[scale]),
      },
      options: marks,
      from: 'rules',
    };
  });
  const many = manyServices(SERVICES_OF_MANY[scale]);
  const fleet = { rules: many, addresses: addressesOf(many), marks: [], flows: flowsOf(many, FLOWS_OF_MANY[scale]) };
  const web = list.find(({ name }) => name === 'web-mh-gue')!.question;
  const [first, ...rest] = web.rules.trimEnd().split('\n');
  // Servers that were added in another order than a sorted file's: only the kernel's own list tells it.
  const turned = `${[first, ...rest.slice(0, 4).reverse()].join('\n')}\n`;
  const inOrder = { ...web, rules: turned, flows: flowsOf(turned, FLOWS[scale]) };
  return [
    ...list,
    { name: `${SERVICES_OF_MANY[scale]} services`, question: fleet, options: [], from: 'rules' },
    {
      name: 'web-mh-gue, servers added the other way round, imported with --order',
      question: inOrder,
      options: [],
      from: 'kernel',
    },
  ];
}

interface Command {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function director(...args: string[]): Command {
  const { status, stdout, stderr } = spawnSync(process.execPath, [built('cli/main'), ...args], { encoding: 'utf8' });
  return { status, out: stdout, err: stderr };
}

/** Imports by the command as an operator types it, and lets `check` look at what came out. */
function imported({ question, options, from }: Case, kernel: RestoredIpvs): { yaml: string; refusal: string | null } {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-import-'));
  try {
    const [rules, list, config] = ['rules.ipvs', 'ip_vs', 'director.yaml'].map((name) => join(folder, name));
    writeFileSync(rules, from === 'rules' ? question.rules : kernel.saved);
    writeFileSync(list, kernel.list);
    const order = from === 'rules' ? [] : ['--order', list];
    const sources = ['--source', SOURCES.source4, '--source6', SOURCES.source6];
    const { status, out, err } = director('import', 'ipvs', rules, ...options, ...order, ...sources);
    if (status !== 0) return { yaml: out, refusal: err };
    writeFileSync(config, out);
    const checked = director('check', config);
    return { yaml: out, refusal: checked.status === 0 && checked.err === '' ? null : checked.err };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** The service of the configuration that a flow belongs to: the longest prefix here is the only one. */
function serviceOf(spec: Spec, protocol: number, address: string, port: number): ServiceSpec | undefined {
  const bytes = ip(address);
  return spec.services.find(({ prefix, portFrom, portTo, protocol: own }) => {
    const covers =
      prefix.bytes.length === bytes.length && prefix.bytes.every((byte, i) => i * 8 >= prefix.length || byte === bytes[i]);
    return own === protocol && covers && port >= portFrom && port <= portTo;
  });
}

/** What the kernel says it has, line by line, against the configuration: sentences about what is missing or otherwise. */
function differences(spec: Spec, saved: string): string[] {
  const wrong: string[] = [];
  let pool: PoolSpec | undefined;
  let equal = false;
  for (const line of saved.trimEnd().split('\n')) {
    const words = line.split(' ');
    const after = (option: string) => words[words.indexOf(option) + 1];
    if (words[0] === '-A') {
      const services = spec.services.filter((service) => isOf(service, words));
      pool = spec.pools.find(({ name }) => name === services[0]?.pool);
      equal = /^(rr|lc|dh|fo)$/.test(after('-s'));
      if (pool === undefined && words[1] !== '-f') wrong.push(`no service: ${line}`);
      continue;
    }
    // A mark that nobody explained is left out with its servers.
    if (pool === undefined) continue;
    const host = after('-r').replace(/^\[?([^\]]+?)\]?:\d+$/, '$1');
    // The director itself serves nothing.
    if (host.startsWith('127.')) continue;
    const backend = pool.backends.find(({ address }) => formatAddress(address) === host);
    if (backend === undefined) {
      wrong.push(`no backend: ${line}`);
      continue;
    }
    const weight = Number(after('-w'));
    const takesFlows = backend.weight > 0 && backend.state === 'active';
    if (weight === 0 && takesFlows) wrong.push(`takes new flows: ${line}`);
    if (weight > 0 && !takesFlows && !equal) wrong.push(`takes no new flow: ${line}`);
    if (words.includes('-i') && tunnelText(pool, backend) !== wantedTunnel(words))
      wrong.push(`${tunnelText(pool, backend)}: ${line}`);
  }
  return wrong;
}

function isOf({ name, prefix, protocol, portFrom, portTo }: ServiceSpec, words: readonly string[]): boolean {
  if (words[1] === '-f') return name === `fwmark-${words[2]}` || name.startsWith(`fwmark-${words[2]}-`);
  const own = { '-t': 6, '-u': 17, '--sctp-service': 132 }[words[1]];
  const [, host, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(words[2])!;
  const ports = port === '0' ? portFrom === 0 && portTo === 65535 : portFrom === Number(port) && portTo === Number(port);
  return own === protocol && formatAddress(prefix.bytes) === host && ports;
}

function tunnelText(pool: PoolSpec, backend: BackendSpec): string {
  const { encapsulation, port, checksum } = backend.tunnel ?? pool.tunnel;
  if (encapsulation === 'gue') return `gue ${port} ${checksum}`;
  return encapsulation === 'gre' ? `gre ${checksum === 'full' ? 'full' : 'none'}` : encapsulation;
}

function wantedTunnel(words: readonly string[]): string {
  const sum = words.includes('--tun-csum') ? 'full' : words.includes('--tun-remcsum') ? 'remcsum' : 'none';
  const type = words[words.indexOf('--tun-type') + 1];
  if (type === 'gue') return `gue ${words[words.indexOf('--tun-port') + 1]} ${sum}`;
  return type === 'gre' ? `gre ${sum}` : type;
}

/** First packets of flows, by the whole packet path: where each leaves to (its outer destination), or why it does not. */
function choices(spec: Spec, flows: readonly IpvsFlow[]): string[] {
  const rig = new Rig(spec, undefined, { entries: 65_536 });
  return rig.run(flows.map(firstPacket)).map(({ bytes, reason }) => {
    if (bytes === null) return reason;
    return formatAddress(bytes[0] >> 4 === 4 ? bytes.subarray(16, 20) : bytes.subarray(24, 40));
  });
}

function firstPacket([protocol, src, sport, dst, dport]: IpvsFlow): Uint8Array {
  const network = src.includes(':')
    ? packet().ipv6({ src, dst, nextHeader: NUMBERS[protocol] })
    : packet().ipv4({ src, dst, protocol: NUMBERS[protocol] });
  if (protocol === 'tcp') return network.tcp({ sport, dport, flags: 'SYN' }).bytes();
  if (protocol === 'udp') return network.udp({ sport, dport }).payload(20).bytes();
  // An INIT chunk; its checksum is the workers' business.
  const init = new Uint8Array(32);
  new DataView(init.buffer).setUint32(0, ((sport << 16) | dport) >>> 0);
  init.set([1, 0, 0, 20], 12);
  return network.payload(init).bytes();
}

async function run(scale: Scale): Promise<Outcome> {
  // Scaled: every second set; the guest adds the rules of each anew.
  const all = cases(scale).filter((_, k) => scale === 'full' || k % 2 === 0);
  const kernels = await askRestoredIpvs(all.map(({ question }) => question));
  const figures: Record<string, number | string> = {};
  let passed = true;
  all.forEach((one, k) => {
    const kernel = kernels[k];
    const { yaml, refusal } = imported(one, kernel);
    if (refusal !== null) {
      figures[one.name] = `refused: ${refusal.slice(0, 500)}`;
      passed = false;
      return;
    }
    const { spec } = loadText(yaml, one.name);
    const missing = differences(spec, kernel.saved);
    const { flows } = one.question;
    const made = new Map(kernel.made.map(([...flow]) => [flow.slice(0, 5).join(' '), flow[5]]));
    const ours = choices(spec, flows);
    const unknown = flows.filter(
      ([protocol, , , address, port]) => serviceOf(spec, NUMBERS[protocol], address, port) === undefined,
    );
    if (one.name === OTHERS) {
      const takers = (choice: (flow: IpvsFlow, i: number) => string | undefined) =>
        JSON.stringify([...new Set(flows.map((flow, i) => `${flow[4]} ${choice(flow, i)}`))].sort());
      const alike = takers((flow) => made.get(flow.join(' '))) === takers((_, i) => ours[i]);
      figures[one.name] =
        `the same servers get flows under every scheduler: ${alike ? 'yes' : 'no'}; ${missing.length} not the kernel's`;
      passed &&= alike && missing.length === 0;
      return;
    }
    const other = flows.filter((flow, i) => made.get(flow.join(' ')) !== ours[i]);
    const rules = kernel.saved.trimEnd().split('\n');
    const services = rules.filter((line) => line.startsWith('-A')).length;
    const flowText = flows.length === 0 ? '' : `; ${made.size} flows of mh, ${other.length} with another server`;
    figures[one.name] =
      `${services} services, ${rules.length - services} servers, accepted by check, ${missing.length} not the kernel's${flowText}`;
    if (missing.length > 0) figures[`${one.name}: first difference`] = missing[0];
    if (other.length > 0) {
      const [flow] = other;
      const at = flows.indexOf(flow);
      figures[`${one.name}: first other server`] = `${flow.join(' ')}: the kernel ${made.get(flow.join(' '))}, ours ${ours[at]}`;
    }
    passed &&= missing.length === 0 && other.length === 0 && unknown.length === 0 && made.size >= flows.length;
  });
  return { passed, figures };
}

export const importIpvsLine: Line = {
  name: 'import-ipvs',
  claim:
    'Eleven sets of IPVS rules, one of 200 services, become configurations that check accepts, with every service and server that a kernel with the same rules has; under scheduler mh every flow gets the server that the kernel gives it.',
  twin: 'test/full/import-ipvs.test.ts',
  run,
};
