import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock as clock } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { systemRandom as random } from '../core/random.ts';
import { openEmbeddedEngine } from './embedded-engine.ts';
import { FileBlobs } from './file-blobs.ts';
import { nodeDisk } from './node-disk.ts';

function directory(t: { after(work: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'tandem-blobs-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

test('a blob with one bit flipped, or cut anywhere, is refused', async t => {
  const path = directory(t);
  const blobs = new FileBlobs(nodeDisk, path, random);
  await blobs.put('b', Buffer.from('a value'));
  const whole = readFileSync(join(path, 'b'));
  for (let at = 0; at < whole.length; at++) {
    if (at === 14 || at === 15) continue; // between head and value: nothing is there
    const flipped = Uint8Array.from(whole);
    flipped[at] = flipped[at]! ^ 1;
    for (const bytes of [flipped, whole.subarray(0, at)]) {
      writeFileSync(join(path, 'b'), bytes);
      await assert.rejects(blobs.get('b'), { code: 'CORRUPT' }, `at byte ${at}`);
    }
  }
  writeFileSync(join(path, 'b'), whole);
  assert.equal(Buffer.from(await blobs.get('b')).toString(), 'a value');
});

test('a blob that finds no room leaves nothing in the way of the next', async t => {
  const path = directory(t);
  let full = true;
  const disk: Disk = {
    ...nodeDisk,
    open: async (...given) => {
      const file = await nodeDisk.open(...given);
      const write = (at: number, bytes: Uint8Array): Promise<void> =>
        full && at > 0 ? Promise.reject(new Error('ENOSPC')) : file.write(at, bytes);
      return Object.assign(Object.create(file) as typeof file, {
        write,
        sync: () => file.sync(),
        close: () => file.close(),
      });
    },
  };
  const blobs = new FileBlobs(disk, path, random);
  await assert.rejects(blobs.put('b', Buffer.from('a value')), /ENOSPC/);
  assert.deepEqual(readdirSync(path), []);
  full = false;
  await blobs.put('b', Buffer.from('a value'));
  assert.deepEqual(await blobs.list(''), ['b']);
});

test('what a crash left of a blob is gone when the engine opens again', async t => {
  const path = directory(t);
  mkdirSync(join(path, 'blobs'));
  writeFileSync(join(path, 'blobs/.new-x'), 'half');
  const engine = await openEmbeddedEngine({ directory: path, disk: nodeDisk, clock, random, logger });
  assert.deepEqual(readdirSync(join(path, 'blobs')), []);
  await engine.close();
});
