/** What every engine promises (engine.ts). `open` gives a fresh one; `reopen` the same data again, when the driver can. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { systemRandom } from '../core/random.ts';
import { decodeEvent, encodeEvent } from '../events/event.ts';
import { LargeEvents } from '../events/large-events.ts';
import { TopicWriter } from '../events/topic-writer.ts';
import { encodeEntry } from '../replication/entry.ts';
import { decodeReference, isReference, LargeEntries } from '../replication/large-entries.ts';
import type { AppendResult, Engine, Entry } from './engine.ts';

export interface Opened {
  readonly engine: Engine;
  /** Closes it and opens the same data again. */
  reopen(): Promise<Engine>;
  close(): Promise<void>;
}

const soon = (): { deadline: number } => ({ deadline: systemClock.monotonic() + 10_000 });
const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (entry: Entry | undefined): string => Buffer.from(entry?.body ?? []).toString();

function appended(result: AppendResult): number {
  assert.equal(result.kind, 'appended');
  return (result as { position: number }).position;
}

async function take(engine: Engine, log: string, from: number, count: number): Promise<Entry[]> {
  const stop = new AbortController();
  const entries: Entry[] = [];
  for await (const batch of engine.log.follow(log, from, stop.signal)) {
    entries.push(...batch);
    if (entries.length >= count) break;
  }
  stop.abort();
  return entries;
}

const code = (expected: string) => (thrown: unknown) => TandemError.from(thrown).code === expected;

