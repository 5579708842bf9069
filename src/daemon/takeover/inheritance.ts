/** The new director's side of a takeover (hand-over.ts has the picture): asks the running one, and holds what it gave until it has its place. */
import { askAction } from '../../admin/client.ts';
import { adminSocketPath } from '../../admin/socket.ts';
import { CodedError } from '../../base/errors.ts';
import type { Config } from '../../config/config.ts';
import { EventDescriptor } from '../../raw-socket/event.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { connectUnix } from '../../raw-socket/unix-socket.ts';
import type { InheritedSeat } from '../forwarding-threads.ts';
import { packageVersion } from '../version.ts';
import { Channel, refusalOf } from './channel.ts';
import { factsOf } from './facts.ts';
import { fromPlain } from './plain.ts';

/** Milliseconds. */
const PATIENCE = { state: 15_000, left: 15_000 };

export class Inheritance {
  readonly #channel: Channel;
  readonly #descriptors: Map<string, number>;
  #parts: Readonly<Record<string, unknown>>;
  readonly process: number;

  private constructor(channel: Channel, descriptors: Map<string, number>, parts: Readonly<Record<string, unknown>>, pid: number) {
    this.#channel = channel;
    this.#descriptors = descriptors;
    this.#parts = parts;
    this.process = pid;
  }

  /**
   * Asks the director that runs for this configuration. Throws CodedError: GD_ADMIN_UNREACHABLE (exit code 69) when there is none, what it says when it
   * refuses; then it goes on as if nothing had been.
   */
  static async ask(config: Config): Promise<Inheritance> {
    const path = adminSocketPath(config.admin.socket);
    if (path === null) {
      throw new CodedError('GD_TAKEOVER_SOCKET', 'admin.socket is off: there is no way to ask the running director', {
        hint: 'systemctl restart gue-director, with admin: { socket: auto } in the configuration',
      });
    }
    const { status, body } = await askAction(path, '/-/takeover');
    if (status !== 200 || typeof body.socket !== 'string') {
      const hint =
        status === 404 ? 'the running director is too old for it: systemctl restart gue-director' : String(body.hint ?? '');
      throw new CodedError('GD_TAKEOVER_REFUSED', `the running director refuses: ${String(body.message)}`, { hint });
    }
    const channel = new Channel(connectUnix(body.socket));
    try {
      await channel.send('hello', { version: packageVersion(), facts: factsOf(config) });
      const state = await channel.expect(['state'], PATIENCE.state);
      const { roles, parts, process: pid } = state.body as { roles: string[]; parts: unknown; process: number };
      const descriptors = new Map(roles.map((role, i) => [role, state.descriptors[i]]));
      return new Inheritance(channel, descriptors, fromPlain(parts) as Record<string, unknown>, pid);
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  /** What the part of this name knew; undefined when it said nothing (an older version). */
  part(name: string): unknown {
    return this.#parts[name];
  }

  /** The descriptor of this role, which is the caller's from now on; null when there is none. */
  take(role: string): number | null {
    const descriptor = this.#descriptors.get(role) ?? null;
    this.#descriptors.delete(role);
    return descriptor;
  }

  /** The seats' descriptors. Throws CodedError when some are missing. Their batons stay ours. */
  seats(threads: number): InheritedSeat[] {
    return Array.from({ length: threads }, (_, seat) => {
      const baton = this.#descriptors.get(`baton ${seat}`);
      const queue = this.take(`queue ${seat}`);
      if (baton === undefined || queue === null) {
        throw new CodedError('GD_TAKEOVER_MESSAGE', `the running director sent no queue for thread ${seat}`, {
          hint: 'systemctl restart gue-director',
        });
      }
      return { queue, egressQueue: this.take(`egress-queue ${seat}`), baton };
    });
  }

  /**
   * Says that we are ready to read, and waits until the old one has left; its last words by part, null when it ended without any. It ends, then, with
   * descriptors and all, so the batons that it did not raise are raised here: its queues have no other reader.
   */
  async poised(): Promise<Readonly<Record<string, unknown>> | null> {
    try {
      await this.#tellPoised();
      // An old one that lost patience and closed the line has said so before: its refusal is read here, and it forwards on.
      const left = await this.#channel.expect(['left'], PATIENCE.left);
      return fromPlain(left.body) as Record<string, unknown>;
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'GD_RAW_SOCKET_PEER_GONE') throw error;
      for (const [role, descriptor] of this.#descriptors) {
        if (role.startsWith('baton ')) EventDescriptor.over(descriptor).notify();
      }
      return null;
    }
  }

  async #tellPoised(): Promise<void> {
    try {
      await this.#channel.send('poised');
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'GD_RAW_SOCKET_PEER_GONE') throw error;
    }
  }

  /** Everything is ours: the old one may end. */
  async ready(said: object): Promise<void> {
    try {
      await this.#channel.send('ready', said);
    } catch (error) {
      // It has ended already, which is what it was told to do.
      if (!(error instanceof CodedError) || error.code !== 'GD_RAW_SOCKET_PEER_GONE') throw error;
    }
    this.close();
  }

  /** We can not: the old one goes on. */
  async refuse(error: unknown): Promise<void> {
    try {
      await this.#channel.send('refuse', refusalOf(error));
    } catch (failure) {
      if (!(failure instanceof CodedError)) throw failure;
    }
  }

  /** Ends the line and closes what nobody took. */
  close(): void {
    this.#channel.close();
    for (const descriptor of this.#descriptors.values()) closeDescriptor(descriptor);
    this.#descriptors.clear();
  }
}
