/** The guide's code is the example's code: each TypeScript block of it stands, word for word, in a file that runs. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const root = path.join(import.meta.dirname, '..', '..');

test('every TypeScript block of the events guide is in examples/02-events', () => {
  const guide = readFileSync(path.join(root, 'docs/guides/events.md'), 'utf8');
  const sources = globSync('examples/02-events/*.ts', { cwd: root }).map(file =>
    readFileSync(path.join(root, file), 'utf8'),
  );
  const blocks = [...guide.matchAll(/```ts\n([\s\S]*?)```/g)].map(match => match[1]!);
  assert(blocks.length >= 4);
  for (const block of blocks)
    assert(
      sources.some(source => source.includes(block)),
      `not in the example:\n${block}`,
    );
});
