import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import type { ProcessExit, ProcessReport, RunningProcess, Spawner, SpawnOrder } from './spawner.ts';
import type { StateStore, SupervisorState } from './state-file.ts';
import { type ProcessSpec, type StoryEvent, Supervisor } from './supervisor.ts';

/** Processes that only exist in a test: they start in 100 ms, end 50 ms after they are asked, and die when told. */
class FakeProcess implements RunningProcess {
  readonly pid: number;
  readonly birth: string;
  readonly order: SpawnOrder | undefined;
  readonly asked: number[] = [];
  deaf = false;
  gone = false;
  readonly #reports: ((report: ProcessReport) => void)[] = [];
  readonly #exits: ((exit: ProcessExit) => void)[] = [];
  readonly #after: (ms: number, task: () => void) => void;

  constructor(
    pid: number,
    birth: string,
    order: SpawnOrder | undefined,
    after: (ms: number, task: () => void) => void,
  ) {
    this.pid = pid;
    this.birth = birth;
    this.order = order;
    this.#after = after;
  }
  report(report: ProcessReport): void {
    if (!this.gone) for (const listener of this.#reports) listener(report);
  }
  exit(exit: ProcessExit): void {
    if (this.gone) return;
    this.gone = true;
    for (const listener of this.#exits) listener(exit);
  }
  stop(graceMs: number): void {
    this.asked.push(graceMs);
    if (!this.deaf) this.#after(50, () => this.exit({ code: 0, signal: null }));
  }
  kill(): void {
    this.#after(1, () => this.exit({ code: null, signal: 'SIGKILL' }));
  }
  onReport(listener: (report: ProcessReport) => void): void {
    this.#reports.push(listener);
  }
  onExit(listener: (exit: ProcessExit) => void): void {
    this.#exits.push(listener);
  }
}

function world() {
  const clock = virtualClock();
  const all: FakeProcess[] = [];
  const told: StoryEvent[] = [];
  let pids = 100;
  let starts = (process: FakeProcess): void => {
    clock.after(100, () => process.report({ kind: 'ready', info: { address: `tcp://127.0.0.1:${process.pid}` } }));
  };
  const after = (ms: number, task: () => void): void => void clock.after(ms, task);
  const spawner: Spawner = {
    spawn(order) {
      const process = new FakeProcess(++pids, `boot:${pids}`, order, after);
      starts(process);
      all.push(process);
      return process;
    },
    adopt(pid, birth) {
      const process = all.find(other => other.pid === pid && other.birth === birth && !other.gone);
      return (
        process &&
        Object.assign(new FakeProcess(pid, birth, undefined, after), {
          kill: () => process.exit({ code: null, signal: 'SIGKILL' }),
        })
      );
    },
  };
  let saved: SupervisorState | undefined;
  const store: StateStore = { load: () => saved, save: state => (saved = structuredClone(state)) };
  const open = (specs: readonly ProcessSpec[]): Supervisor =>
    new Supervisor({
      specs,
      spawner,
      store,
      self: { pid: 1, birth: 'boot:1' },
      clock,
      random: seededRandom(7),
      logger: silentLogger,
      onEvent: event => told.push(event),
    });
  return {
    clock,
    all,
    told,
    open,
    store,
    living: () => all.filter(process => !process.gone),
    of: (name: string) =>
      all.findLast(process => process.order?.id.startsWith(`${name}-`) || process.order?.id === name)!,
    onStart: (how: (process: FakeProcess) => void) => (starts = how),
  };
}

const spec = (name: string, role: ProcessSpec['role'], instances = 1): ProcessSpec => ({
  name,
  role,
  instances,
  settings: life => ({ id: life.id, engineAddress: life.engine.address, former: life.former.address }),
});
const shop = (instances = 2): ProcessSpec[] => [
  spec('engine', 'engine'),
  spec('monitor', 'monitor'),
  spec('gateway', 'gateway', 2),
  spec('stock', 'instance', instances),
];

test('a process that cannot start for a reason that no try mends is given up at once, with its own words', async () => {
  const { clock, open, onStart, all } = world();
  onStart(process => {
    process.report({ kind: 'failed', code: 'CONFIG', message: 'set TANDEM_STOCK_URL' });
    clock.after(10, () => {
      process.report({ kind: 'failed', code: 'CONFIG', message: 'set TANDEM_STOCK_URL' });
      process.exit({ code: 1, signal: null });
    });
  });
  const supervisor = open(shop());
  await assert.rejects(clock.complete(supervisor.start()), { code: 'CONFIG', message: 'engine: set TANDEM_STOCK_URL' });
  assert.equal(all.length, 1);
});

test('a process that keeps dying young is given up loudly, with the tries and the last words', async () => {
  const { clock, open, onStart, all, told } = world();
  onStart(process => {
    clock.after(10, () => process.exit({ code: 1, signal: null, words: 'Error: no such host db\n    at x.ts:1' }));
  });
  const supervisor = open([spec('stock', 'instance')]);
  await assert.rejects(
    clock.complete(supervisor.start()),
    /started 8 times within \d+ s and died young.*no such host db/,
  );
  assert.equal(all.length, 8);
  assert.equal(told.at(-1)?.kind, 'gave-up');
});

test('what was given up is tried now and then, for ever, and is whole again when the cause is gone', async () => {
  const { clock, open, onStart, of, all, told } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  await clock.advance(10_000);
  onStart(process => void clock.after(10, () => process.exit({ code: 1, signal: null, words: 'Error: no room' })));
  of('engine').exit({ code: null, signal: 'SIGKILL' });
  of('stock-1').exit({ code: null, signal: 'SIGKILL' });
  await clock.advance(20_000);
  const gaveUp = told.find(({ kind }) => kind === 'gave-up')!;
  assert.match(gaveUp.message, /engine does not start, and is tried again every 30 s: started 8 times.*no room/);
  const view = supervisor.list().find(({ name }) => name === 'engine')!;
  assert.equal(view.state, 'failed');
  assert(view.nextTryAt! > clock.now() && view.nextTryAt! <= clock.now() + 30_000);
  const before = all.length;
  await clock.advance(600_000);
  assert.equal(all.length - before, 20, 'one try each 30 s, no bursts, and nothing else is started in vain');
  assert.equal(told.filter(({ kind }) => kind === 'gave-up').length, 1, 'it is said loudly once');
  onStart(process => void clock.after(100, () => process.report({ kind: 'ready', info: {} })));
  await clock.advance(31_000);
  assert(supervisor.list().every(({ state, nextTryAt }) => state === 'ready' && nextTryAt === undefined));
  await clock.advance(10_000);
  of('engine').exit({ code: null, signal: 'SIGKILL' });
  await clock.advance(101);
  assert.equal(supervisor.list()[0]!.state, 'ready', 'after a steady life it is restarted at once again');
});

test('a failure that no try mends at once is tried now and then too: a person may have mended it', async () => {
  const { clock, open, onStart, of, told } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  await clock.advance(10_000);
  onStart(process => {
    process.report({ kind: 'failed', code: 'CONFIG', message: 'its disk is full' });
    clock.after(10, () => {
      process.report({ kind: 'failed', code: 'CONFIG', message: 'its disk is full' });
      process.exit({ code: 1, signal: null });
    });
  });
  of('monitor').exit({ code: null, signal: 'SIGKILL' });
  await clock.advance(50);
  assert.equal(told.at(-1)?.kind, 'gave-up');
  onStart(process => void clock.after(100, () => process.report({ kind: 'ready', info: {} })));
  await clock.advance(30_200);
  assert(supervisor.list().every(({ state }) => state === 'ready'));
});

test('whatever is thrown while a process is started counts as a failed start, not as the end of the supervisor', async () => {
  const { clock, open, onStart, of, told, living } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  await clock.advance(10_000);
  onStart(() => {
    throw new Error('ENOSPC: no space left on device, open');
  });
  of('stock-1').exit({ code: null, signal: 'SIGKILL' });
  of('engine').exit({ code: null, signal: 'SIGKILL' });
  await clock.advance(120_000);
  assert(told.some(({ kind, message }) => kind === 'failed' && /could not be started: ENOSPC/.test(message)));
  assert.equal(supervisor.list().find(({ name }) => name === 'engine')?.state, 'failed');
  onStart(process => void clock.after(100, () => process.report({ kind: 'ready', info: {} })));
  await clock.advance(31_000);
  assert(supervisor.list().every(({ state }) => state === 'ready'));
  assert.equal(living().filter(({ order }) => order?.role === 'engine').length, 1);
});

test('stop ends the slow tries', async () => {
  const { clock, open, onStart, of, all } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  onStart(process => void clock.after(10, () => process.exit({ code: 1, signal: null })));
  of('stock-1').exit({ code: null, signal: 'SIGKILL' });
  await clock.advance(20_000);
  assert.equal(supervisor.list().find(({ name }) => name === 'stock-1')?.state, 'failed');
  await clock.complete(supervisor.stop(1000));
  const before = all.length;
  await clock.advance(100_000);
  assert.equal(all.length, before);
});

test('a process that is never ready is killed and tried again', async () => {
  const { clock, open, onStart, all, told } = world();
  let first = true;
  onStart(process => {
    if (!first) clock.after(10, () => process.report({ kind: 'ready', info: {} }));
    first = false;
  });
  const supervisor = open([spec('stock', 'instance')]);
  await clock.complete(supervisor.start());
  assert.equal(all.length, 2);
  assert(told.some(event => event.kind === 'condemned' && event.message.includes('30000 ms')));
});

test('scaling an unknown service or to a wrong number is refused and changes nothing', async () => {
  const { clock, open, living } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  await assert.rejects(supervisor.scale('stok', 2), { code: 'NOT_FOUND', message: /there are: stock/ });
  await assert.rejects(supervisor.scale('engine', 2), { code: 'NOT_FOUND' });
  await assert.rejects(supervisor.scale('stock', -1), { code: 'INVALID' });
  assert.equal(living().length, 6);
});

test('the engine starts first, then the rest side by side with its address', async () => {
  const { clock, open, all } = world();
  const starting = open(shop()).start();
  await clock.advance(99);
  assert.deepEqual(
    all.map(process => process.order?.role),
    ['engine'],
  );
  await clock.advance(1);
  assert.equal(all.length, 6);
  await clock.complete(starting);
  for (const process of all.slice(1)) assert.equal(process.order?.settings.engineAddress, 'tcp://127.0.0.1:101');
});

test('a killed process of a steady life is back at once, told what its former life said', async () => {
  const { clock, open, of } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  await clock.advance(10_000);
  const victim = of('stock-2');
  victim.exit({ code: null, signal: 'SIGKILL' });
  await clock.advance(101);
  const heir = of('stock-2');
  assert.notEqual(heir, victim);
  assert.equal(heir.order?.settings.former, `tcp://127.0.0.1:${victim.pid}`);
  assert.equal(supervisor.list().find(process => process.name === 'stock-2')?.state, 'ready');
});

test('while the engine is down nothing else is started in vain', async () => {
  const { clock, open, of, all } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  await clock.advance(10_000);
  of('engine').exit({ code: null, signal: 'SIGKILL' });
  of('stock-1').exit({ code: null, signal: 'SIGKILL' });
  await clock.advance(50);
  assert.equal(all.length, 7, 'only the engine was started');
  await clock.advance(200);
  assert(supervisor.list().every(process => process.state === 'ready'));
});

test('stuck and silent processes are killed and started anew; slow and unknown ones are left alone', async () => {
  const { clock, open, of } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  await clock.advance(10_000);
  const victim = of('stock-1');
  supervisor.report(victim.order!.id, 'slow');
  supervisor.report('stock-1-nobody', 'stuck');
  await clock.advance(10);
  assert.equal(victim.gone, false);
  supervisor.report(victim.order!.id, 'stuck');
  await clock.advance(200);
  assert.equal(victim.gone, true);
  assert.equal(supervisor.list().find(process => process.name === 'stock-1')?.state, 'ready');
});

test('scale adds ready instances and takes the highest away again, after they were drained', async () => {
  const { clock, open, living, store } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  await clock.complete(supervisor.scale('stock', 5));
  assert.equal(living().length, 9);
  await clock.complete(supervisor.scale('stock', 1));
  await clock.settle();
  assert.deepEqual(
    supervisor
      .list()
      .filter(process => process.spec === 'stock')
      .map(process => process.name),
    ['stock-1'],
  );
  assert.deepEqual(store.load()?.wanted, { engine: 1, monitor: 1, gateway: 2, stock: 1 });
});

test('stop drains gateways, then instances, then the rest, the engine last', async () => {
  const { clock, open, told } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  const summary = await clock.complete(supervisor.stop(1000));
  assert.equal(summary.drained, 6);
  assert.deepEqual(summary.killed, []);
  const order = told.filter(event => event.kind === 'stopped').map(event => event.name);
  assert.deepEqual(order.slice(0, 2).sort(), ['gateway-1', 'gateway-2']);
  assert.deepEqual(order.slice(2, 4).sort(), ['stock-1', 'stock-2']);
  assert.deepEqual(order.slice(4), ['monitor', 'engine']);
});

test('who does not end in its grace is killed and named', async () => {
  const { clock, open, of } = world();
  const supervisor = open(shop());
  await clock.complete(supervisor.start());
  of('stock-2').deaf = true;
  const summary = await clock.complete(supervisor.stop(1000));
  assert.deepEqual(summary.killed, ['stock-2']);
  assert.equal(summary.drained, 5);
});

test('stop during the start ends what was started and the start says so', async () => {
  const { clock, open, living } = world();
  const supervisor = open(shop());
  const starting = assert.rejects(supervisor.start(), { code: 'CLOSED' });
  await clock.advance(120);
  await clock.complete(supervisor.stop(1000));
  await starting;
  assert.equal(living().length, 0);
});

test('the next supervisor adopts what still runs, starts what does not, and lets a recycled pid alone', async () => {
  const { clock, open, all, store, of, told } = world();
  const first = open(shop());
  await clock.complete(first.start());
  await clock.settle();
  const state = store.load()!;
  of('stock-1').gone = true;
  const recycled = of('stock-2');
  const doctored = {
    ...state,
    processes: state.processes.map(saved => (saved.pid === recycled.pid ? { ...saved, birth: 'boot:7' } : saved)),
  };
  told.length = 0;
  const second = open(shop());
  await clock.complete(second.start(doctored));
  assert.deepEqual(
    told
      .filter(event => event.kind === 'adopted')
      .map(event => event.name)
      .sort(),
    ['engine', 'gateway-1', 'gateway-2', 'monitor'],
  );
  assert.equal(all.length, 8);
  assert.equal(recycled.gone, false);
  assert.equal(of('stock-1').order?.settings.engineAddress, 'tcp://127.0.0.1:101');
});

test('an adopted process that is no longer wanted is drained', async () => {
  const { clock, open, store, told } = world();
  await clock.complete(open(shop(3)).start());
  await clock.settle();
  told.length = 0;
  await clock.complete(open(shop(2)).start(store.load()));
  assert(told.some(event => event.kind === 'stopped' && event.name === 'stock-3'));
});
