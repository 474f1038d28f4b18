import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import { seededRandom } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import { holding } from '../log/hold.ts';
import { pack } from '../replication/codec.ts';
import { referenceFormat } from '../replication/large-entries.ts';
import { simulatedDisk } from '../simulation/disk.ts';
import { engineModel } from '../simulation/engine.ts';
import { type VirtualClock, virtualClock } from '../simulation/virtual-clock.ts';
import { type BackupFrame, BackupWriter, readBackup } from './backup-file.ts';
import { takeCut } from './cut.ts';
import { inspectBackup } from './inspect.ts';
import { checkRestored, restoreBackup } from './restore.ts';
import { takeBackup } from './take.ts';

const path = '/backups/app.backup';
const bytes = (text: string): Uint8Array => Buffer.from(text);

interface Setup {
  readonly clock: VirtualClock;
  readonly engine: Engine;
  readonly disk: Disk;
  readonly drive: ReturnType<typeof simulatedDisk>;
  readonly at: () => { deadline: number };
}

async function setup(barrierAppends = false): Promise<Setup> {
  const clock = virtualClock();
  const engine = engineModel({ clock, random: seededRandom(1), barrierAppends }).connect(clock);
  const drive = simulatedDisk({ clock, random: seededRandom(2) });
  const disk = drive.mount();
  await clock.complete(disk.makeDirectory('/backups'));
  return { clock, engine, disk, drive, at: () => ({ deadline: clock.monotonic() + 5000 }) };
}

/** Two logs, one of them trimmed, and blobs, of which one snapshot is of a time behind the log's end. */
async function filled(barrierAppends = false): Promise<Setup> {
  const all = await setup(barrierAppends);
  const { clock, engine, at } = all;
  await clock.complete(async () => {
    for (let i = 1; i <= 20; i++) await engine.log.append('state/bank/0', 'any', [bytes(`state ${i}`)], at());
    await engine.log.trim('state/bank/0', 8, at());
    await engine.log.append('topic/paid/1', 'any', [bytes('paid 1'), bytes('paid 2')], at());
    await engine.blobs.put('snapshot/bank/0/0000000000000010/manifest', pack({ chunks: 1 }), at());
    await engine.blobs.put('snapshot/bank/0/0000000000000010/000000', bytes('rows'), at());
    await engine.blobs.put('snapshot/bank/0/0000000000000099/manifest', bytes('of later'), at());
    await engine.blobs.put('large/state/bank/0/0000000000000012-x', new Uint8Array(3_000_000).fill(7), at());
  });
  return all;
}

const take = ({ engine, disk, clock }: Setup): Promise<unknown> =>
  clock.complete(takeBackup({ engine, disk, path, clock }));

for (const barrierAppends of [false, true]) {
  test(`what was backed up is restored at its positions (${barrierAppends ? 'barriers that append' : 'barriers that read'})`, async () => {
    const from = await filled(barrierAppends);
    await take(from);
    const { clock, disk, at } = from;
    const engine = engineModel({ clock, random: seededRandom(9) }).connect(clock);
    await clock.complete(checkRestored(engine, clock));
    const summary = await clock.complete(restoreBackup({ engine, disk, path, clock, random: seededRandom(4) }));
    assert.equal(summary.logs, 2);
    const { first, tail } = await clock.complete(engine.log.info('state/bank/0', at()));
    assert.equal(first, 8);
    assert.ok(tail >= 20);
    const entries = await clock.complete(engine.log.read('state/bank/0', 8, 1e6, at()));
    assert.deepEqual(
      entries
        .filter(({ body }) => body.length > 0)
        .map(({ position, body }) => [position, Buffer.from(body).toString()]),
      Array.from({ length: 13 }, (_, i) => [i + 8, `state ${i + 8}`]),
    );
    const blobs = await clock.complete(engine.blobs.list('', at()));
    assert.deepEqual(blobs, [
      'large/state/bank/0/0000000000000012-x',
      'snapshot/bank/0/0000000000000010/000000',
      'snapshot/bank/0/0000000000000010/manifest',
    ]);
    assert.equal((await clock.complete(engine.blobs.get(blobs[0]!, at()))).length, 3_000_000);
    await clock.complete(checkRestored(engine, clock));
  });
}

