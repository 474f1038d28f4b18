import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { seededRandom } from '../core/random.ts';
import type { AppendResult, Log } from '../log/engine.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { type TopicEngine, TopicWriter } from './topic-writer.ts';

const bytes = (n: number): Uint8Array => new Uint8Array([n >> 8, n & 255]);
const number = (body: Uint8Array): number => body[0]! * 256 + body[1]!;
const clock = virtualClock();
const random = seededRandom(1);

test('an event over the limit is refused alone; its neighbours go through', async () => {
  const model = engineModel({ clock, random });
  const writer = new TopicWriter({ engine: model.connect(clock), topicLog: 't', clock, random });
  const deadline = clock.monotonic() + 1000;
  const large = writer.send(new Uint8Array(2 * limits.eventBytesMax), deadline);
  await assert.rejects(large, { code: 'TOO_LARGE', outcome: 'not-done' });
  await clock.complete(writer.send(bytes(1), deadline));
  assert.equal(model.entries('t').length, 1);
});

test('through lost answers and late landings nothing is lost, and no number overtakes a lower one that was not confirmed', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const model = engineModel({ clock, random: seededRandom(seed), lostAnswerChance: 0.3 });
    const writer = new TopicWriter({ engine: model.connect(clock), topicLog: 't', clock, random: seededRandom(seed) });
    const sends: Promise<void>[] = [];
    for (let n = 0; n < 600; n++) {
      sends.push(writer.send(bytes(n), Number.POSITIVE_INFINITY));
      if (n % 50 === 0) await clock.advance(3);
    }
    await clock.complete(Promise.all(sends));
    let last = -1;
    for (const body of model.entries('t')) {
      if (number(body) <= last) continue;
      assert.equal(number(body), last + 1, `seed ${seed}`);
      last = number(body);
    }
    assert.equal(last, 599);
  }
});

/** An engine of which only the log is looked at. */
function only(log: Log): TopicEngine {
  return { ...engineModel({ clock, random }).connect(clock), log };
}

/** A log whose appends are answered by the test. */
function scripted(answers: (() => Promise<AppendResult>)[]): { log: Log; sent: number[][] } {
  const sent: number[][] = [];
  const append = (_: string, __: unknown, bodies: readonly Uint8Array[]): Promise<AppendResult> => {
    sent.push(bodies.map(number));
    return answers.shift()!();
  };
  return { log: { append } as unknown as Log, sent };
}
const appended = async (): Promise<AppendResult> => ({ kind: 'appended', position: 1 });
const refused = async (): Promise<AppendResult> => {
  throw new TandemError('UNAVAILABLE', 'no engine');
};

test('a batch of unknown fate is sent again whole before anything behind it', async () => {
  const unknown = async (): Promise<AppendResult> => ({ kind: 'unknown', cause: new Error('lost') });
  const { log, sent } = scripted([unknown, refused, appended, appended]);
  const writer = new TopicWriter({ engine: only(log), topicLog: 't', clock, random });
  const sends = [1, 2, 3].map(n => writer.send(bytes(n), Number.POSITIVE_INFINITY));
  await clock.complete(Promise.all(sends));
  assert.deepEqual(sent, [[1], [1], [1], [2, 3]]);
});

test('who waited in line behind a batch that was given up is refused as not done, never sent past it', async () => {
  const { log, sent } = scripted(Array.from({ length: 200 }, () => refused));
  const writer = new TopicWriter({ engine: only(log), topicLog: 't', clock, random });
  const first = writer.send(bytes(1), clock.monotonic() + 500);
  const second = writer.send(bytes(2), clock.monotonic() + 60_000);
  first.catch(() => {});
  second.catch(() => {});
  await clock.advance(3000);
  await assert.rejects(first, { code: 'DEADLINE_EXCEEDED', outcome: 'unknown' });
  await assert.rejects(second, { code: 'UNAVAILABLE', outcome: 'not-done' });
  assert(sent.every(batch => batch[0] === 1));
});

test('close ends at once and says what is known of each event', async () => {
  const { log } = scripted([() => new Promise(() => {})]);
  const writer = new TopicWriter({ engine: only(log), topicLog: 't', clock, random });
  const [way, line] = [
    writer.send(bytes(1), Number.POSITIVE_INFINITY),
    writer.send(bytes(2), Number.POSITIVE_INFINITY),
  ];
  writer.close();
  await assert.rejects(way, { code: 'CLOSED', outcome: 'unknown' });
  await assert.rejects(line, { code: 'CLOSED', outcome: 'not-done' });
  await assert.rejects(writer.send(bytes(3), Number.POSITIVE_INFINITY), { code: 'CLOSED' });
});
