// A real Linux kernel as worker: User-Mode Linux, booted inside a lab's router namespace with the host's own file system as its
// read-only root. It unwraps GUE with the kernel's own `fou` module and answers the client directly.
//
//      router namespace                    User-Mode Linux
//     +----------------------------+      +--------------------------------------------+
//     | lan0 (bridge) -- tap  -----|------| vec0 10.80.1.31, fd80:0:0:1::31            |
//     |                            |      | fou port 6080 gue → tunl0 / sit0 / gue6    |
//     +----------------------------+      | lo: the VIPs; node: the HTTP server        |
//                                         +--------------------------------------------+

import type { ChildProcess } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { umlModules } from '../needs.ts';

const repository = resolve(import.meta.dirname, '../..');
/** Compiled by `npm test` before anything runs: the guest starts plain JavaScript, because every file read there is a host call. */
const webServer = join(repository, 'dist/demo/web-server.js');

export interface GuestOptions {
  /** Its place on the lab's inside network: 10.80.1.<host> and fd80:0:0:1::<host>. Default 31. */
  readonly host?: number;
  /** GUE port. Default 6080. */
  readonly port?: number;
  readonly vips?: readonly string[];
  /** Ports of its HTTP servers. Default 80. */
  readonly webPorts?: readonly number[];
  /** More lines of shell to run before it says that it is ready. */
  readonly extra?: readonly string[];
  readonly mtu?: number;
}

const BOOT_PATIENCE_MS = 60_000;

/** The modules package keeps its modules where `modprobe` in the guest does not look. */
export function showModules(): void {
  const modules = umlModules();
  if (modules === null) throw new Error('no /usr/lib/uml/modules: apt-get install user-mode-linux');
  const link = `/lib/modules/${basename(modules)}`;
  if (existsSync(link)) return;
  if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) rmSync(link);
  mkdirSync('/lib/modules', { recursive: true });
  symlinkSync(modules, link);
}

function webPorts(options: GuestOptions): readonly number[] {
  return options.webPorts ?? [80];
}

/** The guest's first process. The root is read-only: what must be written goes to the tmpfs. */
function initScript(guest: Guest, options: GuestOptions): string {
  const port = options.port ?? 6080;
  const vips = (options.vips ?? []).map((vip) => `ip addr add ${vip}/${vip.includes(':') ? '128' : '32'} dev lo`);
  return [
    '#!/bin/sh',
    'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    // Not over /tmp: the checkout, or Node itself, may lie there.
    'mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; export TMPDIR=/run',
    // Any failing line ends the guest with its own words on the console instead of a guest that silently lacks something.
    `trap '[ $? = 0 ] || { echo "guest failed"; echo o > /proc/sysrq-trigger; sleep 5; }' EXIT`,
    'set -e',
    'for module in fou fou6 ipip sit ip6_tunnel; do modprobe $module; done',
    'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad',
    'ip link set lo up',
    `ip link set vec0 mtu ${options.mtu ?? 1600} up`,
    `ip addr add ${guest.address4}/24 dev vec0; ip addr add ${guest.address6}/64 dev vec0 nodad`,
    'ip route add default via 10.80.1.1; ip -6 route add default via fd80:0:0:1::1',
    `ip fou add port ${port} gue; ip -6 fou add port ${port} gue`,
    'ip link set tunl0 up; ip link set sit0 up',
    // ip6tnl0 takes only IPv6 in IPv6; a device of mode `any` takes both.
    `ip link add gue6 type ip6tnl mode any local ${guest.address6} encaplimit none; ip link set gue6 up`,
    ...vips,
    'for name in all default vec0 tunl0 sit0; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done',
    ...(options.extra ?? []),
    'echo uml-kernel Linux $(uname -r)',
    ...webPorts(options).map((webPort) => `${process.execPath} ${webServer} ${guest.name} ${webPort} &`),
    'wait',
  ].join('\n');
}

export class Guest {
  readonly name: string;
  readonly address4: string;
  readonly address6: string;
  /** Its TAP device in the router's namespace. */
  readonly device: string;
  readonly #folder: string;
  readonly #child: ChildProcess;
  #console = '';

  /** Use `Guest.boot`. */
  private constructor(lab: Lab, options: GuestOptions) {
    const host = options.host ?? 31;
    this.name = `uml-${host}`;
    this.address4 = `10.80.1.${host}`;
    this.address6 = `fd80:0:0:1::${host}`;
    this.#folder = mkdtempSync(join(tmpdir(), 'gue-director-uml-'));
    // The lab ends the guest when this process ends; its folder must not stay either.
    process.once('exit', () => rmSync(this.#folder, { recursive: true, force: true }));
    const init = join(this.#folder, 'init.sh');
    writeFileSync(init, initScript(this, options), { mode: 0o755 });
    this.device = `tap${host}`;
    lab.addTap(this.device, options.mtu ?? 1600);
    this.#child = lab.router.spawn(
      'linux.uml',
      [
        'mem=512M',
        'rootfstype=hostfs',
        'rootflags=/',
        'ro',
        `init=${init}`,
        'con=null',
        'con0=fd:0,fd:1',
        'quiet',
        `uml_dir=${this.#folder}`,
        `vec0:transport=tap,ifname=${this.device},depth=128,gro=1,mtu=${options.mtu ?? 1600}`,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: this.#folder } },
    );
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        this.#console += text;
      });
    }
  }

  /** What the guest has printed. */
  get console(): string {
    return this.#console;
  }

  /** Boots a guest on the lab's inside bridge; resolves when its HTTP server listens and its tunnels are up. 4–8 s. */
  static async boot(lab: Lab, options: GuestOptions = {}): Promise<Guest> {
    if (!existsSync(webServer)) throw new Error(`${webServer} is missing: run npm run build`);
    showModules();
    const guest = new Guest(lab, options);
    const deadline = Date.now() + BOOT_PATIENCE_MS;
    // Each server says `ready` once it listens.
    while ((guest.#console.match(/^ready\r?$/gm) ?? []).length < webPorts(options).length) {
      const dead = guest.#child.exitCode !== null || guest.#child.signalCode !== null;
      if (dead || Date.now() > deadline) {
        await guest.stop();
        throw new Error(`User-Mode Linux ${dead ? 'ended' : 'did not get ready'}; its console:\n${guest.#console}`);
      }
      await new Promise((done) => setTimeout(done, 50));
    }
    return guest;
  }

  /** Ends the guest and waits for it. */
  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise<void>((done) => this.#child.once('exit', () => done()));
      this.#child.kill('SIGTERM');
      const hard = setTimeout(() => this.#child.kill('SIGKILL'), 3000);
      await ended;
      clearTimeout(hard);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
