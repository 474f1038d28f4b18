/** Do replicas agree? At equal positions they must hold equal rows, and after a calm they must be at equal positions. */
export interface ReplicaState {
  readonly partition: number;
  readonly replica: string;
  readonly position: number;
  /** Digest of all rows. */
  readonly digest: string;
}

export interface Disagreement {
  readonly kind: 'diverged' | 'behind';
  readonly a: ReplicaState;
  readonly b: ReplicaState;
}

/** With `calm`, replicas at different positions are reported too. */
export function checkConvergence(states: readonly ReplicaState[], calm: boolean): readonly Disagreement[] {
  const found: Disagreement[] = [];
  for (const replicas of Map.groupBy(states, state => state.partition).values()) {
    const furthest = replicas.reduce((a, b) => (b.position > a.position ? b : a));
    const at = new Map<number, ReplicaState>();
    for (const replica of replicas) {
      const other = at.get(replica.position);
      if (!other) at.set(replica.position, replica);
      else if (other.digest !== replica.digest) found.push({ kind: 'diverged', a: other, b: replica });
      if (calm && replica.position < furthest.position) found.push({ kind: 'behind', a: replica, b: furthest });
    }
  }
  return found;
}
