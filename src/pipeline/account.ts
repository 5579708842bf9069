/** Adds a finished batch to the thread's counters: once per packet, after egress and reply path have had their say. */
import type { Batch } from '../base/batch.ts';
import { BACKENDS_AT, counterAt, DROPS_AT, MAX_SERVICES, SERVICES_AT } from '../base/counters.ts';
import { VERDICT_APART, VERDICT_DROP, VERDICT_FORWARD, VERDICT_HELD, VERDICT_PASS, VERDICT_REPLY } from '../base/verdict.ts';
import type { DropNotes } from './drop-notes.ts';
import { H_SERVICES, S_ID, SERVICE_WORDS } from './layout.ts';
import type { Snapshot } from './snapshot.ts';

const RECEIVED_PACKETS = counterAt('received_packets_total');
const RECEIVED_BYTES = counterAt('received_bytes_total');
const FORWARDED_PACKETS = counterAt('forwarded_packets_total');
const FORWARDED_BYTES = counterAt('forwarded_bytes_total');
const REPLIED_PACKETS = counterAt('replied_packets_total');
const PASSED_PACKETS = counterAt('passed_packets_total');
const BATCHES = counterAt('batches_total');
const SEGMENTED_PACKETS = counterAt('segmented_packets_total');
const SEGMENTS_SENT = counterAt('segments_sent_total');
const OFFLOADED_PACKETS = counterAt('offloaded_packets_total');
const OFFLOADED_SEGMENTS = counterAt('offloaded_segments_total');

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const FORWARD = VERDICT_FORWARD;
const DROP = VERDICT_DROP;
const REPLY = VERDICT_REPLY;
const PASS = VERDICT_PASS;
const APART = VERDICT_APART;
const HELD = VERDICT_HELD;
const SERVICE_CELLS = SERVICES_AT;
const BACKEND_CELLS = BACKENDS_AT;
const DROP_CELLS = DROPS_AT;
const LAST_SERVICE = MAX_SERVICES - 1;
const ID = S_ID;
const SERVICE = SERVICE_WORDS;
const SERVICES = H_SERVICES;

/**
 * Adds one batch to `bank`. Service counters count what could be steered; backend counters what was sent. Bytes are those of the
 * inner IP packet. What was dropped is noted in `notes` too; null: nowhere.
 */
export function accountStage(batch: Batch, bank: Float64Array, notes: DropNotes | null): (snapshot: Snapshot) => void {
  const { verdict, reason, service, backend, frameLength, networkLength, outLength, recordAt, segmentCount, gsoType } = batch;

  function accountTrains(): void {
    for (let i = 0; i < batch.count; i++) {
      if (verdict[i] !== FORWARD) continue;
      if (recordAt[i] < 0) {
        if (segmentCount[i] === 1) continue;
        bank[OFFLOADED_PACKETS] += 1;
        bank[OFFLOADED_SEGMENTS] += segmentCount[i];
        continue;
      }
      // A single packet that was too big is counted apart (segment-stage.ts).
      if (gsoType[i] !== 0) bank[SEGMENTED_PACKETS] += 1;
      bank[SEGMENTS_SENT] += segmentCount[i];
    }
  }

  const addService = (words: Int32Array, number: number, packets: number, bytes: number): void => {
    const id = words[words[SERVICES] + number * SERVICE + ID];
    const at = SERVICE_CELLS + 2 * Math.min(id, LAST_SERVICE);
    bank[at] += packets;
    bank[at + 1] += bytes;
  };
  const addBackend = (id: number, packets: number, bytes: number): void => {
    const at = BACKEND_CELLS + 2 * id;
    bank[at] += packets;
    bank[at + 1] += bytes;
  };

  return function account(snapshot: Snapshot): void {
    const words = snapshot.words;
    const count = batch.count;
    // Neighbours often are of one service, in quiet moments of one flow: their cells are written once for all of them, where each addition would wait for
    // the one before it.
    let lastService = -1;
    let servicePackets = 0;
    let serviceBytes = 0;
    let lastBackend = -1;
    let backendPackets = 0;
    let backendBytes = 0;
    let bytes = 0;
    let outBytes = 0;
    let forwarded = 0;
    let apart = 0;
    let dropped = 0;
    for (let i = 0; i < count; i++) {
      const v = verdict[i];
      // What is held is counted when it comes back, or is lost (pipeline.ts, `release`).
      if (v === APART || v === HELD) {
        apart++;
        continue;
      }
      bytes += frameLength[i];
      const length = networkLength[i];
      const number = service[i];
      if (number >= 0) {
        if (number !== lastService) {
          if (lastService >= 0) addService(words, lastService, servicePackets, serviceBytes);
          lastService = number;
          servicePackets = 0;
          serviceBytes = 0;
        }
        servicePackets++;
        serviceBytes += length;
      }
      if (v === FORWARD) {
        forwarded++;
        outBytes += outLength[i];
        const id = backend[i];
        if (id !== lastBackend) {
          if (lastBackend >= 0) addBackend(lastBackend, backendPackets, backendBytes);
          lastBackend = id;
          backendPackets = 0;
          backendBytes = 0;
        }
        backendPackets++;
        backendBytes += length;
      } else if (v === DROP) {
        dropped++;
        bank[DROP_CELLS + reason[i]] += 1;
      } else if (v === REPLY) bank[REPLIED_PACKETS] += 1;
      else if (v === PASS) bank[PASSED_PACKETS] += 1;
    }
    if (lastService >= 0) addService(words, lastService, servicePackets, serviceBytes);
    if (lastBackend >= 0) addBackend(lastBackend, backendPackets, backendBytes);
    bank[RECEIVED_PACKETS] += count - apart;
    bank[RECEIVED_BYTES] += bytes;
    bank[FORWARDED_PACKETS] += forwarded;
    bank[FORWARDED_BYTES] += outBytes;
    bank[BATCHES] += 1;
    if (batch.trains > 0) accountTrains();
    // A loop of its own: packets that are not dropped pay nothing.
    if (dropped > 0 && notes !== null) notes.noteBatch(batch, snapshot);
  };
}
