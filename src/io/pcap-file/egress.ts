/** Encapsulated packets into a capture file (raw IP). See README.md beside this file. */
import type { Batch } from '../../base/batch.ts';
import type { CodedError } from '../../base/errors.ts';
import { VERDICT_FORWARD } from '../../base/verdict.ts';
import { LINKTYPE_RAW } from '../../wire/pcap.ts';
import type { Egress, EgressFacts } from '../driver.ts';
import { DYNAMIC_PORTS } from '../source-ports.ts';
import { CaptureFile } from './capture-file.ts';

export class PcapFileEgress implements Egress {
  readonly name: string;
  readonly facts: EgressFacts = {
    layer: 'l3',
    trains: 'none',
    maxSegments: 1,
    maxBytes: 65535,
    trainsNeedChecksum: false,
    outerFragments: true,
    sourcePortBase: DYNAMIC_PORTS.base,
    sourcePortMask: DYNAMIC_PORTS.count - 1,
  };
  readonly #file: CaptureFile;

  /** Creates or empties the file. Throws CodedError GD_IO_PCAP_WRITE. */
  constructor(path: string) {
    this.name = `pcap-file:${path}`;
    this.#file = new CaptureFile(path, LINKTYPE_RAW);
  }

  get lastErrno(): number {
    return this.#file.lastErrno;
  }

  /** GD_IO_PCAP_WRITE of the last write that failed, null when none did. */
  get failure(): CodedError | null {
    return this.#file.failure;
  }

  send(batch: Batch): void {
    this.#file.write(batch, VERDICT_FORWARD);
  }

  close(): void {
    this.#file.close();
  }
}
