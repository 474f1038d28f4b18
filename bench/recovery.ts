/**
 * What a death costs. An instance is killed (-9), or stopped (SIGSTOP, so that no connection tells), while the app is otherwise
 * at rest, and at that moment another process calls for a write to one of the partitions that it wrote; `next` is ms until its
 * answer, `all` until each of these partitions has taken a write. Three instances in turn, each started anew and given its partitions back before the next is killed. `engine`: from the
 * start of its process to its address, Node's own start included, after kill -9 with so many entries of 100 bytes over 8
 * logs. Less is better.
 */
import { numberOfKey, steadyMap } from '../src/partitioning/partition-map.ts';
import { type BenchApp, connected, type Started, start, withApp } from './app.ts';
import { inDirectory, pause, retried } from './beside.ts';
import { percentile, randomFrom } from './rate.ts';

const kills = 33;
const stops = 6;
const partitions = 64;
/** Fewer than its third, which rank deals out unevenly. */
const writtenMin = 10;
const settleMsMax = 20_000;
/** Longer than a writer waits before it hands on to a better-ranked replica, after the last has done so. */
const calmMs = 700;
const lengths = [0, 10_000, 100_000, 1_000_000] as const;
const rounds = 3;
const batch = 200;
const random = randomFrom(1);
const body = Buffer.alloc(100, 'x');

export async function measure(say: (line: string) => void): Promise<{ ratios: object; raw: object }> {
  const raw: Record<string, number[]> = {};
  const note = (key: string, value: number): void => {
    raw[key] ??= [];
    raw[key].push(Math.round(value * 10) / 10);
  };
  await withApp(['items', 'items', 'items'], app => takeovers(app, note, say));
  for (const key of ['killed next', 'killed all', 'stopped next', 'stopped all']) {
    const ms = raw[key]!;
    const [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1].map(share => percentile(ms, share));
    say(`${key} (${ms.length} times): p50 ${p50} ms, p90 ${p90} ms, p99 ${p99} ms, worst ${max} ms`);
  }
  for (const entries of lengths) {
    for (let round = 0; round < rounds; round++) note(`engine@${entries}`, await engineStartMs(entries));
    say(`engine after ${entries.toLocaleString('en')} entries: ${percentile(raw[`engine@${entries}`]!, 0.5)} ms`);
  }
  return { ratios: {}, raw };
}

type Note = (key: string, value: number) => void;

async function takeovers(app: BenchApp, note: Note, say: (line: string) => void): Promise<void> {
  const keys = Array.from({ length: partitions }, (_, number) => keyIn(number));
  for (const key of keys) await retried(() => app.caller.call('items', 'add', { key }));
  const running = app.instances.map((started, index) => ({ started, id: `items-${index + 1}-bench` }));
  for (let turn = 0; turn < kills + stops; turn++) {
    const how = turn < kills ? 'killed' : 'stopped';
    const index = turn % running.length;
    const victim = running[index]!;
    const written = await settled(app, victim.id);
    const before = performance.now();
    process.kill(victim.started.pid, how === 'killed' ? 'SIGKILL' : 'SIGSTOP');
    // As a client does: what ends with an unknown fate is repeated under the same id.
    const write = (number: number): Promise<unknown> => {
      const again = { requestId: `bench-${turn}-${number}` };
      return retried(() => app.caller.call('items', 'add', { key: keys[number]! }, again));
    };
    const [one, ...others] = written.toSorted(() => random() - 0.5);
    await write(one!);
    const next = performance.now() - before;
    await Promise.all(others.map(write));
    const all = performance.now() - before;
    note(`${how} next`, next);
    note(`${how} all`, all);
    say(
      `${how}: next write after ${next.toFixed(1)} ms, in all ${written.length} partitions after ${all.toFixed(1)} ms`,
    );
    await victim.started.stop('SIGKILL');
    const id = `items-${index + 1}-life${turn}`;
    running[index] = { started: await app.join('items', id), id };
  }
}

/** Waits until every partition has its writer, this instance its share of them, and nothing has moved for a while; the numbers of its own. */
async function settled({ caller: { registry } }: BenchApp, id: string): Promise<number[]> {
  let before = '';
  let sinceMs = performance.now();
  for (const until = performance.now() + settleMsMax; ; await pause(50)) {
    const writers = new Map<number, string>();
    for (const { beat } of registry.instances('items'))
      for (const { partition, epoch } of beat.partitions) if (epoch > 0) writers.set(partition, beat.id);
    const own = [...writers.keys()].filter(partition => writers.get(partition) === id);
    const now = JSON.stringify([...writers]);
    if (now !== before) sinceMs = performance.now();
    before = now;
    const isCalm = performance.now() - sinceMs >= calmMs;
    if (isCalm && writers.size === partitions && own.length >= writtenMin) return own;
    if (performance.now() > until)
      throw new Error(`${writers.size} of ${partitions} partitions are written, ${own.length} by ${id}`);
  }
}

function keyIn(partition: number): string {
  const map = steadyMap(partitions);
  for (let n = 0; ; n++) if (numberOfKey(map, `key${n}`) === partition) return `key${n}`;
}

const engineStartMs = (entries: number): Promise<number> =>
  inDirectory(async directory => {
    const settings = { id: 'engine-1-bench', dataDirectory: directory, host: '127.0.0.1', logLevel: 'error' } as const;
    const first = await start('engine', settings);
    await connected(first.address, async ({ clock }, { log }) => {
      for (let n = 0; n < entries; n += batch * 8) {
        const appends = Array.from({ length: 8 }, (_, lane) =>
          log.append(
            `log/${lane}`,
            'any',
            Array.from({ length: batch }, () => body),
            {
              deadline: clock.monotonic() + 10_000,
            },
          ),
        );
        for (const { kind } of await Promise.all(appends)) if (kind !== 'appended') throw new Error(`append: ${kind}`);
      }
    });
    await first.stop('SIGKILL');
    const startedAt = performance.now();
    const second: Started = await start('engine', settings);
    const ms = performance.now() - startedAt;
    await second.stop();
    return ms;
  });
