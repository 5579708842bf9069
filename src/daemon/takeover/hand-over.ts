/**
 * The old director's side of a takeover: it offers, answers, leaves, and goes on as before when anything fails.
 *
 *     new                              old
 *      │ POST /-/takeover ───────────► │ listens at a socket of its own, mode 0600, for ten seconds
 *      │ hello: facts ───────────────► │ compares them                              refuse: nothing has happened
 *      │ ◄──── state and descriptors   │
 *      │ opens drivers, warms up       │ forwards
 *      │ poised ─────────────────────► │ closes its listeners; its threads leave at a batch boundary,
 *      │ ◄═════════ batons ═══════════ │ each raising the baton of its queue        (thread to thread, baton.ts)
 *      │ forwards                      │
 *      │ ◄──────── left: counters      │ keeps every descriptor open
 *      │ routes, listeners             │
 *      │ ready ──────────────────────► │ ends
 *
 * Until `poised` the old one only answers. After it, a new one that ends or says nothing for too long is ended for good, and the old one's threads read
 * their queues again. Whenever it fails behind `state`, the old one waits for the end of the new one before it takes back what that one may have
 * written (flow-identities.ts): a new one writes just before it says `poised`, and could do so after a refusal that it has not read yet.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ActionAnswer } from '../../admin/actions.ts';
import { CodedError } from '../../base/errors.ts';
import type { EventJournal } from '../../observe/events.ts';
import { EventDescriptor } from '../../raw-socket/event.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { acceptUnix, listenUnix } from '../../raw-socket/unix-socket.ts';
import { serviceManager, successorEnvironment } from '../notify.ts';
import { Channel, refusalOf } from './channel.ts';
import { type Facts, requireSame } from './facts.ts';
import type { Message } from './frame.ts';
import { toPlain } from './plain.ts';
import { removeStaleSockets, takeoverSocket } from './socket-files.ts';

/** Milliseconds that each step may take. `end`: of a successor that was refused while nobody reads the queues; `refused`: while we do. */
const PATIENCE = { connect: 10_000, hello: 5000, poised: 60_000, ready: 15_000, end: 2000, refused: 10_000 };

/** A descriptor and what it is: `lock`, `queue 0`, `baton 0`. */
export type Lent = readonly [role: string, descriptor: number];

/** What the director does for a hand-over. */
export interface Giver {
  readonly facts: Facts;
  /** Everything but the batons. Throws CodedError when this director can not hand over now. */
  lend(): { readonly threads: number; readonly descriptors: readonly Lent[] };
  /** What is known, by name of the part that knows it (plain.ts). */
  parts(): Readonly<Record<string, unknown>>;
  /** Changes when what is in force does. */
  inForce(): string;
  /** Nothing is changed, asked or answered any more from here on. Its first step is taken before it returns. */
  quiet(): Promise<void>;
  /** The threads leave; their last words. The batons are the threads' from here on: whoever may still raise one closes it. */
  leave(batons: readonly number[]): Promise<Readonly<Record<string, unknown>>>;
  /** The successor is gone: what it may have written in our place is written anew. Before `resume`, and also where nothing else has happened. */
  reclaim(): void;
  /** Undoes `quiet` and `leave`. */
  resume(): Promise<void>;
  /** Everything is the successor's: end, and leave it as it is. */
  done(): void;
}

/** How a hand-over ended. */
export interface HandedOver {
  readonly process: number;
  readonly version: string;
  /** What the successor says: milliseconds by thread in which nobody read its queue, and so on. */
  readonly ready: Readonly<Record<string, unknown>>;
}

export class HandOver {
  readonly #giver: Giver;
  readonly #directory: string;
  readonly #journal: EventJournal;
  #running: Promise<HandedOver> | null = null;
  /** Of `upgrade`: the successor that it started, and whom to give the hand-over that it asks for. */
  #child: ChildProcess | null = null;
  #begun: ((running: Promise<HandedOver>) => void) | null = null;
  /** Times that somebody should have taken over and did not. */
  failures = 0;
  /** Process id of who took over; null while nobody has. */
  successor: number | null = null;

  /** `directory`: where the socket of a hand-over is made. */
  constructor(giver: Giver, directory: string, journal: EventJournal) {
    this.#giver = giver;
    this.#directory = directory;
    this.#journal = journal;
  }

  /** Resolves when no hand-over is under way. */
  async settled(): Promise<void> {
    await this.#running?.catch(() => null);
  }

