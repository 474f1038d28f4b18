/**
 * The engine seen over a link. An append is never sent twice by this driver: when its answer is lost the result is
 * `unknown`, and deciding what that means is the caller's (data core, rule 6). Follows and subscriptions come back by
 * themselves; a follow checks that what comes next is what comes next.
 */
import type { Channel, Dialer, SendOptions } from '../core/channel.ts';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs, type Random } from '../core/random.ts';
import { AppendGroup } from './append-group.ts';
import type { AppendResult, Blobs, Bus, Capabilities, Engine, EngineOptions, Entry, Log, LogInfo } from './engine.ts';
import { blobPieceBytes } from './engine-answerer.ts';

export interface RemoteEngineOptions {
  readonly dialer: Dialer;
  readonly address: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export function connectEngine(options: RemoteEngineOptions): Engine {
  const stopped = new AbortController();
  const capabilities: Capabilities = {
    driver: 'embedded, over a link',
    entryBytesMax: limits.entryBytesMax,
    acknowledged: 'on disk (fdatasync)',
    barrierAppends: false,
  };
  return {
    log: new RemoteLog(options, stopped.signal),
    bus: new RemoteBus(options, stopped.signal),
    blobs: new RemoteBlobs(options),
    capabilities,
    close: () => {
      stopped.abort();
      return Promise.resolve();
    },
  };
}

class RemoteLog implements Log {
  readonly #options: RemoteEngineOptions;
  readonly #stopped: AbortSignal;
  readonly #appends: AppendGroup;

