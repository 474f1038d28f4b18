/**
 * Tells one life of a process id from another. The kernel hands a pid out again, so a pid alone proves nothing: the
 * birth is boot id + start time in clock ticks (Linux, proc(5) field 22), or what `ps` says elsewhere.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** The birth of a living process; undefined when there is none of that id, or only its unreaped remains (zombie). */
export function processBirth(pid: number): string | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  return process.platform === 'linux' ? birthFromProc(pid) : birthFromPs(pid);
}

let bootId: string | undefined;

function birthFromProc(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  const fields = fieldsOfStat(stat);
  if (!fields || fields.state === 'Z' || fields.state === 'X') return undefined;
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return `${bootId}:${fields.startTicks}`;
}

/** The command may hold spaces and brackets, so the fields are counted from its last bracket. */
export function fieldsOfStat(stat: string): { readonly state: string; readonly startTicks: string } | undefined {
  const rest = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTicks] = [rest[0], rest[19]];
  return state && startTicks ? { state, startTicks } : undefined;
}

function birthFromPs(pid: number): string | undefined {
  try {
    const line = execFileSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    return line === '' || line.startsWith('Z') ? undefined : line.replace(/^\S+\s+/, '');
  } catch {
    return undefined;
  }
}
