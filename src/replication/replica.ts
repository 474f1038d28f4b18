/**
 * One partition as this instance has it: follows the log, checks that positions are contiguous and that each entry names
 * its parent, and applies in order (data core, rules 10, 20, 22). What does not fit is never applied: a copy that turns
 * out wrong is quarantined and rebuilt, a log that is gone or shorter than known stops the replica. A store that takes no
 * change (a full disk) suspends it: it serves nothing and tries again, since a copy that falls behind would be a wrong one.
 */
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { backoffMs } from '../core/random.ts';
import type { Entry } from '../log/engine.ts';
import { chainHash, type LogEntry } from './entry.ts';
import { beginLog, checkGenesis, refuseOther, tailOf } from './genesis.ts';
import { partAt } from './large-entries.ts';
import { lost, recreated, trimmed } from './lost-log.ts';
import { type Applied, nextHead } from './next-head.ts';
import type { Origin } from './origin.ts';
import { ownSlot } from './own-slot.ts';
import { isOfBeforeRestore, renew } from './renewal.ts';
import { logName, type ReplicaOptions } from './replica-options.ts';
import { installSnapshot } from './snapshot.ts';
import { Staleness } from './staleness.ts';
import { emptyHead, type Head, type ReplicaStore, StoreError, type Write } from './store.ts';
import { goOnFrom } from './successor.ts';
import { Waiters } from './waiters.ts';

export { type Applied, logName, type ReplicaOptions };

type State = 'opening' | 'ready' | 'sealed' | 'failed' | 'closed';

/** What a barrier that appends leaves in the log: it takes a position and says nothing. */
const nothing: Omit<LogEntry, 'epoch' | 'time'> = { parent: '', author: '', writes: [], emitted: [] };

/** Errors after which trying again cannot help. */
const fatal = new Set(['LOG_LOST', 'CONFIG', 'CORRUPT', 'UNSUPPORTED']);
const readBytes = 262_144; // and applied at once: calls that wait meanwhile feel it
/** Between two reads of an engine whose replicas lag. */
const rereadMs = 5;
/** Longest pause between two tries of a store that takes no changes. */
const storeRetryMsMax = 5000;

