/**
 * What each strategy makes of targets that are not alike. First a simulation by discrete events: ten targets that do one call
 * after the other, four callers that each know only their own calls, Poisson arrivals at 60 % of what all targets together can
 * do, the real pickers. Then ten real instances, one of which answers ten times slower, behind a real gateway.
 *
 * The simulated worlds: `alike`; `unlike`, speeds from 1 to 3; `slow`, one answers ten times slower; `stuck`, one stands still
 * for five of thirty seconds; `dying`, one fails a third of its calls, late. Latency in ms; `queue` is the longest at any target;
 * `spread` is the largest share of calls over the smallest.
 */
import { Agent, request } from 'node:http';
import { dynamicWeight } from '../src/balancing/dynamic-weight.ts';
import { PeakEwma } from '../src/balancing/peak-ewma.ts';
import type { Balanced } from '../src/balancing/picker.ts';
import { openPicker } from '../src/balancing/strategy.ts';
import { switchStrategy } from '../src/calling/strategy-switches.ts';
import { type Strategy, strategies } from '../src/contract/balance.ts';
import { type Random, seededRandom } from '../src/core/random.ts';
import { start, withApp } from './app.ts';
import { retried } from './beside.ts';
import { percentile } from './rate.ts';

const targetCount = 10;
const callerCount = 4;
const clientCount = 500;
const utilization = 0.6;
const seconds = 30;
const meanMs = 5;
const reportEveryMs = 250;

interface World {
  /** Mean time of a call at a target, as a factor of the usual one. */
  readonly slowness: (target: number) => number;
  readonly standsStill?: readonly [target: number, fromMs: number, toMs: number];
  readonly fails?: (target: number, random: Random) => boolean;
}

export const worlds: Readonly<Record<string, World>> = {
  alike: { slowness: () => 1 },
  unlike: { slowness: target => 1 + (2 * target) / (targetCount - 1) },
  slow: { slowness: target => (target === 3 ? 10 : 1) },
  stuck: { slowness: () => 1, standsStill: [3, 10_000, 15_000] },
  dying: {
    slowness: target => (target === 3 ? 3 : 1),
    fails: (target, random) => target === 3 && random.next() < 0.33,
  },
};

/** A target as one caller sees it. */
class Seen implements Balanced {
  readonly target: Server;
  readonly hash: number;
  weight: number;
  dynamicWeight = 1;
  inflight = 0;
  latencyMs = 0;
  calls = 0;
  failures = 0;
  readonly latency = new PeakEwma();

  constructor(target: Server, hash: number, weight: number) {
    this.target = target;
    this.hash = hash;
    this.weight = weight;
  }
}

/** One target: it does one call after the other. */
interface Server {
  readonly index: number;
  freeAtMs: number;
  queue: number;
  queueMax: number;
  busyMs: number;
  calls: number;
}

interface Event {
  readonly atMs: number;
  readonly happen: () => void;
}

/** A binary heap by time. */
class Agenda {
  readonly #events: Event[] = [];

  add(atMs: number, happen: () => void): void {
    const events = this.#events;
    let at = events.push({ atMs, happen }) - 1;
    while (at > 0 && events[(at - 1) >> 1]!.atMs > events[at]!.atMs) {
      const up = (at - 1) >> 1;
      [events[at], events[up]] = [events[up]!, events[at]!];
      at = up;
    }
  }

  next(): Event | undefined {
    const events = this.#events;
    const first = events[0];
    const last = events.pop();
    if (first === undefined || events.length === 0) return first;
    events[0] = last!;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      const least = left + 1 < events.length && events[left + 1]!.atMs < events[left]!.atMs ? left + 1 : left;
      if (least >= events.length || events[least]!.atMs >= events[at]!.atMs) return first;
      [events[at], events[least]] = [events[least]!, events[at]!];
      at = least;
    }
  }
}

type Row = Readonly<Record<string, number>>;

