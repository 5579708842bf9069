/** Check `dns`: a question over UDP, and the response code of its answer. */
import { randomInt } from 'node:crypto';
import { LONGEST_QUERY, responseCode, writeQuery } from '../wire/dns.ts';
import type { Probe } from './probe.ts';
import { DNS_RCODES, DNS_TYPES, type DnsCheckSpec } from './spec.ts';
import { exchange } from './udp.ts';

const WORDS = new Map(Object.entries(DNS_RCODES).map(([word, code]) => [code as number, word]));

export function dnsProbe({ port, name, query, rcode }: DnsCheckSpec): Probe {
  return {
    probe: (target, timeoutMs, signal) => {
      const bytes = new Uint8Array(LONGEST_QUERY);
      const question = new DataView(bytes.buffer);
      const end = writeQuery(question, 0, randomInt(65536), name, DNS_TYPES[query]);
      return exchange(target, port, bytes.subarray(0, end), { timeoutMs, signal }, (answer, done) => {
        const view = new DataView(answer.buffer, answer.byteOffset, answer.length);
        const code = responseCode(view, 0, answer.length, question, 0, end);
        // Not our answer: whoever guesses the port must guess the identifier too.
        if (code < 0) return;
        const word = WORDS.get(code) ?? `rcode ${code}`;
        done(code === DNS_RCODES[rcode], code === DNS_RCODES[rcode] ? `DNS ${word}` : `DNS ${word}, wanted ${rcode}`);
      });
    },
  };
}
