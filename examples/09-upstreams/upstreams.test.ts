import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';

const here = import.meta.dirname;

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, args, { cwd: here, stdio: ['ignore', 'pipe', 'inherit'] });
}

async function firstLine(child: ChildProcess): Promise<string> {
  let text = '';
  for await (const chunk of child.stdout!) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  return text.split('\n')[0]!;
}

async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number | null> {
  const exited = once(child, 'exit');
  child.kill(signal);
  const [code] = await exited;
  return code as number | null;
}

test('two plain servers behind one address; one dies, and no request notices', async () => {
  const servers = [start(['server.ts', '0']), start(['server.ts', '0'])];
  const [a, b] = await Promise.all(servers.map(firstLine));
  const upstreams = [a, b].flatMap(port => ['--upstream', `http://127.0.0.1:${port}`]);
  const flags = ['--balance', 'round-robin', '--health', '/health', '--port', '0', '--log-level', 'error', '--json'];
  const gateway = start([join(here, '../../bin/tandem.js'), 'gateway', ...upstreams, ...flags]);
  try {
    const { url, statusUrl } = JSON.parse(await firstLine(gateway)) as { url: string; statusUrl: string };
    const ask = async (): Promise<string> => {
      const response = await fetch(`${url}/hello?x=1`);
      assert.equal(response.status, 200);
      return response.text();
    };
    for (let i = 0; i < 4; i++) assert.match(await ask(), /^GET \/hello\?x=1 at 0, for 127\.0\.0\.1\n$/);
    const status = async () =>
      (await (await fetch(`${statusUrl}/upstreams`)).json()) as { targets: { requests: number }[] }[];
    assert.deepEqual(
      (await status())[0]!.targets.map(({ requests }) => requests),
      [2, 2],
    );
    assert.match(
      await (await fetch(`${statusUrl}/metrics`)).text(),
      /tandem_http_duration_seconds_count\{method="GET",route="\/\*",status="200"\} 4/,
    );
    await end(servers[0]!, 'SIGKILL');
    for (let i = 0; i < 6; i++) await ask();
  } finally {
    assert.equal(await end(gateway), 0);
    await end(servers[1]!);
  }
});
