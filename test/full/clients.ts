// Real clients whose packets the director may not cut, behind links of 1,500 bytes: it answers their first packets of 1,500, and their
// kernels must believe it. What believes nothing never gets through.

import { join } from 'node:path';
import { runIn } from '../uml/director.ts';
import { abreast } from './abreast.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Program } from './program.ts';
import { allDrops, OTHER_PORT, Stage, type StageOptions, text } from './stage.ts';

const SCRIPT = join(import.meta.dirname, 'clients.py');
const MTU = 1500;
/** What fits into the tunnel of each family. */
const INNER = { 4: MTU - 32, 6: MTU - 52 } as const;
const BYTES: Readonly<Record<Scale, Readonly<Record<Kind, number>>>> = {
  full: { udp: 5_000_000, md5: 100_000_000, tcp: 100_000_000 },
  scaled: { udp: 300_000, md5: 3_000_000, tcp: 3_000_000 },
};
/** Answers for one transfer: the packets of a sender's window, before its kernel has read the first. */
const MOST_ANSWERS = 200;
/** What a director may drop: what is no client's packet, and answers beyond the rate for one client, who sends again. */
const ALLOWED = ['not-a-service', 'not-ip', 'wrong-host', 'too-big-rate'];

type Kind = 'udp' | 'md5' | 'tcp';

interface Case {
  readonly label: string;
  readonly options: StageOptions;
  readonly kinds: readonly Kind[];
  readonly scaled: readonly Kind[];
}

const CASES: readonly Case[] = [
  { label: 'tun, oversize segment', options: {}, kinds: ['udp', 'md5'], scaled: ['udp', 'md5'] },
  { label: 'tun, oversize icmp', options: { service: ', oversize: icmp' }, kinds: ['tcp'], scaled: ['tcp'] },
  {
    label: 'packet, oversize segment',
    options: { ingress: '{ driver: packet, interface: eth0 }' },
    kinds: ['udp', 'md5'],
    scaled: ['udp'],
  },
  { label: 'tap, oversize segment', options: { ingress: '{ driver: tap, device: gdt0 }' }, kinds: ['udp', 'md5'], scaled: [] },
];

interface Told {
  /** MTU of the path (udp) or size of segments (tcp, md5), as the client's kernel had it. */
  readonly before: number;
  readonly after: number;
  readonly sha256: string;
}

const ANSWERS = 'gue_director_too_big_answers_total';
const CUT = 'gue_director_resegmented_packets_total';

type Counters = Map<string, number>;

/** One transfer, after which the director's counters are `before` no more. Its figure and the new ones; complaints are added. */
async function transfer(
  stage: Stage,
  kind: Kind,
  family: 4 | 6,
  bytes: number,
  before: Counters,
  complaints: string[],
): Promise<{ figure: string; after: Counters }> {
  const { client, workers, vip4, vip6 } = stage.lab;
  const there = family === 4 ? vip4 : vip6;
  const here = family === 4 ? client.address4 : client.address6;
  // What one client has learned, the next one may not know.
  client.run('ip', [family === 4 ? '-4' : '-6', 'route', 'flush', 'cache']);
  const rest = [String(OTHER_PORT), String(bytes)];
  const server = await Program.start(workers[0], 'python3', [SCRIPT, 'server', kind, there, here, ...rest], 'ready');
  const about = `${kind} IPv${family}`;
  try {
    const told = JSON.parse(await runIn(client, 'python3', [SCRIPT, 'client', kind, here, there, ...rest])) as Told;
    await server.end(20);
    const after = await stage.counters();
    const grown = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    const isRight = server.words.includes(told.sha256);
    if (!isRight) complaints.push(`${about}: sent ${told.sha256}, the server had ${server.words}`);
    const answers = grown(ANSWERS);
    if (answers < 1 || answers > MOST_ANSWERS) complaints.push(`${about}: ${answers} answers`);
    if (grown(CUT) > 0) complaints.push(`${about}: ${grown(CUT)} packets were cut`);
    // A segment of the size before was a packet of 1,500.
    const expected = kind === 'udp' ? [MTU, INNER[family]] : [told.before, told.before - (MTU - INNER[family])];
    if (told.before !== expected[0] || told.after !== expected[1] || (kind !== 'udp' && told.before < MTU - 100))
      complaints.push(`${about}: the client went from ${told.before} to ${told.after}`);
    const figure = `${about} ${told.before} → ${told.after}, ${answers} answers, ${isRight ? 'every byte right' : 'WRONG'}`;
    return { figure, after };
  } catch (error) {
    throw new Error(`${about}: ${(error as Error).message}; the server: ${server.words}; the director: ${stage.director.log}`);
  } finally {
    await server.stop();
  }
}

async function run(scale: Scale): Promise<Outcome> {
  const sizes = BYTES[scale];
  const figures: Record<string, number | string> = {
    bytes: `UDP ${sizes.udp}, TCP ${sizes.tcp}, TCP-MD5 ${sizes.md5}`,
    numbers: 'UDP: the path’s MTU; TCP: bytes of a segment; as the client’s kernel has it before and after',
  };
  const complaints: string[] = [];
  const through = async ({ label, options, kinds: all, scaled }: Case): Promise<void> => {
    const kinds = scale === 'full' ? all : scaled;
    if (kinds.length === 0) return;
    const stage = await Stage.open({ insideMtu: MTU, ...options });
    try {
      const told: string[] = [];
      let counters = await stage.counters();
      for (const kind of kinds) {
        for (const family of [4, 6] as const) {
          const { figure, after } = await transfer(stage, kind, family, sizes[kind], counters, complaints);
          told.push(figure);
          counters = after;
        }
      }
      figures[label] = told.join('; ');
      const drops = allDrops(counters);
      figures[`${label}: drops`] = text(drops);
      const wrong = [...drops.keys()].filter((reason) => !ALLOWED.includes(reason));
      if (wrong.length > 0) complaints.push(`${label}: dropped ${text(drops)}`);
    } finally {
      await stage.close();
    }
  };
  await abreast(
    scale === 'full' ? 1 : 2,
    CASES.map((one) => () => through(one)),
  );
  return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.join(' | ') || 'none' } };
}

export const clients: Line = {
  name: 'clients',
  claim:
    'Real clients recover from our ICMP: UDP with DF, IPv6 UDP and TCP-MD5 sessions that begin with packets of 1,500 bytes learn from the answers what the tunnel carries, and every byte arrives; so does plain TCP where nothing may be cut.',
  twin: 'test/full/clients.test.ts',
  run,
};
