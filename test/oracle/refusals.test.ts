// Every reason to refuse a super-packet, shown on a packet: what we say of it, what the kernel does with it, and that docs/segmentation.md
// says both.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REFUSALS } from '../../src/pipeline/train.ts';
import { packet } from '../builder/packet.ts';
import { type Shape, superPacket } from '../builder/super-packet.ts';
import { needs } from '../needs.ts';
import { read } from '../rules/sources.ts';
import { EVERY_OFFLOAD, type Facts, KernelSegmenter } from './kernel.ts';
import { OurSegmenter } from './ours.ts';
import { factsOf } from './segmentation.ts';

/** What the kernel does: the write fails, nothing comes out, or something does that we do not want to send. */
type Answer = 'EINVAL' | 'silent' | 'sends';

interface Row {
  /** As the document says it. */
  readonly packet: string;
  readonly word: string;
  readonly kernel: Answer;
  readonly shape?: Partial<Shape>;
  readonly facts?: Partial<Facts>;
  readonly edit?: (bytes: Uint8Array, view: DataView) => void;
  readonly bytes?: Uint8Array;
}

const plain: Shape = {
  family: 4,
  protocol: 6,
  payload: 2500,
  segmentSize: 1000,
  flags: 0x10,
  reserved: 0,
  tcpOptions: new Uint8Array(0),
  ipOptionWords: 0,
  extensions: [],
  identification: 7,
  df: true,
  trafficClass: 0,
  ttl: 64,
  sequence: 1,
  finished: false,
  zeroAt: -1,
  seed: 1,
};
const UDP = { protocol: 17 } as const;
const tcp6 = () => packet().ipv6({ src: 'fd00:1::1', dst: 'fd00:9::1' });
const behind = (bytes: number) => ({ gsoType: 4, csumStart: 40 + bytes, csumOffset: 16, headerLength: 60 + bytes });

const ROWS: readonly Row[] = [
  { packet: 'gso type unknown', word: 'type', kernel: 'EINVAL', facts: { gsoType: 2 } },
  { packet: 'TCP over IPv6 said of an IPv4 packet', word: 'type', kernel: 'EINVAL', facts: { gsoType: 4 } },
  { packet: 'UDP said of a TCP packet', word: 'type', kernel: 'EINVAL', facts: { gsoType: 5 } },
  { packet: 'TCP said of a UDP packet', word: 'type', kernel: 'EINVAL', shape: UDP, facts: { gsoType: 1 } },
  { packet: 'ECN bit with UDP', word: 'type', kernel: 'EINVAL', shape: UDP, facts: { gsoType: 0x85 } },
  { packet: 'tunnel bit on a packet without tunnel', word: 'type', kernel: 'EINVAL', facts: { gsoType: 0x21 } },
  { packet: 'UFO (gso type 3)', word: 'type', kernel: 'sends', shape: UDP, facts: { gsoType: 3 } },
  { packet: 'segment size 0', word: 'size', kernel: 'EINVAL', facts: { gsoSize: 0 } },
  { packet: 'segment size 65,535', word: 'size', kernel: 'EINVAL', facts: { gsoSize: 65535 } },
  { packet: 'UDP, 129 datagrams', word: 'count', kernel: 'EINVAL', shape: { ...UDP, payload: 12_801, segmentSize: 100 } },
  { packet: 'TCP, 1,025 segments', word: 'count', kernel: 'sends', shape: { payload: 10_241, segmentSize: 10 } },
  { packet: 'virtio-net header length beyond the frame', word: 'length', kernel: 'EINVAL', facts: { headerLength: 65535 } },
  { packet: 'IPv4 total length beyond the frame', word: 'length', kernel: 'silent', edit: (_, view) => view.setUint16(2, 2541) },
  { packet: 'TCP data offset below 5', word: 'length', kernel: 'silent', edit: (bytes) => bytes.fill(0x40, 32, 33) },
  {
    packet: 'TCP data offset beyond the packet',
    word: 'length',
    kernel: 'silent',
    shape: { payload: 30, segmentSize: 10 },
    edit: (bytes) => bytes.fill(0xf0, 32, 33),
  },
  {
    packet: 'UDP length not the packet’s',
    word: 'length',
    kernel: 'sends',
    shape: UDP,
    edit: (_, view) => view.setUint16(24, 99),
  },
  { packet: 'checksum start not at the transport header', word: 'place', kernel: 'silent', facts: { csumStart: 24 } },
  { packet: 'checksum offset of the other protocol', word: 'place', kernel: 'EINVAL', facts: { csumOffset: 6 } },
  { packet: 'checksum start behind the frame', word: 'place', kernel: 'EINVAL', facts: { csumStart: 2540 } },
  {
    packet: 'UDP without NEEDS_CSUM',
    word: 'checksum',
    kernel: 'EINVAL',
    shape: { ...UDP, finished: true },
  },
  {
    packet: 'TCP without NEEDS_CSUM, its checksum wrong',
    word: 'checksum',
    kernel: 'sends',
    shape: { finished: true },
    edit: (bytes) => bytes.fill(bytes[100] ^ 1, 100, 101),
  },
  { packet: 'IPv4 fragment', word: 'fragment', kernel: 'sends', edit: (bytes) => refill(bytes.fill(0x20, 6, 7)) },
  {
    packet: 'IPv6 fragment header, atomic ones too',
    word: 'fragment',
    kernel: 'silent',
    bytes: tcp6().fragment().tcp({ checksum: 'partial' }).payload(2500).bytes(),
    facts: behind(8),
  },
  {
    packet: 'IPv6 mobility header',
    word: 'extension',
    kernel: 'silent',
    bytes: tcp6().extension('mobility').tcp({ checksum: 'partial' }).payload(2500).bytes(),
    facts: behind(8),
  },
  {
    packet: 'IPv6 shim6 header',
    word: 'extension',
    kernel: 'silent',
    bytes: tcp6().extension('shim6').tcp({ checksum: 'partial' }).payload(2500).bytes(),
    facts: behind(8),
  },
  {
    packet: 'IPv6 HIP header',
    word: 'extension',
    kernel: 'silent',
    bytes: tcp6().extension('hip', { units: 5 }).tcp({ checksum: 'partial' }).payload(2500).bytes(),
    facts: behind(40),
  },
  {
    packet: 'IPv6 authentication header',
    word: 'extension',
    kernel: 'silent',
    bytes: tcp6().extension('authentication', { units: 2 }).tcp({ checksum: 'partial' }).payload(2500).bytes(),
    facts: behind(16),
  },
  {
    packet: 'headers longer than a header record',
    word: 'room',
    kernel: 'sends',
    bytes: tcp6().extension('destination', { units: 25 }).tcp({ checksum: 'partial' }).payload(2500).bytes(),
    facts: behind(200),
  },
  {
    packet: 'payload fits one segment, payload and TCP options do not',
    word: 'short',
    kernel: 'silent',
    shape: { payload: 995, tcpOptions: new Uint8Array(12).fill(1) },
  },
  {
    packet: 'the same without NEEDS_CSUM, where IP options and extension headers count too',
    word: 'short',
    kernel: 'silent',
    shape: { payload: 995, ipOptionWords: 2, finished: true },
  },
];

