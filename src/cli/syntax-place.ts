/** Where a module could not be parsed. Such an error has no stack frame there; Node writes the place above its message. */
import { fileURLToPath } from 'node:url';

/** ` (/app/hello.ts, line 7)`; empty when the failure was not caused by syntax. */
export function syntaxPlace(failure: unknown): string {
  const cause = failure instanceof Error ? failure.cause : undefined;
  const head = cause instanceof SyntaxError ? /^(file:\/\/.+):(\d+)\n/.exec(cause.stack ?? '') : null;
  return head ? ` (${fileURLToPath(head[1]!)}, line ${head[2]})` : '';
}