  constructor(options: RemoteEngineOptions, stopped: AbortSignal) {
    this.#options = options;
    this.#stopped = stopped;
    this.#appends = new AppendGroup(options.clock, async (group, sendOptions) => {
      const reply = await channelOf(options).call('log.append', group, sendOptions);
      return reply.body;
    });
  }

  append(
    log: string,
    expected: number | 'any',
    bodies: readonly Uint8Array[],
    options: EngineOptions,
  ): Promise<AppendResult> {
    return this.#appends.append(log, expected, bodies, options);
  }

  async barrier(log: string, options: EngineOptions): Promise<number> {
    return (await this.#call('log.barrier', { log }, options)) as number;
  }

  async read(log: string, from: number, bytesMax: number, options: EngineOptions): Promise<readonly Entry[]> {
    return (await this.#call('log.read', { log, from, bytesMax }, options)) as readonly Entry[];
  }

  async *follow(log: string, from: number, signal: AbortSignal): AsyncGenerator<readonly Entry[]> {
    const { clock, random, logger } = this.#options;
    const ended = AbortSignal.any([signal, this.#stopped]);
    let next = from;
    for (let attempt = 0; !ended.aborted; attempt++) {
      try {
        const stream = channelOf(this.#options).stream(
          'log.follow',
          { log, from: next },
          { deadline: Number.POSITIVE_INFINITY, signal: ended },
        );
        for await (const item of stream) {
          const entries = item as readonly Entry[];
          attempt = 0;
          for (const entry of entries) {
            if (entry.position !== next)
              throw new TandemError('CORRUPT', `'${log}' sent position ${entry.position} where ${next} was due`);
            next++;
          }
          if (ended.aborted) return;
          yield entries;
        }
      } catch (cause) {
        const error = TandemError.from(cause);
        if (ended.aborted) return;
        if (error.code === 'NOT_FOUND' || error.code === 'LOG_LOST' || error.code === 'CORRUPT') throw error;
        logger.debug('following again', { log, code: error.code, message: error.message });
      }
      await sleep(clock, 10 + backoffMs(random, attempt, 25, 1000), ended);
    }
  }

  async begin(log: string, first: number, options: EngineOptions): Promise<void> {
    await this.#call('log.begin', { log, first }, options);
  }

  async trim(log: string, before: number, options: EngineOptions): Promise<void> {
    await this.#call('log.trim', { log, before }, options);
  }

  async info(log: string, options: EngineOptions): Promise<LogInfo> {
    return (await this.#call('log.info', { log }, options)) as LogInfo;
  }

  async list(prefix: string, options: EngineOptions): Promise<readonly string[]> {
    return (await this.#call('log.list', { prefix }, options)) as readonly string[];
  }

  async #call(method: string, body: unknown, options: EngineOptions): Promise<unknown> {
    return (await channelOf(this.#options).call(method, body, sendOptions(options))).body;
  }
}

/** Retried until the engine answers or the deadline comes: a dial to an engine that restarts fails fast. */
function channelOf({ dialer, address }: RemoteEngineOptions): Channel {
  return dialer.dial(address);
}

function sendOptions({ deadline }: EngineOptions): SendOptions {
  return { deadline, priority: 'critical' };
}

class RemoteBus implements Bus {
  readonly #options: RemoteEngineOptions;
  readonly #stopped: AbortSignal;
  readonly #listeners = new Set<(connected: boolean) => void>();
  #standing = 0;
  #wanted = 0;

  constructor(options: RemoteEngineOptions, stopped: AbortSignal) {
    this.#options = options;
    this.#stopped = stopped;
  }

  get connected(): boolean {
    return this.#standing > 0 || this.#wanted === 0;
  }

  publish(subject: string, body: Uint8Array): void {
    const { clock } = this.#options;
    const deadline = clock.monotonic() + limits.engineTimeoutMs;
    channelOf(this.#options)
      .call('bus.publish', { subject, body }, { deadline, priority: 'critical' })
      .catch(() => {});
  }

  subscribe(subject: string, receive: (subject: string, body: Uint8Array) => void): () => void {
    const ended = new AbortController();
    const signal = AbortSignal.any([ended.signal, this.#stopped]);
    this.#wanted++;
    void this.#keep(subject, receive, signal).finally(() => {
      this.#wanted--;
    });
    return () => ended.abort();
  }

  async #keep(
    subject: string,
    receive: (subject: string, body: Uint8Array) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, random } = this.#options;
    for (let attempt = 0; !signal.aborted; attempt++) {
      let stands = false;
      try {
        const stream = channelOf(this.#options).stream(
          'bus.subscribe',
          { subject },
          { deadline: Number.POSITIVE_INFINITY, signal, priority: 'critical' },
        );
        for await (const batch of stream) {
          if (!stands) {
            stands = true;
            attempt = 0;
            this.#change(1);
          }
          for (const [name, body] of batch as readonly (readonly [string, Uint8Array])[]) receive(name, body);
        }
      } catch {
        // The engine is away: said by `connected`, tried again below.
      }
      if (stands) this.#change(-1);
      await sleep(clock, 10 + backoffMs(random, attempt, 25, 500), signal);
    }
  }

  #change(by: number): void {
    const before = this.connected;
    this.#standing += by;
    if (this.connected !== before) for (const listener of this.#listeners) listener(this.connected);
  }

  onConnection(listener: (connected: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

class RemoteBlobs implements Blobs {
  readonly #options: RemoteEngineOptions;

  constructor(options: RemoteEngineOptions) {
    this.#options = options;
  }

  async put(name: string, bytes: Uint8Array, options: EngineOptions): Promise<void> {
    const replies = channelOf(this.#options).stream('blobs.put', { name }, sendOptions(options), pieces(bytes));
    for await (const _ of replies) break;
  }

  async get(name: string, options: EngineOptions): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for await (const piece of channelOf(this.#options).stream('blobs.get', { name }, sendOptions(options)))
      parts.push(piece as Uint8Array);
    return Buffer.concat(parts);
  }

  async delete(name: string, options: EngineOptions): Promise<void> {
    await channelOf(this.#options).call('blobs.delete', { name }, sendOptions(options));
  }

  async list(prefix: string, options: EngineOptions): Promise<readonly string[]> {
    return (await channelOf(this.#options).call('blobs.list', { prefix }, sendOptions(options)))
      .body as readonly string[];
  }
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length || at === 0; at += blobPieceBytes) yield bytes.subarray(at, at + blobPieceBytes);
}
