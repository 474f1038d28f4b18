/**
 * The body of every child process: runs one role and speaks with its supervisor, by messages while there is a channel
 * and by signals when the supervisor that adopted it has none. The death of the supervisor is none of its business.
 */

import type { RoleName, RoleSettings } from '../app/roles.ts';
import { toErrorForm } from '../core/errors.ts';
import { supervisorDefaults } from '../recovery/supervisor.ts';

interface Running {
  readonly info: Readonly<Record<string, string>>;
  close(graceMs: number): Promise<void>;
}

const roles: readonly string[] = ['engine', 'gateway', 'instance', 'monitor', 'naming'];

export async function runRoleProcess(role: string): Promise<void> {
  const settings = takeSettings();
  if (settings === undefined) {
    process.stderr.write('tandem role is what `tandem up` and `tandem dev` start; it is not for people\n');
    process.exit(2);
  }
  // A pipe whose reader died must not bring the writer down, nor a full disk: what cannot be said is dropped.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  let running: Running | undefined;
  let stopping = false;
  const stop = async (graceMs: number): Promise<void> => {
    if (stopping) return;
    stopping = true;
    await running?.close(graceMs).catch(failure => process.stderr.write(`closing failed: ${String(failure)}\n`));
    process.exit(0);
  };
  process.on('message', (message: { kind?: string; graceMs?: number }) => {
    if (message.kind === 'stop') void stop(message.graceMs ?? supervisorDefaults.stopGraceMs);
  });
  process.on('SIGTERM', () => void stop(supervisorDefaults.stopGraceMs));
  process.on('SIGINT', () => void stop(supervisorDefaults.stopGraceMs));
  try {
    running = await start(role, settings);
    await tell({ kind: 'ready', info: running.info });
  } catch (failure) {
    const { code, message } = toErrorForm(failure);
    if (code === 'INTERNAL') process.stderr.write(`${stackOf(failure)}\n`);
    await tell({ kind: 'failed', code, message });
    process.exit(1);
  }
}

async function start(role: string, settings: Record<string, unknown>): Promise<Running> {
  if (role === 'inspect') return (await import('./inspect.ts')).inspectInChild(settings as { files: string[] });
  if (role === 'dev') return (await import('./dev-child.ts')).runDev(settings as never);
  if (!roles.includes(role)) throw new Error(`there is no role '${role}'`);
  return (await import('../app/roles.ts')).runRole(role as RoleName, settings as unknown as RoleSettings);
}

/** They are taken out of the environment, so that user code and its children do not see the secret. */
function takeSettings(): Record<string, unknown> | undefined {
  const text = process.env.TANDEM_ROLE_SETTINGS;
  delete process.env.TANDEM_ROLE_SETTINGS;
  return text === undefined ? undefined : (JSON.parse(text) as Record<string, unknown>);
}

function tell(report: unknown): Promise<void> {
  return new Promise(resolve => {
    if (!process.send || !process.connected) return resolve();
    process.send(report, () => resolve());
  });
}

function stackOf(failure: unknown): string {
  if (!(failure instanceof Error)) return String(failure);
  const cause = failure.cause instanceof Error ? failure.cause : failure;
  return cause.stack ?? String(cause);
}
