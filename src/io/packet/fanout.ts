/** The number of the fanout group that the threads of this process share on an interface. */
import { readFileSync } from 'node:fs';

/**
 * 16 bits from process id and start time: the same in every thread, and different for two directors in containers that share the
 * host's network, where both may be process 1 (they would get half of each other's packets).
 */
export function fanoutGroup(): number {
  // The command name, in parentheses, may hold spaces; start time in clock ticks is field 22, the 20th behind it (proc(5)).
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const started = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  return (Math.imul(process.pid, 0x9e3779b1) ^ started) & 0xffff;
}
