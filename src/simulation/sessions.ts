/**
 * Does every session see one order and never go back? Judges `sequential` reads from what was seen: each observation
 * names a version of the thing observed (a partition's position, or a counter that every write raises), so no search is
 * needed. The guarantees are those of Terry et al. ("Session Guarantees for Weakly Consistent Replicated Data", 1994),
 * plus the one order: what a version held is the same for everyone.
 */
export interface Observation {
  readonly session: string;
  readonly kind: 'read' | 'write';
  /** What the versions belong to: a key, or a partition. */
  readonly key: string;
  /** The version read, or the version that the write made. */
  readonly version: number;
  /** What that version held, in a form that can be compared. */
  readonly value: string;
  readonly invoked: number;
  readonly returned: number;
}

export type Guarantee =
  | 'monotonic reads'
  | 'read your writes'
  | 'monotonic writes'
  | 'writes follow reads'
  | 'one order';

export interface SessionViolation {
  readonly guarantee: Guarantee;
  readonly earlier: Observation;
  readonly later: Observation;
}

const broken: Record<`${Observation['kind']} ${Observation['kind']}`, Guarantee> = {
  'read read': 'monotonic reads',
  'write read': 'read your writes',
  'write write': 'monotonic writes',
  'read write': 'writes follow reads',
};

/** The violations found, at most ten; none means that the guarantees held. */
export function checkSessions(observations: readonly Observation[]): readonly SessionViolation[] {
  const violations = [...oneOrder(observations)];
  for (const ofSession of Map.groupBy(observations, ({ session, key }) => `${session}\n${key}`).values()) {
    violations.push(...neverBack(ofSession));
  }
  return violations.slice(0, 10);
}

function* oneOrder(observations: readonly Observation[]): Iterable<SessionViolation> {
  const held = new Map<string, Observation>();
  for (const later of observations) {
    const name = `${later.version} ${later.key}`;
    const earlier = held.get(name);
    if (!earlier) held.set(name, later);
    else if (earlier.value !== later.value || (earlier.kind === 'write' && later.kind === 'write')) {
      yield { guarantee: 'one order', earlier, later };
    }
  }
}

/** What was answered before an operation began bounds what the operation may show. */
function* neverBack(observations: readonly Observation[]): Iterable<SessionViolation> {
  const byInvoked = observations.toSorted((a, b) => a.invoked - b.invoked);
  const byReturned = observations.toSorted((a, b) => a.returned - b.returned);
  let next = 0;
  let newestRead: Observation | undefined;
  let newestWrite: Observation | undefined;
  for (const later of byInvoked) {
    for (; next < byReturned.length && byReturned[next]!.returned < later.invoked; next++) {
      const seen = byReturned[next]!;
      if (seen.kind === 'read' && seen.version > (newestRead?.version ?? -1)) newestRead = seen;
      if (seen.kind === 'write' && seen.version > (newestWrite?.version ?? -1)) newestWrite = seen;
    }
    for (const earlier of [newestRead, newestWrite]) {
      if (!earlier) continue;
      const backwards = later.kind === 'read' ? later.version < earlier.version : later.version <= earlier.version;
      if (backwards) yield { guarantee: broken[`${earlier.kind} ${later.kind}`], earlier, later };
    }
  }
}
