// The shop as processes: starts `tandem up` as a user would, reads its state file, and can kill what runs.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pause } from './replay.ts';

export interface AppProcess {
  /** The place, such as `inventory-3`; a restarted process has the same. */
  readonly name: string;
  readonly role: string;
  readonly id: string;
  readonly pid: number;
  readonly ready: boolean;
}

interface State {
  readonly supervisor: { readonly pid: number };
  readonly processes: readonly AppProcess[];
  readonly wanted: Readonly<Record<string, number>>;
  readonly facts: Readonly<Record<string, string>>;
}

export interface AppOptions {
  readonly data: string;
  readonly scale: Readonly<Record<string, number>>;
  readonly port: number | undefined;
  /** Where what `tandem up` prints goes. */
  readonly print: (text: string) => void;
}

const files = ['catalogue', 'inventory', 'orders', 'payments', 'recommendations', 'notifications', 'revenue'];
const root = resolve(import.meta.dirname, '../..');

export class RunningApp {
  readonly #options: AppOptions;
  #supervisor: ChildProcess;
  #ended: Promise<number | null>;
  #stopping = false;

  constructor(options: AppOptions) {
    this.#options = options;
    [this.#supervisor, this.#ended] = this.#launch();
  }

  #launch(): [ChildProcess, Promise<number | null>] {
    const { data, scale, port, print } = this.#options;
    const args = files.map(file => join(import.meta.dirname, `${file}.ts`));
    for (const [service, count] of Object.entries(scale)) args.push('--scale', `${service}=${count}`);
    args.push('--data', data);
    if (port !== undefined) args.push('--port', String(port));
    const child = spawn(process.execPath, [...process.execArgv, join(root, 'bin/tandem.js'), 'up', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // A terminal's Ctrl-C goes to the whole group; the shop stops its app itself, after the audit.
      detached: true,
    });
    child.stdout!.on('data', chunk => print(String(chunk)));
    child.stderr!.on('data', chunk => print(String(chunk)));
    const ended = new Promise<number | null>(done => child.once('exit', code => done(code)));
    return [child, ended];
  }

  state(): State | undefined {
    const path = join(this.#options.data, 'supervisor.json');
    return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as State) : undefined;
  }

  /** Resolves when all that was wanted is ready. Fails when `tandem up` ended first. */
  async ready(patienceMs = 60_000): Promise<State> {
    const until = performance.now() + patienceMs;
    let code: number | null | undefined;
    void this.#ended.then(value => (code = value));
    while (performance.now() < until) {
      if (code !== undefined) throw new Error(`tandem up ended with exit code ${code}`);
      const state = this.state();
      if (state && state.supervisor.pid === this.#supervisor.pid && isWhole(state)) return state;
      await pause(50);
    }
    throw new Error(`the shop was not ready within ${patienceMs / 1000} s`);
  }

  get supervisorPid(): number {
    return this.#supervisor.pid!;
  }

  /** After its supervisor was killed: a new one adopts what still runs. */
  relaunch(): void {
    if (!this.#stopping) [this.#supervisor, this.#ended] = this.#launch();
  }

  get ended(): Promise<number | null> {
    return this.#ended;
  }

  /** Drains the app as Ctrl-C would. Resolves with the exit code. */
  stop(): Promise<number | null> {
    this.#stopping = true;
    this.#supervisor.kill('SIGTERM');
    return this.#ended;
  }
}

/** Every wanted process is there and ready. */
export function isWhole(state: State): boolean {
  const wanted = Object.values(state.wanted).reduce((sum, count) => sum + count, 0);
  return (
    wanted > 0 &&
    state.processes.filter(process => process.ready).length >= wanted &&
    state.facts['gatewayUrl'] !== undefined
  );
}
