/** `tandem restore shop.backup`: puts a backup into an empty data directory, or into an empty cluster. */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { restoreBackup } from '../backup/restore.ts';
import type { BackupSummary } from '../backup/take.ts';
import { systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { systemRandom } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import { nodeDisk } from '../log/node-disk.ts';
import { engineAt, engineFlag, engineIn } from './backup-engine.ts';
import { openBackupProgress, tellSummary } from './backup-summary.ts';
import { type Command, dataFlag, type Invocation, text } from './command.ts';
import { openDataDirectory, restoringName } from './data-directory.ts';
import { keepAwake } from './keep-awake.ts';
import { dataPathOf, takeData } from './running-app.ts';

export const command: Command = {
  usage: ['restore FILE [--data DIR] [--engine ADDRESS]'],
  summary: 'Puts a backup into an empty data directory, or with --engine into an empty NATS cluster.',
  details: [
    'The file is read through before anything is written. Then start the app with tandem up as before.',
    'What was written after the backup was taken is gone: clients begin new sessions, and copies that other machines keep in their data directories must be removed before they start.',
  ].join('\n'),
  examples: [
    'tandem restore shop.backup --data restored',
    "tandem restore shop.backup --engine 'nats://a:4222?monitor=http://a:8222'",
  ],
  flags: {
    data: dataFlag,
    engine: engineFlag(
      'An empty cluster to restore into, as for tandem up: nats://a:4222?app=shop&monitor=http://a:8222',
    ),
  },
  words: [1, 1],
  run: invocation => keepAwake(() => restore(invocation)),
};

async function restore(invocation: Invocation): Promise<number> {
  const { words, flags, terminal } = invocation;
  const json = flags.json === true;
  const path = resolve(words[0]!);
  const { tell, end } = openBackupProgress(terminal, json);
  const put = (engine: Engine): Promise<BackupSummary> =>
    restoreBackup({ engine, disk: nodeDisk, path, clock: systemClock, random: systemRandom, tell }).finally(end);
  const given = text(flags, 'engine');
  const summary =
    given === undefined ? await intoDirectory(await dataPathOf(invocation), put) : await intoCluster(given, put);
  tellSummary(terminal, json, 'Restored', path, summary);
  return 0;
}

/** With all checks of `tandem up`: data is not put where the app would then refuse to run. */
async function intoCluster(address: string, put: (engine: Engine) => Promise<BackupSummary>): Promise<BackupSummary> {
  const { engine, close } = await engineAt(address, 'tandem restore', { trusted: false });
  try {
    return await put(engine);
  } finally {
    await close();
  }
}

/** Under another name until it is whole: a directory named `engine` is one that was finished. */
async function intoDirectory(path: string, put: (engine: Engine) => Promise<BackupSummary>): Promise<BackupSummary> {
  const data = openDataDirectory(path);
  const taken = await takeData(data.path);
  try {
    const directory = join(data.path, 'engine');
    if (existsSync(directory) || existsSync(join(data.path, 'replicas')))
      throw new TandemError(
        'CONFLICT',
        `${data.path} has data already; restore into another directory with --data, or remove this one first`,
      );
    const beside = join(data.path, restoringName);
    rmSync(beside, { recursive: true, force: true });
    const { engine, close } = await engineIn(beside);
    let summary: BackupSummary;
    try {
      summary = await put(engine);
    } catch (cause) {
      await close();
      rmSync(beside, { recursive: true, force: true });
      throw cause;
    }
    await close();
    renameSync(beside, directory);
    await nodeDisk.syncDirectory(data.path);
    return summary;
  } finally {
    await taken.release();
  }
}
