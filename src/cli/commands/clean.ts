/** `gue-director clean`: removes what a director that did not stop cleanly left in this network namespace. */
import { dirname } from 'node:path';
import type { Command } from 'commander';

export function register(program: Command): void {
  program
    .command('clean')
    .description(
      'remove what a crashed director left: routes and nftables table of this network namespace, the flow table file, sockets',
    )
    .option('--dry-run', 'only list it, with the commands that would remove it by hand')
    .option('--flows <file>', 'flow table file to remove, where flows.file is set (default: that of the runtime directory)')
    .option('--socket <path>', 'admin socket to remove, where admin.socket is set (default: that of the runtime directory)')
    .option('--json', 'print the report as JSON')
    .action(async (options: { dryRun?: boolean; flows?: string; socket?: string; json?: boolean }) => {
      const { clean, cleanFailure, renderClean } = await import('../../host/clean.ts');
      const { flowFilePath, flowFiles } = await import('../../daemon/flow-path.ts');
      const dryRun = options.dryRun === true;
      const { adminSocketPath } = await import('../../admin/socket.ts');
      const { staleSockets } = await import('../../daemon/takeover/socket-files.ts');
      const socket = options.socket ?? (adminSocketPath('auto') as string);
      const locked = options.flows ?? (flowFilePath('auto') as string);
      const sockets = [socket, ...staleSockets(dirname(socket))];
      const report = clean({ dryRun, files: { locked, paths: flowFiles(locked), sockets } });
      process.stdout.write(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : renderClean(report, dryRun));
      const failure = cleanFailure(report);
      if (failure !== null) throw failure;
    });
}
