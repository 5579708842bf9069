/** `gue-director upgrade`: another process takes over from the running one, without a packet lost. */
import type { Command } from 'commander';
import { jsonOption } from '../options.ts';

/** Starting, warming up and handing over take two seconds; a busy machine may need far more. */
const PATIENCE = 120_000;

export function register(program: Command): void {
  program
    .command('upgrade')
    .summary('replace the running director by a new process, without losing a packet')
    .description(
      'Asks the running director to start a successor: the same command, so the program and the configuration as they lie on disk now. ' +
        'The successor takes over its queues, flows, counters and routes; the old process ends. When anything fails, the old one goes on.',
    )
    .option('--socket <path>', 'admin socket of the director', 'auto')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      '\nThreads, ingress and the device of the egress must be as they are; for other changes of them restart the director.' +
        '\n\nExample:\n  gue-director upgrade',
    )
    .action(async (options: { socket: string; json: boolean }) => {
      const { askAction } = await import('../../admin/client.ts');
      const { adminSocketPath } = await import('../../admin/socket.ts');
      const { CodedError } = await import('../../base/errors.ts');
      const path = adminSocketPath(options.socket) as string;
      if (!options.json) process.stderr.write('the running director starts its successor …\n');
      const { status, body } = await askAction(path, '/-/upgrade', {}, PATIENCE);
      if (status !== 200) {
        const code = typeof body.code === 'string' ? body.code : 'GD_TAKEOVER_REFUSED';
        const hint = status === 404 ? 'it is too old for it: systemctl restart gue-director' : String(body.hint ?? '');
        throw new CodedError(code, `no upgrade: ${String(body.message)}`, {
          hint,
          exitCode: typeof body.exitCode === 'number' ? body.exitCode : 1,
        });
      }
      process.stdout.write(options.json ? `${JSON.stringify(body)}\n` : text(body));
    });
}

function text(body: Readonly<Record<string, unknown>>): string {
  const {
    process: pid,
    version,
    milliseconds,
    ready,
  } = body as {
    process: number;
    version: string;
    milliseconds: number;
    ready: { gaps: (number | null)[] };
  };
  const gaps = ready.gaps.map((gap) => (gap === null ? 'unknown' : `${gap} ms`)).join(', ');
  return `process ${pid} (version ${version}) has taken over, ${milliseconds} ms after it was asked; nobody read the queues for ${gaps}\n`;
}
