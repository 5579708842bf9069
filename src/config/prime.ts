/** The primes around a number, for the hint of an error message. Why table sizes are primes: maglev-hash/prime.ts. */
import { isPrime } from '../maglev-hash/index.ts';

/** The nearest primes on both sides of `n`, within [least, greatest]; `n` alone when it is one. */
export function nearestPrimes(n: number, least: number, greatest: number): number[] {
  const found: number[] = [];
  let below = Math.min(n, greatest);
  while (below >= least && !isPrime(below)) below--;
  if (below >= least) found.push(below);
  let above = Math.max(n, least);
  while (above <= greatest && !isPrime(above)) above++;
  if (above <= greatest && above !== below) found.push(above);
  return found;
}

/** The least prime ≥ `n`, at most `greatest`; `greatest` must be a prime. */
export function primeAtLeast(n: number, greatest: number): number {
  for (let p = n; p < greatest; p++) if (isPrime(p)) return p;
  return greatest;
}
