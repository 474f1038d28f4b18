#!/usr/bin/env node
// Picks what to run: dist (installed), or src in a checkout. In a checkout the services' `import 'tandem'` must reach
// the same source, so the condition `tandem-source` is added where it was not given. Kept in syntax that old Nodes can read.
import { existsSync } from 'node:fs';
import module from 'node:module';
import process from 'node:process';

const major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  process.stderr.write(
    `tandem needs Node 24 or newer; this is ${process.versions.node}. Install it from https://nodejs.org, or run: npx -p node@24 -p tandem tandem\n`,
  );
  process.exit(1);
}
module.enableCompileCache();

const here = condition => process.execArgv.some(argument => argument.includes(condition));
const dist = new URL('../dist/cli/main.js', import.meta.url);
const src = new URL('../src/cli/main.ts', import.meta.url);
const fromSource = existsSync(src) && (here('tandem-source') || !existsSync(dist));
if (fromSource && !here('tandem-source')) {
  module.registerHooks({
    resolve: (specifier, context, next) =>
      next(specifier, { ...context, conditions: [...context.conditions, 'tandem-source'] }),
  });
  process.execArgv.push('--conditions=tandem-source');
}
const { main } = await import((fromSource ? src : dist).href);
const code = await main(process.argv.slice(2));
if (code !== undefined) process.exitCode = code;
