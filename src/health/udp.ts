/** Check `udp`: a datagram and its answer. Also carries the `dns` check. */
import { createSocket } from 'node:dgram';
import { formatAddress } from '../base/address.ts';
import { attempt, beginsWith, type End, errorWords, excerpt } from './attempt.ts';
import type { Probe, ProbeOutcome, ProbeTarget } from './probe.ts';
import type { UdpCheckSpec } from './spec.ts';

export function udpProbe({ port, send, expect, answer: wanted }: UdpCheckSpec): Probe {
  const silence = wanted === 'optional' ? (end: End) => end(true, 'no answer, and none is needed') : undefined;
  return {
    probe: (target, timeoutMs, signal) =>
      exchange(target, port, send, { timeoutMs, signal, ...(silence === undefined ? {} : { silence }) }, (answer, end) => {
        if (expect === null) end(true, 'answered');
        else if (beginsWith(answer, expect) === true) end(true, 'the answer is as wanted');
        else end(false, `the answer is ${excerpt(answer)}, wanted ${excerpt(expect)}`);
      }),
  };
}

/** Sends one datagram to `port` of the backend; `answered` is given each one that comes back from there, until it ends the attempt. */
export function exchange(
  { backend }: ProbeTarget,
  port: number,
  datagram: Uint8Array,
  frame: Parameters<typeof attempt>[0],
  answered: (answer: Uint8Array, end: End) => void,
): Promise<ProbeOutcome> {
  return attempt(frame, (end, fail) => {
    const socket = createSocket(backend.address.length === 4 ? 'udp4' : 'udp6');
    let isOpen = true;
    const refused = (error: Error): void => {
      const { code } = error as NodeJS.ErrnoException;
      const words = code === 'ECONNREFUSED' ? 'port unreachable' : errorWords(error);
      if (words === null) fail(error);
      else end(false, words);
    };
    socket.on('error', refused);
    socket.on('message', (answer) => answered(answer, end));
    // Connected: only the backend's answers come, and ICMP about the datagram is an error of this socket.
    socket.connect(port, formatAddress(backend.address), (error?: Error) => {
      if (error !== undefined && error !== null) refused(error);
      else if (isOpen) socket.send(datagram, (failure) => failure !== null && isOpen && refused(failure));
    });
    return () => {
      isOpen = false;
      socket.close();
    };
  });
}
