/**
 * Were transactions over several lists atomic and in one order? The idea of Elle (Kingsbury and Alvaro, "Elle: Inferring
 * Isolation Anomalies from Experimental Observations", 2020): when lists only grow and no value is appended twice, a read
 * shows the whole history of its list, so the longest read tells who wrote after whom. From that follow all dependencies
 * between transactions, and a circle of them is an anomaly. No search is needed: ten thousand transactions take a moment.
 * An operation is a whole transaction: its input and (if `ok`) its output are micro-operations in Elle's own shape, its
 * `key` names the partition, and different partitions are judged apart.
 */
import { type CycleKind, DependencyGraph } from './dependency-graph.ts';
import type { Operation } from './history.ts';

export type MicroOperation =
  | readonly ['append', list: string, value: string | number]
  /** Null until it was answered. */
  | readonly ['r', list: string, values: readonly (string | number)[] | null];

export type AnomalyKind =
  | CycleKind
  /** Read what a transaction wrote that did not happen. */
  | 'G1a'
  /** Read what a transaction wrote half way. */
  | 'G1b'
  /** Did not see its own appends, or what it had seen before. */
  | 'internal'
  /** Two read the same list at the same length, both appended, both were accepted. */
  | 'lost update'
  /** Two reads of a list of which neither continues the other. */
  | 'incompatible order'
  /** One value twice in one list. */
  | 'duplicate'
  /** A value that nobody appended. */
  | 'invented';

export interface Anomaly {
  readonly kind: AnomalyKind;
  /** What to look at, for people. */
  readonly story: string;
  readonly operations: readonly Operation[];
}

export interface ListAppendOptions {
  /** Whether an answer given before a question was asked must come first: strict serializability. Default: yes. */
  readonly realtime?: boolean;
}

/** The anomalies found; none means that one order of all transactions explains every read. */
export function checkListAppend(operations: readonly Operation[], options: ListAppendOptions = {}): Anomaly[] {
  const partitions = Map.groupBy(operations, operation => operation.key).values();
  return [...partitions].flatMap(ofPartition => new Judge(ofPartition).anomalies(options.realtime ?? true));
}

/** What one transaction did to one list, as others can know it. */
interface Use {
  /** What was there before it, if it looked. */
  readonly before: readonly unknown[] | undefined;
  readonly appended: readonly unknown[];
}

interface Version {
  readonly list: string;
  readonly values: readonly unknown[];
  readonly reader: number;
}

class Judge {
  readonly #operations: readonly Operation[];
  readonly #found: Anomaly[] = [];
  /** By transaction, by list. */
  readonly #uses: ReadonlyMap<string, Use>[];
  /** By `list value`: who appended it, and whether as its last to that list. */
  readonly #writers = new Map<string, { readonly by: number; readonly last: boolean }>();
  readonly #reads: Version[] = [];
  /** By list. */
  readonly #longest = new Map<string, Version>();

