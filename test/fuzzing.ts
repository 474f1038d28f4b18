/**
 * Random mutation of a protocol's samples against a server in a process of its own, several clients at once, while a
 * well-behaved client beside them keeps asking. What must hold: the process lives, its memory does not grow, it keeps
 * no connection of a client that is gone, and the well-behaved client gets every answer, in time, on the connection that it has.
 * Case n is made from (seed, n) alone, so it can be repeated.
 */
import { fork } from 'node:child_process';
import path from 'node:path';
import { seededRandom } from '../src/core/random.ts';
import { mutate } from './fuzz-mutate.ts';
import type { Doors, Fate, FuzzProtocol, Sample } from './fuzz-protocol.ts';
import { fuzzProtocols } from './fuzz-protocols.ts';
import type { Holding } from './fuzz-server.ts';

export interface FuzzOptions {
  readonly protocol: string;
  readonly seed: number;
  readonly forMs: number;
  /** Ends after so many cases, if that is earlier. */
  readonly casesMax?: number;
  /** Only this case, to repeat it. */
  readonly only?: number;
  readonly lanes?: number;
  readonly onProgress?: (report: FuzzReport) => void;
}

export interface FuzzReport {
  readonly protocol: string;
  readonly seed: number;
  seconds: number;
  samples: number;
  cases: number;
  bytes: number;
  readonly fates: Record<Fate, number>;
  /** Exchanges of the well-behaved client, and the slowest. */
  asked: number;
  slowestMs: number;
  /** Of heap and buffers in use, from after the warm-up to the end. */
  liveGrownBytes: number;
  /** Of the whole process in the second half: V8 takes its time, and some memory, until it has what it wants. */
  rssGrownBytes: number;
  connectionsLeft: number;
  /** Empty when all that must hold held. */
  readonly wrong: string[];
}

/** The well-behaved client's own. */
const behavingConnectionsMax = 2;
const askDeadlineMs = 2000;
const liveGrownBytesMax = 16 * 1024 * 1024;
const rssGrownBytesMax = 64 * 1024 * 1024;
/** The first cases load code and fill pools: growth counts from behind them. */
const warmCases = 500;

export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const { seed, forMs, casesMax = Number.POSITIVE_INFINITY, only, lanes = 8, onProgress } = options;
  const known = fuzzProtocols[options.protocol];
  if (!known) throw new Error(`no protocol '${options.protocol}'; there are: ${Object.keys(fuzzProtocols).join(', ')}`);
  const { protocol } = await known();
  const report: FuzzReport = {
    protocol: options.protocol,
    seed,
    seconds: 0,
    samples: protocol.samples.length,
    cases: 0,
    bytes: 0,
    fates: { answered: 0, closed: 0, silent: 0 },
    asked: 0,
    slowestMs: 0,
    liveGrownBytes: 0,
    rssGrownBytes: 0,
    connectionsLeft: 0,
    wrong: [],
  };
  const server = await startServer(options.protocol);
  const idle = await server.holding();
  const begin = performance.now();
  const recent: string[] = [];
  let stopped = false;
  void server.ended.then(how => {
    if (!stopped) report.wrong.push(`the server's process ended (${how}); last cases: ${recent.join(', ')}`);
    stopped = true;
  });
  const over = (): boolean => stopped || report.cases >= casesMax || performance.now() - begin >= forMs;

  const { doors } = server;
  const behaving = behave(protocol, doors, report, () => stopped || report.wrong.length > 0);
  let next = 0;
  const send = async (number: number): Promise<void> => {
    const bytes = caseOf(protocol, seed, number);
    recent.push(String(number));
    if (recent.length > lanes * 2) recent.shift();
    const fate = await protocol.attack(doors, bytes, seededRandom(seed * 31 + number));
    report.fates[fate]++;
    report.cases++;
    report.bytes += bytes.length;
  };
  const lane = async (enough = () => false): Promise<void> => {
    while (!over() && !enough()) await send(next++);
  };
  let told = begin;
  const progress = setInterval(() => {
    report.seconds = (performance.now() - begin) / 1000;
    if (performance.now() - told > 10_000) onProgress?.(report);
    if (performance.now() - told > 10_000) told = performance.now();
  }, 1000);
  try {
    let before: Holding | undefined;
    let halfway: Holding | undefined;
    if (only !== undefined) await send(only);
    else {
      while (!over() && report.cases < warmCases) await Promise.all(Array.from({ length: lanes }, () => send(next++)));
      if (!stopped) before = await server.holding();
      await Promise.all(Array.from({ length: lanes }, () => lane(() => performance.now() - begin >= forMs / 2)));
      if (!stopped) halfway = await server.holding();
      await Promise.all(Array.from({ length: lanes }, () => lane()));
    }
    if (!stopped) await judgeHolding(server, { idle, before, halfway }, report, protocol.rssGrownBytesMax);
  } catch (cause) {
    if (report.wrong.length === 0) report.wrong.push((cause as Error).message);
  } finally {
    clearInterval(progress);
    stopped = true;
    await behaving;
    await server.stop();
  }
  report.seconds = (performance.now() - begin) / 1000;
  if (only === undefined && report.asked === 0) report.wrong.push('the well-behaved client was never answered');
  return report;
}

