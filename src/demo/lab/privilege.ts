/**
 * What a lab needs from the machine: network namespaces and /dev/net/tun. As root both are there; another user gets them inside a user
 * namespace, where the host allows that: the process starts itself again in there, as root of its own small world.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { CodedError, EXIT } from '../../base/errors.ts';
import { execute } from './command.ts';

/** Set in the process that runs inside the user namespace. */
const MARK = 'GUE_DIRECTOR_USER_NAMESPACE';
// include/uapi/linux/capability.h
const CAP_NET_ADMIN = 12;
const CAP_NET_RAW = 13;
const CAP_SYS_ADMIN = 21;

const UNSHARE = ['--user', '--map-root-user', '--net', '--mount'];

/** True inside the user namespace made by `inUserNamespace`. */
export function isUserNamespace(): boolean {
  return process.env[MARK] === '1';
}

function hasCapabilities(): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  const effective = BigInt(`0x${line?.[1] ?? '0'}`);
  return [CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN].every((bit) => ((effective >> BigInt(bit)) & 1n) === 1n);
}

function readSetting(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
}

/** Why this kernel gives no user namespaces, as the command that changes it; a general answer when no setting explains it. */
function userNamespaceHint(): string {
  if (readSetting('/proc/sys/kernel/unprivileged_userns_clone') === '0') return 'sysctl -w kernel.unprivileged_userns_clone=1';
  if (readSetting('/proc/sys/user/max_user_namespaces') === '0') return 'sysctl -w user.max_user_namespaces=10000';
  if (readSetting('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === '1') {
    return 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0';
  }
  return 'in a container, start it with --privileged (Docker, Podman)';
}

/** Throws a coded error (exit code 77, or 1 when something is to be installed) unless a lab can be made by this process. */
function checkParts(): void {
  execute('ip', ['-Version']);
  if (!existsSync('/proc/sys/net/ipv6')) {
    throw new CodedError('GD_LAB_NO_IPV6', 'this kernel runs without IPv6', {
      hint: 'boot it without ipv6.disable=1; or: modprobe ipv6',
    });
  }
  try {
    closeSync(openSync('/dev/net/tun', 'r+'));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EACCES' || code === 'EPERM') {
      throw new CodedError('GD_LAB_TUN_REFUSED', `/dev/net/tun may not be opened (${code})`, {
        exitCode: EXIT.PRIVILEGE,
        hint: 'run as root, or let everybody open it, as most distributions do: chmod 0666 /dev/net/tun',
        cause: error,
      });
    }
    throw new CodedError('GD_LAB_NO_TUN', `there is no /dev/net/tun (${code})`, {
      hint: 'modprobe tun; in a container, start it with --device /dev/net/tun',
      cause: error,
    });
  }
}

/**
 * Makes sure that this process may build a lab. Returns null when it may; otherwise the same command (`process.argv`) has been run
 * inside a user namespace, and the answer is its exit code. Throws a coded error that says what is missing.
 */
export async function preparePrivilege(): Promise<number | null> {
  checkParts();
  if (isUserNamespace() || (process.geteuid?.() === 0 && hasCapabilities())) return null;
  try {
    execFileSync('unshare', [...UNSHARE, 'true'], { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new CodedError('GD_LAB_NO_PRIVILEGE', 'network namespaces need root, or user namespaces, which this machine refuses', {
      exitCode: EXIT.PRIVILEGE,
      hint: absent ? 'run as root, or: apt-get install -y util-linux' : `run as root, or: ${userNamespaceHint()}`,
      cause: error,
    });
  }
  return inUserNamespace();
}

/** Starts this very command again as root of a new user namespace, with a /run/netns of its own, and waits for its end. */
function inUserNamespace(): Promise<number> {
  // `ip netns` keeps its names in /run/netns. Where that folder is missing a plain user can not make it, so all of /run is covered.
  const mount =
    'if [ -d /run/netns ]; then mount -t tmpfs tmpfs /run/netns; else mount -t tmpfs tmpfs /run && mkdir /run/netns; fi';
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child: ChildProcess = spawn('unshare', [...UNSHARE, 'sh', '-c', `${mount} && exec "$@"`, 'sh', ...self], {
    stdio: 'inherit',
    env: { ...process.env, [MARK]: '1' },
  });
  // A terminal sends Ctrl-C to both; a signal sent to this process alone is handed on. The child ends first and decides the exit code.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}