  constructor(operations: readonly Operation[]) {
    this.#operations = operations.toSorted((a, b) => a.invoked - b.invoked);
    this.#uses = this.#operations.map(operation => this.#usesOf(operation));
    this.#uses.forEach((uses, by) => {
      for (const [list, { before, appended }] of uses) {
        appended.forEach((value, at) => {
          this.#writers.set(nameOf(list, value), { by, last: at === appended.length - 1 });
        });
        if (before) this.#reads.push({ list, values: before, reader: by });
      }
    });
  }

  anomalies(realtime: boolean): Anomaly[] {
    for (const read of this.#reads) this.#judgeRead(read);
    this.#lostUpdates();
    for (const { kind, arrows } of this.#graph(realtime).cycles()) {
      const story = arrows.map(({ from, kind: arrow, why }) => `${this.#name(from)} -${arrow}${why}-> `).join('');
      this.#report(
        kind,
        `${story}${this.#name(arrows[0]!.from)}`,
        arrows.map(({ from }) => from),
      );
    }
    return this.#found;
  }

  #usesOf(operation: Operation): Map<string, Use> {
    const uses = new Map<string, { before: readonly unknown[] | undefined; appended: unknown[] }>();
    const answered = operation.outcome === 'ok' && operation.output !== undefined;
    for (const [kind, list, value] of (answered ? operation.output : operation.input) as MicroOperation[]) {
      const use = uses.get(list) ?? { before: undefined, appended: [] };
      uses.set(list, use);
      if (kind === 'append') use.appended.push(value);
      else if (answered) {
        const seen = value ?? [];
        const own = use.appended.length;
        const before = seen.slice(0, Math.max(0, seen.length - own));
        const wrong = !same(seen.slice(before.length), use.appended) || (use.before && !same(use.before, before));
        if (wrong) this.#found.push({ kind: 'internal', story: describe(operation), operations: [operation] });
        use.before ??= before;
      }
    }
    return uses;
  }

  #judgeRead(read: Version): void {
    const { list, values, reader } = read;
    const seen = new Set<unknown>();
    for (const [at, value] of values.entries()) {
      const text = `${this.#name(reader)} read ${show(value)} in ${list}`;
      if (seen.has(value)) this.#report('duplicate', `${text} twice`, [reader]);
      seen.add(value);
      const writer = this.#writers.get(nameOf(list, value));
      if (!writer) this.#report('invented', `${text}, which nobody appended`, [reader]);
      else if (this.#operations[writer.by]!.outcome === 'fail') {
        this.#report('G1a', `${text}, appended by ${this.#name(writer.by)}, which did not happen`, [reader, writer.by]);
      } else if (!writer.last && writer.by !== reader) {
        const next = this.#writers.get(nameOf(list, values[at + 1]));
        if (next?.by !== writer.by)
          this.#report('G1b', `${text} from the middle of ${this.#name(writer.by)}`, [reader, writer.by]);
      }
    }
    const longest = this.#longest.get(list);
    const [short, long] = longest && longest.values.length > values.length ? [read, longest] : [longest, read];
    if (short && !same(long.values.slice(0, short.values.length), short.values)) {
      const both = [short, long].map(({ reader: by, values: saw }) => `${this.#name(by)} saw ${show(saw)}`);
      this.#report('incompatible order', `${list}: ${both.join(', ')}`, [short.reader, long.reader]);
    }
    this.#longest.set(list, long);
  }

  #lostUpdates(): void {
    const updates = this.#reads.filter(({ list, reader }) => this.#uses[reader]!.get(list)!.appended.length > 0);
    const same = Map.groupBy(updates, ({ list, values }) => nameOf(list, values));
    for (const readers of same.values()) {
      if (readers.length < 2) continue;
      const by = readers.map(({ reader }) => reader);
      const { list, values } = readers[0]!;
      const names = by.map(reader => this.#name(reader)).join(' and ');
      this.#report('lost update', `${names} all read ${list} as ${show(values)} and appended to it`, by);
    }
  }

  #graph(realtime: boolean): DependencyGraph {
    const graph = new DependencyGraph();
    const writerOf = (list: string, value: unknown): number | undefined => {
      const by = this.#writers.get(nameOf(list, value))?.by;
      return by === undefined || this.#operations[by]!.outcome === 'fail' ? undefined : by;
    };
    for (const [list, { values }] of this.#longest) {
      for (let at = 1; at < values.length; at++) {
        const [from, to] = [writerOf(list, values[at - 1]), writerOf(list, values[at])];
        if (from === undefined || to === undefined) continue;
        graph.add({ from, to, kind: 'ww', why: ` ${list}: ${show(values[at - 1])} before ${show(values[at])}` });
      }
    }
    // What was accepted and never seen comes after all that was seen.
    const unseen = new Map<string, { readonly by: number; readonly value: unknown }[]>();
    this.#uses.forEach((uses, by) => {
      if (this.#operations[by]!.outcome !== 'ok') return;
      for (const [list, { appended }] of uses) {
        const first = appended.find(value => !this.#longest.get(list)?.values.includes(value));
        if (first === undefined) continue;
        const last = this.#longest.get(list)?.values.at(-1);
        const from = last === undefined ? undefined : writerOf(list, last);
        if (from !== undefined) graph.add({ from, to: by, kind: 'ww', why: ` ${list}: ${show(last)} before unseen` });
        unseen.set(list, [...(unseen.get(list) ?? []), { by, value: first }]);
      }
    });
    for (const { list, values, reader } of this.#reads) {
      const read = values.at(-1);
      const from = read === undefined ? undefined : writerOf(list, read);
      if (from !== undefined) graph.add({ from, to: reader, kind: 'wr', why: ` ${list}: ${show(read)}` });
      const longest = this.#longest.get(list)!.values;
      const next = longest[values.length];
      const missed = next === undefined ? undefined : writerOf(list, next);
      const why = (value: unknown): string => ` ${list}: did not see ${show(value)}`;
      if (missed !== undefined) graph.add({ from: reader, to: missed, kind: 'rw', why: why(next) });
      if (values.length < longest.length) continue;
      for (const { by, value } of unseen.get(list) ?? []) {
        graph.add({ from: reader, to: by, kind: 'rw', why: why(value) });
      }
    }
    if (realtime) this.#addTime(graph);
    return graph;
  }

  /** Only from the last ones answered: earlier ones are before those. */
  #addTime(graph: DependencyGraph): void {
    const answered = this.#operations
      .map((operation, at) => ({ operation, at }))
      .filter(({ operation }) => operation.outcome === 'ok')
      .sort((a, b) => a.operation.returned - b.operation.returned);
    let next = 0;
    let front: { operation: Operation; at: number }[] = [];
    this.#operations.forEach((operation, to) => {
      for (; next < answered.length && answered[next]!.operation.returned < operation.invoked; next++) {
        const done = answered[next]!;
        front = front.filter(before => before.operation.returned >= done.operation.invoked);
        front.push(done);
      }
      if (operation.outcome === 'fail') return;
      for (const { at: from } of front) graph.add({ from, to, kind: 'rt', why: '' });
    });
  }

  #name(at: number): string {
    return describe(this.#operations[at]!);
  }

  #report(kind: AnomalyKind, story: string, by: readonly number[]): void {
    this.#found.push({ kind, story, operations: by.map(at => this.#operations[at]!) });
  }
}

function describe({ process, invoked }: Operation): string {
  return `T${invoked} of ${process}`;
}
function nameOf(list: string, value: unknown): string {
  return `${list}\n${show(value)}`;
}
function show(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing';
}
function same(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((value, at) => value === b[at]);
}
