/**
 * What a user waits for and pays for: ms from the command to the first HTTP answer, memory, and what an idle app costs. The
 * commands are run as an installed package runs them, from `dist` (`npm run build` first), with a warm file cache and warm
 * compile cache: the first round of each is not counted. Memory is given twice: PSS (shared pages divided
 * among those who share them: what the machine spends) and RSS (each process counted whole, shared pages many times over).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const hello = join(root, 'examples/01-hello/hello.ts');
const rounds = 5;
const idleMs = 10_000;
/** What the first release promises. */
const goals = { 'up ms': 1500, 'dev ms': 600, 'app MB': 1200, 'dev MB': 150 } as const;

interface App {
  readonly child: ChildProcess;
  readonly startedAt: number;
  readonly url: string;
  readonly dataDirectory: string;
}

const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms));

/** Starts a command and waits until its gateway's address was printed. */
async function start(verb: 'up' | 'dev', ...flags: string[]): Promise<App> {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'tandem-start-'));
  const args = [join(root, 'bin/tandem.js'), verb, hello, '--data', dataDirectory, '--port', '0', ...flags];
  const startedAt = performance.now();
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const url = await new Promise<string>((found, failed) => {
    let text = '';
    child.stdout!.on('data', chunk => {
      text += chunk;
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
      if (address) found(address);
    });
    child.once('exit', code => failed(new Error(`tandem ${verb} ended with ${code}\n${text}`)));
  });
  return { child, startedAt, url, dataDirectory };
}

async function stop({ child, dataDirectory }: App): Promise<void> {
  const ended = new Promise<void>(done => child.once('exit', () => done()));
  child.kill('SIGINT');
  await ended;
  rmSync(dataDirectory, { recursive: true, force: true });
}

/** Ms from the command to the first good answer. */
async function firstAnswerMs(app: App): Promise<number> {
  for (;;) {
    try {
      const response = await fetch(`${app.url}/hello/Ada`);
      await response.arrayBuffer();
      if (response.ok) return performance.now() - app.startedAt;
    } catch {
      // not yet
    }
    await pause(2);
  }
}

/** The process and all below it. */
function family(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) && read(`/proc/${name}/stat`);
    if (stat) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const all = [pid];
  for (const [child, parent] of parents) if (all.includes(parent) && !all.includes(child)) all.push(child);
  return all;
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

function memoryMb(pids: readonly number[]): { pss: number; rss: number } {
  let pss = 0;
  let rss = 0;
  for (const pid of pids) {
    const text = read(`/proc/${pid}/smaps_rollup`);
    pss += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
    rss += Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
  }
  return { pss: Math.round(pss / 1024), rss: Math.round(rss / 1024) };
}

/** CPU time of all processes so far, in seconds. The kernel counts in hundredths. */
function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = read(`/proc/${pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / 100;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

/** Runs the bench; `say` gets a line for people. */
export async function measure(
  say: (line: string) => void,
): Promise<{ ratios: Record<string, number>; raw: Record<string, number[]> }> {
  if (!existsSync(join(root, 'dist/cli/main.js'))) throw new Error('there is no dist: run `npm run build` first');
  if (!existsSync('/proc/self/smaps_rollup')) throw new Error('this bench reads /proc of Linux');
  const raw: Record<string, number[]> = {};
  const note = (key: string, value: number): void => {
    raw[key] ??= [];
    raw[key].push(Math.round(value * 100) / 100);
    say(`${key}  ${Math.round(value * 100) / 100}`);
  };
  for (let round = 0; round <= rounds; round++) {
    for (const verb of ['up', 'dev'] as const) {
      const app = await start(verb);
      const ms = await firstAnswerMs(app);
      if (round > 0) note(`${verb} ms`, Math.round(ms));
      await stop(app);
    }
  }
  for (const [name, verb, flags] of [
    ['app', 'up', ['--scale', 'hello=10']],
    ['dev', 'dev', []],
  ] as const) {
    const app = await start(verb, ...flags);
    await firstAnswerMs(app);
    await pause(3000);
    const pids = family(app.child.pid!);
    const before = cpuSeconds(pids);
    await pause(idleMs);
    note(`${name} idle cores`, (cpuSeconds(pids) - before) / (idleMs / 1000));
    const { pss, rss } = memoryMb(pids);
    note(`${name} processes`, pids.length);
    note(`${name} MB`, pss);
    note(`${name} RSS MB`, rss);
    await stop(app);
  }
  const ratios: Record<string, number> = {};
  for (const [key, goal] of Object.entries(goals))
    ratios[`${key}/goal of ${goal}`] = Math.round((median(raw[key]!) / goal) * 100) / 100;
  return { ratios, raw };
}
