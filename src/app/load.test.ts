// A file that does not load is the author's to mend: the message must lead there, whatever kind of failure it was.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadServices } from './load.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-load-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const says = (path: string, reason: RegExp, place: string): Promise<void> =>
  assert.rejects(loadServices(path), cause => {
    const { code, message } = cause as Error & { code: string };
    assert.equal(code, 'CONFIG');
    assert.match(message, reason);
    assert(message.startsWith(`${path} could not be loaded: `), message);
    assert(message.endsWith(` (${place})`), message);
    return true;
  });

test('what a file throws while it loads is told with its line', async () => {
  const path = file('throws.ts', "const a = 1;\nthrow new Error('no such host');\n");
  await says(path, /no such host/, `${path}, line 2`);
});

test('what cannot be parsed is told with its line', async () => {
  const path = file('broken.ts', 'export const a = 1;\n\nexport const b = { c: 1 ;\n');
  await says(path, /got ';'/, `${path}, line 3`);
});

test('an import that cannot be parsed or does not exist is told with the place at fault', async () => {
  const broken = file('part.ts', 'export const a = (;\n');
  await says(file('imports.ts', "\nimport { a } from './part.ts';\nexport default a;\n"), /./, `${broken}, line 1`);
  file('whole.ts', 'export const a = 1;\n');
  const path = file('asks.ts', "\nimport { b } from './whole.ts';\nexport default b;\n");
  await says(path, /export named 'b'/, `${path}, line 2`);
});

test('what says nothing of its place is told without one', async () => {
  const path = file('odd.ts', "throw 'a mere string';\n");
  await assert.rejects(loadServices(path), { message: `${path} could not be loaded: a mere string` });
  // Node says the place of a syntax error in plain JavaScript to nobody.
  const plain = file('plain.js', 'export const b = { c: 1 ;\n');
  await assert.rejects(loadServices(plain), { message: `${plain} could not be loaded: Unexpected token ';'` });
});
