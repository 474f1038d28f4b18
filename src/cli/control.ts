/**
 * The control link of a running app: a Unix socket that only its owner can reach, on which commands from another
 * terminal ask the supervisor (`ps`, `scale`, `stop`) and, through it, the app (`call`, `topic publish`). Of `tandem dev`
 * the app's own process answers.
 */
import { createHash } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { linkDialer } from '../communication/link-dialer.ts';
import { type LinkServer, openLinkServer } from '../communication/link-server.ts';
import { unixTransport } from '../communication/unix.ts';
import { systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { silentLogger } from '../core/logger.ts';
import { systemRandom } from '../core/random.ts';
import type { When } from '../events/later.ts';
import type { ShownLetter } from '../events/operations.ts';
import type { ParkedKey } from '../events/parking.ts';
import type { TopicView } from '../events/topic-view.ts';
import { openMeter } from '../monitoring/meter.ts';
import type { ProcessView, StopSummary, StoryEvent } from '../recovery/supervisor.ts';
import type { AppLink, BalanceView, MapView, StrategyChange, TablesView } from './app-link.ts';
import type { UndeclaredTable } from './undeclared-tables.ts';

export interface ControlMethods {
  $ps: {
    input: null;
    output: { readonly processes: readonly ProcessView[]; readonly facts: Readonly<Record<string, unknown>> };
  };
  /** The engine's address, with its password: the link is its owner's alone; and where the certificates to reach it lie. */
  $engine: { input: null; output: { readonly address: string; readonly linkTls: string | null } };
  $story: { input: null; output: readonly StoryEvent[] };
  $scale: { input: { readonly name: string; readonly count: number }; output: null };
  $stop: { input: { readonly graceMs: number }; output: StopSummary };
  $call: {
    input: { readonly service: string; readonly method: string; readonly input: unknown; readonly timeoutMs: number };
    output: unknown;
  };
  $publish: {
    input: { readonly topic: string; readonly event: unknown; readonly when?: When; readonly timeoutMs: number };
    output: null;
  };
  $deadLetters: {
    input: { readonly subscription: string; readonly limit: number; readonly timeoutMs: number };
    output: readonly ShownLetter[];
  };
  $topics: {
    input: { readonly topic: string | undefined; readonly timeoutMs: number };
    output: readonly TopicView[];
  };
  $tables: {
    input: { readonly service: string | undefined; readonly timeoutMs: number };
    output: TablesView;
  };
  $parked: {
    input: { readonly subscription: string; readonly limit: number; readonly timeoutMs: number };
    output: readonly ParkedKey[];
  };
  $replay: {
    input: {
      readonly subscription: string;
      readonly from: Parameters<AppLink['replay']>[1];
      readonly timeoutMs: number;
    };
    output: Awaited<ReturnType<AppLink['replay']>>;
  };
  $discard: {
    input: { readonly subscription: string; readonly key: string; readonly timeoutMs: number };
    output: boolean;
  };
  $undeclared: {
    input: { readonly service: string | undefined; readonly timeoutMs: number };
    output: readonly UndeclaredTable[];
  };
  $dropTable: {
    input: { readonly service: string; readonly table: string; readonly timeoutMs: number };
    output: number;
  };
  $reshard: {
    input: { readonly service: string; readonly to: number | undefined; readonly timeoutMs: number };
    output: MapView;
  };
  $partitionMap: { input: { readonly service: string; readonly timeoutMs: number }; output: MapView };
  $balance: {
    input: { readonly change: StrategyChange | undefined; readonly timeoutMs: number };
    output: readonly BalanceView[];
  };
  $redrive: {
    input: { readonly subscription: string; readonly limit: number; readonly timeoutMs: number };
    output: number;
  };
}

export type ControlAnswers = {
  readonly [K in keyof ControlMethods]: (
    input: ControlMethods[K]['input'],
  ) => ControlMethods[K]['output'] | Promise<ControlMethods[K]['output']>;
};

/** In the data directory, or (paths of Unix sockets end at about 100 bytes) in the temporary one. */
export function controlAddress(dataPath: string): string {
  const near = join(dataPath, 'control.sock');
  if (Buffer.byteLength(near) < 100) return `unix://${near}`;
  return `unix://${join(tmpdir(), `tandem-${createHash('sha256').update(dataPath).digest('hex').slice(0, 16)}.sock`)}`;
}

export async function openControl(address: string, answers: Partial<ControlAnswers>): Promise<LinkServer> {
  const path = address.slice('unix://'.length);
  rmSync(path, { force: true });
  const server = await openLinkServer({
    transports: [unixTransport()],
    address,
    answer: async incoming => {
      const answer = (answers as Record<string, ((input: never) => unknown) | undefined>)[incoming.method];
      if (!answer) throw new TandemError('NOT_FOUND', `the supervisor does not answer '${incoming.method}'`);
      return { body: await answer(incoming.body as never) };
    },
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    meter: openMeter(systemClock),
  });
  chmodSync(path, 0o600);
  return server;
}

/** One question to a supervisor. @throws UNAVAILABLE when none answers there, or what it answered with. */
export async function ask<K extends keyof ControlMethods>(
  address: string,
  method: K,
  input: ControlMethods[K]['input'],
  timeoutMs: number,
): Promise<ControlMethods[K]['output']> {
  const dialer = linkDialer({
    transports: [unixTransport()],
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    meter: openMeter(systemClock),
  });
  try {
    const reply = await dialer.dial(address).call(method, input, { deadline: systemClock.monotonic() + timeoutMs });
    return reply.body as ControlMethods[K]['output'];
  } finally {
    await dialer.close();
  }
}
