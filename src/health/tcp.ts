/** Check `tcp`: a connection, and if wished something said and answered. */
import { connect } from 'node:net';
import { formatAddress } from '../base/address.ts';
import { attempt, beginsWith, errorWords, excerpt } from './attempt.ts';
import type { Probe } from './probe.ts';
import type { TcpCheckSpec } from './spec.ts';

export function tcpProbe({ port, send, expect }: TcpCheckSpec): Probe {
  return {
    probe: ({ backend }, timeoutMs, signal) =>
      attempt({ timeoutMs, signal }, (end, fail) => {
        const socket = connect({ host: formatAddress(backend.address), port, noDelay: true });
        let answer = Buffer.alloc(0);
        socket.on('connect', () => {
          if (send !== null) socket.write(send);
          if (expect === null) end(true, 'connected');
        });
        socket.on('data', (data) => {
          if (expect === null) return;
          // What comes in one piece is bounded by Node (64 KiB), and one byte too many decides.
          answer = Buffer.concat([answer, data]);
          const matches = beginsWith(answer, expect);
          if (matches === true) end(true, 'the answer is as wanted');
          else if (matches === false) end(false, `the answer is ${excerpt(answer)}, wanted ${excerpt(expect)}`);
        });
        socket.on('end', () => end(false, 'connection closed before the answer'));
        socket.on('error', (error) => {
          const words = errorWords(error);
          if (words === null) fail(error);
          else end(false, words);
        });
        return () => {
          // An error that comes after the end has no meaning, but without a listener it would end the process.
          socket.removeAllListeners('data');
          socket.destroy();
        };
      }),
  };
}
