/**
 * A whole app in a test: the real rooms (instances, engine, link, registry, events) on a virtual clock, a simulated
 * network and a simulated disk. Time jumps whenever nothing else happens, so seconds of waiting cost milliseconds, and
 * a seed repeats a run. Real I/O in a handler works (time stands still meanwhile) but is better faked.
 */
import type { Host as AppHost } from '../app/host.ts';
import { type Instance, openInstance } from '../app/instance.ts';
import { openPeer, type Peer } from '../app/peer.ts';
import { Session } from '../calling/session.ts';
import { typedCalls } from '../calling/typed-calls.ts';
import { linkDialer } from '../communication/link-dialer.ts';
import { openLinkServer } from '../communication/link-server.ts';
import type { AnyContract, Calls } from '../contract/call.ts';
import type { Handlers, PublishOptions } from '../contract/context.ts';
import type { Contract, Service } from '../contract/contract.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import type { Topic } from '../contract/topic.ts';
import { type Clock, timeOf } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { type Random, seededRandom } from '../core/random.ts';
import { type Operations, operationsOn, type ShownLetter } from '../events/operations.ts';
import type { ParkedKey } from '../events/parking.ts';
import { Publisher } from '../events/publisher.ts';
import { openEmbeddedEngine } from '../log/embedded-engine.ts';
import type { Engine } from '../log/engine.ts';
import { engineAnswerer } from '../log/engine-answerer.ts';
import { connectEngine } from '../log/remote-engine.ts';
import { openLogger } from '../monitoring/logger.ts';
import { openMeter } from '../monitoring/meter.ts';
import type { LogRecord } from '../monitoring/record.ts';
import { openRecordRing } from '../monitoring/record-ring.ts';
import { openTracer } from '../monitoring/tracer.ts';
import { memoryStores } from '../replication/memory-store.ts';
import { simulatedDisk } from './disk.ts';
import { type Host as NetworkHost, simulatedNetwork } from './network.ts';
import { type ProcessClock, virtualClock } from './virtual-clock.ts';

export interface TestOptions {
  /** Repeats the same delays and choices. Default 1. */
  readonly seed?: number;
  /** The time at which the app's clock begins, such as `2026-03-29T00:59:00Z`, shortly before a schedule is due. Default: 2026-01-01T00:00Z. */
  readonly startAt?: string;
  /** Instances per service. Default 1. A name that is no service of this test is refused here and in `config` and `resources`. */
  readonly instances?: Readonly<Record<string, number>>;
  /** The config of each service. */
  readonly config?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** In place of what a service's `resources` would open. */
  readonly resources?: Readonly<Record<string, unknown>>;
  /** Stand-ins for services that are not under test; see `fake`. */
  readonly fakes?: readonly Service[];
}

/** Its own `call` and `try` are those of one client: it reads its own writes at level `sequential`, as `createClient` does. */
export interface TestApp extends Calls, AsyncDisposable {
  /** Another client, with a session of its own: it has seen nothing yet. */
  client(): Calls;
  /** Publishes as `ctx.publish` does, from a process that keeps no data. */
  publish<E>(topic: Topic<E>, event: E, options?: PublishOptions): Promise<void>;
  /** kill -9 of one instance (counted from 0): no farewell, no `onStop`, connections break. Data in the engine stays. */
  kill(service: Service | string, index?: number): Promise<void>;
  /** Starts a killed instance again; resolves when it is ready. */
  start(service: Service | string, index?: number): Promise<void>;
  /**
   * Nothing passes between the two until healed. Names: `inventory-1` (the first instance), `engine`, `client` (the test's
   * own calls), `*` for everyone else. With `refuses` connections between the two end, and new ones are refused, as by a
   * firewall that rejects: it looks as if the other process were dead.
   * @throws NOT_FOUND with near names.
   */
  cut(a: string, b: string, options?: { readonly refuses?: boolean }): void;
  /** Ends all cuts. */
  heal(): void;
  /** Ends the one cut that was made with these two names. */
  heal(a: string, b: string): void;
  readonly clock: { readonly now: () => number; advance(duration: Duration): Promise<void> };
  /** What `service.subscription` gave up on: event, error, tries and the id of the trace, oldest first. */
  deadLetters(subscription: string): Promise<readonly ShownLetter[]>;
  /** As `tandem topic redrive`: sends dead letters into their topic again, lets parked keys go on; answers how many. */
  redrive(subscription: string, options?: { readonly limit?: number }): Promise<number>;
  /** Keys that wait (`onDead: 'park'`), each with why and how many events: `next - first`. */
  parked(subscription: string): Promise<readonly ParkedKey[]>;
  /** Lets one parked key go on with the event that failed. False when it is not parked. */
  resume(subscription: string, key: string): Promise<boolean>;
  /** As `tandem topic discard`: drops the event that holds up a key. False when it is not parked. */
  discard(subscription: string, key: string): Promise<boolean>;
  /** As `tandem topic replay`: the subscription reads its topic again, from the first event kept (default) or a time. */
  replay(subscription: string, from?: 'earliest' | { readonly at: Date | number }): Promise<void>;
  /** Resolves when every event has been handled (or given up) and nothing has been written for a while. */
  settled(): Promise<void>;
  /** Records of level warn and error, all instances together. */
  readonly records: readonly LogRecord[];
}

