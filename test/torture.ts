/**
 * `npm run torture -- [--engine embedded|nats] [--reshard] [--for 30s] [--seed N] [--export FILE]`: histories from real processes. Starts
 * `tandem up` with a service of three instances, lets clients write, read at all levels and make transactions through the
 * gateways, kills (-9) and stops (SIGSTOP) instances, gateways and the engine meanwhile, and judges what the clients saw
 * with the same checkers as the simulation. With `--engine nats` it starts three NATS servers, kills and stops
 * them too, and cuts the app's links to them, one way or both. Where it may (root, nftables), it runs in a network namespace of its
 * own and also cuts links between the app's processes, to the embedded engine above all, and the routes between NATS servers.
 * With `--reshard` the partitions of the service are doubled meanwhile. `--export` writes the history in Jepsen's shape (.edn or .json).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createClient } from 'tandem/client';
import { checkLogs } from '../src/cli/log-check.ts';
import type { Answer } from '../src/contract/call.ts';
import type { Consistency } from '../src/contract/method.ts';
import { durationMs } from '../src/core/duration.ts';
import { seededRandom, systemRandom } from '../src/core/random.ts';
import { FileBlobs } from '../src/log/file-blobs.ts';
import { nodeDisk } from '../src/log/node-disk.ts';
import { dumpLog } from '../src/log/repair.ts';
import { processBirth } from '../src/recovery/process-birth.ts';
import { History, jepsenEvents, type OperationOutcome, toEdn } from '../src/simulation/history.ts';
import { checkLinearizability } from '../src/simulation/linearizability.ts';
import { registerModel } from '../src/simulation/model.ts';
import { checkSessions, type Observation } from '../src/simulation/sessions.ts';
import { type FaultProxy, faultProxy } from './fault-proxy.ts';
import { cutLinks, inNamespace, isInNamespace, missingForCuts } from './link-cuts.ts';
import { findNatsServer, type NatsCluster, type NatsServer, startNats, until } from './nats-servers.ts';
import { begin, judgeTransactions, TransactionSource } from './transactions.ts';

export interface TortureOptions {
  readonly forMs: number;
  readonly seed: number;
  readonly engine?: 'embedded' | 'nats';
  /** Double the partitions of the service meanwhile. */
  readonly reshard?: boolean;
  readonly tell?: (text: string) => void;
}

export interface TortureRun {
  readonly wrong: readonly string[];
  /** What was done to whom, with the time in ms. */
  readonly story: readonly string[];
  readonly history: History;
  /** By outcome. */
  readonly answers: Readonly<Record<OperationOutcome, number>>;
  readonly errors: Readonly<Record<string, number>>;
}

interface AppProcess {
  readonly name: string;
  readonly role: string;
  readonly pid: number;
  readonly birth: string;
  readonly ready: boolean;
  /** Where its link listens. */
  readonly info: { readonly address?: string };
}
interface AppState {
  readonly supervisor: { readonly pid: number; readonly birth: string };
  readonly processes: readonly AppProcess[];
  readonly facts: { readonly gatewayUrl?: string };
}

const root = join(import.meta.dirname, '..');
const keys = ['a', 'b', 'c', 'd', 'e'];
const groups = ['left', 'right'];
const lanes = 6;
/** Engine, naming, monitor, two gateways, three instances. */
const processesWanted = 8;
/** Of one process in a minute: fewer than the young deaths after which it would not be started again. */
const killsMax = 5;
/** Codes that no fault of a process explains. */
const neverExpected = new Set(['INTERNAL', 'LOG_LOST', 'CORRUPT', 'CONFIG', 'INVALID', 'NOT_FOUND', 'CROSS_PARTITION']);

const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms));