/** The samples as they are first, then mutants. */
export function caseOf(protocol: FuzzProtocol, seed: number, number: number): Uint8Array {
  const { samples } = protocol;
  if (number < samples.length) return samples[number]!.bytes;
  const random = seededRandom(seed + number * 7919);
  const any = (): Sample => samples[random.below(samples.length)]!;
  const mutant = mutate(any().bytes, any().bytes, random);
  return number % 2 === 0 && protocol.mend ? protocol.mend(mutant) : mutant;
}

/** One client that does all right, until `stopped`; its first complaint is written down and ends it. */
async function behave(protocol: FuzzProtocol, doors: Doors, report: FuzzReport, stopped: () => boolean): Promise<void> {
  const client = await protocol.openClient(doors);
  try {
    while (!stopped()) {
      const begin = performance.now();
      await within(client.ask(), askDeadlineMs, `no answer in ${askDeadlineMs} ms`);
      report.slowestMs = Math.max(report.slowestMs, performance.now() - begin);
      report.asked++;
      await new Promise(done => setTimeout(done, 10));
    }
  } catch (cause) {
    if (!stopped()) report.wrong.push(`the well-behaved client, at case ${report.cases}: ${(cause as Error).message}`);
  } finally {
    await client.close();
  }
}

async function judgeHolding(
  server: Server,
  {
    idle,
    before,
    halfway,
  }: { readonly idle: Holding; readonly before?: Holding | undefined; readonly halfway?: Holding | undefined },
  report: FuzzReport,
  rssBytesMax = rssGrownBytesMax,
): Promise<void> {
  let after = await server.holding();
  const most = idle.connections + behavingConnectionsMax;
  for (let looks = 0; looks < 40 && after.connections > most; looks++) {
    await new Promise(done => setTimeout(done, 50));
    after = await server.holding();
  }
  report.connectionsLeft = Math.max(0, after.connections - most);
  if (report.connectionsLeft > 0)
    report.wrong.push(`${report.connectionsLeft} connections of clients that are gone are still held`);
  if (!before || !halfway) return;
  report.liveGrownBytes = after.liveBytes - before.liveBytes;
  report.rssGrownBytes = after.rssBytes - halfway.rssBytes;
  if (report.liveGrownBytes > liveGrownBytesMax)
    report.wrong.push(`live memory grew by ${report.liveGrownBytes} bytes`);
  if (report.rssGrownBytes > rssBytesMax) report.wrong.push(`the process grew by ${report.rssGrownBytes} bytes`);
}

interface Server {
  readonly doors: Doors;
  readonly ended: Promise<string>;
  holding(): Promise<Holding>;
  stop(): Promise<void>;
}

async function startServer(protocol: string): Promise<Server> {
  const child = fork(path.join(import.meta.dirname, 'fuzz-server.ts'), [protocol], {
    execArgv: ['--conditions=tandem-source', '--expose-gc'],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  const ended = new Promise<string>(resolve =>
    child.once('close', (code, signal) => resolve(`${signal ?? code}${said ? `: ${said}` : ''}`)),
  );
  const heard = <T>(): Promise<T> =>
    within(
      Promise.race([
        new Promise<T>(resolve => child.once('message', message => resolve(message as T))),
        ended.then(how => Promise.reject(new Error(`the server's process ended: ${how}`))),
      ]),
      15_000,
      'the server did not say anything in 15 s',
    );
  const { doors } = await heard<{ doors: Doors }>();
  return {
    doors,
    ended,
    holding: () => {
      const answer = heard<Holding>();
      // It may have ended a moment ago, which `heard` says.
      child.send('measure', () => {});
      return answer;
    },
    stop: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function within<T>(work: Promise<T>, patienceMs: number, complaint: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(complaint)), patienceMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
