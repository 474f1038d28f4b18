/**
 * `tandem` as real processes for tests: runs commands, waits for what they print, and ends by pid whatever a test left
 * behind. Folders of services of its own, outside the checkout, so that `import 'tandem'` is resolved as a user's is.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after } from 'node:test';
import { processBirth } from '../src/recovery/process-birth.ts';

export const root: string = resolve(import.meta.dirname, '..');

export interface AppState {
  readonly supervisor: { readonly pid: number; readonly birth: string };
  readonly processes: readonly {
    readonly name: string;
    readonly role: string;
    readonly pid: number;
    readonly birth: string;
    readonly ready: boolean;
  }[];
  readonly facts: { readonly gatewayUrl?: string };
}

export interface Run {
  readonly child: ChildProcess;
  readonly pid: number;
  out(): string;
  said(): string;
  /** Both, for messages of failed tests. */
  printed(): string;
  readonly ended: Promise<number | null>;
}

const runs: Run[] = [];
const folders: string[] = [];
/** Data directories whose processes must be gone in the end. */
const dataPaths = new Set<string>();

after(() => {
  for (const { child } of runs) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  for (const data of dataPaths) for (const { pid } of leftOf(data)) process.kill(pid, 'SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A temporary folder with the given files; `tandem` and `zod` can be imported there. */
export function folderWith(files: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-test-'));
  folders.push(folder);
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/tandem'));
  symlinkSync(join(root, 'node_modules/zod'), join(folder, 'node_modules/zod'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Starts a command. What it keeps in `--data DIR` is watched over: nothing of it outlives the test file. */
export function tandem(args: readonly string[], { cwd = root, environment = {} }: RunOptions = {}): Run {
  const data = args[args.indexOf('--data') + 1];
  if (args.includes('--data') && data !== undefined) dataPaths.add(resolve(cwd, data));
  const child = spawn(process.execPath, [...process.execArgv, join(root, 'bin/tandem.js'), ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let out = '';
  let said = '';
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    printed += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    printed += text;
  });
  const run: Run = {
    child,
    pid: child.pid!,
    out: () => out,
    said: () => said,
    printed: () => printed,
    ended: new Promise(done => child.once('close', code => done(code))),
  };
  runs.push(run);
  return run;
}

/** A command that ends: its exit code and what it printed. */
export async function ran(
  args: readonly string[],
  options?: RunOptions,
): Promise<{ code: number | null; out: string; said: string; printed: string }> {
  const run = tandem(args, options);
  const code = await within(run.ended, 60_000, () => `tandem ${args.join(' ')} did not end:\n${run.printed()}`);
  return { code, out: run.out(), said: run.said(), printed: run.printed() };
}

export function stateOf(data: string): AppState | undefined {
  try {
    return JSON.parse(readFileSync(join(data, 'supervisor.json'), 'utf8')) as AppState;
  } catch {
    return undefined;
  }
}

/** What still runs of the app that keeps its data there. */
export function leftOf(data: string): { readonly pid: number }[] {
  const state = stateOf(data);
  return state ? [state.supervisor, ...state.processes].filter(({ pid, birth }) => processBirth(pid) === birth) : [];
}

export const lives = (pid: number): boolean => processBirth(pid) !== undefined;

/** Polls until there is something to find. */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  patienceMs = 30_000,
): Promise<T> {
  const end = performance.now() + patienceMs;
  while (performance.now() < end) {
    const found = await look();
    if (found) return found;
    await new Promise(done => setTimeout(done, 20));
  }
  assert.fail(`not within ${patienceMs} ms: ${what}`);
}

/** Waits for a text on standard output or error. Fails when the process ends first. */
export async function prints(run: Run, pattern: RegExp, patienceMs = 30_000): Promise<RegExpExecArray> {
  const look = (): RegExpExecArray | undefined => {
    const found = pattern.exec(run.printed());
    if (!found && run.child.exitCode !== null) throw new Error(`ended with ${run.child.exitCode}`);
    return found ?? undefined;
  };
  return until(`${pattern}`, look, patienceMs).catch(cause => {
    throw new Error(`${(cause as Error).message}; it printed:\n${run.printed()}`);
  });
}

async function within<T>(work: Promise<T>, patienceMs: number, complaint: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(complaint())), patienceMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
