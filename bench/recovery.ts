/**
 * How long the engine takes to answer again after kill -9, against the length of its log (100-byte entries over 8 logs): from
 * the start of its process to its address, Node's own start included. Load 0 is an empty directory. Less is better.
 */
import { connected, start } from './app.ts';
import { inDirectory } from './beside.ts';
import type { Bench, Figures } from './run.ts';

const batch = 200;
const body = Buffer.alloc(100, 'x');

const engine = (entries: number): Promise<Figures> =>
  inDirectory(async directory => {
    const settings = { id: 'engine-1-bench', dataDirectory: directory, host: '127.0.0.1', logLevel: 'error' } as const;
    const first = await start('engine', settings);
    await connected(first.address, async ({ clock }, { log }) => {
      for (let n = 0; n < entries; n += batch * 8) {
        const appends = Array.from({ length: 8 }, (_, lane) =>
          log.append(
            `log/${lane}`,
            'any',
            Array.from({ length: batch }, () => body),
            {
              deadline: clock.monotonic() + 10_000,
            },
          ),
        );
        for (const { kind } of await Promise.all(appends)) if (kind !== 'appended') throw new Error(`append: ${kind}`);
      }
    });
    await first.stop('SIGKILL');
    const startedAt = performance.now();
    const second = await start('engine', settings);
    const ms = performance.now() - startedAt;
    await second.stop();
    return { ms };
  });

export const bench: Bench = {
  ours: ['engine'],
  rounds: 5,
  loads: [0, 10_000, 100_000, 1_000_000],
  subjects: { engine },
};
