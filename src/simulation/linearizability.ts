/**
 * Is there one order of the operations, each placed between its invocation and its answer, in which a sequential model
 * gives the same answers? The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with what Lowe
 * added ("Testing for Linearizability", 2017): states already seen are not searched again, operations are placed just in
 * time (those that answered first are tried first), and keys are judged apart, because linearizability is local.
 * An operation of unknown fate may be placed anywhere after its invocation, or nowhere; equal ones are interchangeable,
 * so only the earliest is tried, which keeps a lossy run from exploding.
 */
import type { Operation } from './history.ts';
import { impossible, type Model } from './model.ts';

export type Judgement =
  | { readonly kind: 'linearizable' }
  /** No order explains `operation`, whichever of the ones around it took effect. */
  | { readonly kind: 'violation'; readonly key: string; readonly operation: Operation; readonly state: string }
  /** The search was given up; neither shown nor refuted. */
  | { readonly kind: 'undecided'; readonly key: string };

export interface LinearizabilityOptions {
  /** Placements tried per key before giving up. Default: five million. */
  readonly stepsMax?: number;
}

export function checkLinearizability<S>(
  operations: readonly Operation[],
  model: Model<S>,
  options: LinearizabilityOptions = {},
): Judgement {
  let undecided: Judgement | undefined;
  for (const [key, ofKey] of Map.groupBy(operations, operation => operation.key)) {
    const judgement = checkKey(key, ofKey, model, options.stepsMax ?? 5_000_000);
    if (judgement.kind === 'violation') return judgement;
    if (judgement.kind === 'undecided') undecided = judgement;
  }
  return undecided ?? { kind: 'linearizable' };
}

/** A choice of the search: the state before it, and what may be placed next. */
interface Choice<S> {
  readonly state: S;
  readonly candidates: readonly Candidate[];
  /** The candidate to try next; the one before it is placed while the path goes on from here. */
  next: number;
}
type Candidate = { readonly known: true; readonly index: number } | { readonly known: false; readonly group: number };

function checkKey<S>(key: string, operations: readonly Operation[], model: Model<S>, stepsMax: number): Judgement {
  const known = operations.filter(({ outcome }) => outcome === 'ok').sort((a, b) => a.invoked - b.invoked);
  const groups = unknownGroups(operations);
  const placed = new Uint8Array(known.length);
  /** Of each group of equal unknown operations, how many have been placed. */
  const used = new Array<number>(groups.length).fill(0);
  /** By what is placed and the state: the unknown operations used, where no other way there used fewer. */
  const seen = new Map<string, number[][]>();
  let left = known.length;
  let first = 0;
  let steps = 0;
  let deepest = { left: Number.POSITIVE_INFINITY, state: model.initial, operation: known[0] };

  /** What may come next: all that began before the first answer among those not yet placed. */
  const candidatesAt = (state: S): Candidate[] => {
    while (first < known.length && placed[first] === 1) first++;
    let answer = Number.POSITIVE_INFINITY;
    let blocking: Operation | undefined;
    const open: number[] = [];
    for (let index = first; index < known.length && known[index]!.invoked < answer; index++) {
      if (placed[index] === 1) continue;
      open.push(index);
      if (known[index]!.returned < answer) {
        answer = known[index]!.returned;
        blocking = known[index];
      }
    }
    if (left < deepest.left) deepest = { left, state, operation: blocking };
    const candidates: Candidate[] = open
      .filter(index => known[index]!.invoked < answer)
      .sort((a, b) => known[a]!.returned - known[b]!.returned)
      .map(index => ({ known: true, index }));
    groups.forEach((group, at) => {
      const next = group[used[at]!];
      if (next && next.invoked < answer) candidates.push({ known: false, group: at });
    });
    return candidates;
  };
  const place = (candidate: Candidate, by: 1 | -1): void => {
    if (!candidate.known) used[candidate.group]! += by;
    else {
      placed[candidate.index] = by === 1 ? 1 : 0;
      left -= by;
      if (by === -1) first = Math.min(first, candidate.index);
    }
  };
  /** Names which known operations are placed, and the state. */
  const configuration = (state: S): string => {
    while (first < known.length && placed[first] === 1) first++;
    let text = `${first}`;
    let count = known.length - left - first;
    for (let index = first; count > 0; index++) {
      if (placed[index] !== 1) continue;
      text += `,${index}`;
      count--;
    }
    return `${text};${model.fingerprint(state)}`;
  };
  /** Whether this was reached before with no more unknown operations spent; those that are left over need not happen. */
  const reachedBefore = (state: S): boolean => {
    const name = configuration(state);
    const ways = seen.get(name);
    if (!ways) seen.set(name, [[...used]]);
    else if (ways.some(way => way.every((count, at) => count <= used[at]!))) return true;
    else ways.push([...used]);
    return false;
  };

  const path: Choice<S>[] = [{ state: model.initial, candidates: candidatesAt(model.initial), next: 0 }];
  while (left > 0) {
    const choice = path.at(-1);
    if (!choice) {
      const operation = deepest.operation ?? known[0]!;
      return { kind: 'violation', key, operation, state: model.fingerprint(deepest.state) };
    }
    const candidate = choice.candidates[choice.next++];
    if (!candidate) {
      path.pop();
      const placing = path.at(-1);
      if (placing) place(placing.candidates[placing.next - 1]!, -1);
      continue;
    }
    if (++steps > stepsMax) return { kind: 'undecided', key };
    const operation = candidate.known ? known[candidate.index]! : groups[candidate.group]![used[candidate.group]!]!;
    const state = model.step(choice.state, operation);
    if (state === impossible) continue;
    place(candidate, 1);
    if (reachedBefore(state)) place(candidate, -1);
    else path.push({ state, candidates: candidatesAt(state), next: 0 });
  }
  return { kind: 'linearizable' };
}

/** Unknown operations by what they do, earliest first. Reads among them say nothing and are left out. */
function unknownGroups(operations: readonly Operation[]): readonly (readonly Operation[])[] {
  const unknown = operations
    .filter(({ outcome, kind }) => outcome === 'unknown' && kind !== 'read')
    .sort((a, b) => a.invoked - b.invoked);
  return [...Map.groupBy(unknown, ({ kind, input }) => `${kind} ${JSON.stringify(input)}`).values()];
}