/** A stand-in for another service, typed by its contract. Runs as a real instance, so calls to it travel. */
export function fake<N extends string, M>(
  contract: Contract<N, M>,
  methods: Handlers<Contract<N, M>, Record<never, never>, unknown, unknown>,
): Service<Contract<N, M>> {
  const known = Object.keys(contract.methods as object);
  for (const method of Object.keys(methods)) {
    if (!known.includes(method))
      throw unknownName(
        'INVALID',
        `the fake of '${contract.name}' has a method '${method}' that its contract lacks`,
        method,
        known,
      );
  }
  return contract.implement({ methods: methods as never });
}

interface Running {
  readonly slot: string;
  readonly service: Service;
  readonly index: number;
  readonly stores: ReturnType<typeof memoryStores>;
  instance: Instance | undefined;
  clock: ProcessClock | undefined;
  network: NetworkHost | undefined;
  host: AppHost | undefined;
}

/** Virtual time without a write after which an app counts as settled: longer than the pauses between tries of an event. */
const quietMs = 3000;
const settleMsMax = 600_000;
const startTimeoutMs = 60_000;

/** @throws what `tandem up` would say: CONFIG, UNSUPPORTED, or what `resources` threw. */
export async function testApp(services: readonly Service[], options: TestOptions = {}): Promise<TestApp> {
  const app = new SimulatedApp(options);
  try {
    await app.open([...services, ...(options.fakes ?? [])]);
    return app;
  } catch (cause) {
    await app[Symbol.asyncDispose]();
    throw cause;
  }
}

class SimulatedApp implements TestApp {
  readonly #options: TestOptions;
  readonly #clock;
  readonly #random: Random;
  readonly #network;
  readonly #disk;
  readonly #running: Running[] = [];
  readonly #records = openRecordRing(1000);
  #stopTime: (() => void) | undefined;
  #engine: Engine | undefined;
  #peer: Peer | undefined;
  #calls: Calls | undefined;
  #publisher: Publisher | undefined;
  #closeEngine: () => Promise<void> = () => Promise.resolve();

  constructor(options: TestOptions) {
    this.#options = options;
    this.#clock = virtualClock(options.startAt === undefined ? {} : { wallMs: wallOf(options.startAt) });
    this.#random = seededRandom(options.seed ?? 1);
    this.#network = simulatedNetwork({ clock: this.#clock, random: this.#random, delayMsMax: 0.3 });
    this.#disk = simulatedDisk({ clock: this.#clock, random: this.#random, syncMsMax: 0.3 });
  }