  /** POST /-/takeover: a successor asks; it is told where to connect. */
  offer(): ActionAnswer {
    if (this.#running !== null) return busy();
    const path = join(this.#directory, takeoverSocket(randomBytes(8).toString('hex')));
    try {
      const { threads } = this.#giver.lend();
      removeStaleSockets(this.#directory);
      const listener = listenUnix(path);
      this.#running = this.#run(listener, path, threads);
      this.#begun?.(this.#running);
    } catch (error) {
      return { status: 409, body: refusalOf(error) };
    }
    this.#running.then(
      () => {},
      (error: unknown) => {
        this.#running = null;
        this.failures++;
        const { message, hint, code } = refusalOf(error);
        this.#journal.record('warn', 'takeover-failed', `nobody took over, this director goes on: ${message}`, { code, hint });
      },
    );
    return { status: 200, body: { socket: path } };
  }

  /** POST /-/upgrade: starts a successor, this program's file as it is now with the same arguments, and waits for the end of it. */
  async upgrade(): Promise<ActionAnswer> {
    if (this.#running !== null || this.#child !== null) return busy();
    if (process.pid === 1) return { status: 409, body: refusalOf(firstProcess()) };
    const began = Date.now();
    const failedBefore = this.failures;
    const asked = process.argv.slice(1).filter((argument) => argument !== '--takeover');
    const child = spawn(process.execPath, [...process.execArgv, ...asked, '--takeover'], {
      stdio: 'inherit',
      env: successorEnvironment(),
    });
    this.#child = child;
    const ended = new Promise<CodedError>((resolve) => {
      const say = (how: string) =>
        resolve(
          new CodedError('GD_TAKEOVER_SUCCESSOR', `the new process ended before it had taken over: ${how}`, {
            hint: 'its log says why (journalctl -u gue-director); this director goes on as before',
          }),
        );
      child.once('error', (error) => say(error.message));
      child.once('exit', (code, signal) => say(signal ?? `exit code ${code}`));
    });
    // Held from its first moment: a refusal comes within a millisecond.
    const handedOver = new Promise<HandedOver>((resolve) => {
      this.#begun = resolve;
    });
    try {
      const outcome = await Promise.race([handedOver, ended, this.#late()]);
      if (outcome instanceof CodedError) {
        // What it told us before it ended says more; we learn of it when our own threads read again.
        const told = handedOver.then(
          () => outcome,
          (error: unknown) => error,
        );
        const failure = this.#running === null ? await Promise.race([told, sleep(50, outcome)]) : await told;
        // One that ended before it had asked for anything: nobody else counts it.
        if (this.#running === null && this.failures === failedBefore) this.failures++;
        return { status: 409, body: refusalOf(failure) };
      }
      child.unref();
      return { status: 200, body: { ...outcome, milliseconds: Date.now() - began } };
    } catch (error) {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      if (this.#running === null && this.failures === failedBefore) this.failures++;
      return { status: 409, body: refusalOf(error) };
    } finally {
      this.#child = null;
      this.#begun = null;
    }
  }

  /** Throws when the successor asks for nothing in time; else never ends. */
  async #late(): Promise<never> {
    await sleep(PATIENCE.poised, undefined, { ref: false });
    if (this.#running === null) throw new CodedError('GD_TAKEOVER_SLOW', 'the new process does not ask for anything');
    return new Promise<never>(() => {});
  }

  async #run(listener: number, path: string, threads: number): Promise<HandedOver> {
    let socket = -1;
    try {
      const deadline = Date.now() + PATIENCE.connect;
      while (socket < 0) {
        if (Date.now() > deadline) throw new CodedError('GD_TAKEOVER_SLOW', 'nobody connected');
        socket = acceptUnix(listener);
        if (socket < 0) await sleep(1);
      }
    } finally {
      rmSync(path, { force: true });
      closeDescriptor(listener);
    }
    const channel = new Channel(socket);
    const batons = new Batons(threads);
    try {
      const hello = await this.#prepare(channel, batons.numbers);
      return await this.#handOver(channel, batons, String(hello.body.version));
    } finally {
      channel.close();
      batons.close();
    }
  }

  /** Everything that can be done while our own threads forward: resolves when the successor is poised. */
  async #prepare(channel: Channel, batons: readonly number[]): Promise<Message> {
    const giver = this.#giver;
    let told = false;
    try {
      const hello = await channel.expect(['hello'], PATIENCE.hello);
      const { facts } = hello.body as { facts?: Facts };
      requireSame(giver.facts, facts ?? {});
      const lent: Lent[] = [...giver.lend().descriptors, ...batons.map((baton, seat): Lent => [`baton ${seat}`, baton])];
      const inForce = giver.inForce();
      const state = { roles: lent.map(([role]) => role), parts: toPlain(giver.parts()), process: process.pid };
      told = true;
      await channel.send(
        'state',
        state,
        lent.map(([, descriptor]) => descriptor),
      );
      await channel.expect(['poised'], PATIENCE.poised);
      if (giver.inForce() !== inForce) {
        throw new CodedError('GD_TAKEOVER_CHANGED', 'what is in force changed while the new process prepared itself', {
          hint: 'ask again: gue-director upgrade',
        });
      }
      return hello;
    } catch (error) {
      if (told) {
        await this.#endSuccessor(channel, error, PATIENCE.refused);
        giver.reclaim();
      } else await tellRefusal(channel, error);
      throw error;
    }
  }

  async #handOver(channel: Channel, batons: Batons, version: string): Promise<HandedOver> {
    const giver = this.#giver;
    const successor = { process: channel.peer, version };
    this.#journal.record('info', 'takeover', 'the successor is ready: handing over', successor);
    try {
      await giver.quiet();
      const left = await giver.leave(batons.give());
      await channel.send('left', toPlain(left) as object);
      const ready = await channel.expect(['ready'], PATIENCE.ready);
      this.#journal.record('info', 'handed-over', 'the successor forwards; this process ends and takes nothing away', {
        ...successor,
        ...ready.body,
        kind: undefined,
      });
      this.successor = successor.process;
      serviceManager.mainProcess(successor.process);
      // After the answer to whoever asked for it.
      setTimeout(() => giver.done(), 100);
      return { ...successor, ready: ready.body };
    } catch (error) {
      await this.#endSuccessor(channel, error, PATIENCE.end);
      giver.reclaim();
      await giver.resume();
      throw error;
    }
  }

  /** No queue may have two readers, and no file two writers: the successor must be gone before we go on. Never throws: what it can not do is told. */
  async #endSuccessor(channel: Channel, error: unknown, patience: number): Promise<void> {
    try {
      await this.#end(channel, error, patience);
    } catch (failure) {
      const { message, code } = refusalOf(failure);
      this.#journal.record('error', 'takeover-failed', `the successor could not be ended in order: ${message}`, { code });
    }
  }

  async #end(channel: Channel, error: unknown, patience: number): Promise<void> {
    const { peer } = channel;
    try {
      await tellRefusal(channel, error);
    } catch (failure) {
      // It does not read; its end is what counts.
      if (!(failure instanceof CodedError)) throw failure;
    }
    const isEnded = async (within: number): Promise<boolean> => {
      const deadline = Date.now() + within;
      while (Date.now() < deadline) {
        try {
          // Whatever it says now, only its end counts.
          channel.poll();
        } catch (failure) {
          if (failure instanceof CodedError && failure.code === 'GD_RAW_SOCKET_PEER_GONE') return true;
        }
        await sleep(1);
      }
      return false;
    };
    if (await isEnded(patience)) return;
    if (peer > 0 && peer !== process.pid) process.kill(peer, 'SIGKILL');
    if (await isEnded(PATIENCE.end)) return;
    this.#journal.record('error', 'takeover-failed', 'the successor can not be ended: two processes may read the same queues', {
      process: peer,
      hint: `kill -9 ${peer}`,
    });
  }
}

