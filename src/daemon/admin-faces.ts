/**
 * Where this director can be asked: HTTP at `metrics.listen`, and the unix socket. Both are given up for a successor, and had again when it comes to
 * nothing; what somebody else has by then is tried again every second.
 */
import { type AdminPlace, type AdminServer, type AdminSource, openAdminServer } from '../admin/server.ts';
import { CodedError } from '../base/errors.ts';
import type { EventJournal } from '../observe/events.ts';
import type { Log } from '../observe/log.ts';

/** Milliseconds between two tries. */
const AGAIN_MS = 1000;

export interface AdminFacesOptions {
  /** Address of the HTTP face, path of the socket; null for none. */
  readonly metrics: { readonly host: string; readonly port: number } | null;
  readonly socket: string | null;
  /** What is answered; `actions` at the socket only. */
  readonly source: Required<AdminSource>;
  readonly log: Log;
  readonly journal: EventJournal;
}

type Face = 'metrics' | 'socket';

export class AdminFaces {
  readonly #options: AdminFacesOptions;
  readonly #places: ReadonlyMap<Face, AdminPlace>;
  readonly #open = new Map<Face, AdminServer>();
  /** The socket's server before a hand-over: whoever asked for that still waits there for the answer. */
  #before: AdminServer | null = null;
  /** What could not be had again, and why. */
  readonly #missing = new Map<Face, string>();
  #again: NodeJS.Timeout | null = null;
  /** Raised whenever they are given up: what is opened meanwhile is closed again. */
  #given = 0;

  constructor(options: AdminFacesOptions) {
    this.#options = options;
    const { metrics, socket } = options;
    this.#places = new Map<Face, AdminPlace>([
      ...(metrics === null ? [] : [['metrics', metrics] as const]),
      ...(socket === null ? [] : [['socket', { path: socket }] as const]),
    ]);
  }

  /** Where HTTP is answered, null when nowhere. */
  get url(): string | null {
    const server = this.#open.get('metrics');
    if (server === undefined) return null;
    return `http://${server.host.includes(':') ? `[${server.host}]` : server.host}:${server.port}/`;
  }

  /** Throws CodedError GD_ADMIN_LISTEN when it can not be had. */
  async openMetrics(): Promise<void> {
    await this.#have('metrics');
  }

  /** A director that can not have its socket forwards all the same, and says so. */
  async openSocket(): Promise<void> {
    try {
      await this.#have('socket');
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#options.log.warn({ event: 'admin-socket', code: error.code, hint: error.hint }, error.message);
    }
  }

  /** Why this director should not be sent traffic: nobody can ask it. */
  reasons(): string[] {
    return [...this.#missing.values()];
  }

  /** Gives them up, so that another process may have them. The socket takes nothing new from the first moment on, and answers what it was asked. */
  async quiet(): Promise<void> {
    this.#stopTrying();
    const [metrics, socket] = [this.#open.get('metrics'), this.#open.get('socket')];
    this.#open.clear();
    socket?.quiet();
    await this.#before?.close();
    this.#before = socket ?? null;
    await metrics?.close();
  }

  /** Has them again, or tries on. Never throws. */
  async resume(): Promise<void> {
    await this.#tryAll();
  }

  async close(): Promise<void> {
    this.#stopTrying();
    const servers = [...this.#open.values(), ...(this.#before === null ? [] : [this.#before])];
    this.#open.clear();
    this.#before = null;
    await Promise.all(servers.map((server) => server.close()));
  }

  #stopTrying(): void {
    this.#given++;
    if (this.#again !== null) clearTimeout(this.#again);
    this.#again = null;
    this.#missing.clear();
  }

  async #tryAll(): Promise<void> {
    const given = this.#given;
    for (const face of this.#places.keys()) {
      if (given !== this.#given) return;
      if (!this.#open.has(face)) await this.#try(face);
    }
    if (given !== this.#given || this.#missing.size === 0) return;
    this.#again = setTimeout(() => void this.#tryAll(), AGAIN_MS);
    this.#again.unref();
  }

  async #try(face: Face): Promise<void> {
    const { journal } = this.#options;
    try {
      await this.#have(face);
      if (this.#missing.delete(face)) journal.record('info', 'admin-back', `${face} is answered again`, { face });
    } catch (error) {
      const { message } = error as Error;
      const hint = error instanceof CodedError ? error.hint : '';
      if (!this.#missing.has(face)) {
        journal.record('error', 'admin-lost', `not had again after a hand-over that failed, tried on: ${message}`, {
          face,
          hint,
        });
      }
      this.#missing.set(face, message);
    }
  }

  async #have(face: Face): Promise<void> {
    const place = this.#places.get(face);
    if (place === undefined) return;
    const given = this.#given;
    const { actions: _, ...readOnly } = this.#options.source;
    const server = await openAdminServer(place, face === 'socket' ? this.#options.source : readOnly);
    if (given === this.#given) this.#open.set(face, server);
    else await server.close();
  }
}
