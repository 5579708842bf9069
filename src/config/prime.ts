/** Primes: a Maglev table's size must be one, so that every backend's walk reaches every slot (NSDI'16 §3.4). */

export function isPrime(n: number): boolean {
  if (!Number.isInteger(n) || n < 2) return false;
  if (n % 2 === 0) return n === 2;
  for (let d = 3; d * d <= n; d += 2) if (n % d === 0) return false;
  return true;
}

/** The nearest primes on both sides of `n`, within [least, greatest]. */
export function nearestPrimes(n: number, least: number, greatest: number): number[] {
  const found: number[] = [];
  for (let below = Math.min(Math.floor(n), greatest); below >= least; below--) {
    if (isPrime(below)) {
      found.push(below);
      break;
    }
  }
  for (let above = Math.max(Math.ceil(n), least); above <= greatest; above++) {
    if (isPrime(above)) {
      if (!found.includes(above)) found.push(above);
      break;
    }
  }
  return found;
}

/** The least prime ≥ `n`, at most `greatest`; `greatest` must be a prime. */
export function primeAtLeast(n: number, greatest: number): number {
  for (let p = n; p < greatest; p++) if (isPrime(p)) return p;
  return greatest;
}