export async function torture({
  forMs,
  seed,
  engine = 'embedded',
  reshard = false,
  tell = () => {},
}: TortureOptions): Promise<TortureRun> {
  const random = seededRandom(seed);
  const startedAt = performance.now();
  const now = (): number => performance.now() - startedAt;
  const history = new History(now);
  const observations: Observation[] = [];
  const wrong: string[] = [];
  const story: string[] = [];
  const errors: Record<string, number> = {};
  const source = new TransactionSource(random, groups);
  const cluster = engine === 'nats' ? await ownCluster() : undefined;
  // The app reaches each server by a link that can be cut.
  const links = await Promise.all((cluster?.servers ?? []).map(({ port }) => faultProxy(port)));
  const through = links.map(({ port }) => port);
  const app = new App(cluster?.address('&app=torture', through));
  let steps = 0;
  let stopped = false;

  const say = (text: string): void => {
    story.push(`${Math.round(now())} ms: ${text}`);
    tell(story.at(-1)!);
  };

  /** One request, repeated under its key while its fate may change. */
  const ask = async (
    api: ReturnType<typeof createClient>,
    method: string,
    input: object,
    options: { readonly id: string; readonly consistency?: Consistency; readonly patienceMs?: number },
  ): Promise<{ outcome: OperationOutcome; value?: unknown }> => {
    const giveUpAt = now() + (options.patienceMs ?? 1000 + random.below(6000));
    const methods = api.try('torture') as unknown as Record<
      string,
      (given: object, how: object) => Promise<Answer<unknown, { code: string }>>
    >;
    for (let doubtful = false; ; ) {
      const answer = await methods[method]!(input, {
        idempotencyKey: `${seed}-${options.id}`,
        timeout: `${300 + random.below(3000)}ms`,
        ...(options.consistency && { consistency: options.consistency }),
      });
      if (answer.ok) return { outcome: 'ok', value: answer.value };
      const { code } = answer.error;
      errors[code] = (errors[code] ?? 0) + 1;
      if (neverExpected.has(code)) wrong.push(`${method} ${options.id}: ${code}: ${JSON.stringify(answer.error)}`);
      if (answer.outcome === 'unknown') doubtful = true;
      if (code === 'aborted' || now() > giveUpAt) return { outcome: doubtful ? 'unknown' : 'fail' };
      await pause(random.below(60));
    }
  };

  const lane = async (url: string, at: number): Promise<void> => {
    let api = createClient({ url });
    let session = `c${at}`;
    for (let n = 0; !stopped; n++) {
      const id = `c${at}.${n}`;
      const key = keys[random.below(keys.length)]!;
      const luck = random.next();
      const invoked = steps++;
      const see = (kind: 'read' | 'write', by: string, counted: { n: number; by: string }): void => {
        observations.push({
          session: by,
          kind,
          key,
          version: counted.n,
          value: counted.by,
          invoked,
          returned: steps++,
        });
      };
      if (luck < 0.35) {
        const asked = source.next();
        const end = begin(history, `c${at}`, asked);
        const { outcome, value } = await ask(api, 'transact', { group: asked.group, asked }, { id });
        end(outcome, value);
      } else if (luck < 0.6) {
        const end = history.invoke({ process: `c${at}`, kind: 'add', key, input: 1 });
        const { outcome, value } = await ask(api, 'add', { key, by: id }, { id });
        end(outcome, value);
        if (outcome === 'ok') see('write', session, { n: value as number, by: id });
      } else {
        const level = luck < 0.75 ? 'strong' : luck < 0.9 ? 'sequential' : 'eventual';
        const method = level === 'strong' && luck > 0.7 ? 'look' : 'read';
        const end = level === 'strong' ? history.invoke({ process: `c${at}`, kind: 'read', key }) : () => {};
        const { outcome, value } = await ask(
          api,
          method,
          { key },
          { id, ...(method === 'read' && { consistency: level }) },
        );
        const counted = (value as { n: number; by: string } | null | undefined) ?? { n: 0, by: '' };
        end(outcome, counted.n);
        // An eventual read promises one order only: it is a session of its own.
        if (outcome === 'ok') see('read', level === 'eventual' ? `${id} alone` : session, counted);
      }
      if (random.next() < 0.05) {
        api = createClient({ url });
        session = id;
      }
      await pause(random.below(10));
    }
  };

  let disturbed = 0;
  /** One at a time: with two of three gone writes can only wait. */
  const disturbServer = async (server: NatsServer, link: FaultProxy): Promise<void> => {
    const ms = random.below(2500);
    const ways = isInNamespace() ? (['routes', 'cut', 'kill', 'stop'] as const) : (['cut', 'kill', 'stop'] as const);
    const how = ways[disturbed++ % ways.length];
    if (how === 'routes') {
      const oneWay = random.next() < 0.5;
      say(`cut the routes of NATS server ${server.pid}${oneWay ? ', to it only,' : ''} for ${ms} ms`);
      const heal = await cutLinks({
        pid: server.pid,
        oneWay,
        only: cluster!.servers.map(({ routePort }) => routePort),
      });
      await pause(ms);
      await heal();
    } else if (how === 'cut') {
      const oneWay = random.next() < 0.5;
      say(`cut the links to NATS server ${server.pid}${oneWay ? ', its answers only,' : ''} for ${ms} ms`);
      if (oneWay) link.swallowAnswers();
      else link.cut();
      await pause(ms);
      link.heal();
    } else if (how === 'kill') {
      say(`kill -9 NATS server ${server.pid}, back after ${ms} ms`);
      server.kill('SIGKILL');
      await server.ended();
      await pause(ms);
      server.start();
      await until(async () => (await fetch(`http://127.0.0.1:${server.monitorPort}/healthz`)).ok, 30_000);
    } else {
      say(`stop NATS server ${server.pid} for ${ms} ms`);
      server.kill('SIGSTOP');
      await pause(ms);
      server.kill('SIGCONT');
    }
  };

  /** Processes that were disturbed. */
  let turns = 0;
  /** From everyone, or from the engine alone; clients reach the gateways' doors all the time. */
  const cutOff = async (victim: AppProcess, processes: readonly AppProcess[]): Promise<void> => {
    const ms = random.below(2500);
    const oneWay = random.next() < 0.5;
    const enginePort = portOf(processes.find(({ role }) => role === 'engine')?.info.address);
    const toEngine = enginePort !== undefined && victim.role !== 'engine' && random.next() < 0.6;
    const gatewayPort = portOf(app.state()?.facts.gatewayUrl);
    const how = `${toEngine ? ' to the engine' : ''}${oneWay ? ', what it would hear only,' : ''}`;
    say(`cut the links of ${victim.name} (${victim.pid})${how} for ${ms} ms`);
    const heal = await cutLinks({
      pid: victim.pid,
      oneWay,
      except: gatewayPort === undefined ? [] : [gatewayPort],
      ...(toEngine && { only: [enginePort] }),
    });
    await pause(ms);
    await heal();
  };

  /** The command may meet an engine that is away; what it began goes on without it. */
  const resharded = async (): Promise<void> => {
    const until = now() + forMs + 60_000;
    await pause(forMs / 8);
    for (;;) {
      say('tandem reshard torture');
      const { code, printed } = await app.run(['reshard', 'torture', '--to', '8', '--json']);
      say(printed.trim());
      if (code === 0) return;
      if (now() > until) throw new Error(`resharding did not end: ${printed}`);
      await pause(500);
    }
  };

  const disturb = async (endAt: number): Promise<void> => {
    const kills = new Map<string, number[]>();
    while (!stopped && now() < endAt) {
      const processes = app.state()?.processes ?? [];
      const luck = turns < 2 ? 0 : random.next();
      const role =
        luck < 0.45 ? 'instance' : luck < 0.65 ? 'gateway' : luck < 0.9 ? 'engine' : luck < 0.95 ? 'naming' : 'monitor';
      if (cluster && (role === 'engine' || disturbed === 0)) {
        const at = random.below(cluster.servers.length);
        await disturbServer(cluster.servers[at]!, links[at]!);
        await pause(500 + random.below(2000));
        continue;
      }
      const candidates = processes.filter(process => process.role === role && process.ready);
      const victim = candidates[random.below(candidates.length)];
      if (victim && processBirth(victim.pid) === victim.birth) {
        const recent = (kills.get(victim.name) ?? []).filter(at => at > now() - 60_000);
        // Each run, however short, has a cut and a kill.
        const turn = turns++;
        if (isInNamespace() && (turn === 0 || (turn > 1 && random.next() < 0.35))) await cutOff(victim, processes);
        else if (recent.length < killsMax && (turn === 1 || random.next() < 0.5)) {
          kills.set(victim.name, [...recent, now()]);
          say(`kill -9 ${victim.name} (${victim.pid})`);
          process.kill(victim.pid, 'SIGKILL');
        } else {
          const ms = random.next() < 0.7 ? random.below(700) : random.below(3000);
          say(`stop ${victim.name} (${victim.pid}) for ${ms} ms`);
          process.kill(victim.pid, 'SIGSTOP');
          await pause(ms);
          if (processBirth(victim.pid) === victim.birth) process.kill(victim.pid, 'SIGCONT');
        }
      }
      await pause(100 + random.below(1200));
    }
  };

  try {
    const url = await app.start();
    say('the app is up');
    const beginAt = now();
    const clients = Promise.all(Array.from({ length: lanes }, (_, at) => lane(url, at)));
    await pause(500);
    const resharding = reshard ? resharded() : undefined;
    await disturb(beginAt + forMs);
    await app.whole();
    say('calm');
    await resharding;
    await pause(500);
    stopped = true;
    await clients;

    const api = createClient({ url });
    for (const key of keys) {
      const end = history.invoke({ process: 'judge', kind: 'read', key });
      const read = await ask(api, 'look', { key }, { id: `judge.${key}`, patienceMs: 20_000 });
      const total = (read.value as { n: number } | null | undefined)?.n ?? 0;
      end(read.outcome, total);
      if (read.outcome !== 'ok') wrong.push(`the app does not recover: key ${key}`);
      const heard = async (): Promise<{ count: number; ordered: boolean }> => {
        const { value } = await ask(api, 'heard', { key }, { id: `heard.${key}.${steps++}`, patienceMs: 10_000 });
        return (value as { count: number; ordered: boolean } | null | undefined) ?? { count: 0, ordered: true };
      };
      const until = now() + 20_000;
      let events = await heard();
      for (; events.count < total && now() < until; events = await heard()) await pause(100);
      if (events.count !== total || !events.ordered)
        wrong.push(`counter ${key} is ${total}; of its events ${JSON.stringify(events)} took effect`);
    }
  } catch (cause) {
    wrong.push(`${(cause as Error).message}\n${app.printed}`);
  } finally {
    stopped = true;
    await app.stop();
    for (const link of links) await link.close();
    await cluster?.close();
  }
  if (engine === 'embedded') {
    const blobs = new FileBlobs(nodeDisk, join(app.data, 'engine/blobs'), systemRandom);
    const { findings } = await checkLogs(dumpLog(join(app.data, 'engine'), nodeDisk), name => blobs.get(name));
    for (const { log, position, what } of findings) wrong.push(`${log} ${position}: ${what}`);
  }
  rmSync(app.data, { recursive: true, force: true });

  const registers = history.operations.filter(({ key }) => keys.includes(key));
  const judgement = checkLinearizability(registers, registerModel(0), { stepsMax: 2_000_000 });
  if (judgement.kind !== 'linearizable') wrong.push(`${judgement.kind}: ${JSON.stringify(judgement)}`);
  wrong.push(...judgeTransactions(history.operations));
  for (const violation of checkSessions(observations)) wrong.push(JSON.stringify(violation));
  const answers = { ok: history.count('ok'), fail: history.count('fail'), unknown: history.count('unknown') };
  return { wrong: wrong.slice(0, 12), story, history, answers, errors };
}

