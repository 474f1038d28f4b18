import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const here = import.meta.dirname;

async function ready(child: ChildProcess): Promise<string> {
  let text = '';
  for await (const chunk of child.stdout!) {
    text += chunk;
    const url = /"gateway[uU]rl":"([^"]+)"|"url":"(http[^"]+)"/.exec(text);
    if (url) return (url[1] ?? url[2])!;
  }
  throw new Error(`it ended: ${text}`);
}

test('files go up and come down as they were, webhooks are signed, an app is mounted, over HTTP/1.1 and HTTP/2', async () => {
  const data = mkdtempSync(join(tmpdir(), 'tandem-files-'));
  const app = spawn(
    process.execPath,
    [join(here, '../../bin/tandem.js'), 'dev', 'files.ts', '--port', '0', '--data', join(data, 'app'), '--json'],
    {
      cwd: here,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, FILES_DIRECTORY: join(data, 'files') },
    },
  );
  try {
    const url = await ready(app);
    app.stdout!.resume();
    const bytes = randomBytes(5_000_000);
    const up = await fetch(`${url}/files/..%2Fa%20b.bin`, { method: 'PUT', body: bytes });
    assert.equal(`${up.status} ${up.headers.get('location')}`, '201 /files/..%2Fa%20b.bin');
    const session = connect(url);
    const down = session.request({ ':path': '/files/..%2Fa%20b.bin' });
    const hash = createHash('sha256');
    for await (const chunk of down) hash.update(chunk as Buffer);
    assert.equal(hash.digest('hex'), createHash('sha256').update(bytes).digest('hex'));
    session.close();
    assert.equal((await fetch(`${url}/files/none`)).status, 404);

    const body = '{"order":"o1"}';
    const signature = createHmac('sha256', 'of examples').update(body).digest('hex');
    const hook = (text: string) =>
      fetch(`${url}/hooks/paid`, { method: 'POST', headers: { 'x-signature': signature }, body: text });
    assert.equal((await hook(body)).status, 204);
    assert.equal((await hook(`${body} `)).status, 401);

    const page = await fetch(`${url}/admin/users/7`, { headers: { origin: 'https://shop.example' } });
    assert.deepEqual(await page.json(), { path: '/admin/users/7' });
    assert.equal(page.headers.get('access-control-allow-origin'), 'https://shop.example');
  } finally {
    const ended = once(app, 'exit');
    app.kill('SIGTERM');
    await ended;
    rmSync(data, { recursive: true, force: true });
  }
});
