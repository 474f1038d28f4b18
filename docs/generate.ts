// `npm run docs`: writes the reference pages that come from the source. `test/reference.test.ts` holds them equal.
import { readFileSync, writeFileSync } from 'node:fs';
import { catalogue } from '../src/core/errors.ts';
import { limits } from '../src/core/limits.ts';

const from = (path: string): URL => new URL(path, import.meta.url);

export function pages(): Record<string, string> {
  return { 'reference/errors.md': errorsPage(), 'reference/defaults.md': defaultsPage() };
}

function errorsPage(): string {
  const rows = Object.entries(catalogue).map(
    ([code, { outcome, status, meaning, callerDoes }]) =>
      `| \`${code}\` | ${outcome} | ${status} | ${meaning} | ${callerDoes} |`,
  );
  return `# Errors

Generated from \`src/core/errors.ts\`. System errors are UPPER_CASE and the same everywhere; errors that a contract declares are camelCase and typed.
Each says what happened to the work: \`not-done\` (certainly no effect) or \`unknown\` (perhaps; repeat under the same request id). Over HTTP they are problem
documents (RFC 9457) with \`code\`, \`outcome\` and \`requestId\`.

| code | outcome | HTTP | meaning | what the caller does |
|---|---|---|---|---|
${rows.join('\n')}
`;
}

function defaultsPage(): string {
  const source = readFileSync(from('../src/core/limits.ts'), 'utf8');
  const rows = [...source.matchAll(/\/\*\* (.*?) \*\/\s+(\w+):/g)].map(
    ([, text, name]) => `| \`${name}\` | ${limits[name as keyof typeof limits]} | ${text} |`,
  );
  return `# Defaults and limits

Generated from \`src/core/limits.ts\`. The name ends in the unit.

| name | value | meaning and reason |
|---|---|---|
${rows.join('\n')}
`;
}

if (import.meta.main) for (const [path, text] of Object.entries(pages())) writeFileSync(from(path), text);
