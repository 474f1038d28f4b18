/** The commands by name, each loaded when it is asked for, so that `tandem ps` does not wait for what `up` needs. */
import type { Command } from './command.ts';

export interface Entry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<{ readonly command: Command }>;
}

export const commands: readonly Entry[] = [
  {
    name: 'init',
    summary: 'Write a first service with its test into a new directory',
    load: () => import('./init.ts'),
  },
  {
    name: 'dev',
    summary: 'Run services in one process, restarting when a file changes',
    load: () => import('./dev.ts'),
  },
  {
    name: 'up',
    summary: 'Run services as processes, with gateways, engine, naming and monitor',
    load: () => import('./up.ts'),
  },
  {
    name: 'gateway',
    summary: 'Balance over any HTTP servers, without an app',
    load: () => import('./gateway.ts'),
  },
  { name: 'ps', summary: 'List the processes of a running app', load: () => import('./ps.ts') },
  { name: 'logs', summary: 'Show the records that processes wrote', load: () => import('./logs.ts') },
  { name: 'call', summary: 'Call a method', load: () => import('./call.ts') },
  {
    name: 'topic',
    summary: 'Show topics and their readers; publish an event; dead letters',
    load: () => import('./topic.ts'),
  },
  { name: 'table', summary: 'Show where data lies and who writes it', load: () => import('./table.ts') },
  { name: 'reshard', summary: 'Double the partitions of a service', load: () => import('./reshard.ts') },
  {
    name: 'balance',
    summary: 'Show or switch how the instances of a service are picked',
    load: () => import('./balance.ts'),
  },
  { name: 'scale', summary: 'Change the number of instances of a service', load: () => import('./scale.ts') },
  { name: 'stop', summary: 'Drain and stop a running app', load: () => import('./stop.ts') },
  { name: 'doctor', summary: 'Check the configuration and the surroundings', load: () => import('./doctor.ts') },
  {
    name: 'backup',
    summary: 'Write all data of an app into one file, or check one',
    load: () => import('./backup.ts'),
  },
  {
    name: 'restore',
    summary: 'Put a backup into an empty data directory or cluster',
    load: () => import('./restore.ts'),
  },
  { name: 'log', summary: 'Check, print or repair engine data', load: () => import('./log.ts') },
  { name: 'gen', summary: 'Write .proto files from the contracts', load: () => import('./gen.ts') },
  { name: 'contract', summary: 'Check contracts against tandem.lock.json', load: () => import('./contract.ts') },
];
