// The packet path in C (pipeline.c) as a partner of the bench `pipeline`: one process that answers commands, so that rounds of both alternate.

import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Snapshot } from '../../src/pipeline/snapshot.ts';
import { buildPipelineFloor } from './build.ts';

/** Net cost is `gross` less `floor`, ns per packet: the same loop with and without the path. */
export interface Round {
  readonly gross: number;
  readonly floor: number;
}

/** What `serve` did. */
export interface Served {
  readonly packets: number;
  /** Batches that took more than a millisecond. */
  readonly pauses: number;
  /** Milliseconds of the longest batch. */
  readonly longest: number;
}

/** | words | root | tables | for each: slots, slots × 16 bits |, in the machine's order. */
function serialised(snapshot: Snapshot): Uint8Array {
  const { words, tables } = snapshot;
  const pieces: ArrayBufferView[] = [Int32Array.of(words.length), words, Int32Array.of(tables.length)];
  for (const table of tables) pieces.push(Int32Array.of(table.length), table);
  return Buffer.concat(pieces.map((piece) => new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength)));
}

function writeSnapshots(program: string, snapshots: readonly Snapshot[]): string[] {
  return snapshots.map((snapshot, s) => {
    const file = join(dirname(program), `snapshot-${s}`);
    writeFileSync(file, serialised(snapshot));
    return file;
  });
}

function settings(key: Int32Array, entries: number): string[] {
  return [String(key[0]), String(key[1]), String(entries)];
}

export class PipelineFloor {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;

  private constructor(program: string, args: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Compiles and starts it; null without a compiler. `entries`: of the flow table, a power of two. */
  static start(key: Int32Array, entries: number, snapshots: readonly Snapshot[]): PipelineFloor | null {
    const program = buildPipelineFloor();
    if (program === null) return null;
    return new PipelineFloor(program, [...settings(key, entries), ...writeSnapshots(program, snapshots)]);
  }

  async #ask(command: string): Promise<string> {
    this.#child.stdin.write(`${command}\n`);
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error(`bench/floor/pipeline.c ended (exit code ${this.#child.exitCode}) at "${command}"`);
    return value;
  }

  /** Makes a case ready and warms it up. `snapshot`: its number among those of `start`. */
  async select(snapshot: number, family: 4 | 6, flows: number): Promise<void> {
    await this.#ask(`select ${snapshot} ${family} ${flows}`);
  }

  async round(batches: number): Promise<Round> {
    const [gross, floor, lost] = (await this.#ask(`round ${batches}`)).split(' ').map(Number);
    if (lost !== 0) throw new Error(`bench/floor/pipeline.c did not forward ${lost} packets`);
    return { gross, floor };
  }

  /** Works for so many milliseconds of the wall clock, `load` of the time (0–1] and asleep otherwise, kept on a processor; null: on none. */
  async serve(milliseconds: number, load: number, processor: number | null): Promise<Served> {
    const command = `serve ${Math.round(milliseconds)} ${Math.round(load * 100)} ${processor ?? -1}`;
    const [packets, pauses, longest] = (await this.#ask(command)).split(' ').map(Number);
    return { packets, pauses, longest: longest / 1e6 };
  }

  stop(): void {
    this.#child.stdin.end();
  }
}

/** Packets that are given to the path at one moment. */
export interface FloorBatch {
  /** Seconds. */
  readonly now: number;
  readonly packets: readonly Uint8Array[];
}

/** What the C program makes of packets: each as it leaves, or null; and the words of its flow table afterwards. null without a compiler. */
export function passThroughFloor(
  key: Int32Array,
  entries: number,
  snapshot: Snapshot,
  batches: readonly FloorBatch[],
): { out: (Uint8Array | null)[]; table: Int32Array } | null {
  const program = buildPipelineFloor();
  if (program === null) return null;
  const word = (value: number) => new Uint8Array(Int32Array.of(value).buffer);
  const input = batches.flatMap(({ now, packets }) => [
    word(now),
    word(packets.length),
    ...packets.flatMap((packet) => [word(packet.length), packet]),
  ]);
  const args = [...settings(key, entries), '--packets', ...writeSnapshots(program, [snapshot])];
  const { status, stdout } = spawnSync(program, args, {
    input: Buffer.concat(input),
    maxBuffer: 1 << 28,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error(`bench/floor/pipeline.c ended with ${status}`);
  const out: (Uint8Array | null)[] = [];
  let at = 0;
  for (const { packets } of batches) {
    for (let i = 0; i < packets.length; i++) {
      const length = stdout.readInt32LE(at);
      out.push(length === 0 ? null : stdout.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
  }
  // A copy: words must begin at a multiple of 4.
  return { out, table: new Int32Array(new Uint8Array(stdout.subarray(at)).buffer) };
}
