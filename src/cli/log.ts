/** `tandem log verify | check | dump | repair`: looks into an engine's directory while no engine has it open. */
import { existsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { systemRandom } from '../core/random.ts';
import { FileBlobs } from '../log/file-blobs.ts';
import { nodeDisk } from '../log/node-disk.ts';
import { dumpLog, repairLog, verifyLog } from '../log/repair.ts';
import { type Command, dataFlag, type Invocation, UsageError } from './command.ts';
import { checkLogs, exported, type WrittenTransaction } from './log-check.ts';
import { dataPathOf } from './running-app.ts';
import type { Terminal } from './terminal.ts';

export const command: Command = {
  usage: [
    'log verify [DIR]',
    'log check [DIR] [--export FILE]',
    'log dump [DIR] [--log NAME] [--from N]',
    'log repair [DIR]',
  ],
  summary: 'Checks, prints or repairs the engine data of a stopped app. DIR is the data directory (default .tandem).',
  examples: ['tandem log verify', 'tandem log dump --log state/inventory/3 --from 100'],
  details: '--json: verify and repair write one value, dump one object an entry (its body in base64).',
  flags: {
    data: dataFlag,
    log: { type: 'string', help: 'Only this log', value: 'NAME' },
    export: {
      type: 'string',
      help: "Writes the order of all writes in Jepsen's shape (.edn or .json)",
      value: 'FILE',
    },
    from: { type: 'string', help: 'Only from this position on', value: 'N' },
  },
  words: [1, 2],
  async run({ words, flags, environment, terminal }: Invocation): Promise<number> {
    const [verb] = words;
    const given = words[1] ?? (await dataPathOf({ flags, environment }));
    const directory = existsSync(join(given, 'engine')) ? resolve(given, 'engine') : resolve(given);
    const json = flags.json === true;
    if (verb === 'verify') {
      const result = await verifyLog(directory, nodeDisk);
      if (json) {
        terminal.out(JSON.stringify({ ...result, damage: result.damage ?? null, cut: result.cut ?? null }));
      } else {
        for (const { log, entries, first, last } of result.logs)
          terminal.out(`${log}  ${entries} entries, ${first} to ${last}`);
        const { damage, cut } = result;
        if (damage)
          terminal.out(
            `DAMAGED: ${damage.path} at byte ${damage.offset}; ${damage.behind} acknowledged records lie behind it. Restore a backup, or cut there with \`tandem log repair\`.`,
          );
        else
          terminal.out(
            `${result.segments} segments, ${result.logs.length} logs, no damage${cut ? '; a write at the end was cut short (harmless)' : ''}`,
          );
      }
      return result.damage ? 1 : 0;
    }
    if (verb === 'check') return check(directory, flags.export as string | undefined, json, terminal);
    if (verb === 'dump') {
      const from = flags.from === undefined ? undefined : Number(flags.from);
      if (from !== undefined && !(Number.isInteger(from) && from >= 1))
        throw new UsageError('--from takes a position: a whole number from 1 on');
      for await (const { log, position, body } of dumpLog(directory, nodeDisk, {
        log: flags.log as string | undefined,
        from,
      })) {
        terminal.out(
          json
            ? JSON.stringify({ log, position, body: Buffer.from(body).toString('base64') })
            : `${log} ${position} ${body.length} bytes`,
        );
      }
      return 0;
    }
    if (verb === 'repair') {
      const { lost, kept } = await repairLog(directory, nodeDisk, systemRandom);
      if (json) terminal.out(JSON.stringify({ lost, kept }));
      else
        terminal.out(
          lost === 0
            ? 'Nothing to repair.'
            : `Cut at the damage: ${lost} records behind it are given up, ${kept.length} logs are kept. Replicas that know more will refuse to serve: delete <data>/replicas.`,
        );
      return 0;
    }
    throw new UsageError(`log ${verb}: use verify, check, dump or repair`);
  },
};

async function check(directory: string, file: string | undefined, json: boolean, terminal: Terminal): Promise<number> {
  const format = file?.endsWith('.edn') ? 'edn' : file?.endsWith('.json') ? 'json' : undefined;
  if (file !== undefined && !format) throw new UsageError('--export takes a file that ends in .edn or .json');
  const transactions: WrittenTransaction[] = [];
  const dumped = dumpLog(directory, nodeDisk);
  const blobs = new FileBlobs(nodeDisk, join(directory, 'blobs'), systemRandom);
  const checked = await checkLogs(
    dumped,
    name => blobs.get(name),
    written => {
      if (format) transactions.push(written);
    },
  );
  if (file !== undefined && format) writeFileSync(file, exported(transactions, format));
  if (json) terminal.out(JSON.stringify(checked));
  else {
    const { logs, entries, requests, events, foreign, repeats, findings } = checked;
    for (const { log, position, what } of findings) terminal.out(`WRONG: ${log} ${position}: ${what}`);
    terminal.out(
      `${logs} logs, ${entries} entries, ${requests} requests, ${events} events; skipped by readers: ${foreign} foreign entries, ${repeats} repeated events`,
    );
    terminal.out(
      findings.length === 0
        ? 'Each log is one chain, each request is in it once, events are in order.'
        : `${findings.length} wrong`,
    );
  }
  return checked.findings.length === 0 ? 0 : 1;
}
