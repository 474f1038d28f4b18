/**
 * How long a new instance takes until it serves its first sequential read of a large partition: rows of 1 KB in one partition
 * of a service, one instance, then another joins. It loads the newest snapshot and reads the log's tail. Beside it two parts of
 * that time: the start of an instance without data, and merely fetching the same snapshot over the link, four chunks ahead, as
 * the newcomer fetches them.
 */
import { readFileSync } from 'node:fs';
import { withApp } from './app.ts';
import { retried } from './beside.ts';

/** So many entries that two snapshots are written and the log is trimmed behind the older. */
const entries = 30_000;
const text = 'x'.repeat(1000);

export async function measure(say: (line: string) => void): Promise<{ ratios: object; raw: object }> {
  const rows = Number(process.env['BENCH_ROWS'] ?? 1_000_000);
  const rowsAtOnce = Math.ceil(rows / entries);
  return withApp(['large'], async ({ caller, engine, host: { clock }, join }) => {
    await retried(() => caller.call('large', 'fill', { key: 'a', keys: ['a/first'], text }));
    const filledFrom = performance.now();
    // One after the other, or they would share entries.
    for (let from = 0; from < rows; from += rowsAtOnce) {
      const keys = Array.from({ length: Math.min(rowsAtOnce, rows - from) }, (_, i) => `a/${from + i}`);
      await caller.call('large', 'fill', { key: 'a', keys, text }, { timeoutMs: 30_000 });
    }
    say(`filled ${rows} rows of 1 KB in ${Math.round((performance.now() - filledFrom) / 1000)} s`);

    const at = (): { deadline: number } => ({ deadline: clock.monotonic() + 30_000 });
    const manifests = async (): Promise<string[]> =>
      (await engine.blobs.list('snapshot/large/0/', at())).filter(name => name.endsWith('/manifest'));
    await retried(async () => {
      if ((await manifests()).length < 2) throw new Error('no two snapshots yet');
    }, 2400);
    const newest = (await manifests()).at(-1)!.slice(0, -'manifest'.length);
    const chunks = (await engine.blobs.list(newest, at())).filter(name => !name.endsWith('/manifest'));
    const fetchedFrom = performance.now();
    let bytes = 0;
    let chunk = 0;
    const fetching = async (): Promise<void> => {
      while (chunk < chunks.length) {
        const fetched = await engine.blobs.get(chunks[chunk++]!, at());
        bytes += fetched.length;
      }
    };
    await Promise.all(Array.from({ length: 4 }, fetching));
    const fetchMs = performance.now() - fetchedFrom;

    const emptyFrom = performance.now();
    await join('work');
    const emptyStartMs = performance.now() - emptyFrom;
    const { tail } = await engine.log.info('state/large/0', at());
    const tailEntries = tail - Number(newest.split('/').at(-2));

    const joinedFrom = performance.now();
    const started = await join('large');
    const member = await retried(async () => {
      const found = caller.registry.instances('large').find(({ beat }) => beat.address === started.address);
      if (!found?.beat.partitions[0]?.ready) throw new Error('it is not ready yet');
      return found;
    }, 6000);
    const { body } = await caller.send(member, 'large.sequential', { key: 'a/7' }, { ...at(), meta: {} });
    const readMs = performance.now() - joinedFrom;
    if (body === null) throw new Error('the row is not there');
    const peakMb = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${started.pid}/status`, 'utf8'))![1]) / 1024;
    const raw = { rows, snapshotMb: bytes / 1e6, tailEntries, emptyStartMs, fetchMs, readMs, peakMb };
    for (const [name, value] of Object.entries(raw)) say(`${name.padEnd(12)} ${Math.round(value)}`);
    return { ratios: { 'from its start to its first read / mere fetch': readMs / fetchMs }, raw };
  });
}
