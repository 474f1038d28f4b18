/**
 * The streams that logs lie in: made when a log begins, looked at once by each process before it trusts one. A stream that is
 * gone is never made again under a log that had entries: that log is lost, and everybody must see so.
 */
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { EngineOptions } from './engine.ts';
import type { NatsContext } from './nats-append.ts';
import { checkStream } from './nats-checks.ts';
import { apiCode, asUnavailable, streamNotFound } from './nats-errors.ts';
import { streamOf, subjectOf } from './nats-names.ts';
import { untilConnected, within } from './nats-request.ts';

/** From here on a cluster works for its streams more than for their entries; each one with replicas is a Raft group. */
const streamsMany = 300;

export class NatsStreams {
  readonly #c: NatsContext;
  /** Streams that were seen to be as they must. */
  readonly #checked = new Map<string, Promise<boolean>>();
  #counting = false;
  #warned = false;

  constructor(context: NatsContext) {
    this.#c = context;
  }

  /** Whether there is a stream for the log, as it should be; made when `begins`. @throws CONFIG, UNAVAILABLE (not-done) */
  async ensure(log: string, begins: boolean, options: EngineOptions): Promise<boolean> {
    for (;;) {
      let checked = this.#checked.get(log);
      if (!checked) {
        checked = this.#look(log, begins, options);
        this.#checked.set(log, checked);
        const forget = (): void => void this.#checked.delete(log);
        checked.then(there => there || forget(), forget);
      }
      if (await checked) return true;
      if (!begins) return false;
    }
  }

  async #look(log: string, begins: boolean, { deadline }: EngineOptions): Promise<boolean> {
    const { link, clock } = this.#c;
    await untilConnected(link, clock, deadline);
    const { streams } = link.manager;
    const name = streamOf(link.address.app, log);
    const look = async (): Promise<boolean> => {
      const found = await streams.info(name).catch(cause => {
        if (apiCode(cause) === streamNotFound) return undefined;
        throw cause;
      });
      if (found) checkStream(name, found.config as never, link.replicas);
      else if (begins) await streams.add(this.#config(log) as never);
      return begins || found !== undefined;
    };
    const there = await within(look(), deadline, clock, `looking for ${log}`).catch(asUnavailable(log));
    void this.#count();
    return there;
  }

  /** @throws CONFLICT */
  async begin(log: string, first: number, deadline: number): Promise<void> {
    const { link, clock } = this.#c;
    await untilConnected(link, clock, deadline);
    const { streams } = link.manager;
    const name = streamOf(link.address.app, log);
    const made = async (): Promise<void> => {
      const found = await streams.info(name).catch(cause => {
        if (apiCode(cause) === streamNotFound) return undefined;
        throw cause;
      });
      if (found) throw new TandemError('CONFLICT', `there is a log '${log}' already`);
      await streams.add({ ...this.#config(log), first_seq: first } as never);
    };
    await within(made(), deadline, clock, `making ${log}`).catch(cause => {
      if (cause instanceof TandemError) throw cause;
      return asUnavailable(log)(cause);
    });
  }

  #config(log: string): object {
    const { address, replicas } = this.#c.link;
    return {
      name: streamOf(address.app, log),
      subjects: [subjectOf(address.app, log)],
      retention: 'limits',
      storage: 'file',
      discard: 'new',
      num_replicas: replicas,
      max_msgs: -1,
      max_bytes: -1,
      max_age: 0,
      max_msgs_per_subject: -1,
      deny_delete: true,
      deny_purge: false,
      allow_rollup_hdrs: false,
      allow_direct: true,
      allow_atomic: true,
      // A message is told from its repeat by the guard and by what it holds, not by an id.
      duplicate_window: 0,
    };
  }

  /** All streams of the account, since all of them cost the cluster; one question at a time. */
  async #count(): Promise<void> {
    const { clock, logger, link } = this.#c;
    if (this.#warned || this.#counting) return;
    this.#counting = true;
    try {
      const deadline = clock.monotonic() + limits.engineTimeoutMs;
      const { streams } = await within(link.manager.getAccountInfo(), deadline, clock, 'counting streams');
      if (streams <= streamsMany || this.#warned) return;
      this.#warned = true;
      logger.warn('there are many streams on NATS; fewer partitions or topics would serve it better', { streams });
    } catch {
      // Counting is a courtesy.
    } finally {
      this.#counting = false;
    }
  }
}
