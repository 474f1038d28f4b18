import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { pages } from '../docs/generate.ts';
import { limits } from '../src/core/limits.ts';

test('the reference pages say what the source says (npm run docs writes them)', () => {
  for (const [path, text] of Object.entries(pages())) {
    assert.equal(
      readFileSync(new URL(`../docs/${path}`, import.meta.url), 'utf8'),
      text,
      `docs/${path} is stale: npm run docs`,
    );
  }
});

test('every limit has its reason on the page', () => {
  const page = pages()['reference/defaults.md']!;
  for (const name of Object.keys(limits))
    assert.ok(page.includes(`\`${name}\``), `${name} has no one-line comment in src/core/limits.ts`);
});
