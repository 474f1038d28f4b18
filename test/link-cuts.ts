/**
 * Cuts TCP links of running processes by packet filter, so that nobody is told: connections stay open and nothing gets through, one
 * way or both, as on a network that lost its way. It needs a network namespace of its own (`inNamespace` starts a command in one),
 * since the rules are those of the whole namespace; making one needs root, and Debian's nftables and iproute2.
 */
import { type ChildProcess, execFile, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const mark = 'TANDEM_TEST_NAMESPACE';

/** Why links cannot be cut here, and what to do; undefined when they can. */
export function missingForCuts(): string | undefined {
  if (process.getuid?.() !== 0) return 'links can only be cut by root, in a network namespace: run it as root';
  for (const [tool, args, debian] of [
    ['nft', ['--version'], 'nftables'],
    ['ss', ['--version'], 'iproute2'],
    ['unshare', ['--version'], 'util-linux'],
  ] as const) {
    try {
      execFileSync(tool, args, { stdio: 'ignore' });
    } catch {
      return `${tool} was not found: apt-get install ${debian}`;
    }
  }
  try {
    execFileSync('unshare', ['-n', 'nft', 'list', 'ruleset'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'this kernel makes no network namespace with a packet filter';
  }
}

export function isInNamespace(): boolean {
  return process.env[mark] !== undefined;
}

/** Starts a command where nothing but it and its children is, with a loopback of its own. */
export function inNamespace(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const script = 'ip link set lo up && exec "$@"';
  return spawn('unshare', ['-n', 'sh', '-c', script, 'sh', command, ...args], {
    ...options,
    env: { ...process.env, ...options.env, [mark]: '1' },
  });
}

export interface Cut {
  /** The process whose links are cut. */
  readonly pid: number;
  /** Only what it would hear is lost; what it says gets through. */
  readonly oneWay: boolean;
  /** Only links whose other end listens on, or whose own end is, one of these ports; default: all but `except`. */
  readonly only?: readonly number[];
  /** Ports of its doors that stay open. */
  readonly except?: readonly number[];
}

/** Cuts, and gives what heals it. What was lost meanwhile is sent again by TCP, as by a network that found its way again. */
export async function cutLinks(cut: Cut): Promise<() => Promise<void>> {
  const ports = await portsOf(cut);
  const table = `cut${cut.pid}`;
  const set = `{ ${ports.join(', ')} }`;
  const hears = `tcp dport ${set} drop`;
  const says = cut.oneWay ? '' : `tcp sport ${set} drop`;
  const chain = ['type filter hook input priority 0', hears, says].join('\n');
  await run('nft', [`table inet ${table} {\nchain in {\n${chain}\n}\n}`]);
  return async () => void (await run('nft', ['delete', 'table', 'inet', table]));
}

/** Local ports of its sockets, those that listen and those that are connected. */
async function portsOf({ pid, only, except = [] }: Cut): Promise<number[]> {
  const { stdout } = await run('ss', ['-tanpH']);
  const ports = new Set<number>();
  for (const line of stdout.split('\n')) {
    if (!line.includes(`pid=${pid},`)) continue;
    const [local, peer] = line.split(/\s+/).slice(3, 5).map(portOf) as [number, number];
    if (except.includes(local) || (only && !only.includes(local) && !only.includes(peer))) continue;
    ports.add(local);
  }
  if (ports.size === 0) throw new Error(`process ${pid} has no links`);
  return [...ports];
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1)) || 0;
}