export class Replica {
  readonly log: string;
  readonly store: ReplicaStore;
  readonly #options: ReplicaOptions;
  readonly #listeners = new Set<(applied: readonly Applied[]) => void>();
  readonly #replaced = new Set<() => void>();
  readonly #waiters: Waiters;
  readonly #stop = new AbortController();
  /** One round of following; ended when what is here must be looked at anew. */
  #round = new AbortController();
  /** Identity of the log that this replica has seen; outlives a copy that is thrown away. */
  #known = '';
  #state: State = 'opening';
  #failure: TandemError | undefined;
  /** Its store takes no changes; said already. */
  #suspended = false;
  readonly #staleness: Staleness;
  #running: Promise<void> | undefined;
  /** The copy of the partition that this one begins as. */
  #before: Replica | undefined;
  /** To be told when it has ended. */
  readonly #endings = new Set<() => void>();
  /** Where the log is kept, as the engine said; undefined until it was asked. */
  medium: string | undefined;
  /** Times that this copy was thrown away because it did not fit the log. */
  rebuilds = 0;
  /** Entries that were skipped because they do not continue the chain. */
  foreignSkipped = 0;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.store = options.store;
    this.log = logName(options.service, options.partition);
    this.#waiters = new Waiters(options.clock);
    this.#staleness = new Staleness(options.clock);
  }

  get head(): Head {
    const { head } = this.store;
    return head.of === undefined ? head : emptyHead;
  }
  /** How far the copy of another partition is that this one begins as; undefined when it is not. */
  get beginning(): Head | undefined {
    return this.head.hash === '' ? this.#before?.head : undefined;
  }
  /** It follows no more and will never be ready again. */
  get ended(): boolean {
    return this.#state === 'sealed' || this.#state === 'failed' || this.#state === 'closed';
  }
  get state(): State {
    return this.#state;
  }
  get ready(): boolean {
    return this.#state === 'ready';
  }
  get failure(): TandemError | undefined {
    return this.#failure;
  }

  /** Starts following; `until` and `ready` tell how far it is. */
  open(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#state = 'closed';
    this.#stop.abort();
    this.#round.abort();
    this.#failure ??= new TandemError('CLOSED', `the replica of ${this.log} was closed`);
    this.#waiters.failAll(this.#failure);
    for (const ended of this.#endings) ended();
    await this.#before?.close();
    await this.#running;
    await this.store.close();
  }

  /** Tells what was applied, right after its commit, in order. */
  onApplied(listener: (applied: readonly Applied[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells that all rows were replaced at once, or that this replica stopped for good (its log was sealed, it failed). */
  onReplaced(listener: () => void): () => void {
    this.#replaced.add(listener);
    return () => this.#replaced.delete(listener);
  }

  /** A tail that someone told us of; the difference to our position is the staleness of eventual reads. */
  noteTail(position: number): void {
    this.#staleness.note(position, this.head.position);
  }

  /** Entries and time that this replica knows itself to be behind. */
  staleness(): { entries: number; ms: number } {
    return this.#staleness.at(this.head.position);
  }

  /** Resolves when `position` is applied here. @throws DEADLINE_EXCEEDED (not-done), CANCELED, or why this replica stopped. */
  until(position: number, deadline: number, signal?: AbortSignal): Promise<void> | undefined {
    if (this.head.position >= position && this.#state === 'ready') return undefined;
    if (this.#failure) throw this.#failure;
    this.noteTail(position);
    return this.#waiters.wait(position, deadline, signal);
  }

  /** Resolves when this replica has caught up once since it was opened. */
  untilReady(deadline: number, signal?: AbortSignal): Promise<void> | undefined {
    return this.until(0, deadline, signal);
  }

  /** Reads the log up to `target` at least, without waiting for the follower. */
  async catchUp(target: number, deadline: number): Promise<void> {
    this.noteTail(target);
    let asked: number | undefined;
    while (this.head.position < target && !this.head.sealed) {
      const entries = await this.#options.engine.log.read(this.log, this.head.position + 1, readBytes, { deadline });
      if (entries.length > 0) {
        await this.#take(entries);
        continue;
      }
      // The hint was no barrier, or who answered lags behind.
      if (asked === undefined) {
        const { position } = this.head;
        asked = await this.#barrier();
        if (asked < position) throw lost(this.log, asked, position);
        if (asked < target) return;
      }
      if (this.#options.clock.monotonic() >= deadline)
        throw new TandemError('DEADLINE_EXCEEDED', `${this.log} was not read up to ${target} in time`);
      await sleep(this.#options.clock, rereadMs, this.#stop.signal);
      if (this.#stop.signal.aborted) throw new TandemError('CLOSED', `the replica of ${this.log} was closed`);
    }
  }

  /**
   * Applies an entry of our own that the engine has accepted; a no-op when the follower was faster. When the store does not
   * take it the entry stands all the same, since the log has it: this replica is no longer ready, and reads it from there.
   */
  applyOwn(position: number, entry: LogEntry, hash: string): void {
    if (position !== this.head.position + 1 || this.#state !== 'ready') return;
    try {
      this.#commit([{ position, entry }], hash, position);
    } catch (thrown) {
      if (!(thrown instanceof StoreError)) throw thrown;
    }
  }

  async #run(): Promise<void> {
    const { clock, random, logger } = this.#options;
    for (let attempt = 0; !this.#stop.signal.aborted; attempt++) {
      this.#round = new AbortController();
      const { signal } = this.#round;
      try {
        await this.#begin();
        if (this.#stop.signal.aborted) return;
        if (signal.aborted) continue;
        if (this.head.hash === '') this.#again('the log has no beginning yet');
        if (this.head.sealed) return this.#sealed();
        this.#options.onFit?.();
        this.#state = 'ready';
        this.#resumed();
        this.#waiters.advance(this.head.position);
        attempt = 0;
        for await (const entries of this.#options.engine.log.follow(this.log, this.head.position + 1, signal)) {
          if (signal.aborted) break;
          await this.#take(entries);
        }
      } catch (thrown) {
        if (this.#stop.signal.aborted) return;
        const error = TandemError.from(thrown);
        if (error.code === 'CORRUPT' && (await this.#passBySnapshot(error))) continue;
        if (fatal.has(error.code)) return (await this.#options.isDivided?.()) ? this.#sealed() : this.#fail(error);
        if (error instanceof StoreError) {
          this.#suspend(error);
          await sleep(clock, backoffMs(random, attempt, 100, storeRetryMsMax), this.#stop.signal);
          continue;
        }
        logger.warn('following a log was interrupted', { log: this.log, code: error.code, message: error.message });
      }
      await sleep(clock, backoffMs(random, attempt, 20, 2000), this.#stop.signal);
    }
  }

  /** From whatever the store holds to the log's tail, checking that both belong together. */
  async #begin(): Promise<void> {
    const { origin } = this.#options;
    const options = { ...this.#options, log: this.log };
    if (this.store.head.installing) this.store.replace([], emptyHead);
    if (origin && this.head.hash === '' && (await this.#goOnFrom(origin))) return;
    if (this.#stop.signal.aborted) return;
    const { position } = this.head; // what is applied while the barrier is on its way may be newer
    const tail = await this.#barrier();
    if (tail < position) {
      if (!(await isOfBeforeRestore(options, this.head))) throw lost(this.log, tail, position);
      this.#discard();
      return this.#begin();
    }
    await this.#checkOwnSlot();
    await this.#catchUpOrLoad(tail);
    // Only barriers so far, or nothing at all: the log has no beginning yet.
    if (this.head.hash === '') await this.#catchUpOrLoad(await beginLog(options, this.head.position));
    const catchUp = async (): Promise<void> => this.#catchUpOrLoad(await this.#barrier());
    this.medium = await renew(options, () => this.head, catchUp);
  }

  async #catchUpOrLoad(tail: number): Promise<void> {
    try {
      await this.catchUp(tail, this.#deadline());
    } catch (thrown) {
      if (TandemError.from(thrown).code !== 'NOT_FOUND') throw thrown;
      await this.#loadSnapshot();
      await this.catchUp(tail, this.#deadline());
    }
  }

  /** Where this partition was divided off another. */
  #goOnFrom(origin: Origin): Promise<boolean> {
    return goOnFrom({
      ...this.#options,
      log: this.log,
      origin,
      signal: this.#stop.signal,
      loadedSnapshot: () => this.#loadedSnapshot(),
      take: entries => this.#take(entries),
      openBefore: store => {
        this.#before = new Replica({ ...this.#options, isDivided: undefined, onFit: undefined, ...origin, store });
        this.#before.open();
        return this.#before;
      },
    });
  }

  /** Resolves when the seal is applied. @throws why this replica stopped. */
  async untilSealed(): Promise<void> {
    if (!this.ended) await new Promise<void>(resolve => this.#endings.add(resolve));
    if (this.state !== 'sealed')
      throw this.#failure ?? new TandemError('CLOSED', `the replica of ${this.log} was closed`);
  }

  /** Compares the last entry that this copy holds with the log's (rule 20): a disagreement means that this copy is wrong. */
  async #checkOwnSlot(): Promise<void> {
    const slot = await ownSlot({ ...this.#options, log: this.log }, this.head);
    if (slot === 'trimmed') return this.#loadSnapshot();
    if (slot === 'another') await this.#quarantine();
  }

  async #quarantine(): Promise<void> {
    const { head } = this;
    this.#options.logger.error('a replica does not fit its log: quarantined, rebuilding', {
      log: this.log,
      position: head.position,
    });
    this.#suspendRound();
    this.#remember();
    this.#discard();
    if (this.#known !== '') await refuseOther({ ...this.#options, log: this.log }, this.#known);
  }

  /** Not ready until the next round has looked at everything anew. */
  #suspendRound(): void {
    if (this.#state === 'ready') this.#state = 'opening';
    this.#round.abort();
  }

  #discard(): void {
    this.rebuilds++;
    this.store.replace([], emptyHead);
    for (const listener of this.#replaced) listener();
  }

  #remember(): void {
    if (this.head.incarnation !== '') this.#known = this.head.incarnation;
  }

  async #loadSnapshot(): Promise<void> {
    if (!(await this.#loadedSnapshot())) throw trimmed(this.log, this.head.position);
  }

  /** False when there is none. */
  async #loadedSnapshot(): Promise<boolean> {
    let newer = true;
    const { service, partition } = this.#options;
    const head = await installSnapshot(this.#options, service, partition, this.store, ({ position, incarnation }) => {
      newer = position > this.head.position;
      if (!newer) return false;
      this.#remember();
      if (this.#known !== '' && incarnation !== this.#known) throw recreated(this.log, this.#known, incarnation);
      if (this.#state === 'ready') this.#suspendRound(); // what is half installed is not served
      return true;
    });
    if (!head) return !newer;
    for (const listener of this.#replaced) listener();
    this.#options.logger.info('a replica was loaded from a snapshot', {
      log: this.log,
      position: head.position,
    });
    return true;
  }

  /** Whether a snapshot leads past what cannot be read; nothing is left out then, since it holds what that came to. */
  async #passBySnapshot({ message }: TandemError): Promise<boolean> {
    const { position } = this.head;
    await this.#loadSnapshot().catch(() => {});
    // Less, when one was being put in and turned out to be damaged.
    if (this.head.position <= position) return false;
    this.#options.logger.error('an entry cannot be read; a snapshot led past it', { log: this.log, position, message });
    return true;
  }

  /**
   * Applies what is new of `entries`. Checks happen before, the commit is one for all of them, but for a large one, which is
   * read and applied alone: `fetched` is what a reference in `entries` stands for.
   */
  async #take(entries: readonly Entry[], fetched?: Applied): Promise<void> {
    const batch: Applied[] = [];
    if (this.head.sealed) return;
    let { position, hash, hashPosition } = this.head;
    for (const { position: at, body } of entries) {
      if (at < position || (at === position && at !== hashPosition)) continue;
      if (body.length === 0 && at === position + 1) {
        const { epoch, time } = batch.at(-1)?.entry ?? this.head;
        batch.push({ position: at, entry: { ...nothing, epoch, time } });
        position = at;
        continue;
      }
      const bodyHash = chainHash(body);
      if (at === position) {
        if (bodyHash === hash) continue;
        return this.#again('the log says otherwise about an entry that was applied');
      }
      if (at !== position + 1) return this.#again(`a follower skipped from ${position} to ${at}`);
      const entry = partAt(body, fetched?.position === at ? fetched.entry : undefined);
      if (entry.parent !== hash) {
        if (batch.length > 0) this.#commit(batch, hash, hashPosition);
        await this.#judge(at);
        return this.#take(entries);
      }
      if ('blob' in entry) {
        if (batch.length > 0) this.#commit(batch, hash, hashPosition);
        const whole = await this.#options.large.get(this.log, at, entry);
        // Meanwhile it may have been applied on another way: all is looked at again.
        return this.#take(entries, { position: at, entry: whole });
      }
      if (hash === '' || entry.genesis) this.#checkGenesis(at, hash === '', entry);
      batch.push({ position: at, entry });
      position = at;
      hashPosition = at;
      hash = bodyHash;
      // Whatever comes after it was written by someone who did not know (rule 23).
      if (entry.seal) break;
    }
    if (batch.length > 0) this.#commit(batch, hash, hashPosition);
  }

  /** The entry at `at` does not continue what we hold. Either our copy is wrong, or the entry is foreign (rule 20). */
  async #judge(at: number): Promise<void> {
    const { head } = this;
    if (head.position !== at - 1) return;
    await this.#barrier();
    await this.#checkOwnSlot();
    if (this.head.position !== at - 1 || this.head.hash !== head.hash) return;
    if (head.hash === '') throw new TandemError('CORRUPT', `${this.log} does not begin with a genesis entry`);
    this.foreignSkipped++;
    this.#options.logger.error('a foreign entry was skipped: it does not continue the chain', {
      log: this.log,
      position: at,
    });
    const { digest: _, ...rest } = head;
    this.#store([], { ...rest, position: at });
    this.#waiters.advance(at);
  }

  #checkGenesis(position: number, isFirst: boolean, entry: LogEntry): void {
    const expected = { ...this.#options, log: this.log, known: this.#known, isFirst, head: this.store.head };
    if (checkGenesis(expected, position, entry)) return;
    this.store.replace([], emptyHead);
    this.#again('this copy did not begin as its log says');
  }

  /** Synchronous: nothing can come between the check of the position and the commit. */
  #commit(batch: readonly Applied[], hash: string, hashPosition: number): void {
    const { writes, head } = nextHead(this.head, batch, hash, hashPosition);
    this.#store(writes, head);
    for (const listener of this.#listeners) listener(batch);
    if (this.#state === 'ready') this.#waiters.advance(head.position);
    if (head.sealed) this.#sealed();
  }

  /** Nothing more will come, and nothing is served, since what goes on from this log may know more. */
  #sealed(): void {
    this.#stop.abort();
    this.#round.abort();
    this.#end('sealed', new TandemError('MOVED', `${this.log} is sealed: its keys lie in two other partitions now`));
  }

  #store(writes: readonly Write[], head: Omit<Head, 'digest'>): void {
    try {
      this.store.commit(writes, head);
    } catch (thrown) {
      if (thrown instanceof StoreError) this.#suspend(thrown);
      throw thrown;
    }
  }

  #suspend({ message }: StoreError): void {
    this.#suspendRound();
    if (this.#suspended) return;
    this.#suspended = true;
    this.#options.logger.error('a replica cannot keep its rows: it serves nothing until it can', {
      log: this.log,
      position: this.head.position,
      message,
    });
  }

  #resumed(): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    this.#options.logger.info('a replica keeps its rows again', { log: this.log, position: this.head.position });
  }

  /** Ends this round of following; the next begins with all checks. */
  #again(reason: string): never {
    this.#suspendRound();
    throw new TandemError('UNAVAILABLE', `${this.log}: ${reason}`);
  }

  async #barrier(): Promise<number> {
    const tail = await tailOf({ ...this.#options, log: this.log });
    this.noteTail(tail);
    return tail;
  }

  /** Stops for good: nothing wrong is served. Also called when a barrier shows that the log is shorter than this replica. */
  fail(error: TandemError): void {
    this.#stop.abort();
    this.#round.abort();
    this.#fail(error);
  }

  #fail(error: TandemError): void {
    if (!this.ended)
      this.#options.logger.error('a replica stopped', { log: this.log, code: error.code, message: error.message });
    this.#end('failed', error);
  }

  #end(state: 'sealed' | 'failed', error: TandemError): void {
    if (this.ended) return;
    this.#state = state;
    this.#failure = error;
    this.#waiters.failAll(error);
    for (const listener of [...this.#endings, ...this.#replaced]) listener();
  }

  #deadline(): number {
    return this.#options.clock.monotonic() + this.#options.engineTimeoutMs;
  }
}
