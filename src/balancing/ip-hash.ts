/**
 * The same client to the same target, as long as it is there: rendezvous hashing (Thaler and Ravishankar 1996), which moves
 * only the clients of a target that left, with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016): who has a quarter more
 * calls under way than its share passes the client on to its next choice, so that one busy address cannot sink one target.
 * With unequal weights the scores are Schindelhauer and Schomaker's (2005). Who has no address is spread at random.
 */
import type { Random } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';

/** How far above its share a target may be loaded: 1.25 is what the paper and HAProxy recommend. */
const loadBound = 1.25;

export function ipHash<T extends Balanced>(random: Random): Picker<T> {
  let lastCandidates: readonly T[] | undefined;
  let hashes = new Int32Array(0);
  let weights = 0;
  let isEven = true;
  let roundEndsIn = 0;
  /** Weights are read again once in a round. */
  const look = (candidates: readonly T[]): void => {
    if (candidates !== lastCandidates) hashes = Int32Array.from(candidates, ({ hash }) => hash);
    lastCandidates = candidates;
    roundEndsIn = candidates.length;
    weights = 0;
    for (const { weight } of candidates) weights += weight;
    isEven = candidates.every(({ weight }) => weight === candidates[0]!.weight);
  };
  return {
    pick(candidates, from = random.below(0x1_0000_0000)) {
      if (candidates.length < 2) return candidates[0];
      if (candidates !== lastCandidates || roundEndsIn-- === 0) look(candidates);
      const client = from | 0;
      const bound = (loadBound * (openAt(candidates) + 1)) / weights;
      if (!isEven) return nextByWeight(candidates, hashes, client, bound);
      const best = candidates[favourite(hashes, client)]!;
      return best.inflight < bound * best.weight ? best : next(candidates, hashes, client, bound * best.weight);
    },
  };
}

function openAt(candidates: readonly Balanced[]): number {
  let open = 0;
  for (let i = 0; i < candidates.length; i++) open += candidates[i]!.inflight;
  return open;
}

function favourite(hashes: Int32Array, client: number): number {
  let best = 0;
  let highest = mix(client ^ hashes[0]!);
  for (let i = 1; i < hashes.length; i++) {
    const score = mix(client ^ hashes[i]!);
    if (score <= highest) continue;
    highest = score;
    best = i;
  }
  return best;
}

/** The best by score of those below the bound; there is one, since the bounds together are above what is open. */
function next<T extends Balanced>(candidates: readonly T[], hashes: Int32Array, client: number, bound: number): T {
  let best = candidates[0]!;
  let highest = -0x8000_0001;
  for (let i = 0; i < hashes.length; i++) {
    const score = mix(client ^ hashes[i]!);
    if (score <= highest || candidates[i]!.inflight >= bound) continue;
    highest = score;
    best = candidates[i]!;
  }
  return best;
}

function nextByWeight<T extends Balanced>(
  candidates: readonly T[],
  hashes: Int32Array,
  client: number,
  bound: number,
): T {
  let best = candidates[0]!;
  let highest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < hashes.length; i++) {
    const candidate = candidates[i]!;
    const { inflight, weight } = candidate;
    if (inflight >= bound * weight) continue;
    const unit = (mix(client ^ hashes[i]!) + 0x8000_0000 + 0.5) / 0x1_0000_0000;
    const score = -weight / Math.log(unit);
    if (score <= highest) continue;
    highest = score;
    best = candidate;
  }
  return best;
}

/** The last step of MurmurHash3: every bit of the input reaches every bit of the result. */
function mix(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