test('a restore into an engine with data is refused, and half a restore is noticed', async () => {
  const from = await filled();
  await take(from);
  const { clock, engine, disk } = from;
  await assert.rejects(clock.complete(restoreBackup({ engine, disk, path, clock, random: seededRandom(4) })), {
    code: 'CONFLICT',
    message: /has data already.*state\/bank\/0.*empty one/,
  });
  const half = engineModel({ clock, random: seededRandom(3) }).connect(clock);
  const broken: Engine = {
    ...half,
    blobs: { ...half.blobs, put: () => Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' })) },
  };
  await assert.rejects(clock.complete(restoreBackup({ engine: broken, disk, path, clock, random: seededRandom(4) })));
  await assert.rejects(clock.complete(checkRestored(half, clock)), {
    code: 'CONFIG',
    message: /did not come to its end/,
  });
});

test('a backup cut short at any byte, or with any bit turned over, is refused before anything is restored', async () => {
  const from = await setup();
  const { clock, engine, disk, at } = from;
  await clock.complete(engine.log.append('state/bank/0', 'any', [bytes('one'), bytes('two')], at()));
  await clock.complete(engine.blobs.put('snapshot/bank/0/0000000000000001/manifest', bytes('m'), at()));
  await take(from);
  const file = await clock.complete(disk.open(path));
  const whole = Buffer.from(await clock.complete(file.read(0, file.size)));
  const read = async (content: Uint8Array): Promise<void> => {
    const memory = { ...disk, open: async () => inMemory(content) } as unknown as Disk;
    for await (const _ of readBackup(memory, path));
  };
  await read(whole);
  for (let length = 0; length < whole.length; length++)
    await assert.rejects(read(whole.subarray(0, length)), (thrown: { code: string }) =>
      ['CORRUPT', 'INVALID'].includes(thrown.code),
    );
  for (let at = 0; at < whole.length; at++) {
    const flipped = Buffer.from(whole);
    flipped[at]! ^= 1 << (at % 8);
    await assert.rejects(
      read(flipped),
      (thrown: { code: string }) => ['CORRUPT', 'INVALID'].includes(thrown.code),
      `byte ${at}`,
    );
  }
  await assert.rejects(read(Buffer.concat([whole, bytes('x')])), { code: 'CORRUPT' });
});

function inMemory(content: Uint8Array): object {
  return {
    size: content.length,
    read: async (at: number, length: number) => content.subarray(at, at + length),
    close: async () => {},
  };
}

test('a disk that is full leaves no file under the name, nor the beginning of one', async () => {
  const from = await filled();
  from.drive.setCapacity(1_000_000);
  await assert.rejects(take(from), { code: 'ENOSPC' });
  assert.deepEqual(from.drive.files(), []);
  from.drive.setCapacity(100_000_000);
  await take(from);
  assert.deepEqual(from.drive.files(), [path]);
  const summary = (await from.clock.complete(inspectBackup(from.disk, path))) as { logs: number; entries: number };
  assert.deepEqual([summary.logs, summary.entries], [2, 15]);
});

for (const barrierAppends of [false, true]) {
  test(`a cut of logs that grow all the time is one moment (${barrierAppends ? 'barriers that append' : 'barriers that read'})`, async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const clock = virtualClock();
      const random = seededRandom(seed);
      const model = engineModel({ clock, random, barrierAppends });
      // Each writer copies what it wrote into the first log into the second: never may the second be ahead.
      const writers = Array.from({ length: 4 }, (_, at) => ({ at, engine: holding(model.connect(clock), clock) }));
      let stopped = false;
      const writing = writers.map(async ({ at, engine }) => {
        for (let n = 0; !stopped; n++) {
          for (const log of ['state/a/0', 'state/b/0'])
            await engine.log.append(log, 'any', [bytes(`${at}/${n}`)], { deadline: clock.monotonic() + 10_000 });
        }
      });
      await clock.advance(500);
      const reader = model.connect(clock);
      const cut = await clock.complete(takeCut({ engine: reader, clock, deadline: clock.monotonic() + 20_000 }));
      const seen = (log: string): Set<string> => {
        const { tail } = cut.find(({ name }) => name === log)!;
        const texts = model.entries(log).slice(0, tail);
        return new Set(texts.filter(body => body.length > 0).map(body => Buffer.from(body).toString()));
      };
      const [a, b] = [seen('state/a/0'), seen('state/b/0')];
      assert.ok(b.size > 10);
      for (const copy of b) assert.ok(a.has(copy), `seed ${seed}: ${copy} is in the copy alone`);
      for (const original of a)
        if (!b.has(original)) assert.ok(Number(original.split('/')[1]) > 0, 'only the last of each may lack its copy');
      const before = model.entries('state/a/0').length;
      await clock.advance(3000);
      assert.ok(model.entries('state/a/0').length > before, 'writers go on');
      stopped = true;
      await clock.complete(Promise.all(writing));
    }
  });
}

test('writers wait longer where a look takes longer, and never longer than two seconds', async () => {
  const clock = virtualClock();
  const model = engineModel({ clock, random: seededRandom(1) });
  const engine = holding(model.connect(clock), clock);
  let stopped = false;
  let longestMs = 0;
  const writing = (async () => {
    for (let n = 0; !stopped; n++) {
      const from = clock.monotonic();
      await engine.log.append('state/a/0', 'any', [bytes(`${n}`)], { deadline: from + 10_000 });
      longestMs = Math.max(longestMs, clock.monotonic() - from);
    }
  })();
  await clock.advance(100);
  const near = model.connect(clock);
  const slow: Engine = {
    ...near,
    log: { ...near.log, list: (prefix, options) => sleep(clock, 500).then(() => near.log.list(prefix, options)) },
  };
  await clock.complete(takeCut({ engine: slow, clock, deadline: clock.monotonic() + 20_000 }));
  await clock.advance(100);
  stopped = true;
  await clock.complete(writing);
  assert.ok(longestMs > 1000 && longestMs <= 2010, `${longestMs} ms`);
});

