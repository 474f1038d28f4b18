/** `tandem backup shop.backup`: all data of an app, running or stopped, as of one moment; `tandem backup verify` reads one through. */
import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type HeldBlob, type HeldLog, inspectBackup } from '../backup/inspect.ts';
import { takeBackup } from '../backup/take.ts';
import { systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { nodeDisk } from '../log/node-disk.ts';
import { engineAt, engineFlag, engineIn, type OpenedEngine } from './backup-engine.ts';
import { openBackupProgress, summaryForm, tellSummary } from './backup-summary.ts';
import { type Command, dataFlag, type Invocation, text, UsageError } from './command.ts';
import { ask } from './control.ts';
import { keepAwake } from './keep-awake.ts';
import { controlOf, dataPathOf, findApp, type RunningApp } from './running-app.ts';
import { size, type Terminal } from './terminal.ts';

export const command: Command = {
  usage: ['backup FILE [--data DIR] [--engine ADDRESS]', 'backup verify FILE [--list]'],
  summary: 'Writes all data of an app into one file, as of one moment, while it runs or after it was stopped.',
  details: [
    'Writes pause while that moment is found, for 2 s at a time at most; reads go on. Everything acknowledged before it is in the file.',
    'verify: reads a backup through and says what it holds, with --list log by log; a file that was cut short, changed or incomplete is refused.',
  ].join('\n'),
  examples: ['tandem backup shop.backup', 'tandem backup verify shop.backup --list'],
  flags: {
    data: dataFlag,
    list: { type: 'boolean', help: 'With verify: each log with its positions, and the blobs' },
    engine: engineFlag('The cluster of an app that does not run here: nats://a:4222'),
  },
  words: [1, 2],
  run: invocation => keepAwake(() => backup(invocation)),
};

async function backup(invocation: Invocation): Promise<number> {
  const { words, flags, terminal } = invocation;
  const json = flags.json === true;
  if (words[0] === 'verify') {
    if (words[1] === undefined) throw new UsageError('tandem backup verify needs the file to read');
    const path = resolve(words[1]);
    return verify(terminal, path, json, flags.list === true);
  }
  if (flags.list === true) throw new UsageError('--list is for tandem backup verify FILE');
  if (words.length > 1) throw new UsageError(`tandem backup does not take '${words[1]}'`);
  const path = resolve(words[0]!);
  if (existsSync(path))
    throw new TandemError(
      'CONFLICT',
      `${path} exists; name another file, so that no backup replaces the one before it`,
    );
  const { engine, close } = await engineOf(invocation);
  const { tell, end } = openBackupProgress(terminal, json);
  try {
    const summary = await takeBackup({ engine, disk: nodeDisk, path, clock: systemClock, tell }).finally(end);
    tellSummary(terminal, json, 'Wrote', path, { ...summary, bytes: statSync(path).size });
    return 0;
  } finally {
    await close();
  }
}

async function verify(terminal: Terminal, path: string, json: boolean, list: boolean): Promise<number> {
  const logs: HeldLog[] = [];
  const blobs: HeldBlob[] = [];
  const summary = await inspectBackup(nodeDisk, path, item => {
    if (!list) return;
    if ('log' in item) logs.push(item.log);
    else blobs.push(item.blob);
  });
  if (json && list) terminal.out(JSON.stringify({ ...summaryForm(path, summary), holds: { logs, blobs } }));
  else tellSummary(terminal, json, 'Whole', path, summary);
  if (json || !list) return 0;
  for (const { name, first, tail, bytes } of logs) terminal.out(`  ${name}  ${first} to ${tail}, ${size(bytes)}`);
  for (const { name, bytes } of blobs) terminal.out(`  ${name}  ${size(bytes)}`);
  return 0;
}

/** Of the app that runs with this data, of its stopped engine, or of the cluster that is named. */
async function engineOf({ flags, environment }: Invocation): Promise<OpenedEngine> {
  const given = text(flags, 'engine');
  if (given !== undefined) return engineAt(given, 'tandem backup', { trusted: true });
  const data = await dataPathOf({ flags, environment });
  let app: RunningApp;
  try {
    app = findApp(data);
  } catch (cause) {
    if (TandemError.from(cause).code !== 'NOT_FOUND') throw cause;
    return stoppedEngine(data);
  }
  const { address, linkTls } = await ask(controlOf(app), '$engine', null, 5000);
  return engineAt(address, 'tandem backup', { trusted: true, ...(linkTls !== null && { linkTls }) });
}

async function stoppedEngine(data: string): Promise<OpenedEngine> {
  const directory = join(data, 'engine');
  if (existsSync(directory)) return engineIn(directory);
  throw new TandemError(
    'NOT_FOUND',
    `no app runs with ${data}, and no data lies there; name its directory with --data, or its cluster with --engine`,
  );
}
