/**
 * What the service manager is told (sd_notify(3)): systemd, or whoever sets NOTIFY_SOCKET. Without it every call does nothing.
 *
 *     start      READY=1 STATUS=…
 *     reload     RELOADING=1 MONOTONIC_USEC=…  →  READY=1
 *     upgrade    MAINPID=…                     the process that goes on
 *     alive      WATCHDOG=1                    watchdog.ts
 *     stop       STOPPING=1
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { NotifySocket } from '../raw-socket/notify.ts';

/** Milliseconds after which a message that found the queue full is tried again, and how often in vain. */
const AGAIN_MS = 100;
const MOST_TRIES = 50;
/** Milliseconds that the end of the process waits for a manager that does not read. */
const SETTLE_MS = 1000;

export class ServiceManager {
  readonly #path: string;
  #socket: NotifySocket | null = null;
  #status = '';
  #closed = false;
  #handedOver = false;
  /** What found the queue full, in order. */
  #waiting: string[] = [];
  #reported = false;
  /** Told about the first message that could not be sent. */
  onFailure: (error: unknown) => void = (error) => process.emitWarning(String(error));
  /** Milliseconds within which it wants to hear WATCHDOG=1; null when it does not. */
  readonly watchdog: number | null;

  /** `environment` as the service manager made it; `pid` is the id of this process, which a watchdog is meant for. */
  constructor(environment: Readonly<Record<string, string | undefined>> = process.env, pid: number = process.pid) {
    this.#path = environment.NOTIFY_SOCKET ?? '';
    const microseconds = Number(environment.WATCHDOG_USEC ?? '');
    const forUs = environment.WATCHDOG_PID === undefined || Number(environment.WATCHDOG_PID) === pid;
    this.watchdog = this.present && forUs && microseconds > 0 ? microseconds / 1000 : null;
  }

  /** True when somebody wants to hear. */
  get present(): boolean {
    return this.#path !== '';
  }

  /** The start, or a reload, is complete. */
  ready(): void {
    this.#send('READY=1');
  }

  /** A reload begins; `ready` ends it, whether it succeeded or not. */
  reloading(): void {
    // CLOCK_MONOTONIC, of which libuv makes hrtime.
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(): void {
    this.#send('STOPPING=1');
  }

  /** Resolves when everything was taken, or after `patience` milliseconds: before the process ends, or its last word would be lost. */
  async settled(patience = SETTLE_MS): Promise<void> {
    const deadline = Date.now() + patience;
    while (this.#waiting.length > 0 && Date.now() < deadline) await sleep(10);
  }

  /** One line for `systemctl status`; sent when it is another one than before. */
  status(text: string): void {
    const line = text.replaceAll('\n', ' ');
    if (line === this.#status) return;
    this.#status = line;
    this.#send(`STATUS=${line}`);
  }

  /** Every forwarding thread is alive. */
  feed(): void {
    this.#send('WATCHDOG=1');
  }

  /** Another process is the service from now on: that with this id. This one says nothing more, for what it said would be about itself. */
  mainProcess(pid: number): void {
    this.#send(`MAINPID=${pid}`);
    this.#handedOver = true;
  }

  /** Nothing is sent from now on. */
  close(): void {
    this.#closed = true;
    this.#waiting = [];
    this.#socket?.close();
    this.#socket = null;
  }

  #send(text: string): void {
    if (!this.present || this.#closed || this.#handedOver) return;
    this.#waiting.push(text);
    if (this.#waiting.length === 1) this.#flush(MOST_TRIES);
  }

  /** In the order in which it was said: READY=1 must not arrive before the RELOADING=1 that it ends. */
  #flush(most: number): void {
    let tries = most;
    try {
      this.#socket ??= new NotifySocket(this.#path);
      while (this.#waiting.length > 0) {
        if (!this.#socket.send(this.#waiting[0])) {
          if (tries === 0) throw new Error(`the service manager does not read its socket ${this.#path}`);
          setTimeout(() => this.#flush(tries - 1), AGAIN_MS).unref();
          return;
        }
        this.#waiting.shift();
        tries = MOST_TRIES;
      }
    } catch (error) {
      // What waits is old by now; the next message is tried all the same, or the watchdog would end a director that is well.
      this.#waiting = [];
      if (!this.#reported) this.onFailure(error);
      this.#reported = true;
    }
  }
}

/** Does `step` as a reload in the service manager's eyes. */
export async function whileReloading<T>(step: () => Promise<T>, manager: ServiceManager = serviceManager): Promise<T> {
  manager.reloading();
  try {
    return await step();
  } finally {
    manager.ready();
  }
}

/** The environment for a process that is to go on in our place: the watchdog then means it, whatever its process id. */
export function successorEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const { WATCHDOG_PID: _, ...rest } = environment;
  return rest;
}

/** The one that started this process. */
export const serviceManager = new ServiceManager();