/** The IPv4 header checksum, after its flags changed from DF to MF: 0x4000 less and 0x2000 more. */
function refill(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer);
  const raised = view.getUint16(10) + 0x2000;
  view.setUint16(10, raised > 0xffff ? raised - 0xffff : raised);
}

function caseOf(row: Row): { bytes: Uint8Array; facts: Facts } {
  const shape = { ...plain, ...row.shape };
  const bytes = row.bytes ?? superPacket(shape);
  row.edit?.(bytes, new DataView(bytes.buffer));
  const right = factsOf(row.bytes ?? superPacket(shape), row.bytes === undefined ? shape : { ...shape, family: 6 });
  return { bytes, facts: { ...right, ...row.facts } };
}

const KERNEL_TEXT: Readonly<Record<Answer, string>> = { EINVAL: 'refuses (EINVAL)', silent: 'drops in silence', sends: 'sends' };

test('the list of refusals is true of the kernel and of us', needs('root', 'namespaces', 'tun'), () => {
  const kernel = new KernelSegmenter('tun', EVERY_OFFLOAD, 12);
  try {
    const ours = new OurSegmenter();
    for (const row of ROWS) {
      const { bytes, facts } = caseOf(row);
      assert.equal(ours.segment(facts, bytes).refused, row.word, row.packet);
      const { refused, segments } = kernel.segment(facts, bytes);
      assert.equal(refused ?? (segments.length === 0 ? 'silent' : 'sends'), row.kernel, row.packet);
    }
  } finally {
    kernel.close();
  }
});

test('all 256 gso types: what the kernel takes, we take', needs('root', 'namespaces', 'tun'), () => {
  const kernel = new KernelSegmenter('tun', EVERY_OFFLOAD, 12);
  const taken: string[] = [];
  try {
    const ours = new OurSegmenter();
    for (const family of [4, 6] as const) {
      for (const protocol of [6, 17] as const) {
        const shape = { ...plain, family, protocol };
        const bytes = superPacket(shape);
        // 0 is no super-packet at all; 3, with or without the ECN bit, is UFO (in the list above).
        for (const gsoType of Array.from({ length: 256 }, (_, i) => i).filter(
          (type) => (type & 0x7f) !== 0 && (type & 0x7f) !== 3,
        )) {
          const facts = { ...factsOf(bytes, shape), gsoType };
          const theirs = kernel.segment(facts, bytes).segments.length;
          assert.equal(ours.segment(facts, bytes).segments.length, theirs, `type ${gsoType}, protocol ${protocol}, IPv${family}`);
          if (theirs > 0) taken.push(`${protocol}/${family}: ${gsoType}`);
        }
      }
    }
  } finally {
    kernel.close();
  }
  assert.deepEqual(taken, ['6/4: 1', '6/4: 129', '17/4: 5', '6/6: 4', '6/6: 132', '17/6: 5']);
});

test('docs/segmentation.md holds the same list', () => {
  const page = read('docs/segmentation.md');
  for (const { packet: name, word, kernel } of ROWS) {
    const line = page.split('\n').find((text) => text.startsWith(`| ${name} |`));
    assert.ok(
      line?.includes(`| \`${word}\` | ${KERNEL_TEXT[kernel]}`),
      `docs/segmentation.md lacks "| ${name} | \`${word}\` | ${KERNEL_TEXT[kernel]}"`,
    );
  }
  for (const { word } of REFUSALS)
    assert.ok(
      ROWS.some((row) => row.word === word),
      `no packet is refused for "${word}"`,
    );
});
