/** Draws `docs/images/balancing.svg`: the 99th percentile that each strategy reaches in each simulated world of `balancing.ts`. */
import { writeFileSync } from 'node:fs';
import { strategies } from '../src/contract/balance.ts';
import { simulate, worlds } from './balancing.ts';

const titles: Readonly<Record<string, string>> = {
  alike: 'All alike',
  unlike: 'Speeds from 1 to 3',
  slow: 'One ten times slower',
  stuck: 'One stands still for 5 s',
  dying: 'One fails a third, late',
};
const panel = { width: 300, height: 200, labels: 130 };
const row = 22;
const from = 10;
const to = 100_000;

const length = (ms: number): number =>
  (Math.log(Math.min(to, Math.max(from, ms)) / from) / Math.log(to / from)) * (panel.width - panel.labels - 60);
const inWords = (ms: number): string =>
  ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;

const panels = Object.entries(worlds).map(([name, world], index) => {
  const left = (index % 3) * (panel.width + 20) + 10;
  const top = Math.floor(index / 3) * (panel.height + 20) + 10;
  const found = strategies.map(strategy => ({ strategy, ms: simulate(strategy, world).p99! }));
  const best = Math.min(...found.map(({ ms }) => ms));
  const bars = found.map(({ strategy, ms }, at) => {
    const y = 34 + at * row;
    const fill = ms < best * 1.2 ? '#1c7a4a' : ms < best * 5 ? '#2f59cf' : '#b3261e';
    const end = panel.labels + length(ms);
    return `<text x="${panel.labels - 8}" y="${y + 11}" text-anchor="end">${strategy}</text><rect x="${panel.labels}" y="${y}" width="${length(ms).toFixed(1)}" height="14" rx="2" fill="${fill}"/><text x="${(end + 6).toFixed(1)}" y="${y + 11}">${inWords(ms)}</text>`;
  });
  return `<g transform="translate(${left} ${top})"><text y="16" font-weight="600" font-size="14">${titles[name]}</text>${bars.join('')}</g>`;
});
const legend = [
  ['#1c7a4a', 'the best, or within 20 % of it'],
  ['#2f59cf', 'up to five times as long'],
  ['#b3261e', 'longer'],
].map(
  ([fill, text], at) =>
    `<rect y="${34 + at * row}" width="20" height="14" rx="2" fill="${fill}"/><text x="28" y="${45 + at * row}">${text}</text>`,
);
panels.push(
  `<g transform="translate(${2 * (panel.width + 20) + 40} ${panel.height + 30})"><text y="16">99 % are faster; bars are logarithmic</text>${legend.join('')}</g>`,
);
const width = 3 * (panel.width + 20);
const height = 2 * (panel.height + 20) + 10;
writeFileSync(
  new URL('../docs/images/balancing.svg', import.meta.url),
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="11.5" fill="#1c1d1b"><title>99th percentile of latency by strategy, in five simulated worlds (logarithmic)</title><rect width="${width}" height="${height}" fill="#fff"/>${panels.join('')}</svg>\n`,
);
