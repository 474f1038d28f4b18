/** How to start this program again: children run the same `bin/tandem.js` with the same Node and its flags. */
import { fileURLToPath } from 'node:url';

export function ownScript(): string[] {
  return [fileURLToPath(new URL('../../bin/tandem.js', import.meta.url))];
}

/** Flags of Node that children inherit; a debugger's port cannot be shared. */
export function inheritedArguments(execArgv: readonly string[]): string[] {
  return execArgv.filter(argument => !argument.startsWith('--inspect'));
}