  get call(): Calls['call'] {
    return this.#calls!.call;
  }
  get try(): Calls['try'] {
    return this.#calls!.try;
  }
  publish<E>(topic: Topic<E>, event: E, options: PublishOptions = {}): Promise<void> {
    const timeoutMs = options.timeout ? durationMs(options.timeout) : limits.callTimeoutMs;
    return this.#publisher!.publish(topic, event, this.#clock.monotonic() + timeoutMs, undefined, options);
  }
  deadLetters(subscription: string): Promise<readonly ShownLetter[]> {
    return this.#operations.deadLetters(subscription, 1000, limits.callTimeoutMs);
  }
  redrive(subscription: string, { limit = Number.POSITIVE_INFINITY }: { limit?: number } = {}): Promise<number> {
    return this.#operations.redrive(subscription, limit, settleMsMax);
  }
  parked(subscription: string): Promise<readonly ParkedKey[]> {
    return this.#operations.parked(subscription, 1000, limits.callTimeoutMs);
  }
  resume(subscription: string, key: string): Promise<boolean> {
    return this.#operations.resume(subscription, key, limits.callTimeoutMs);
  }
  discard(subscription: string, key: string): Promise<boolean> {
    return this.#operations.discard(subscription, key, limits.callTimeoutMs);
  }
  async replay(subscription: string, from: 'earliest' | { at: Date | number } = 'earliest'): Promise<void> {
    const start = from === 'earliest' ? from : { atMs: Number(from.at) };
    await this.#operations.replay(subscription, start, limits.callTimeoutMs);
  }
  get #operations(): Operations {
    const { registry, caller } = this.#peer!;
    return operationsOn({ engine: this.#engine!, registry, caller, clock: this.#clock, random: this.#random });
  }
  client(): Calls {
    return typedCalls(this.#peer!.caller, { session: new Session() });
  }
  get records(): readonly LogRecord[] {
    return this.#records.after(0);
  }
  get clock(): TestApp['clock'] {
    return { now: () => this.#clock.now(), advance: duration => this.#advance(durationMs(duration)) };
  }

  async open(services: readonly Service[]): Promise<void> {
    this.#stopTime = this.#clock.auto();
    await this.#openEngine();
    const network = this.#network.host('client');
    const host = this.#host('client', this.#clock, network);
    this.#peer = await openPeer({
      id: 'client-1-test',
      role: 'gateway',
      host,
      engine: this.#connect(this.#clock, network),
      listen: 'sim://client',
    });
    this.#calls = this.client();
    const { registry, caller } = this.#peer;
    const later = { registry, caller, home: undefined };
    const engine = this.#engine!;
    this.#publisher = new Publisher({
      engine,
      source: 'client-1-test',
      clock: this.#clock,
      random: this.#random,
      later,
    });
    this.#checkOptions(services.map(service => service.contract.name as string));
    for (const service of services) {
      const name = service.contract.name as string;
      if (this.#running.some(other => other.service.contract.name === name)) {
        throw new TandemError('CONFIG', `two services are named '${name}'; rename one contract`);
      }
      for (let index = 0; index < (this.#options.instances?.[name] ?? 1); index++) {
        const slot = `${name}-${index + 1}`;
        this.#running.push({
          slot,
          service,
          index,
          stores: memoryStores(),
          instance: undefined,
          clock: undefined,
          network: undefined,
          host: undefined,
        });
      }
    }
    await Promise.all(this.#running.map(running => this.#start(running)));
  }

  #checkOptions(services: readonly string[]): void {
    for (const option of ['instances', 'config', 'resources'] as const) {
      for (const name of Object.keys(this.#options[option] ?? {}))
        if (!services.includes(name))
          throw unknownName(
            'INVALID',
            `\`${option}\` names '${name}', which is no service of this test`,
            name,
            services,
          );
    }
    for (const [name, count] of Object.entries(this.#options.instances ?? {})) {
      if (!Number.isInteger(count) || count < 0)
        throw new TandemError('INVALID', `\`instances\` of '${name}' is ${count}; give a whole number`);
    }
  }

  async #openEngine(): Promise<void> {
    const network = this.#network.host('engine');
    const { clock, random, logger, meter, transports } = this.#host('engine', this.#clock, network);
    const engine = await openEmbeddedEngine({
      directory: '/data',
      disk: this.#disk.mount(),
      clock,
      random,
      logger,
      segmentBytes: 1024 * 1024,
    });
    const server = await openLinkServer({
      transports,
      address: 'sim://engine',
      answer: engineAnswerer(engine, clock),
      clock,
      random,
      logger,
      meter,
    });
    this.#engine = engine;
    this.#closeEngine = async () => {
      await server.close();
      await engine.close();
    };
  }

  #host(process: string, clock: Clock, network: NetworkHost): AppHost {
    const logger = openLogger({
      write: () => {},
      clock,
      level: 'warn',
      fields: { process },
      onProblem: this.#records.add,
    });
    const random = this.#random;
    const meter = openMeter(clock);
    const tracer = openTracer({ random, clock });
    return {
      clock,
      random,
      logger,
      meter,
      tracer,
      records: this.#records,
      transports: [network.transport],
      node: process,
      weight: 1,
      zone: 'test',
      environment: {},
    };
  }

  #connect(clock: Clock, network: NetworkHost): Engine {
    const { random, logger, meter, transports } = this.#host('engine-client', clock, network);
    const dialer = linkDialer({ transports, clock, random, logger, meter });
    return connectEngine({ dialer, address: 'sim://engine', clock, random, logger });
  }

  async #start(running: Running): Promise<void> {
    const { slot, service } = running;
    const name = service.contract.name as string;
    const clock = this.#clock.process();
    const network = this.#network.host(slot);
    const host = this.#host(slot, clock, network);
    Object.assign(running, { clock, network, host });
    running.instance = await openInstance({
      id: `${slot}-${this.#random.id().slice(0, 6)}`,
      service,
      host,
      engine: this.#connect(clock, network),
      listen: `sim://${slot}`,
      config: this.#options.config?.[name] ?? {},
      fakeResources: this.#options.resources?.[name],
      stores: { open: partition => running.stores.open(partition), close: () => Promise.resolve() },
      startTimeoutMs,
    });
    await this.#peer!.registry.until(
      registry =>
        registry
          .instances(name)
          .some(
            member =>
              member.beat.id === running.instance!.id &&
              member.beat.ready &&
              registry.descriptorOf(member) !== undefined,
          ),
      `${slot} to be ready`,
      this.#clock.monotonic() + startTimeoutMs,
    );
  }

  async kill(service: Service | string, index = 0): Promise<void> {
    const running = this.#find(service, index);
    if (!running.instance) throw new TandemError('INVALID', `${running.slot} is not running`);
    running.instance = undefined;
    running.clock?.kill();
    running.network?.crash();
    await Promise.resolve();
  }

  async start(service: Service | string, index = 0): Promise<void> {
    const running = this.#find(service, index);
    if (running.instance) throw new TandemError('INVALID', `${running.slot} is running`);
    await this.#start(running);
  }

  cut(a: string, b: string, options: { readonly refuses?: boolean } = {}): void {
    this.#checkPlaces([a, b]);
    this.#network.cut(a, b, options);
  }
  heal(a?: string, b?: string): void {
    if ((a === undefined) !== (b === undefined))
      throw new TandemError('INVALID', 'heal takes the two names of a cut, or none to end all cuts');
    this.#checkPlaces([a, b].filter(place => place !== undefined));
    this.#network.heal(a, b);
  }

  #checkPlaces(places: readonly string[]): void {
    const known = ['engine', 'client', '*', ...this.#running.map(({ slot }) => slot)];
    for (const place of places) {
      if (known.includes(place)) continue;
      const near = known.filter(name => name.startsWith(`${place}-`));
      throw unknownName('NOT_FOUND', `there is no '${place}' in this test app`, place, known, near);
    }
  }

  /** Time that jumps by itself has to stand still while it is moved by hand. */
  async #advance(ms: number): Promise<void> {
    this.#stopTime?.();
    for (let turns = 0; turns < 8; turns++) await new Promise(resolve => setImmediate(resolve));
    try {
      await this.#clock.advance(ms);
    } finally {
      this.#stopTime = this.#clock.auto();
    }
  }

  async settled(): Promise<void> {
    const giveUpAt = this.#clock.monotonic() + settleMsMax;
    let seen = '';
    let since = this.#clock.monotonic();
    while (this.#clock.monotonic() < giveUpAt) {
      const now = await this.#written();
      if (now !== seen) {
        seen = now;
        since = this.#clock.monotonic();
      }
      if (this.#clock.monotonic() - since >= quietMs && this.#lag() === 0) return;
      await new Promise<void>(resolve => this.#clock.after(100, resolve));
    }
    throw new TandemError(
      'DEADLINE_EXCEEDED',
      `events are still being handled after ${settleMsMax / 60_000} minutes of virtual time: does a handler fail for ever?`,
    );
  }

  /** Tails of all logs: changes with each write. */
  async #written(): Promise<string> {
    const options = { deadline: this.#clock.monotonic() + 60_000 };
    const { log } = this.#engine!;
    const tails = (await log.list('', options)).map(async name => `${name}=${await log.barrier(name, options)}`);
    return (await Promise.all(tails)).join(' ');
  }

  #lag(): number {
    let lag = 0;
    for (const { host, instance } of this.#running) {
      if (!instance || !host) continue;
      for (const point of host.meter.snapshot())
        if (point.name === 'tandem.topic.lag' && 'value' in point) lag += point.value;
    }
    return lag;
  }

  #find(service: Service | string, index: number): Running {
    const name = typeof service === 'string' ? service : ((service.contract as AnyContract).name as string);
    const running = this.#running.find(
      candidate => candidate.service.contract.name === name && candidate.index === index,
    );
    if (running) return running;
    const services = [...new Set(this.#running.map(({ service: { contract } }) => contract.name as string))];
    if (!services.includes(name))
      throw unknownName('NOT_FOUND', `there is no service '${name}' in this test app`, name, services);
    const count = this.#running.filter(candidate => candidate.service.contract.name === name).length;
    throw new TandemError(
      'NOT_FOUND',
      `there is no instance ${index} of '${name}' in this test app; it has ${count}, counted from 0`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.map(({ instance }) => instance?.close(1000)));
    await this.#publisher?.close();
    await this.#peer?.close(0);
    await this.#closeEngine();
    this.#stopTime?.();
  }
}

function wallOf(startAt: string): number {
  const wallMs = timeOf(startAt);
  if (wallMs !== undefined) return wallMs;
  throw new TandemError('INVALID', `\`startAt\`: '${startAt}' is no time; write for example '2026-03-29T00:59:00Z'`);
}

function unknownName(
  code: 'INVALID' | 'NOT_FOUND',
  what: string,
  name: string,
  known: readonly string[],
  sure: readonly string[] = [],
): TandemError {
  const near = sure.length > 0 ? sure.slice(0, 3) : didYouMean(name, known);
  const hint = near.length > 0 ? `did you mean ${near.join(' or ')}?` : `known: ${known.join(', ') || 'none'}`;
  return new TandemError(code, `${what}; ${hint}`, { details: { didYouMean: near } });
}
