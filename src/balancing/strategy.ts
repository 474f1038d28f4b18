/** The strategies by name: each is one picker. `docs/concepts/balancing.md` says which is for what. */
import type { Strategy } from '../contract/balance.ts';
import type { Random } from '../core/random.ts';
import { ipHash } from './ip-hash.ts';
import { leastConnections } from './least-connections.ts';
import { leastResponseTime } from './least-response-time.ts';
import type { Balanced, Picker } from './picker.ts';
import { powerOfTwoChoices } from './power-of-two-choices.ts';
import { roundRobin } from './round-robin.ts';
import { weightedRoundRobin } from './weighted-round-robin.ts';

type Opener = <T extends Balanced>(random: Random) => Picker<T>;

const openers: Readonly<Record<Strategy, Opener>> = {
  'round-robin': roundRobin,
  'weighted-round-robin': weightedRoundRobin,
  'least-connections': leastConnections,
  'ip-hash': ipHash,
  'least-response-time': leastResponseTime,
  /** Two choices too, weighed by what the targets report of themselves: weights that change call for a picker without memory. */
  dynamic: random => powerOfTwoChoices(random, 'dynamicWeight'),
  'power-of-two-choices': random => powerOfTwoChoices(random),
};

export function openPicker<T extends Balanced>(strategy: Strategy, random: Random): Picker<T> {
  return openers[strategy](random);
}