export function engineSuite(name: string, open: () => Promise<Opened>): void {
  const using = (test: (opened: Opened) => Promise<void>) => async () => {
    const opened = await open();
    try {
      await test(opened);
    } finally {
      await opened.close();
    }
  };

  describe(`engine ${name}`, () => {
    it(
      'counts positions from 1 without gaps',
      using(async ({ engine: { log, capabilities } }) => {
        assert.equal(await log.barrier('a', soon()), 0);
        assert.equal(appended(await log.append('a', 0, [bytes('1'), bytes('2')], soon())), 2);
        assert.equal(appended(await log.append('a', 'any', [bytes('3')], soon())), 3);
        assert.equal(await log.barrier('a', soon()), capabilities.barrierAppends ? 4 : 3);
        const entries = await log.read('a', 1, 1_000_000, soon());
        assert.equal(entries.length, capabilities.barrierAppends ? 4 : 3);
        assert.ok(entries.slice(3).every(({ body }) => body.length === 0));
        assert.deepEqual(
          entries.slice(0, 3).map(entry => [entry.position, text(entry)]),
          [
            [1, '1'],
            [2, '2'],
            [3, '3'],
          ],
        );
      }),
    );

    it(
      'appends only at the expected tail, and then nothing at all',
      using(async ({ engine: { log, capabilities } }) => {
        appended(await log.append('a', 0, [bytes('x')], soon()));
        assert.equal((await log.append('a', 0, [bytes('y')], soon())).kind, 'conflict');
        assert.equal((await log.append('a', 2, [bytes('y')], soon())).kind, 'conflict');
        assert.equal(await log.barrier('a', soon()), capabilities.barrierAppends ? 2 : 1);
      }),
    );

    it(
      'lets exactly one of many racing writers in, in every round',
      using(async ({ engine: { log } }) => {
        for (let round = 0; round < 50; round++) {
          const results = await Promise.all(
            Array.from({ length: 6 }, (_, writer) => log.append('a', round, [bytes(`${round}/${writer}`)], soon())),
          );
          const winners = results.flatMap((result, writer) => (result.kind === 'appended' ? [writer] : []));
          assert.equal(winners.length, 1);
          assert.equal(text((await log.read('a', round + 1, 1, soon()))[0]), `${round}/${winners[0]}`);
        }
      }),
    );

    it(
      'follows every entry once and in order, from the past into the future',
      using(async ({ engine }) => {
        for (let i = 1; i <= 20; i++) await engine.log.append('a', 'any', [bytes(String(i))], soon());
        const following = take(engine, 'a', 5, 100);
        for (let i = 21; i <= 104; i++) await engine.log.append('a', 'any', [bytes(String(i))], soon());
        const entries = await following;
        assert.deepEqual(
          entries.slice(0, 100).map(entry => [entry.position, text(entry)]),
          Array.from({ length: 100 }, (_, i) => [i + 5, String(i + 5)]),
        );
      }),
    );

    it(
      'follows a log from before its first entry',
      using(async ({ engine }) => {
        const following = take(engine, 'later', 1, 1);
        await engine.log.append('other', 'any', [bytes('o')], soon());
        await engine.log.append('later', 0, [bytes('first')], soon());
        assert.equal(text((await following)[0]), 'first');
      }),
    );

    it(
      'keeps logs apart and lists them',
      using(async ({ engine: { log } }) => {
        await Promise.all(['x/1', 'x/2', 'y/1'].map(at => log.append(at, 0, [bytes(at)], soon())));
        assert.deepEqual(await log.list('x/', soon()), ['x/1', 'x/2']);
        assert.equal(text((await log.read('y/1', 1, 1, soon()))[0]), 'y/1');
        await assert.rejects(log.info('z', soon()), code('NOT_FOUND'));
      }),
    );

    it(
      'has everything after it was opened again, under the same incarnation',
      using(async opened => {
        const sent: string[] = [];
        for (let i = 0; i < 200; i++) {
          sent.push(`entry ${i}`);
          await opened.engine.log.append(`log-${i % 7}`, 'any', [bytes(sent[i]!)], soon());
        }
        const before = await opened.engine.log.info('log-3', soon());
        const engine = await opened.reopen();
        assert.deepEqual(await engine.log.info('log-3', soon()), before);
        const found = [];
        for (let log = 0; log < 7; log++)
          found.push(...(await engine.log.read(`log-${log}`, 1, 1_000_000, soon())).map(text));
        assert.deepEqual(found.sort(), sent.sort());
      }),
    );

    it(
      'refuses a follower that knows more than the log has',
      using(async ({ engine }) => {
        await engine.log.append('a', 0, [bytes('1')], soon());
        await assert.rejects(take(engine, 'a', 5, 1), code('LOG_LOST'));
      }),
    );

    it(
      'trims the past, says so, and keeps the rest through a reopening',
      using(async opened => {
        for (let i = 1; i <= 10; i++) await opened.engine.log.append('a', 'any', [bytes(String(i))], soon());
        await opened.engine.log.trim('a', 6, soon());
        for (const engine of [opened.engine, await opened.reopen()]) {
          assert.equal((await engine.log.info('a', soon())).first, 6);
          await assert.rejects(engine.log.read('a', 5, 1, soon()), code('NOT_FOUND'));
          assert.deepEqual((await engine.log.read('a', 6, 1_000_000, soon())).map(text), ['6', '7', '8', '9', '10']);
        }
      }),
    );

    it(
      'renumbers nothing when all is trimmed, nor when a trim asks for more than there is',
      using(async opened => {
        await opened.engine.log.trim('never', 5, soon());
        for (let i = 1; i <= 3; i++) await opened.engine.log.append('a', 'any', [bytes(String(i))], soon());
        await opened.engine.log.trim('a', 100, soon());
        let { engine } = opened;
        for (const again of [false, true]) {
          if (again) engine = await opened.reopen();
          const { first, tail } = await engine.log.info('a', soon());
          assert.deepEqual([first, tail], [4, 3]);
          await assert.rejects(engine.log.read('a', 3, 1, soon()), code('NOT_FOUND'));
          assert.deepEqual(await engine.log.read('a', 4, 1, soon()), []);
        }
        assert.equal(appended(await engine.log.append('a', 3, [bytes('4')], soon())), 4);
      }),
    );

    it(
      'begins a log at a later position, keeps that through a reopening, and refuses to begin one that is there',
      using(async opened => {
        await opened.engine.log.begin('a', 1000, soon());
        let { engine } = opened;
        for (const again of [false, true]) {
          if (again) engine = await opened.reopen();
          const { first, tail } = await engine.log.info('a', soon());
          assert.deepEqual([first, tail], [1000, 999]);
          await assert.rejects(engine.log.begin('a', 5, soon()), code('CONFLICT'));
        }
        assert.equal((await engine.log.append('a', 0, [bytes('x')], soon())).kind, 'conflict');
        assert.equal(appended(await engine.log.append('a', 999, [bytes('x'), bytes('y')], soon())), 1001);
        assert.deepEqual((await engine.log.read('a', 1000, 1_000_000, soon())).map(text), ['x', 'y']);
        await assert.rejects(engine.log.read('a', 999, 1, soon()), code('NOT_FOUND'));
      }),
    );

    it(
      'takes an entry up to the limit and refuses a larger one',
      using(async ({ engine: { log } }) => {
        const large = new Uint8Array(limits.entryBytesMax).fill(7);
        appended(await log.append('a', 0, [large], soon()));
        assert.equal(Buffer.compare((await log.read('a', 1, 1, soon()))[0]!.body, large), 0);
        await assert.rejects(log.append('a', 1, [new Uint8Array(limits.entryBytesMax + 1)], soon()), code('TOO_LARGE'));
      }),
    );

    it(
      'broadcasts by exact subject and by what is below one',
      using(async ({ engine: { bus } }) => {
        const heard: string[] = [];
        const { promise, resolve } = Promise.withResolvers<void>();
        const listen = (as: string) => (subject: string, body: Uint8Array) => {
          heard.push(`${as} ${subject} ${Buffer.from(body)}`);
          if (subject === 'end') resolve();
        };
        const stops = [
          bus.subscribe('beat.a', listen('exact')),
          bus.subscribe('beat.>', listen('below')),
          bus.subscribe('end', listen('end')),
        ];
        // A subscription over a link stands a moment later: the end is repeated until it is heard.
        const repeat = setInterval(() => bus.publish('end', bytes('')), 5);
        await promise;
        clearInterval(repeat);
        heard.length = 0;
        const done = Promise.withResolvers<void>();
        stops.push(bus.subscribe('over', () => done.resolve()));
        bus.publish('beat.a', bytes('1'));
        bus.publish('beat.b', bytes('2'));
        bus.publish('beatx', bytes('3'));
        const again = setInterval(() => bus.publish('over', bytes('')), 5);
        await done.promise;
        clearInterval(again);
        assert.deepEqual(heard.filter(line => !line.startsWith('end')).sort(), [
          'below beat.a 1',
          'below beat.b 2',
          'exact beat.a 1',
        ]);
        for (const stop of stops) stop();
      }),
    );

    it(
      'keeps blobs whole, also large ones, and lists and deletes them',
      using(async ({ engine: { blobs } }) => {
        const large = Buffer.alloc(9 * 1024 * 1024, 'tandem');
        await blobs.put('s/large', large, soon());
        await blobs.put('s/none', new Uint8Array(0), soon());
        assert.equal(Buffer.compare(await blobs.get('s/large', soon()), large), 0);
        assert.equal((await blobs.get('s/none', soon())).length, 0);
        assert.deepEqual(await blobs.list('s/', soon()), ['s/large', 's/none']);
        await blobs.delete('s/large', soon());
        await assert.rejects(blobs.get('s/large', soon()), code('NOT_FOUND'));
        await blobs.delete('s/large', soon());
      }),
    );

    it(
      'has an entry past its limit by way of a blob, also after it was opened again',
      using(async opened => {
        const { engine } = opened;
        const large = (blobs: Engine): LargeEntries =>
          new LargeEntries({ engine: blobs, clock: systemClock, random: systemRandom, engineTimeoutMs: 10_000 });
        const value = new Uint8Array(3 * limits.entryBytesMax).fill(7);
        const writes = [['t', 'k', value] as const];
        const body = encodeEntry({ parent: 'p', author: 'i', epoch: 1, time: 1, writes, emitted: [] });
        const { blob, reference } = large(engine).refer('state/s/0', 1, 'p', body);
        await large(engine).put(blob, body);
        const orphan = large(engine).refer('state/s/0', 1, 'p', body).blob;
        await large(engine).put(orphan, body);
        assert.equal(appended(await engine.log.append('state/s/0', 0, [reference], soon())), 1);
        const again = await opened.reopen();
        const [slot] = await again.log.read('state/s/0', 1, 1, soon());
        assert(isReference(slot!.body));
        const entry = await large(again).get('state/s/0', 1, decodeReference(slot!.body));
        assert.equal(Buffer.compare(entry.writes[0]![2]!, value), 0);
        assert.equal(await large(again).collect('state/s/0', 1), 0);
        assert.equal(await large(again).collect('state/s/0', 2), 2);
        assert.deepEqual(await again.blobs.list('large/', soon()), []);
      }),
    );

    it(
      'has an event past its limit by way of a blob, in its place among others',
      using(async ({ engine }) => {
        const [clock, random] = [systemClock, systemRandom];
        const writer = new TopicWriter({ engine, topicLog: 'topic/t/0', clock, random });
        const values = [1, 3 * limits.entryBytesMax, 2].map(length => new Uint8Array(length).fill(7));
        const event = { source: 's', key: 'k', at: 1, traceparent: undefined };
        await Promise.all(
          values.map((body, number) => writer.send(encodeEvent({ ...event, number, body }), soon().deadline)),
        );
        writer.close();
        const large = new LargeEvents({ engine, clock, random });
        const found: Uint8Array[] = [];
        for (const { position, body } of await engine.log.read('topic/t/0', 1, 1_000_000, soon()))
          found.push((await large.whole('topic/t/0', position, decodeEvent(body))).body);
        assert.deepEqual(found.map(Buffer.from), values.map(Buffer.from));
        assert.equal(await large.collect('topic/t/0', 2), 0);
        assert.equal(await large.collect('topic/t/0', 3), 1);
      }),
    );
  });
}