function portOf(address: string | undefined): number | undefined {
  return address === undefined ? undefined : Number(new URL(address).port);
}

async function ownCluster(): Promise<NatsCluster> {
  const found = findNatsServer();
  if ('missing' in found) throw new Error(found.missing);
  return startNats(found.path, 3);
}

/** `tandem up` with a data directory of its own. */
class App {
  /** Of the cluster; undefined for an engine of its own. */
  readonly #engine: string | undefined;
  readonly data: string = mkdtempSync(join(tmpdir(), 'tandem-torture-'));
  #child: ChildProcess | undefined;
  #ended: Promise<unknown> = Promise.resolve();
  printed = '';

  constructor(engine: string | undefined) {
    this.#engine = engine;
  }

  async start(): Promise<string> {
    const args = ['up', join(import.meta.dirname, 'torture-service.ts'), '--data', this.data, '--port', '0'];
    args.push('--scale', 'torture=3');
    if (this.#engine !== undefined) args.push('--engine', this.#engine);
    const child = spawn(process.execPath, [...process.execArgv, join(root, 'bin/tandem.js'), ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#ended = new Promise(done => child.once('close', done));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.printed = (this.printed + text).slice(-20_000);
      });
    }
    return (await this.whole()).facts.gatewayUrl!;
  }

