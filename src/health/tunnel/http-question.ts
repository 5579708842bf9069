/** HTTP as a tunnel probe asks it: one request, the status line of the answer. */
import { formatAddress } from '../../base/address.ts';
import type { TunnelHttpSpec } from '../spec.ts';
import type { Conclusion, Question } from './tcp-client.ts';

/** A status line is not longer (RFC 9112 §4 sets no limit; 8,000 bytes is what §3 asks of request lines). */
const MOST_LINE = 8192;

/** `address`, `port`: of the service, for the Host header where none is configured. */
export function httpQuestion({ method, path, host, status }: TunnelHttpSpec, address: Uint8Array, port: number): Question {
  const literal = address.length === 16 ? `[${formatAddress(address)}]` : formatAddress(address);
  const name = host ?? (port === 80 ? literal : `${literal}:${port}`);
  const lines = [`${method} ${path} HTTP/1.1`, `Host: ${name}`, 'User-Agent: gue-director', 'Accept: */*'];
  // RFC 9110 §8.6: a server may refuse a POST that does not say that it has no content (411).
  if (method === 'POST') lines.push('Content-Length: 0');
  const wanted = status.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(', ');
  return {
    bytes: new TextEncoder().encode(`${lines.join('\r\n')}\r\n\r\n`),
    awaited: 'no HTTP answer',
    judge(received, isAll): Conclusion | null {
      const text = new TextDecoder('latin1').decode(received.subarray(0, MOST_LINE));
      const end = text.indexOf('\n');
      if (end < 0) {
        if (!isAll && text.length < MOST_LINE) return null;
        return { ok: false, detail: text === '' ? 'connection closed without an HTTP answer' : 'the answer is not HTTP' };
      }
      const code = /^HTTP\/1\.[01] (\d{3})(?: |\r?$)/.exec(text.slice(0, end))?.[1];
      if (code === undefined) return { ok: false, detail: 'the answer is not HTTP' };
      const number = Number(code);
      // Interim responses come before the one that is meant (RFC 9110 §15.2).
      if (number < 200) {
        const rest = text.indexOf('\r\n\r\n');
        return rest < 0 && !isAll ? null : this.judge(received.subarray(rest < 0 ? received.length : rest + 4), isAll);
      }
      const ok = status.some(({ from, to }) => number >= from && number <= to);
      return { ok, detail: ok ? `HTTP ${code}` : `HTTP ${code}, wanted ${wanted}` };
    },
  };
}
