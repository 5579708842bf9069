/** Running `ip` and friends: synchronous, because a lab is built and, above all, taken down from exit and signal handlers too. */
import { execFileSync } from 'node:child_process';
import { CodedError, EXIT } from '../../base/errors.ts';

/** What to install for a command that is missing (Debian names). */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  ethtool: 'ethtool',
  tcpdump: 'tcpdump',
  curl: 'curl',
};

/**
 * Runs a command to its end and returns its standard output. Throws `GD_LAB_MISSING_COMMAND` (with the package to install) or
 * `GD_LAB_COMMAND` (with the command's own words).
 */
export function execute(command: string, args: readonly string[], input?: string, env: NodeJS.ProcessEnv = {}): string {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
      input: input ?? '',
      maxBuffer: 64 << 20,
      env: { ...process.env, LC_ALL: 'C', ...env },
    });
  } catch (error) {
    throw commandError(command, args, error as NodeJS.ErrnoException & { stderr?: string; status?: number });
  }
}

/** The coded error for a command that could not start or that failed. */
export function commandError(
  command: string,
  args: readonly string[],
  error: NodeJS.ErrnoException & { stderr?: string; status?: number },
): CodedError {
  if (error.code === 'ENOENT') return missingCommand(command);
  const said = (error.stderr ?? '').trim() || error.message;
  // `ip netns exec` runs, and then does not find what it should run.
  const absent = /exec of "([^"]+)" failed: No such file/.exec(said)?.[1];
  if (absent !== undefined) return missingCommand(absent);
  const privilege = /not permitted|Permission denied/i.test(said);
  return new CodedError('GD_LAB_COMMAND', `${[command, ...args].join(' ')}: ${said}`, {
    exitCode: privilege ? EXIT.PRIVILEGE : EXIT.FAILED,
    hint: privilege ? 'run as root; in a container, start it with --privileged' : kernelHint(said),
    cause: error,
  });
}

/** A kernel without the driver for a kind of link says so in these words. */
function kernelHint(said: string): string {
  return /Unknown device type|not supported/i.test(said) ? 'modprobe -a veth bridge tun' : '';
}

export function missingCommand(command: string): CodedError {
  return new CodedError('GD_LAB_MISSING_COMMAND', `the command ${command} is not installed`, {
    hint: `apt-get install -y ${PACKAGES[command] ?? command}`,
  });
}

/** Runs lines of `ip` commands (without the word `ip`) in a namespace, in one process. The first that fails ends it. */
export function ipBatch(namespace: string, lines: readonly string[]): void {
  try {
    execute('ip', ['-n', namespace, '-batch', '-'], `${lines.join('\n')}\n`);
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'GD_LAB_COMMAND') throw error;
    const number = Number(/Command failed -:(\d+)/.exec(error.message)?.[1] ?? 0);
    const line = number > 0 ? lines[number - 1] : lines.join('; ');
    throw new CodedError(error.code, `ip -n ${namespace} ${line}: ${error.message.split(': ').slice(1).join(': ')}`, {
      exitCode: error.exitCode,
      hint: error.hint,
      cause: error,
    });
  }
}