  /** A command about this app. */
  async run(args: readonly string[]): Promise<{ readonly code: number | null; readonly printed: string }> {
    const child = spawn(
      process.execPath,
      [...process.execArgv, join(root, 'bin/tandem.js'), ...args, '--data', this.data],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let printed = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        printed += text;
      });
    const code = await new Promise<number | null>(done => child.once('close', done));
    return { code, printed };
  }

  state(): AppState | undefined {
    try {
      return JSON.parse(readFileSync(join(this.data, 'supervisor.json'), 'utf8')) as AppState;
    } catch {
      return undefined;
    }
  }

  /** Everything that was wanted runs and is ready. */
  async whole(patienceMs = 60_000): Promise<AppState> {
    const wanted = this.#engine === undefined ? processesWanted : processesWanted - 1;
    for (const until = performance.now() + patienceMs; performance.now() < until; await pause(50)) {
      if (this.#child?.exitCode !== null) throw new Error(`tandem up ended with ${this.#child?.exitCode}`);
      const state = this.state();
      if (state?.facts.gatewayUrl && state.processes.filter(({ ready }) => ready).length === wanted) return state;
    }
    throw new Error(`the app was not whole within ${patienceMs} ms`);
  }

  /** Asks it to stop, and ends by pid what does not. */
  async stop(): Promise<void> {
    const state = this.state();
    this.#child?.kill('SIGTERM');
    await Promise.race([this.#ended, pause(20_000)]);
    for (const { pid, birth } of [
      ...(state ? [state.supervisor, ...state.processes] : []),
      ...(this.state()?.processes ?? []),
    ])
      if (processBirth(pid) === birth) process.kill(pid, 'SIGKILL');
  }
}

/** The command, in a process of its own, with what it printed. */
export async function tortureApart(
  args: readonly string[],
): Promise<{ code: number | null; printed: string; ok: number }> {
  const child = spawn(process.execPath, [...process.execArgv, import.meta.filename, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
  const code = await new Promise<number | null>(done => child.once('close', done));
  return { code, printed, ok: Number(/"ok":(\d+)/.exec(printed)?.[1] ?? 0) };
}

/** Where links can be cut, the same again in a namespace of its own. */
function elsewhere(): ChildProcess | undefined {
  if (isInNamespace()) return undefined;
  const missing = missingForCuts();
  if (missing === undefined)
    return inNamespace(process.execPath, [...process.execArgv, ...process.argv.slice(1)], { stdio: 'inherit' });
  console.log(`no links between processes are cut: ${missing}`);
  return undefined;
}

const child = import.meta.main ? elsewhere() : undefined;
if (child) child.once('exit', code => process.exit(code ?? 1));
else if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      engine: { type: 'string', default: 'embedded' },
      for: { type: 'string', default: '30s' },
      reshard: { type: 'boolean', default: false },
      seed: { type: 'string', default: String(Date.now() % 100_000) },
      export: { type: 'string' },
    },
  });
  const [forMs, seed] = [durationMs(values.for as '30s'), Number(values.seed)];
  console.log(`seed ${seed} (chooses what is done; real processes do not repeat themselves)`);
  const { engine } = values;
  if (engine !== 'embedded' && engine !== 'nats') throw new Error(`--engine is embedded or nats, not '${engine}'`);
  const run = await torture({ forMs, seed, engine, reshard: values.reshard, tell: text => console.log(text) });
  if (values.export) {
    const { operations } = run.history;
    const text = values.export.endsWith('.json') ? JSON.stringify(jepsenEvents(operations)) : toEdn(operations);
    writeFileSync(values.export, text);
    console.log(`history: ${values.export}`);
  }
  console.log(`answers: ${JSON.stringify(run.answers)}, errors on the way: ${JSON.stringify(run.errors)}`);
  for (const text of run.wrong) console.log(`WRONG: ${text}`);
  console.log(run.wrong.length === 0 ? 'nothing wrong' : `${run.wrong.length} wrong`);
  process.exit(run.wrong.length === 0 ? 0 : 1);
}
