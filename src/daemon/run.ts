/** `gue-director run`: from a file name to an exit code. Signals, and errors that nobody caught, end here. */
import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';
import { setFlagsFromString } from 'node:v8';
import { CodedError, EXIT } from '../base/errors.ts';
import { notConfirmed } from '../control/reloader.ts';
import { EventJournal } from '../observe/events.ts';
import { createLog, type Log } from '../observe/log.ts';
import { COMPILER_FLAGS } from '../pipeline/compiler-flags.ts';
import { Director } from './director.ts';
import { serviceManager } from './notify.ts';
import { settlePrivileges } from './privileges.ts';
import { startConfig } from './start-config.ts';
import { Inheritance } from './takeover/inheritance.ts';
import { Watchdog } from './watchdog.ts';

const STOP_SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/**
 * Runs the director until a signal ends it; resolves to the process's exit code: 0 after a clean stop, 1 when it had to give up or
 * could not give everything back. `takeover`: from the director that runs already (takeover/hand-over.ts). Throws ConfigError (78) before anything is
 * touched, and what the running director says when it refuses; other failed starts are logged and returned.
 */
export async function runDaemon({ config: path, takeover = false }: { config: string; takeover?: boolean }): Promise<number> {
  const { config, trial, ignored } = startConfig(path);
  const log = createLog(config.log);
  settlePrivileges(config, log);
  // For the whole process, and before the forwarding threads compile their first function.
  for (const flag of COMPILER_FLAGS) setFlagsFromString(flag);
  const journal = new EventJournal(log);
  if (trial !== null) {
    const { code, message, hint } = notConfirmed(path);
    journal.record('warn', 'reload-rolled-back', message, { cause: 'start', code, hint });
  } else if (ignored !== null) {
    journal.record('warn', 'reload-trial', `what was in force before an unconfirmed reload is not used: ${ignored}`, {});
  }
  let end: (exitCode: number) => void = () => {};
  /** It ends because it can not go on: its successor is about to start, and until then no packet may bounce. */
  let keepBlackholes = false;
  // Asked before anything is started: when it is refused, nothing was.
  const inheritance = takeover ? await Inheritance.ask(config) : null;
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  const director = new Director({
    config,
    trial,
    log,
    journal,
    inheritance,
    handedOver: () => end(EXIT.OK),
    gaveUp: (error) => {
      logError(log, error);
      keepBlackholes = true;
      end(error.exitCode);
    },
    stop: () => {
      journal.record('info', 'stopping', 'stopping: the drain is over');
      end(EXIT.OK);
    },
  });

  serviceManager.onFailure = (error) => {
    const message = error instanceof Error ? error.message : String(error);
    log.warn({ event: 'notify-failed', hint: error instanceof CodedError ? error.hint : '' }, message);
  };
  const watchdog = new Watchdog({
    manager: serviceManager,
    journal,
    healthy: () => director.healthy(),
    ready: () => director.ready(),
    activity: () => director.activity(),
  });
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (++signals === 1) {
      journal.record('info', 'stopping', `stopping on ${signal}`);
      end(EXIT.OK);
      return;
    }
    log.warn({ event: 'stopping' }, `${signal} again: ending at once`);
    const failures = director.releaseNow();
    for (const failure of failures) logError(log, failure);
    process.exit(EXIT.FAILED);
  };
  const onError = (error: unknown): void => {
    logError(log, error);
    keepBlackholes = true;
    end(EXIT.FAILED);
  };
  const onDrain = (): void => director.drain('SIGUSR1');
  const onFault = (): void => director.fault();
  const hadTerminal = hasTerminal();
  const onTerminal = [0, 1, 2].filter((descriptor) => isatty(descriptor));
  /** A terminal that is closed says the same word as a service manager that wants a reload. */
  const onHangUp = (): void => {
    if (!hadTerminal || hasTerminal()) {
      director.reload();
      return;
    }
    // At its end Node sets a terminal as it found it, and aborts when that is gone, unless its descriptor is another file by then (ResetStdio).
    for (const descriptor of onTerminal.splice(0)) {
      closeSync(descriptor);
      openSync('/dev/null', 'r+');
    }
    onSignal('SIGHUP');
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  process.on('SIGUSR1', onDrain);
  process.on('SIGHUP', onHangUp);
  process.on('uncaughtException', onError);
  process.on('unhandledRejection', onError);
  // For this project's own tests: an error inside a forwarding thread, on demand.
  if (process.env.GUE_DIRECTOR_TEST_FAULT === '1') process.on('SIGUSR2', onFault);
  // The journal's promise alone keeps no process alive.
  const alive = setInterval(() => {}, 1 << 30);
  try {
    // A signal during the start: what was started is taken apart again below.
    const started = director.start().then(() => {
      serviceManager.ready();
      watchdog.start();
      return null;
    });
    const first = await Promise.race([started, ended]);
    if (first === null) await ended;
    else await started;
    const exitCode = await ended;
    watchdog.stop();
    serviceManager.stopping();
    const failures = await director.stop({ keepBlackholes });
    await serviceManager.settled();
    for (const failure of failures) logError(log, failure);
    if (failures.length > 0) {
      journal.record('error', 'stopped', 'stopped, but not everything was given back', { hint: 'gue-director clean' });
      return EXIT.FAILED;
    }
    if (director.successor !== null) {
      journal.record('info', 'stopped', 'stopped; the successor has everything', { successor: director.successor });
    } else if (keepBlackholes) {
      const hint = 'the next start takes them over; for good: gue-director clean';
      journal.record('warn', 'stopped', 'stopped; the blackhole routes of the services stay', { exitCode, hint });
    } else {
      journal.record('info', 'stopped', 'stopped; everything was given back', { exitCode });
    }
    return exitCode;
  } catch (error) {
    logError(log, error);
    await inheritance?.refuse(error);
    return error instanceof CodedError ? error.exitCode : EXIT.FAILED;
  } finally {
    inheritance?.close();
    clearInterval(alive);
    watchdog.stop();
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
    process.off('SIGUSR1', onDrain);
    process.off('SIGHUP', onHangUp);
    process.off('uncaughtException', onError);
    process.off('unhandledRejection', onError);
    process.off('SIGUSR2', onFault);
  }
}

/** Whether this process has a controlling terminal: it loses it when the terminal is closed (drivers/tty/tty_io.c: __tty_hangup). */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    // ENXIO: none.
    return false;
  }
}

function logError(log: Log, error: unknown): void {
  if (error instanceof CodedError) log.error({ event: 'failed', code: error.code, hint: error.hint }, error.message);
  else log.error({ event: 'failed', err: error }, error instanceof Error ? error.message : String(error));
}
