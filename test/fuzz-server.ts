/** The process under attack: serves the protocol that its argument names, and says on request how much memory and how many connections it holds. */
import { setImmediate } from 'node:timers/promises';
import { fuzzProtocols } from './fuzz-protocols.ts';

export interface Holding {
  /** Heap and buffers after a collection. */
  readonly liveBytes: number;
  readonly rssBytes: number;
  readonly connections: number;
}

const { protocol } = await fuzzProtocols[process.argv[2]!]!();
const doors = await protocol.serve();
const held = (): number => process.getActiveResourcesInfo().filter(name => /^(TCPSocket|Pipe)Wrap$/.test(name)).length;
/** Pipes to its parent. */
const heldAtFirst = held();
process.on('message', async () => {
  for (let times = 0; times < 3; times++) {
    gc?.();
    await setImmediate();
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  const connections = held() - heldAtFirst;
  process.send!({ liveBytes: heapUsed + external, rssBytes: rss, connections } satisfies Holding);
});
process.on('disconnect', () => process.exit(0));
process.send!({ doors });
