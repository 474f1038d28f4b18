import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { type DiskOptions, simulatedDisk } from './disk.ts';
import { virtualClock } from './virtual-clock.ts';

function world(seed = 1, options: Partial<DiskOptions> = {}) {
  const clock = virtualClock();
  const disk = simulatedDisk({ clock, random: seededRandom(seed), ...options });
  return { clock, disk, run: <T>(work: () => Promise<T>): Promise<T> => clock.complete(work) };
}
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

test('errors are the system ones: missing files, missing directories, no space', async () => {
  const { disk, run } = world(1, { capacityBytes: 1000 });
  const mount = disk.mount();
  await assert.rejects(
    run(() => mount.open('/data/x')),
    { code: 'ENOENT' },
  );
  await assert.rejects(
    run(() => mount.open('/data/x', { create: true })),
    { code: 'ENOENT' },
  );
  await run(() => mount.makeDirectory('/data'));
  const file = await run(() => mount.open('/data/x', { create: true }));
  await run(() => file.write(0, filled(1000, 1)));
  await run(() => file.write(500, filled(500, 2)));
  await assert.rejects(
    run(() => file.write(999, filled(2, 3))),
    { code: 'ENOSPC' },
  );
  assert.deepEqual([...(await run(() => file.read(499, 3)))], [1, 2, 2]);
  assert.equal((await run(() => file.read(990, 100))).length, 10);
  assert.deepEqual(await run(() => mount.list('/data')), ['x']);
});

test('a lock is held by one process and freed by its death', async () => {
  const { disk, run } = world();
  const first = disk.mount();
  await run(() => first.lock('/lock'));
  await assert.rejects(
    run(() => first.lock('/lock')),
    { code: 'CONFLICT' },
  );
  disk.kill();
  const second = disk.mount();
  await run(() => second.lock('/lock'));
});

test('a dead process gets no answer, and what it wrote outlives it', async () => {
  const { clock, disk, run } = world();
  const mount = disk.mount();
  const file = await run(() => mount.open('/x', { create: true }));
  await run(() => file.write(0, filled(10, 7)));
  let answered = false;
  void file.sync().then(() => {
    answered = true;
  });
  disk.kill();
  void mount.open('/x').then(() => {
    answered = true;
  });
  await clock.advance(1000);
  assert.equal(answered, false);
  const reader = disk.mount();
  const again = await run(() => reader.open('/x'));
  assert.deepEqual([...(await run(() => again.read(0, 10)))], [...filled(10, 7)]);
});

test('a power cut keeps all that was synced and any part of the rest', async () => {
  const endings = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const { disk, run } = world(seed);
    const mount = disk.mount();
    const file = await run(() => mount.open('/x', { create: true }));
    await run(() => mount.syncDirectory('/'));
    await run(() => file.write(0, filled(2000, 1)));
    await run(() => file.sync());
    await run(() => file.write(2000, filled(2000, 2)));
    disk.powerCut();
    const after = disk.mount();
    const again = await run(() => after.open('/x'));
    const bytes = await run(() => again.read(0, 4000));
    assert.deepEqual(bytes.subarray(0, 2000), filled(2000, 1), `seed ${seed}`);
    const rest = bytes.subarray(2000);
    for (const byte of rest) assert.ok(byte === 0 || byte === 2);
    const twos = rest.filter(byte => byte === 2).length;
    endings.add(twos === 0 ? 'lost' : twos === 2000 ? 'kept' : rest[0] === 2 ? 'torn' : 'sectors');
  }
  assert.deepEqual([...endings].sort(), ['kept', 'lost', 'sectors', 'torn']);
});

test('a name that was not synced may be gone after a power cut', async () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 50; seed++) {
    const { disk, run } = world(seed);
    const mount = disk.mount();
    await run(() => mount.makeDirectory('/data'));
    await run(() => mount.syncDirectory('/'));
    const file = await run(() => mount.open('/data/new', { create: true }));
    await run(() => file.sync());
    disk.powerCut();
    seen.add(disk.files().join());
  }
  assert.deepEqual([...seen].sort(), ['', '/data/new']);
});

test('after a failed sync a later one that succeeds proves nothing', async () => {
  let lost = 0;
  for (let seed = 0; seed < 50; seed++) {
    const { disk, run } = world(seed);
    const mount = disk.mount();
    const file = await run(() => mount.open('/x', { create: true }));
    await run(() => mount.syncDirectory('/'));
    await run(() => file.write(0, filled(100, 5)));
    disk.failSyncs(1);
    await assert.rejects(
      run(() => file.sync()),
      { code: 'EIO' },
    );
    await run(() => file.sync());
    disk.powerCut();
    const after = disk.mount();
    const again = await run(() => after.open('/x'));
    if ((await run(() => again.read(0, 100))).length === 0) lost++;
  }
  assert.ok(lost > 5 && lost < 45, `${lost} of 50 lost`);
});

test('a flipped bit is read as it is stored', async () => {
  const { disk, run } = world();
  const mount = disk.mount();
  const file = await run(() => mount.open('/x', { create: true }));
  await run(() => file.write(0, filled(3, 0)));
  disk.flipBit('/x', 1, 3);
  assert.deepEqual([...(await run(() => file.read(0, 3)))], [0, 8, 0]);
});
