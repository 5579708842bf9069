/**
 * Least privilege, before anything else happens: a process that was started with more than the director needs gives it up and executes
 * itself. Capabilities are per task, and Node has threads before its first line of JavaScript runs; only a program that starts with few
 * privileges has few in every thread (docs/privileges.md).
 *
 *     root ──► user's files ──► bounding set, user, capabilities, no-new-privs ──► execve of the same command
 *                                                                       └──► finds itself settled, goes on
 */
import { accessSync, constants } from 'node:fs';
import { CodedError, EXIT } from '../base/errors.ts';
import type { Config } from '../config/config.ts';
import { readSysctl } from '../host/sysctl.ts';
import { isLive } from '../host/wanted.ts';
import type { Log } from '../observe/log.ts';
import {
  becomeUser,
  type CapabilityName,
  type Credentials,
  capabilitySet,
  execute,
  findGroup,
  findUser,
  forbidNewPrivileges,
  limitBoundingSet,
  readCredentials,
  setCapabilities,
  type User,
} from '../raw-socket/privileges.ts';
import { allocatorSettings, wantsAllocatorSettings } from './allocator.ts';
import { handOver } from './privileges-files.ts';

/**
 * Says that this process has already executed itself, so that it does so only once. It says nothing about what was reached: that is read from
 * /proc/self/status.
 */
const MARK = 'GUE_DIRECTOR_SETTLED';

/** What a configuration needs, the same for the whole life of the process (docs/privileges.md has the reasons). */
export function neededCapabilities(config: Pick<Config, 'ingress' | 'egress' | 'listen'>): CapabilityName[] {
  const { ingress, egress, listen } = config;
  const names: CapabilityName[] = [];
  const raw = egress.driver === 'raw' || egress.driver === 'auto' || 'interface' in egress;
  if (isLive(ingress) || egress.driver === 'tap-offload' || 'interface' in egress) names.push('CAP_NET_ADMIN');
  if (isLive(ingress) || raw) names.push('CAP_NET_RAW');
  if (ingress.driver === 'xdp') names.push('CAP_BPF');
  const lowest = Number(readSysctl('net/ipv4/ip_unprivileged_port_start') ?? 1024);
  const port = listen.metrics?.port ?? 0;
  if (port > 0 && port < lowest) names.push('CAP_NET_BIND_SERVICE');
  return names;
}

/** What is to be done about the privileges that a process has. */
export type Step =
  /** Nothing, or nothing any more. */
  | { readonly kind: 'stay' }
  /** It is root and nobody said which user to become. */
  | { readonly kind: 'stay-root' }
  /** Become that user (null: the same as now), with these capabilities. */
  | { readonly kind: 'execute'; readonly user: User | null; readonly keep: bigint };

/** `user`: whom the configuration names. `again`: it has executed itself already. */
export function stepFor(now: Credentials, user: User | null, needed: bigint, again: boolean): Step {
  if (now.user === 0 && (user === null || user.id === 0)) return { kind: 'stay-root' };
  const keep = needed & now.permitted;
  const settled =
    now.user !== 0 &&
    now.noNewPrivileges &&
    [now.permitted, now.effective, now.inheritable, now.ambient].every((set) => set === keep);
  if (settled || (again && now.user !== 0)) return { kind: 'stay' };
  return { kind: 'execute', user: now.user === 0 ? user : null, keep };
}

/**
 * Returns when this process has no more privileges than the configuration needs, and one arena (allocator.ts); until then it executes itself, and does not return. To be
 * called before anything that would be lost by that. Throws CodedError (exit code 77, or 78 when there is no such user).
 */
export function settlePrivileges(config: Config, log: Log): void {
  const again = process.env[MARK] !== undefined;
  delete process.env[MARK];
  const now = readCredentials();
  const user = configuredUser(config);
  const step = stepFor(now, user, capabilitySet(neededCapabilities(config)), again);
  if (step.kind !== 'execute' && !again && wantsAllocatorSettings()) executeAgain();
  if (step.kind === 'stay-root') {
    forbidNewPrivileges();
    if (user !== null) return;
    const hint = 'set privileges.user, for example to gue-director: docs/privileges.md';
    log.warn({ event: 'running-as-root', hint }, 'this process is root and stays root');
    return;
  }
  if (step.kind === 'stay') {
    if (user === null || user.id === now.user) return;
    const wanted = config.privileges.user;
    const hint = 'start it as root or as that user, or leave privileges.user out';
    log.warn({ event: 'other-user', hint }, `privileges.user is ${wanted}, but the process was started as user ${now.user}`);
    return;
  }
  if (again) {
    throw new CodedError('GD_DAEMON_PRIVILEGES', 'this process is still root after it gave up its privileges', {
      exitCode: EXIT.PRIVILEGE,
      hint: `is ${process.execPath} a set-user-ID program? ls -l ${process.execPath}`,
    });
  }
  if (step.user !== null) {
    const group = configuredGroup(config, step.user);
    handOver(config, step.user.id, group);
    limitBoundingSet(step.keep);
    becomeUser(step.user, group);
  }
  setCapabilities(step.keep);
  forbidNewPrivileges();
  mustReach(config);
  executeAgain();
}

/** The same command, in an environment that has what it wants. */
function executeAgain(): never {
  const words = [...process.execArgv, ...process.argv.slice(1)];
  return execute(process.execPath, words, { ...process.env, ...allocatorSettings(process.env), [MARK]: '1' });
}

function configuredUser({ privileges: { user } }: Config): User | null {
  if (user === null) return null;
  const found = findUser(user);
  if (found !== null) return found;
  throw new CodedError('GD_DAEMON_NO_USER', `privileges.user: there is no user "${user}"`, {
    exitCode: EXIT.CONFIG,
    hint: `useradd --system --no-create-home --shell /usr/sbin/nologin ${user}`,
  });
}

function configuredGroup({ privileges: { group } }: Config, user: User): number {
  if (group === null) return user.group;
  const found = findGroup(group);
  if (found !== null) return found;
  throw new CodedError('GD_DAEMON_NO_GROUP', `privileges.group: there is no group "${group}"`, {
    exitCode: EXIT.CONFIG,
    hint: `groupadd --system ${group}`,
  });
}

/** What the new program opens first. Without this look its own complaint would be a stack of the loader's. */
function mustReach(config: Config): void {
  const places = [
    [process.execPath, constants.X_OK, 'execute'],
    [process.argv[1], constants.R_OK, 'read'],
    [config.file, constants.R_OK, 'read'],
  ] as const;
  for (const [path, mode, verb] of places) {
    try {
      accessSync(path, mode);
    } catch (cause) {
      const who = `user ${process.geteuid?.()} (privileges.user)`;
      throw new CodedError('GD_DAEMON_UNREACHABLE_FILE', `${who} may not ${verb} ${path}`, {
        exitCode: EXIT.PRIVILEGE,
        hint: `namei -l ${path}   shows which folder or file refuses`,
        cause,
      });
    }
  }
}
