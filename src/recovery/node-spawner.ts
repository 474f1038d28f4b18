/**
 * Real processes. Each is detached (its own process group), so that Ctrl-C reaches the supervisor alone and a dead
 * supervisor takes nobody along; and writes its records straight into a file, not through a pipe of the supervisor,
 * for the same reason: the next supervisor finds everything that was said while there was none.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { type Clock, every } from '../core/clock.ts';
import { processBirth } from './process-birth.ts';
import type { RecordFiles } from './record-files.ts';
import type { ProcessExit, ProcessReport, RunningProcess, Spawner, SpawnOrder } from './spawner.ts';

export interface NodeSpawnerOptions {
  /** The script and its arguments before `role <role>`. */
  readonly script: readonly string[];
  readonly execArgv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly records: RecordFiles;
  readonly clock: Clock;
  /** A process runs whose records go nowhere, because its file cannot be opened. */
  readonly onUnrecorded?: (id: string, reason: string) => void;
  /** How often an adopted process is looked at: it is no child, so nobody tells of its end. */
  readonly pollMs?: number;
}

export function nodeSpawner(options: NodeSpawnerOptions): Spawner {
  return {
    spawn: order => spawnChild(options, order),
    adopt: (pid, birth, id) => (processBirth(pid) === birth ? adopted(options, pid, birth, id) : undefined),
  };
}

function spawnChild(options: NodeSpawnerOptions, order: SpawnOrder): RunningProcess {
  const output = recordsOf(options, order.id);
  let child: ChildProcess;
  try {
    child = spawn(process.execPath, [...options.execArgv, ...options.script, 'role', order.role], {
      detached: true,
      stdio: ['ignore', output, output, 'ipc'],
      env: { ...options.env, TANDEM_ROLE_SETTINGS: JSON.stringify(order.settings) },
    });
  } finally {
    if (output !== 'ignore') closeSync(output);
  }
  const exits = once<ProcessExit>();
  child.once('exit', (code, signal) => exits.fire({ code, signal, words: options.records.lastWords(order.id) }));
  child.once('error', cause => {
    if (child.pid === undefined) exits.fire({ code: null, signal: null, words: `cannot start: ${cause.message}` });
  });
  return {
    pid: child.pid ?? 0,
    birth: child.pid === undefined ? '' : (processBirth(child.pid) ?? ''),
    stop(graceMs) {
      if (!child.connected) child.kill('SIGTERM');
      else child.send({ kind: 'stop', graceMs }, failure => failure && child.kill('SIGTERM'));
    },
    kill: () => void child.kill('SIGKILL'),
    onReport: listener => void child.on('message', message => listener(message as ProcessReport)),
    onExit: exits.listen,
  };
}

/** Rather a process that says nothing than none at all: a gateway does its work on a full disk. */
function recordsOf(options: NodeSpawnerOptions, id: string): number | 'ignore' {
  try {
    return options.records.open(id);
  } catch (cause) {
    options.onUnrecorded?.(id, (cause as Error).message);
    return 'ignore';
  }
}

/** No child and no channel: it is asked by SIGTERM, and looked at until it is gone. */
function adopted(options: NodeSpawnerOptions, pid: number, birth: string, id: string): RunningProcess {
  const exits = once<ProcessExit>();
  const looking = every(options.clock, options.pollMs ?? 200, () => {
    if (processBirth(pid) === birth) return;
    looking.cancel();
    exits.fire({ code: null, signal: null, words: options.records.lastWords(id) });
  });
  const signal = (name: NodeJS.Signals): void => {
    try {
      if (processBirth(pid) === birth) process.kill(pid, name);
    } catch {
      // Gone between the look and the signal: the next look says so.
    }
  };
  return {
    pid,
    birth,
    stop: () => signal('SIGTERM'),
    kill: () => signal('SIGKILL'),
    onReport: () => {},
    onExit: exits.listen,
  };
}

/** An event that happens at most once; who listens late is told too. */
function once<T>(): { fire(value: T): void; listen(listener: (value: T) => void): void } {
  let fired: { value: T } | undefined;
  const listeners: ((value: T) => void)[] = [];
  return {
    fire(value) {
      if (fired) return;
      fired = { value };
      for (const listener of listeners.splice(0)) listener(value);
    },
    listen(listener) {
      if (fired) listener(fired.value);
      else listeners.push(listener);
    },
  };
}
