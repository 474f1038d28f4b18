import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import { encodeNote, restoreLog } from '../log/restore-note.ts';
import { type EngineModel, engineModel } from '../simulation/engine.ts';
import { type VirtualClock, virtualClock } from '../simulation/virtual-clock.ts';
import { pack, unpack } from './codec.ts';
import { encodeEntry, type LogEntry } from './entry.ts';
import { ancestorsOf, formerLabels, isSameMedium, labelAt, labelOf, readAncestor, renewed } from './incarnation.ts';
import { LargeEntries } from './large-entries.ts';
import { MemoryStore } from './memory-store.ts';
import { Replica } from './replica.ts';

const log = 'state/s/0';

interface World {
  readonly clock: VirtualClock;
  readonly model: EngineModel;
  start(store?: MemoryStore): Replica;
  open(store?: MemoryStore): Promise<Replica>;
  append(replica: Replica, entry: Partial<LogEntry>): Promise<void>;
  noteRestore(id: string, done: boolean): Promise<void>;
}

function world(barrierAppends = false): World {
  const clock = virtualClock();
  const random = seededRandom(3);
  const model = engineModel({ clock, random, barrierAppends });
  const engine = model.connect(clock.process());
  const context = { engine, clock, logger: silentLogger, engineTimeoutMs: 1000, random };
  const at = (): { deadline: number } => ({ deadline: clock.monotonic() + 1000 });
  const start = (store = new MemoryStore()): Replica => {
    const identity = { service: 's', partition: 0, partitions: 4, instance: 'i-1' };
    const large = new LargeEntries(context);
    const replica = new Replica({ ...context, ...identity, store, large, knownElsewhere: () => false });
    replica.open();
    return replica;
  };
  return {
    clock,
    model,
    start,
    open: async store => {
      const replica = start(store);
      await clock.complete(async () => void (await replica.untilReady(clock.monotonic() + 5000)));
      return replica;
    },
    append: async (replica, entry) => {
      const { position, hash, epoch } = replica.head;
      const whole = { parent: hash, author: 'i-1', epoch, time: 1, writes: [], emitted: [], ...entry };
      await clock.complete(async () => {
        const result = await engine.log.append(log, position, [encodeEntry(whole)], at());
        assert.equal(result.kind, 'appended');
        await replica.until(position + 1, clock.monotonic() + 1000);
      });
    },
    noteRestore: (id, done) =>
      clock.complete(async () => void (await engine.log.append(restoreLog, 'any', [encodeNote({ id, done })], at()))),
  };
}

const put = (key: string, value: unknown): Partial<LogEntry> => ({ writes: [['t', key, pack(value)] as const] });

/** A log with a claim that names its medium, and rows `k1` to `k<rows>`. */
async function filled(rows: number, barrierAppends = false): Promise<World & { replica: Replica }> {
  const made = world(barrierAppends);
  const replica = await made.open();
  await made.append(replica, { claims: true, epoch: 1, medium: replica.medium });
  for (let n = 1; n <= rows; n++) await made.append(replica, put(`k${n}`, n));
  return { ...made, replica };
}

