/** Adds a finished batch to the thread's counters: once per packet, after egress and reply path have had their say. */
import type { Batch } from '../base/batch.ts';
import { BACKENDS_AT, counterAt, DROPS_AT, MAX_SERVICES, SERVICES_AT } from '../base/counters.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_PASS, VERDICT_REPLY } from '../base/verdict.ts';
import { H_SERVICES, S_ID, SERVICE_WORDS } from './layout.ts';
import type { Snapshot } from './snapshot.ts';

const RECEIVED_PACKETS = counterAt('received_packets_total');
const RECEIVED_BYTES = counterAt('received_bytes_total');
const FORWARDED_PACKETS = counterAt('forwarded_packets_total');
const FORWARDED_BYTES = counterAt('forwarded_bytes_total');
const REPLIED_PACKETS = counterAt('replied_packets_total');
const PASSED_PACKETS = counterAt('passed_packets_total');
const BATCHES = counterAt('batches_total');

/** Service counters count what came for the service; backend counters what was sent. Bytes are those of the inner IP packet. */
export function account(batch: Batch, snapshot: Snapshot, bank: Float64Array): void {
  const words = snapshot.words;
  const servicesAt = words[H_SERVICES];
  const { count, verdict, reason, service, backend, frameLength, networkLength, outLength } = batch;
  let bytes = 0;
  let outBytes = 0;
  let forwarded = 0;
  for (let i = 0; i < count; i++) {
    bytes += frameLength[i];
    if (service[i] >= 0) {
      const id = words[servicesAt + service[i] * SERVICE_WORDS + S_ID];
      const at = SERVICES_AT + 2 * (id < MAX_SERVICES ? id : MAX_SERVICES - 1);
      bank[at] += 1;
      bank[at + 1] += networkLength[i];
    }
    const v = verdict[i];
    if (v === VERDICT_FORWARD) {
      forwarded++;
      outBytes += outLength[i];
      const at = BACKENDS_AT + 2 * backend[i];
      bank[at] += 1;
      bank[at + 1] += networkLength[i];
    } else if (v === VERDICT_DROP) bank[DROPS_AT + reason[i]] += 1;
    else if (v === VERDICT_REPLY) bank[REPLIED_PACKETS] += 1;
    else if (v === VERDICT_PASS) bank[PASSED_PACKETS] += 1;
  }
  bank[RECEIVED_PACKETS] += count;
  bank[RECEIVED_BYTES] += bytes;
  bank[FORWARDED_PACKETS] += forwarded;
  bank[FORWARDED_BYTES] += outBytes;
  bank[BATCHES] += 1;
}
