/** Packets from a capture file, as fast as they are asked for. See README.md beside this file. */
import type { Batch, CaptureTimes, IngressFacts } from '../../base/batch.ts';
import { LINK_ETHERNET, LINK_RAW_IP } from '../../base/batch.ts';
import { CodedError } from '../../base/errors.ts';
import { VERDICT_REPLY } from '../../base/verdict.ts';
import type { CaptureReader } from '../../wire/capture.ts';
import { openCapture } from '../../wire/capture.ts';
import type { CaptureSource } from '../../wire/capture-source.ts';
import { LINKTYPE_ETHERNET, LINKTYPE_IPV4, LINKTYPE_IPV6, LINKTYPE_RAW } from '../../wire/pcap.ts';
import type { DriverStatistics, Ingress } from '../driver.ts';
import { clearFrame, markTruncated, placeFrame } from '../frame.ts';
import { CaptureFile } from './capture-file.ts';
import { openCaptureFile } from './capture-window.ts';
import { inferFacts, USUAL_INNER_MTU } from './merged-frame.ts';

export interface PcapFileIngressOptions {
  /** pcap or pcapng; Ethernet or raw IP. */
  readonly path: string;
  /** Where replies are written; without it they are only counted. */
  readonly replies?: string;
  /** Bytes of the largest IP packet that frames captured merged are cut into; default USUAL_INNER_MTU. */
  readonly innerMtu?: number;
}

export class PcapFileIngress implements Ingress {
  readonly name: string;
  readonly facts: IngressFacts;
  readonly descriptor = -1;
  /** Replies so far. */
  replied = 0;
  /** Number of the record that the last batch began with, from 0: for reports. */
  firstRecord = 0;
  readonly #reader: CaptureReader;
  readonly #replies: CaptureFile | null;
  readonly #innerMtu: number;
  readonly #closeFile: () => void;
  #next = 0;
  #more: boolean;
  #torn: CodedError | null = null;

  /** Reads and checks the whole file first, so that a broken one is refused before anything is sent. Throws CodedError. */
  constructor(options: PcapFileIngressOptions) {
    const { source, close } = openCaptureFile(options.path);
    this.#closeFile = close;
    this.name = `pcap-file:${options.path}`;
    this.#innerMtu = options.innerMtu ?? USUAL_INNER_MTU;
    try {
      const link = linkOf(source, options.path);
      this.facts = { link, hopDone: false, canPass: false, headerVerified: false };
      this.#reader = openCapture(source, options.path);
      this.#more = this.#reader.next();
      const linkType = link === LINK_ETHERNET ? LINKTYPE_ETHERNET : LINKTYPE_RAW;
      this.#replies = options.replies === undefined ? null : new CaptureFile(options.replies, linkType);
    } catch (error) {
      close();
      throw error;
    }
  }

  get exhausted(): boolean {
    return !this.#more;
  }

  get lastErrno(): number {
    return this.#replies?.lastErrno ?? 0;
  }

  /** Why reading ended before the file's end (somebody changed it meanwhile), or GD_IO_PCAP_WRITE of the last write of replies that failed; null when all is well. */
  get failure(): CodedError | null {
    return this.#torn ?? this.#replies?.failure ?? null;
  }

  /** Also fills `batch.captureTimes`. A batch ends where the second changes: one time for all of it is then exact. */
  receive(batch: Batch): number {
    const reader = this.#reader;
    const times = batch.captureTimes ?? timesOf(batch.capacity);
    batch.captureTimes = times;
    this.firstRecord = this.#next;
    let count = 0;
    while (count < batch.capacity && this.#more && (count === 0 || reader.seconds === times.seconds[0])) {
      clearFrame(batch, count);
      placeFrame(batch, count, reader.bytes.subarray(reader.at, reader.at + reader.length));
      times.seconds[count] = reader.seconds;
      times.nanoseconds[count] = reader.nanoseconds;
      // Cut by whoever captured it (snap length): what is missing can not be forwarded.
      if (reader.originalLength > reader.length) markTruncated(batch, count);
      if (batch.reason[count] === 0) inferFacts(batch, count, this.#innerMtu);
      count++;
      this.#next++;
      this.#more = this.#advance();
    }
    batch.count = count;
    return count;
  }

  /** The file was read once and was right; that it still is nobody promises. */
  #advance(): boolean {
    try {
      return this.#reader.next();
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#torn = error;
      return false;
    }
  }

  reply(batch: Batch): void {
    for (let i = 0; i < batch.count; i++) if (batch.verdict[i] === VERDICT_REPLY) this.replied++;
    this.replied += batch.answers;
    this.#replies?.write(batch, VERDICT_REPLY);
    if (batch.answers > 0) this.#replies?.writeAnswers(batch);
  }

  statistics(): DriverStatistics {
    return { kernelDrops: 0 };
  }

  close(): void {
    this.#more = false;
    this.#closeFile();
    this.#replies?.close();
  }
}

function timesOf(capacity: number): CaptureTimes {
  return { seconds: new Float64Array(capacity), nanoseconds: new Int32Array(capacity) };
}

/** The one kind of frame that the file holds. Reads all of it, so that every fault of its format shows here. */
function linkOf(source: CaptureSource, path: string): IngressFacts['link'] {
  const reader = openCapture(source, path);
  let link: IngressFacts['link'] | null = null;
  for (let record = 0; reader.next(); record++) {
    const found = linkFact(reader.linkType);
    if (found === null || (link !== null && found !== link)) {
      throw new CodedError('GD_IO_PCAP_LINK', `${path}: record ${record} has link type ${linkName(reader.linkType)}`, {
        hint: hintFor(found, reader.linkType),
      });
    }
    link = found;
  }
  return link ?? linkFact(reader.linkType) ?? LINK_ETHERNET;
}

/** "Linux cooked": what `tcpdump -i any` writes, version 1 and 2. */
const LINKTYPE_LINUX_SLL = 113;
const LINKTYPE_LINUX_SLL2 = 276;
/** DLT_RAW of most systems and of OpenBSD: some programs write the DLT number where the LINKTYPE number (101) belongs. */
const DLT_RAW = [12, 14];

function linkFact(linkType: number): IngressFacts['link'] | null {
  if (linkType === LINKTYPE_ETHERNET) return LINK_ETHERNET;
  if (linkType === LINKTYPE_RAW || linkType === LINKTYPE_IPV4 || linkType === LINKTYPE_IPV6) return LINK_RAW_IP;
  return DLT_RAW.includes(linkType) ? LINK_RAW_IP : null;
}

function linkName(linkType: number): string {
  if (linkType === LINKTYPE_LINUX_SLL) return `${linkType} (Linux cooked)`;
  return linkType === LINKTYPE_LINUX_SLL2 ? `${linkType} (Linux cooked, version 2)` : `${linkType}`;
}

function hintFor(link: IngressFacts['link'] | null, linkType: number): string {
  if (linkType === LINKTYPE_LINUX_SLL || linkType === LINKTYPE_LINUX_SLL2) {
    return 'this is a capture of all interfaces at once, which has no Ethernet headers; capture one: tcpdump -i IFACE -w OUT';
  }
  if (link === null) return 'Ethernet (1) or raw IP (101, 228, 229) is read';
  return 'one kind of link per file; split a mixed capture by interface: tshark -r IN -Y "frame.interface_id == 0" -w OUT';
}