for (const barrierAppends of [false, true]) {
  test(`a log on another medium has a new incarnation from the next position on, one only, whoever comes (${barrierAppends ? 'barriers that append' : 'barriers that read'})`, async () => {
    const { clock, model, start, open, append, replica } = await filled(3, barrierAppends);
    const before = labelOf(log, replica.head);
    await clock.complete(replica.close());
    model.replace(log, model.entries(log));
    const copies = [start(replica.store as MemoryStore), start(), start()];
    await clock.complete(async () => {
      for (const copy of copies) await copy.untilReady(clock.monotonic() + 5000);
    });
    await append(copies[0]!, put('k4', 4));
    const at = copies[0]!.head.renewals?.at(0)?.[0] ?? 0;
    for (const copy of copies) {
      await clock.complete(async () => void (await copy.until(copies[0]!.head.position, clock.monotonic() + 1000)));
      const { head } = copy;
      assert.equal(head.renewals?.length, 1);
      assert.notEqual(labelOf(log, head), before);
      assert.equal(labelOf(log, head), labelOf(log, copies[0]!.head));
      assert.deepEqual(formerLabels(log, head), [[before, at]]);
      assert.equal(labelAt(log, head, at - 1), before, 'what it emitted before keeps its source');
      assert.equal(labelAt(log, head, at + 1), labelOf(log, head));
      assert.equal(head.writer, '', 'whoever wrote it before claims it anew');
      assert.equal(unpack(copy.store.get('t', 'k4')!), 4);
      await clock.complete(copy.close());
    }
    const again = await open();
    assert.equal(again.head.renewals?.length, 1, 'the same medium is no news');
    await clock.complete(again.close());
  });
}

test('a copy that knows more than a restored log is thrown away; without a restore, or after it, that is a loss', async () => {
  const { clock, model, open, append, noteRestore, replica } = await filled(6);
  await clock.complete(replica.close());
  const { head } = replica;
  const backup = model.entries(log).slice(0, 5);
  const store = (): MemoryStore => {
    const copy = new MemoryStore();
    copy.replace([['t', 'k6', pack(6)]], head);
    return copy;
  };

  model.replace(log, backup);
  await assert.rejects(open(store()), { code: 'LOG_LOST' });
  await noteRestore('first', false);
  await assert.rejects(open(store()), { code: 'LOG_LOST' }, 'half a restore is none');
  await noteRestore('first', true);
  const rebuilt = await open(store());
  assert.equal(rebuilt.store.get('t', 'k6'), undefined, 'what the backup does not hold');
  assert.equal(unpack(rebuilt.store.get('t', 'k3')!), 3);
  await append(rebuilt, { claims: true, epoch: 9, medium: rebuilt.medium });
  for (let n = 0; n < 5; n++) await append(rebuilt, put(`later ${n}`, n));
  await clock.complete(rebuilt.close());

  model.replace(log, model.entries(log).slice(0, 6));
  await assert.rejects(open(rebuilt.store as MemoryStore), { code: 'LOG_LOST' }, 'it lived after the restore');
});

test('a medium that was never named, or only by its restore, is no other one', () => {
  assert.ok(isSameMedium(undefined, 'r:1'));
  assert.ok(isSameMedium('r:', 'r:1'));
  assert.ok(!isSameMedium(':', 'r:1'));
  assert.ok(!isSameMedium('r:1', 'r:2'));
  assert.ok(!isSameMedium('q:1', 'r:1'));
});

test('each renewal bounds what counts of the label before it; the oldest of very many count for nothing', () => {
  let identity: Parameters<typeof renewed>[0] = { medium: ':0' };
  for (let n = 1; n <= 3; n++) identity = renewed(identity, n * 10, `:${n}`);
  const head = { incarnation: 'g', ...identity };
  const labels = [5, 15, 25, 35].map(position => labelAt(log, head, position));
  assert.equal(new Set(labels).size, 4);
  assert.equal(labels[0], `${log}#g`);
  assert.equal(labels[3], labelOf(log, head));
  assert.deepEqual(formerLabels(log, head), [
    [labels[0], 10],
    [labels[1], 20],
    [labels[2], 30],
  ]);
  const ancestors = ancestorsOf(log, { ...head, ancestors: ['state/s/9#z'] });
  assert.deepEqual(ancestors.map(readAncestor), [
    ...formerLabels(log, head),
    ['state/s/9#z', Number.POSITIVE_INFINITY],
  ]);
  for (let n = 4; n <= 80; n++) identity = renewed(identity, n * 10, `:${n}`);
  const many = { incarnation: 'g', ...identity };
  assert.equal(identity.renewals?.length, 64);
  assert.ok(formerLabels(log, many).every(([label]) => label !== `${log}#g`));
});
