// A replica on a disk without room: it is a cache of the log, so it waits for room and loses nothing.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Logger, silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { pack } from './codec.ts';
import { chainHash, encodeEntry, type LogEntry } from './entry.ts';
import { LargeEntries } from './large-entries.ts';
import { openLmdbStores } from './lmdb-store.ts';
import { MemoryStore } from './memory-store.ts';
import { Replica } from './replica.ts';
import { emptyHead, StoreError, type Write } from './store.ts';

const log = 'state/s/0';

class NarrowStore extends MemoryStore {
  full = false;
  tries = 0;
  override commit(...given: Parameters<MemoryStore['commit']>): void {
    this.tries++;
    if (this.full) throw new StoreError('the disk is full', new Error('ENOSPC'));
    super.commit(...given);
  }
}

async function world() {
  const clock = virtualClock();
  const random = seededRandom(1);
  const engine = engineModel({ clock, random }).connect(clock.process());
  const records: string[] = [];
  const record = (level: string) => (message: string) => void records.push(`${level} ${message}`);
  const logger: Logger = { ...silentLogger, warn: record('warn'), error: record('error'), info: record('info') };
  const store = new NarrowStore();
  const replica = new Replica({
    service: 's',
    partition: 0,
    partitions: 4,
    instance: 'i-1',
    store,
    engine,
    clock,
    random,
    logger,
    engineTimeoutMs: 1000,
    large: new LargeEntries({ engine, clock, random, engineTimeoutMs: 1000 }),
    knownElsewhere: () => false,
  });
  replica.open();
  await clock.complete(async () => void (await replica.untilReady(clock.monotonic() + 5000)));
  /** Into the log only. */
  const append = (position: number, parent: string, key: string): Promise<{ entry: LogEntry; hash: string }> =>
    clock.complete(async () => {
      const writes: Write[] = [['t', key, pack(key)]];
      const entry = { parent, author: 'i-1', epoch: 1, time: 1, writes, emitted: [] };
      const body = encodeEntry(entry);
      await engine.log.append(log, position, [body], { deadline: clock.monotonic() + 1000 });
      return { entry, hash: chainHash(body) };
    });
  return { clock, store, replica, records, append };
}

test('a replica whose store is full serves nothing, says so once, tries again ever more slowly, and is whole again', async () => {
  const { clock, store, replica, records, append } = await world();
  store.full = true;
  const { position, hash } = replica.head;
  const first = await append(position, hash, 'a');
  await append(position + 1, first.hash, 'b');
  await clock.advance(100);
  assert.equal(replica.ready, false);
  assert.equal(replica.failure, undefined, 'it has not given up');
  await clock.advance(600_000);
  assert.deepEqual(records, ['error a replica cannot keep its rows: it serves nothing until it can']);
  assert(store.tries > 60 && store.tries < 600, `${store.tries} tries in 10 minutes`);
  assert.equal(store.get('t', 'a'), undefined);
  store.full = false;
  await clock.advance(6000);
  assert.equal(replica.ready, true);
  assert.equal(replica.head.position, position + 2);
  assert(store.get('t', 'a') && store.get('t', 'b'), 'what was acknowledged is there');
  assert.equal(records.at(-1), 'info a replica keeps its rows again');
  await replica.close();
});

test('an own entry that the log took and the store did not stands: it is read from the log later', async () => {
  const { clock, store, replica, append } = await world();
  const { position, hash } = replica.head;
  store.full = true;
  const { entry, hash: after } = await append(position, hash, 'mine');
  replica.applyOwn(position + 1, entry, after);
  assert.equal(replica.ready, false);
  store.full = false;
  await clock.advance(6000);
  assert.equal(replica.head.hash, after);
  assert(store.get('t', 'mine'));
  await replica.close();
});

/** A small file system of its own; undefined (and the test is skipped) where none can be mounted. */
function mounted(t: TestContext, options: string): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-full-'));
  t.after(() => {
    spawnSync('umount', ['-l', directory]);
    rmSync(directory, { recursive: true, force: true });
  });
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tandem-test', directory], {
    encoding: 'utf8',
  });
  if (status !== 0) {
    t.skip(`needs the right to mount a file system: ${stderr?.trim().split('\n')[0] || 'no mount here'}`);
    return undefined;
  }
  return directory;
}

function fill(directory: string): void {
  try {
    for (let i = 0; ; i++) writeFileSync(join(directory, `fill-${i}`), Buffer.alloc(i < 200 ? 65_536 : 4096));
  } catch (cause) {
    assert.equal((cause as NodeJS.ErrnoException).code, 'ENOSPC');
  }
}

test('LMDB on a full disk: changes are refused whole, reads go on, and with room it goes on', async t => {
  const directory = mounted(t, 'size=4m');
  if (directory === undefined) return;
  const stores = openLmdbStores({ directory: join(directory, 'replicas') });
  const store = await stores.open(0);
  const other = await stores.open(1);
  const head = (position: number): typeof emptyHead => ({ ...emptyHead, position, incarnation: 'x' });
  const value = new Uint8Array(400_000);
  let position = 0;
  const refused = /replicas in .* cannot be written: their disk is full \(\d+ KiB free\); make room/;
  assert.throws(
    () => {
      for (;;) {
        store.commit([['t', `row-${position + 1}`, value]], head(position + 1));
        position++;
      }
    },
    (thrown: unknown) => thrown instanceof StoreError && thrown.code === 'UNAVAILABLE' && refused.test(thrown.message),
  );
  assert.equal(store.head.position, position, 'the head is that of the last whole commit');
  assert.equal(store.get('t', `row-${position + 1}`), undefined);
  assert.equal(store.get('t', `row-${position}`)?.length, value.length);
  const keys = (limit?: number): string[] =>
    [...store.scan('t', 'row-', { limit, after: 'row-1' })].map(([key]) => key);
  const all = Array.from({ length: position }, (_, i) => `row-${i + 1}`).sort();
  assert.deepEqual(keys(), all.slice(1));
  assert.deepEqual(keys(2), all.slice(1, 3));
  fill(directory);
  assert.throws(() => other.commit([['t', 'k', value]], head(1)), StoreError);
  assert.deepEqual(other.head, emptyHead, 'a copy that has not begun has not begun');
  await assert.rejects(stores.open(2), StoreError);
  assert.throws(() => openLmdbStores({ directory: join(directory, 'more') }), refused, 'not killed by the kernel');

  spawnSync('mount', ['-o', 'remount,size=64m', directory]);
  store.commit([['t', 'later', value]], head(position + 1));
  other.commit([['t', 'k', value]], head(1));
  await stores.close();
  const again = openLmdbStores({ directory: join(directory, 'replicas') });
  const whole = await again.open(0);
  assert.equal(whole.head.position, position + 1);
  assert.deepEqual(
    [...whole.scan('t', '')].map(([key]) => key),
    ['later', ...all],
  );
  await again.close();
});