export function simulate(strategy: Strategy, world: World): Row {
  const random = seededRandom(11);
  const agenda = new Agenda();
  const servers = Array.from(
    { length: targetCount },
    (_, index): Server => ({ index, freeAtMs: 0, queue: 0, queueMax: 0, busyMs: 0, calls: 0 }),
  );
  const hashes = servers.map(() => random.below(2 ** 32));
  // Whoever sets weights by hand knows what the machines can do, not what breaks in them.
  const weightOf = (index: number): number => (world === worlds.unlike ? 1 / world.slowness(index) : 1);
  const callers = Array.from({ length: callerCount }, () => ({
    seen: servers.map(server => new Seen(server, hashes[server.index]!, weightOf(server.index))),
    picker: openPicker<Seen>(strategy, random),
  }));
  const capacity = servers.reduce((sum, { index }) => sum + 1 / (meanMs * world.slowness(index)), 0);
  const perMs = capacity * utilization;
  const latencies: number[] = [];
  const exponential = (mean: number): number => -mean * Math.log(1 - random.next());

  const arrive = (atMs: number): void => {
    if (atMs > seconds * 1000) return;
    agenda.add(atMs + exponential(1 / perMs), () => arrive(now));
    const { seen, picker } = callers[random.below(callerCount)]!;
    const client = Math.imul(random.below(clientCount) + 1, 0x9e3779b9) >>> 0;
    const picked = picker.pick(seen, client)!;
    const server = picked.target;
    const still = world.standsStill;
    const workMs = exponential(meanMs * world.slowness(server.index));
    let beginMs = Math.max(atMs, server.freeAtMs);
    if (still && server.index === still[0] && beginMs < still[2] && beginMs + workMs > still[1]) beginMs = still[2];
    server.freeAtMs = beginMs + workMs;
    server.busyMs += workMs;
    server.calls++;
    server.queueMax = Math.max(server.queueMax, ++server.queue);
    picked.inflight++;
    picked.calls++;
    agenda.add(server.freeAtMs, () => {
      server.queue--;
      picked.inflight--;
      if (world.fails?.(server.index, random)) {
        picked.failures++;
        picked.latency.failed(now - atMs, now);
      } else picked.latency.observe(now - atMs, now);
      picked.latencyMs = picked.latency.value(now);
      latencies.push(now - atMs);
    });
  };
  const report = (): void => {
    for (const { seen } of callers) {
      const meanInflight = servers.reduce((sum, { queue }) => sum + queue, 0) / targetCount;
      for (const each of seen) {
        const { busyMs, queue, freeAtMs } = each.target;
        const load = { cpu: busyMs / reportEveryMs, loopDelayMs: Math.max(0, freeAtMs - now) / 10, inflight: queue };
        each.dynamicWeight = dynamicWeight(
          each.dynamicWeight,
          load,
          meanInflight,
          each.calls === 0 ? 0 : each.failures / each.calls,
        );
        each.latencyMs = each.latency.value(now);
      }
    }
    for (const server of servers) server.busyMs = 0;
    if (now < seconds * 1000) agenda.add(now + reportEveryMs, report);
  };
  let now = 0;
  report();
  arrive(0);
  for (let event = agenda.next(); event; event = agenda.next()) {
    now = event.atMs;
    event.happen();
  }
  const calls = servers.map(server => server.calls);
  return {
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    p999: percentile(latencies, 0.999),
    queue: Math.max(...servers.map(({ queueMax }) => queueMax)),
    spread: Math.max(...calls) / Math.max(1, Math.min(...calls)),
  };
}

const line = (name: string, row: Row): string =>
  `  ${name.padEnd(22)}${Object.values(row)
    .map(value => value.toFixed(value < 100 ? 1 : 0).padStart(9))
    .join('')}`;

const loadInFlight = 64;
const warmUpMs = 1500;
const measuredMs = 4000;
const realRounds = 3;

/** Ten instances, the third slow, behind a gateway: HTTP with keep-alive, 64 requests in flight. */
function real(say: (text: string) => void): Promise<Record<string, Row>> {
  return withApp(new Array(targetCount).fill('work'), async ({ host, engine, directory, engineAddress, caller }) => {
    const common = { dataDirectory: directory, host: '127.0.0.1', logLevel: 'error' } as const;
    const agent = new Agent({ keepAlive: true, maxSockets: loadInFlight });
    const found: Record<string, Row[]> = {};
    await retried(() => caller.call('work', 'do', undefined));
    for (let round = 0; round < realRounds; round++) {
      for (const strategy of round % 2 === 0 ? strategies : strategies.toReversed()) {
        await switchStrategy({ engine, ...host }, 'work', strategy, host.clock.monotonic() + 5000);
        // A gateway of its own for each: what one has learnt of the slow instance would help the next.
        const id = `gateway-${strategy}-${round}`;
        const gateway = await start('gateway', {
          ...common,
          id,
          engineAddress,
          sessionSecret: 'bench',
          services: ['work'],
        });
        try {
          found[strategy] = [...(found[strategy] ?? []), await underLoad(`${gateway.url}/work`, agent)];
        } finally {
          await gateway.stop();
        }
      }
    }
    agent.destroy();
    return Object.fromEntries(
      strategies.map(strategy => {
        const rounds = found[strategy]!;
        const median = (key: string): number =>
          percentile(
            rounds.map(row => row[key]!),
            0.5,
          );
        const row = Object.fromEntries(Object.keys(rounds[0]!).map(key => [key, median(key)]));
        say(line(strategy, row));
        return [strategy, row];
      }),
    );
  });
}

async function underLoad(url: string, agent: Agent): Promise<Row> {
  const latencies: number[] = [];
  const calls = new Map<string, number>();
  const countsFrom = performance.now() + warmUpMs;
  const endsAt = countsFrom + measuredMs;
  const lane = async (): Promise<void> => {
    while (performance.now() < endsAt) {
      const startedAt = performance.now();
      const instance = await get(url, agent);
      if (startedAt < countsFrom) continue;
      latencies.push(performance.now() - startedAt);
      calls.set(instance, (calls.get(instance) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: loadInFlight }, lane));
  const counts = [...calls.values()];
  return {
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    p999: percentile(latencies, 0.999),
    perSecond: (latencies.length * 1000) / measuredMs,
    slowShare: (100 * ([...calls].find(([instance]) => instance.startsWith('work-3-'))?.[1] ?? 0)) / latencies.length,
    spread: Math.max(...counts) / Math.min(...counts),
  };
}

function get(url: string, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent }, response => {
      response.resume();
      response.on('end', () => resolve(String(response.headers['tandem-instance'])));
      response.on('error', reject);
    });
    asked.on('error', reject);
    asked.end();
  });
}

export async function measure(say: (text: string) => void): Promise<{ ratios: object; raw: object }> {
  const raw: Record<string, Record<string, Row>> = {};
  for (const [name, world] of Object.entries(worlds)) {
    say(`simulated, ${name}${' '.repeat(13 - name.length)}  p50      p99     p999    queue   spread`);
    raw[name] = {};
    for (const strategy of strategies) {
      raw[name][strategy] = simulate(strategy, world);
      say(line(strategy, raw[name][strategy]));
    }
  }
  say('real, one of ten slow        p50      p99     p999      per s   slow %   spread');
  raw.real = await real(say);
  return { ratios: {}, raw };
}