/** One baton for each thread, ours until they are given away: who is to raise one may do so late, and its number must not be somebody else's by then. */
class Batons {
  readonly #batons: readonly EventDescriptor[];
  #ours = true;

  constructor(threads: number) {
    this.#batons = Array.from({ length: threads }, () => EventDescriptor.create());
  }

  get numbers(): readonly number[] {
    return this.#batons.map(({ descriptor }) => descriptor);
  }

  /** Whoever gets them closes them. */
  give(): readonly number[] {
    this.#ours = false;
    return this.numbers;
  }

  close(): void {
    if (this.#ours) for (const baton of this.#batons) baton.close();
  }
}

async function tellRefusal(channel: Channel, error: unknown): Promise<void> {
  try {
    await channel.send('refuse', refusalOf(error));
  } catch (failure) {
    // Whoever is gone needs no word.
    if (!(failure instanceof CodedError) || failure.code !== 'GD_RAW_SOCKET_PEER_GONE') throw failure;
  }
}

/** When the first process of a container ends, the kernel ends all others. */
function firstProcess(): CodedError {
  return new CodedError(
    'GD_TAKEOVER_FIRST_PROCESS',
    'this director is the first process of its container, which would end with it',
    {
      hint: 'start a new container instead: flows are picked up from the flow table file if the runtime directory outlives the container',
    },
  );
}

/** Whatever changes something is refused while a successor takes over: it has what was so before. */
export function busy(): ActionAnswer {
  const error = new CodedError('GD_TAKEOVER_BUSY', 'another process is taking over already', { hint: 'ask again in a moment' });
  return { status: 409, body: refusalOf(error) };
}
