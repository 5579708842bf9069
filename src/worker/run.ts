/**
 * `gue-director worker`: unwraps tunnel packets in user space, for demos, tests and hosts whose kernel has no `fou` module. A production worker
 * lets its kernel do it: docs/workers.md.
 */
import { formatAddress } from '../base/address.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { parseAnyAddress } from '../config/address.ts';
import { isLocalAddress } from '../host/routes.ts';
import { receiveDrops } from '../raw-socket/datagram.ts';
import { closeDescriptor } from '../raw-socket/file.ts';
import { PollSet } from '../raw-socket/poll.ts';
import { openTunQueue } from '../raw-socket/tun.ts';
import { Funnel } from './funnel.ts';
import { describeInlets, type Inlet, openInlets, parseFouPort } from './inlet.ts';
import { addVirtualAddresses, notLocalWarning, openDoor, requireFreeName } from './surroundings.ts';
import { Tally } from './tally.ts';

export interface WorkerOptions {
  /** UDP port that directors send GUE to. */
  readonly port: number;
  /** UDP ports for FOU, as `6084=4`: port and IP protocol of what comes there. */
  readonly fou: readonly string[];
  /** Take IP in IP, from raw sockets. */
  readonly ipip: boolean;
  /** Take GRE, likewise. */
  readonly gre: boolean;
  /** Name of the TUN device that is made for the time of the run. */
  readonly device: string;
  /** Addresses to listen on, as text; none: every address of the host, both families. */
  readonly listen: readonly string[];
  /** Virtual IPs to add to lo for the time of the run, as text. */
  readonly vips: readonly string[];
  /** Take trains of datagrams from the kernel, and hand TCP segments on as super-packets. */
  readonly gro: boolean;
}

/** A signal is seen at the latest after this long, when the kernel gave it to another thread of Node. */
const WAIT_MS = 50;
/** Batches before the event loop gets its turn. */
const ROUNDS = 32;
/** Destinations whose locality is looked up; more than a host has virtual IPs, and few enough that a flood costs nothing. */
const MAX_CHECKED = 64;

function parseAddresses(option: string, texts: readonly string[]): Uint8Array[] {
  return texts.map((text) => {
    const { value, refusal } = parseAnyAddress(text);
    if (value !== null) return value;
    throw new CodedError('GD_WORKER_ADDRESS', `${option} ${text}: ${refusal.message}`, { exitCode: EXIT.USAGE });
  });
}

/**
 * Runs until SIGTERM or SIGINT; then nothing of it is left on the host. Returns the exit code. Says `ready` on standard output when
 * datagrams are taken, one line of totals at the end, and warnings on standard error.
 */
export async function runWorker(options: WorkerOptions): Promise<number> {
  const listen = parseAddresses('--listen', options.listen);
  const vips = parseAddresses('--vip', options.vips);
  const wanted = { ...options, fou: options.fou.map(parseFouPort) };
  const undo: (() => void)[] = [];
  const tally = new Tally();
  let stopping = false;
  const stop = () => {
    stopping = true;
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  try {
    requireFreeName(options.device);
    const inlets: Inlet[] = [];
    openInlets(listen.length > 0 ? listen : [new Uint8Array(4), new Uint8Array(16)], wanted, (inlet) => {
      inlets.push(inlet);
      undo.push(() => {
        tally.lost += receiveDrops(inlet.socket);
        closeDescriptor(inlet.socket);
      });
    });
    const device = openTunQueue(options.device);
    undo.push(() => closeDescriptor(device));
    for (const warning of openDoor(options.device)) warn(warning);
    undo.push(addVirtualAddresses(vips));
    const funnel = new Funnel(device, tally, options.gro);
    undo.push(() => funnel.close());
    process.stdout.write(`gue-director worker: ready: ${describeInlets(listen, wanted)}, into ${options.device}\n`);
    await loop(inlets, funnel, () => stopping);
    return EXIT.OK;
  } finally {
    process.off('SIGTERM', stop);
    process.off('SIGINT', stop);
    for (const step of undo.reverse()) step();
    process.stdout.write(`gue-director worker: ${tally.summary()}\n`);
  }
}

async function loop(inlets: readonly Inlet[], funnel: Funnel, stopping: () => boolean): Promise<void> {
  const poll = new PollSet(inlets.length);
  for (const inlet of inlets) poll.add(inlet.socket);
  const checked = new Set<string>();
  while (!stopping()) {
    if (poll.wait(WAIT_MS) > 0) {
      for (const inlet of inlets) {
        for (let round = 0; round < ROUNDS && funnel.move(inlet) === funnel.batch; round++);
        checkDestination(funnel, checked);
      }
    }
    // Signals are delivered by the event loop.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Looks at one packet of a wake-up: a virtual IP that nobody configured is the mistake everybody makes once. */
function checkDestination(funnel: Funnel, checked: Set<string>): void {
  if (checked.size >= MAX_CHECKED) return;
  const destination = funnel.lastDestination();
  if (destination === null) return;
  const text = formatAddress(destination);
  if (checked.has(text)) return;
  checked.add(text);
  if (!isLocalAddress(destination)) warn(notLocalWarning(destination));
}

function warn(text: string): void {
  process.stderr.write(`gue-director worker: warning: ${text}\n`);
}
