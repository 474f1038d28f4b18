import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock as clock } from '../core/clock.ts';
import type { Disk, DiskFile } from '../core/disk.ts';
import type { TandemError } from '../core/errors.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { systemRandom as random, seededRandom } from '../core/random.ts';
import { openEmbeddedEngine } from './embedded-engine.ts';
import type { Engine } from './engine.ts';
import { nodeDisk } from './node-disk.ts';
import { dumpLog, repairLog, verifyLog } from './repair.ts';

const soon = { deadline: clock.monotonic() + 600_000 };
const segmentBytes = 64 * 1024;
const open = (directory: string, disk: Disk = nodeDisk): Promise<Engine> =>
  openEmbeddedEngine({ directory, disk, clock, random, logger, segmentBytes });

async function folder(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-recovery-'));
  try {
    await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function fill(engine: Engine, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await engine.log.append(`log-${i % 3}`, 'any', [Buffer.from(`entry ${i}`)], soon);
}

async function all(engine: Engine): Promise<string[]> {
  const found: string[] = [];
  for (const log of await engine.log.list('', soon)) {
    for (const entry of await engine.log.read(log, (await engine.log.info(log, soon)).first, 1e9, soon))
      found.push(Buffer.from(entry.body).toString());
  }
  return found.sort();
}

const lastSegment = (directory: string): string =>
  join(directory, 'segments', readdirSync(join(directory, 'segments')).sort().at(-1)!);

function endOf(segment: Buffer): number {
  let end = segment.length;
  while (segment[end - 1] === 0) end--;
  return end;
}

test('a last batch that is cut at any byte is cut off, and everything before it stays', () =>
  folder(async directory => {
    const engine = await open(directory);
    await fill(engine, 6);
    const before = await all(engine);
    const whole = endOf(readFileSync(lastSegment(directory)));
    await engine.log.append('log-0', 'any', [Buffer.from('the last')], soon);
    await engine.close();
    const segment = readFileSync(lastSegment(directory));
    const end = endOf(segment);
    for (let cut = ((whole + 7) & ~7) + 1; cut < end; cut++) {
      const copy = `${directory}-${cut}`;
      cpSync(directory, copy, { recursive: true });
      const torn = Buffer.from(segment);
      torn.fill(0, cut);
      writeFileSync(lastSegment(copy), torn);
      const reopened = await open(copy);
      assert.deepEqual(await all(reopened), before, `cut at byte ${cut}`);
      await reopened.log.append('log-0', 2, [Buffer.from('goes on')], soon);
      assert.equal(await reopened.log.barrier('log-0', soon), 3);
      await reopened.close();
      rmSync(copy, { recursive: true });
    }
  }));

test('a flipped bit in what was acknowledged is refused with the place and the way out; repair cuts there', () =>
  folder(async directory => {
    const engine = await open(directory);
    await fill(engine, 60);
    const { incarnation } = await engine.log.info('log-0', soon);
    await engine.close();
    const path = lastSegment(directory);
    const segment = readFileSync(path);
    const at = segment.indexOf('entry 20');
    segment[at + 3]! ^= 1;
    writeFileSync(path, segment);

    await assert.rejects(open(directory), (thrown: TandemError) => {
      assert.equal(thrown.code, 'CORRUPT');
      assert.match(thrown.message, /\.seg is damaged at byte \d+/);
      assert.match(thrown.message, /tandem log repair/);
      return true;
    });
    const { damage } = await verifyLog(directory, nodeDisk);
    assert.ok(damage && damage.offset < at && damage.offset > at - 64);
    assert.equal(damage.behind, 39);

    assert.equal((await repairLog(directory, nodeDisk, random)).lost, 39);
    const repaired = await open(directory);
    assert.deepEqual(await all(repaired), Array.from({ length: 20 }, (_, i) => `entry ${i}`).sort());
    assert.notEqual((await repaired.log.info('log-0', soon)).incarnation, incarnation);
    await repaired.close();
    assert.equal((await verifyLog(directory, nodeDisk)).damage, undefined);
  }));

test('dump shows what is there', () =>
  folder(async directory => {
    const engine = await open(directory);
    await fill(engine, 9);
    await engine.close();
    const found: string[] = [];
    for await (const { log, position, body } of dumpLog(directory, nodeDisk, { log: 'log-1', from: 2 }))
      found.push(`${log} ${position} ${Buffer.from(body)}`);
    assert.deepEqual(found, ['log-1 2 entry 4', 'log-1 3 entry 7']);
  }));

test('one trim loses nothing of other logs, and two at once leave a directory that opens', () =>
  folder(async directory => {
    let engine = await open(directory);
    const bulk = async (log: string, count: number): Promise<void> => {
      for (let i = 0; i < count; i++) await engine.log.append(log, 'any', [Buffer.alloc(8000, 1)], soon);
    };
    await engine.log.append('keep', 0, [Buffer.from('one')], soon);
    await bulk('a', 12);
    await engine.log.append('keep', 1, [Buffer.from('two')], soon);
    await bulk('a', 12);
    await bulk('b', 20);
    await Promise.all([engine.log.trim('a', 23, soon), engine.log.trim('b', 19, soon)]);
    const before = readdirSync(join(directory, 'segments')).length;
    assert.ok(before <= 4, `${before} segments are left`);
    for (let round = 0; round < 2; round++) {
      await engine.close();
      engine = await open(directory);
      assert.deepEqual(
        (await engine.log.read('keep', 1, 1e6, soon)).map(entry => Buffer.from(entry.body).toString()),
        ['one', 'two'],
      );
      assert.equal(await engine.log.barrier('a', soon), 24);
    }
    await engine.close();
  }));

/** A disk whose next sync or write fails. */
function failing(): { disk: Disk; fail(what: 'sync' | 'write', error: NodeJS.ErrnoException): void } {
  let armed: { what: string; error: Error } | undefined;
  const check = (what: string): void => {
    if (armed?.what === what) throw armed.error;
  };
  const wrap = (file: DiskFile, durable: boolean): DiskFile => ({
    get size() {
      return file.size;
    },
    read: (at, length) => file.read(at, length),
    write: async (at, bytes) => {
      check('write');
      await file.write(at, bytes);
      if (durable) check('sync');
    },
    sync: async () => {
      check('sync');
      await file.sync();
    },
    truncate: size => file.truncate(size),
    close: () => file.close(),
  });
  return {
    disk: {
      ...nodeDisk,
      open: async (path, options) => wrap(await nodeDisk.open(path, options), options?.durable ?? false),
    },
    fail: (what, error) => {
      armed = { what, error };
    },
  };
}

for (const [what, code, words] of [
  ['sync', 'EIO', /look at the disk, then restart/],
  ['write', 'ENOSPC', /free some disk space, then restart/],
] as const) {
  test(`after ${code} nothing is acknowledged any more, the error says what to do, and what was acknowledged is there`, () =>
    folder(async directory => {
      const { disk, fail } = failing();
      const engine = await open(directory, disk);
      await fill(engine, 10);
      fail(what, Object.assign(new Error(code), { code }));
      const result = await engine.log.append('log-0', 'any', [Buffer.from('doubtful')], soon);
      assert.equal(result.kind, 'unknown');
      await assert.rejects(engine.log.append('log-0', 'any', [Buffer.from('later')], soon), words);
      await engine.close();
      const reopened = await open(directory);
      const found = await all(reopened);
      for (let i = 0; i < 10; i++) assert.ok(found.includes(`entry ${i}`));
      assert.ok(!found.includes('later'));
      await reopened.close();
    }));
}

test('a directory that another process has open is refused', () =>
  folder(async directory => {
    const engine = await open(directory);
    const script = `
      const { openEmbeddedEngine } = await import(${JSON.stringify(new URL('./embedded-engine.ts', import.meta.url).href)});
      const { nodeDisk } = await import(${JSON.stringify(new URL('./node-disk.ts', import.meta.url).href)});
      const { systemClock } = await import(${JSON.stringify(new URL('../core/clock.ts', import.meta.url).href)});
      const { systemRandom } = await import(${JSON.stringify(new URL('../core/random.ts', import.meta.url).href)});
      const { silentLogger } = await import(${JSON.stringify(new URL('../core/logger.ts', import.meta.url).href)});
      await openEmbeddedEngine({ directory: ${JSON.stringify(directory)}, disk: nodeDisk, clock: systemClock, random: systemRandom, logger: silentLogger }).then(() => console.log('opened'), thrown => console.log(thrown.code, thrown.message));
      process.exit(0);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
    let printed = '';
    child.stdout.on('data', chunk => {
      printed += chunk;
    });
    await new Promise(done => child.once('close', done));
    assert.match(printed, /^CONFLICT .*in use by process \d+; stop it, or choose another with --data/);
    await engine.close();
  }));

test('a directory that is a copy of another, or was put back from one, has another incarnation; a renamed one has not', () =>
  folder(async parent => {
    const at = (name: string): string => join(parent, name);
    const incarnationOf = async (name: string): Promise<string> => {
      const engine = await open(at(name));
      const { incarnation } = await engine.log.info('log-0', soon);
      await engine.close();
      return incarnation;
    };
    const engine = await open(at('data'));
    await fill(engine, 3);
    await engine.close();
    const own = await incarnationOf('data');
    cpSync(at('data'), at('kept'), { recursive: true });
    renameSync(at('data'), at('renamed'));
    assert.equal(await incarnationOf('renamed'), own);
    cpSync(at('kept'), at('data'), { recursive: true });
    const copied = await incarnationOf('data');
    assert.notEqual(copied, own);
    assert.equal(await incarnationOf('data'), copied, 'once');
    rmSync(join(at('renamed'), 'engine.json'));
    cpSync(join(at('kept'), 'engine.json'), join(at('renamed'), 'engine.json'));
    assert.notEqual(await incarnationOf('renamed'), own, 'put back over itself');
  }));

test('a directory of a newer format is refused and left alone', () =>
  folder(async directory => {
    await (await open(directory)).close();
    const path = join(directory, 'engine.json');
    const newer = readFileSync(path, 'utf8').replace('"format": 1', '"format": 9');
    writeFileSync(path, newer);
    await assert.rejects(open(directory), /format 9, this Tandem reads up to 1/);
    assert.equal(readFileSync(path, 'utf8'), newer);
  }));

test('a directory that cannot be written is refused with what to do', () =>
  folder(async directory => {
    const isRoot = process.getuid?.() === 0;
    chmodSync(directory, 0o555);
    // Root may write everywhere, so for this moment we are nobody.
    if (isRoot) process.seteuid?.(65534);
    try {
      await assert.rejects(open(join(directory, 'data')), /cannot be used: .*--data/);
    } finally {
      if (isRoot) process.seteuid?.(0);
      chmodSync(directory, 0o700);
    }
  }));

test('a path that is no directory is refused with what to do', () =>
  folder(async directory => {
    writeFileSync(join(directory, 'file'), '');
    await assert.rejects(open(join(directory, 'file', 'data')), /cannot be used: .*choose another with --data/);
  }));

test(
  'kill -9 under load, again and again: every acknowledged entry is there, once, in order',
  { timeout: 60_000 },
  () =>
    folder(async directory => {
      const chance = seededRandom(11);
      const acknowledged = new Map<string, number>();
      for (let round = 0; round < 4; round++) {
        const child = spawn(
          process.execPath,
          [
            ...process.execArgv,
            new URL('../../test/engine-child.ts', import.meta.url).pathname,
            directory,
            String(round),
          ],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        );
        let rest = '';
        let acks = 0;
        const wanted = 150 + chance.below(300);
        await new Promise<void>(done => {
          child.stdout.on('data', chunk => {
            const lines = (rest + chunk).split('\n');
            rest = lines.pop()!;
            for (const line of lines) {
              const [log, position] = line.split(' ');
              acknowledged.set(`${log} ${position}`, round);
              acks++;
            }
            if (acks >= wanted) child.kill('SIGKILL');
          });
          child.once('close', () => done());
        });
        assert.ok(acks >= wanted, 'the child ended by itself');
        const engine = await open(directory);
        const there = new Map<string, string>();
        for (const log of await engine.log.list('', soon)) {
          const entries = await engine.log.read(log, 1, 1e9, soon);
          assert.deepEqual(
            entries.map(entry => entry.position),
            entries.map((_, index) => index + 1),
          );
          for (const entry of entries) there.set(`${log} ${entry.position}`, Buffer.from(entry.body).toString());
        }
        for (const [key, inRound] of acknowledged)
          assert.match(
            there.get(key) ?? 'missing',
            new RegExp(`^${inRound}:`),
            `${key}, acknowledged in round ${inRound}`,
          );
        await engine.close();
      }
    }),
);