test('while a backup is read nothing that it needs is removed, and afterwards it is', async () => {
  const { clock, engine: plain, at } = await setup();
  const engine = holding(plain, clock);
  await clock.complete(engine.log.append('a', 'any', [bytes('1'), bytes('2'), bytes('3')], at()));
  await clock.complete(takeCut({ engine, clock, deadline: at().deadline }));
  await clock.advance(50);
  await clock.complete(engine.log.trim('a', 3, at()));
  assert.equal((await clock.complete(engine.log.info('a', at()))).first, 1);
  await clock.advance(61_000);
  await clock.complete(engine.log.trim('a', 3, at()));
  assert.equal((await clock.complete(engine.log.info('a', at()))).first, 3);
});

test('frames of a backup are read one by one, never the whole file at once', async () => {
  const from = await filled();
  await take(from);
  const kinds: string[] = [];
  await from.clock.complete(async () => {
    for await (const frame of readBackup(from.disk, path)) kinds.push((frame satisfies BackupFrame).kind);
  });
  assert.deepEqual(kinds.slice(0, 3), ['header', 'log', 'entries']);
  assert.equal(kinds.at(-1), 'end');
  assert.equal(kinds.filter(kind => kind === 'piece').length, 5);
});

test('a backup of a newer format is refused with the way out', async () => {
  const { clock, disk } = await setup();
  await clock.complete(async () => {
    const writer = await BackupWriter.create(disk, path);
    await writer.write({ kind: 'header', format: 9, takenAt: 0, engine: 'later' });
    await writer.finish();
  });
  await assert.rejects(clock.complete(inspectBackup(disk, path)), {
    code: 'UNSUPPORTED',
    message: /has format 9, this Tandem reads up to 1; use the version that wrote it, or newer/,
  });
});

test('a backup that lacks what its logs need is not finished; one that was, and lacks it, is not restored', async () => {
  const from = await filled();
  const { clock, engine, disk, at } = from;
  await clock.complete(async () => {
    await engine.blobs.delete('snapshot/bank/0/0000000000000010/000000', at());
  });
  await assert.rejects(take(from), {
    code: 'NOT_FOUND',
    message: /no longer has a snapshot of state\/bank\/0, which begins at 8/,
  });
  assert.deepEqual(from.drive.files(), []);

  const blob = `large/state/bank/1/${'1'.padStart(16, '0')}-x`;
  const reference = pack([referenceFormat, '', blob, 'hash']);
  await clock.complete(async () => {
    await engine.blobs.put('snapshot/bank/0/0000000000000010/000000', bytes('rows'), at());
    await engine.log.append('state/bank/1', 0, [reference], at());
  });
  await assert.rejects(take(from), {
    code: 'NOT_FOUND',
    message: /no longer has the blob 'large.*-x' that state\/bank\/1 at 1 names/,
  });

  await clock.complete(async () => {
    const writer = await BackupWriter.create(disk, path);
    await writer.write({ kind: 'header', format: 1, takenAt: 0, engine: 'model' });
    await writer.write({ kind: 'log', name: 'state/bank/1', first: 1, tail: 1 });
    await writer.write({ kind: 'entries', bodies: [reference] });
    await writer.finish();
  });
  const empty = engineModel({ clock, random: seededRandom(5) }).connect(clock);
  await assert.rejects(clock.complete(restoreBackup({ engine: empty, disk, path, clock, random: seededRandom(4) })), {
    code: 'CORRUPT',
    message: /lacks the blob .*Nothing was restored/,
  });
  assert.deepEqual(await clock.complete(empty.log.list('', at())), []);
});

test('logs of many small entries are restored through lost answers, each at its position', async () => {
  const { clock, disk } = await setup();
  const names = ['topic/paid/0', 'topic/paid/1'];
  await clock.complete(async () => {
    const writer = await BackupWriter.create(disk, path);
    await writer.write({ kind: 'header', format: 1, takenAt: 0, engine: 'model' });
    for (const name of names) {
      await writer.write({ kind: 'log', name, first: 1, tail: 2400 });
      await writer.write({
        kind: 'entries',
        bodies: Array.from({ length: 2400 }, (_, n) => bytes(`${name} ${n + 1}`)),
      });
    }
    await writer.finish();
  });
  for (let seed = 1; seed <= 5; seed++) {
    const model = engineModel({ clock, random: seededRandom(seed), lostAnswerChance: 0.2 });
    const real = model.connect(clock);
    const most: number[] = [];
    const engine: Engine = {
      ...real,
      log: {
        ...real.log,
        append: (name, expected, bodies, options) => {
          most.push(bodies.length);
          return real.log.append(name, expected, bodies, options);
        },
      },
    };
    await clock.complete(restoreBackup({ engine, disk, path, clock, random: seededRandom(4) }));
    assert.ok(Math.max(...most) <= 1000, 'NATS takes no more at once');
    for (const name of names) {
      const found = model.entries(name).map(body => Buffer.from(body).toString());
      assert.deepEqual(
        found,
        Array.from({ length: 2400 }, (_, n) => `${name} ${n + 1}`),
        `seed ${seed}`,
      );
    }
  }
});
