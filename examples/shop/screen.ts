// What the terminal shows: on a TTY a table that is redrawn in place, else one plain line now and then.
import type { Replay } from './replay.ts';
import { nines } from './tally.ts';

export interface Screen {
  /** Prints a line that stays. */
  say(text: string): void;
  /** Shows the figures of this moment. */
  show(replay: Replay, states: Readonly<Record<string, number>>): void;
  close(): void;
}

export function openScreen(out: NodeJS.WriteStream, dashboard: string): Screen {
  const live = out.isTTY === true;
  const startedAt = performance.now();
  let drawn = 0;
  let lastRequests = 0;
  let lastAt = startedAt;
  let lastPlain = startedAt;

  const clear = (): void => {
    if (drawn > 0) out.write(`\u001b[${drawn}A\u001b[0J`);
    drawn = 0;
  };

  return {
    say(text) {
      clear();
      out.write(`${text}\n`);
    },
    show(replay, states) {
      const now = performance.now();
      const { tally } = replay;
      const rate = ((tally.requests - lastRequests) * 1000) / Math.max(1, now - lastAt);
      const seconds = Math.round((now - startedAt) / 1000);
      const p50 = tally.latencies.quantile(0.5).toFixed(1);
      const p99 = tally.latencies.quantile(0.99).toFixed(1);
      if (!live) {
        if (now - lastPlain < 5000) return;
        lastPlain = now;
        lastRequests = tally.requests;
        lastAt = now;
        const orders =
          Object.entries(states)
            .map(([state, count]) => `${state} ${count}`)
            .join(', ') || 'none yet';
        out.write(
          `${seconds} s: ${rate.toFixed(0)} requests/s, p50 ${p50} ms, p99 ${p99} ms, failed ${tally.failed}, tried again ${tally.failedTries}, orders: ${orders}\n`,
        );
        return;
      }
      lastRequests = tally.requests;
      lastAt = now;
      clear();
      const shares = sharesOf(tally.byInstance);
      const lines = [
        '',
        `  ${bold('Tandem shop')}   ${seconds} s   dashboard ${dashboard}`,
        '',
        `  requests     ${rate.toFixed(0).padStart(8)} /s   p50 ${p50} ms   p99 ${p99} ms   under way ${replay.underWay}`,
        `  availability ${nines(tally.availability, tally.requests)}   failed ${tally.failed}   tried again ${tally.failedTries}   degraded ${tally.degraded}`,
        `  orders       accepted ${replay.accepted.size}   ${Object.entries(states)
          .map(([state, count]) => `${state} ${count}`)
          .join('   ')}`,
        '',
        ...shares.map(
          ({ name, count, share }) =>
            `  ${name.padEnd(18)} ${'█'.repeat(Math.round(share * 40)).padEnd(14)} ${(share * 100).toFixed(1).padStart(5)} %  ${count}`,
        ),
        '',
      ];
      out.write(`${lines.join('\n')}\n`);
      drawn = lines.length + lines.filter(line => line.length > (out.columns ?? 200)).length;
    },
    close: () => {},
  };
}

/** Shares of the answers per place (a restarted instance keeps its place), most first. */
function sharesOf(byInstance: ReadonlyMap<string, number>): { name: string; count: number; share: number }[] {
  const places = new Map<string, number>();
  let total = 0;
  for (const [id, count] of byInstance) {
    const name = id.replace(/-[a-z0-9]+$/, '');
    places.set(name, (places.get(name) ?? 0) + count);
    total += count;
  }
  return [...places]
    .map(([name, count]) => ({ name, count, share: count / Math.max(1, total) }))
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

function bold(text: string): string {
  return process.env['NO_COLOR'] ? text : `\u001b[1m${text}\u001b[0m`;
}
