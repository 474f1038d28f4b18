/** What a stream costs a NATS cluster of three servers that sync: time to make one, and memory of each server, idle. */
import { readFileSync } from 'node:fs';
import { findNatsServer, startNats } from '../test/nats-servers.ts';
import { pause } from './beside.ts';

const count = 100;
const settleMs = 2000;

export async function measure(say: (line: string) => void): Promise<{ ratios: object; raw: object }> {
  const found = findNatsServer();
  if ('missing' in found) throw new Error(found.missing);
  const [{ connect }, { jetstreamManager }] = await Promise.all([
    import('@nats-io/transport-node'),
    import('@nats-io/jetstream'),
  ]);
  const cluster = await startNats(found.path, 3);
  try {
    const residentKb = (): number =>
      cluster.servers.reduce((sum, { pid }) => sum + kbOf(readFileSync(`/proc/${pid}/status`, 'utf8')), 0) / 3;
    const connection = await connect({ servers: cluster.servers.map(({ port }) => `127.0.0.1:${port}`) });
    const { streams } = await jetstreamManager(connection, { timeout: 10_000 });
    await streams.add({ name: 'first', subjects: ['first'], num_replicas: 3 });
    await pause(settleMs);
    const before = residentKb();
    const tookMs: number[] = [];
    for (let at = 0; at < count; at++) {
      const startedAt = performance.now();
      await streams.add({ name: `s${at}`, subjects: [`s${at}`], num_replicas: 3 });
      tookMs.push(performance.now() - startedAt);
    }
    await pause(settleMs);
    const kbEach = (residentKb() - before) / count;
    const median = tookMs.toSorted((a, b) => a - b)[count >> 1]!;
    say(`${count} streams of three replicas: ${median.toFixed(1)} ms each (median)`);
    say(`${kbEach.toFixed(0)} KB resident of each server for each, idle`);
    await connection.close();
    return { ratios: {}, raw: { count, madeMs: Number(median.toFixed(1)), residentKbEach: Math.round(kbEach) } };
  } finally {
    await cluster.close();
  }
}

function kbOf(status: string): number {
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
}
