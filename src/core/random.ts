/**
 * Chance as a component, for the same reason as the clock. The seeded generator is sfc32 (Doty-Humphrey, PractRand):
 * small, fast, and good enough to choose faults and jitter; it is not for secrets.
 */
export interface Random {
  /** A number in [0, 1). */
  next(): number;
  /** An integer in [0, bound). */
  below(bound: number): number;
  /** A short id, unique for all practical purposes: 16 characters of base32 (80 bits). */
  id(): string;
}

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/** Ids are made for every call: bytes are fetched by the page, since asking the system for each would be a call of its own. */
const pool = new Uint8Array(4096);
let poolAt = pool.length;

export const systemRandom: Random = {
  next: () => Math.random(),
  below: bound => Math.floor(Math.random() * bound),
  id: () => {
    if (poolAt === pool.length) {
      crypto.getRandomValues(pool);
      poolAt = 0;
    }
    let text = '';
    for (const end = poolAt + 16; poolAt < end; poolAt++) text += alphabet[pool[poolAt]! & 31];
    return text;
  },
};

/** Nine digits hold the milliseconds until the year 5188. */
const timeDigits = 9;

/**
 * An id that begins with its time, so that what is stored under such ids lies side by side in the order it came (the idea of
 * UUID version 7, RFC 9562): a tree takes these at its end, and random ones all over.
 */
export function timedId(random: Random, timeMs: number): string {
  return Math.floor(timeMs).toString(36).padStart(timeDigits, '0') + random.id();
}

export function seededRandom(seed: number): Random {
  let a = seed | 0;
  let b = (seed ^ 0x9e3779b9) | 0;
  let c = 0x243f6a88;
  let counter = 1;
  const word = (): number => {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) word();
  const next = (): number => word() / 0x1_0000_0000;
  return {
    next,
    below: bound => Math.floor(next() * bound),
    id: () => {
      let text = '';
      for (let i = 0; i < 16; i++) text += alphabet[word() & 31];
      return text;
    },
  };
}

/** Full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015): a wait in [0, min(max, base * 2^attempt)). */
export function backoffMs(random: Random, attempt: number, baseMs: number, maxMs: number): number {
  return random.next() * Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
}

/** A secret of `bytes` random bytes, as URL-safe text. Always the system's randomness: no seed may ever make a secret. */
export function secretText(bytes: number): string {
  const raw = crypto.getRandomValues(new Uint8Array(bytes));
  return btoa(String.fromCharCode(...raw))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}
