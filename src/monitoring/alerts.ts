/**
 * Alerts, decided purely: rules look at one observation per second and name what is wrong; an alert is pending until it has
 * been so for the rule's time, then firing, then resolved once it is no longer so. Waiting keeps a blip from calling a person.
 */
export interface AlertRule<O> {
  readonly name: string;
  readonly severity: 'page' | 'warn';
  /** How long it must hold before it fires. */
  readonly forMs: number;
  /** What is wrong now, by subject (an instance, a service); the empty list when all is well. */
  readonly find: (observed: O) => readonly { readonly subject: string; readonly text: string }[];
}

export interface Alert {
  readonly rule: string;
  readonly subject: string;
  readonly severity: 'page' | 'warn';
  /** For people: what is wrong, with the figure. */
  readonly text: string;
  readonly state: 'pending' | 'firing' | 'resolved';
  /** Wall times in ms. */
  readonly pendingAt: number;
  readonly firingAt: number | undefined;
  readonly resolvedAt: number | undefined;
}

/** By rule and subject. Start with an empty one. */
export type AlertState = ReadonlyMap<string, Alert>;

export interface AlertStep {
  readonly state: AlertState;
  /** Alerts that began to fire or were resolved in this step. */
  readonly changes: readonly Alert[];
}

const resolvedKeptMs = 900_000;
const alertsMax = 512;

export function stepAlerts<O>(
  state: AlertState,
  rules: readonly AlertRule<O>[],
  observed: O,
  nowMs: number,
): AlertStep {
  const next = new Map<string, Alert>();
  const changes: Alert[] = [];
  for (const rule of rules) {
    for (const { subject, text } of rule.find(observed)) {
      const key = `${rule.name} ${subject}`;
      if (next.has(key) || next.size >= alertsMax) continue;
      const before = state.get(key);
      const alert = holds(rule, subject, text, before, nowMs);
      if (alert.state === 'firing' && before?.state !== 'firing') changes.push(alert);
      next.set(key, alert);
    }
  }
  for (const [key, before] of state) {
    if (next.has(key) || before.state === 'pending') continue;
    if (before.state === 'firing') {
      const resolved: Alert = { ...before, state: 'resolved', resolvedAt: nowMs };
      next.set(key, resolved);
      changes.push(resolved);
    } else if (nowMs - before.resolvedAt! < resolvedKeptMs && next.size < alertsMax) next.set(key, before);
  }
  return { state: next, changes };
}

function holds<O>(rule: AlertRule<O>, subject: string, text: string, before: Alert | undefined, nowMs: number): Alert {
  const since = before === undefined || before.state === 'resolved' ? nowMs : before.pendingAt;
  const firing = nowMs - since >= rule.forMs;
  const firingAt = firing ? (before?.state === 'firing' ? before.firingAt : nowMs) : undefined;
  return {
    rule: rule.name,
    subject,
    severity: rule.severity,
    text,
    state: firing ? 'firing' : 'pending',
    pendingAt: since,
    firingAt,
    resolvedAt: undefined,
  };
}

/** What the standing rules look at. */
export interface Observation {
  readonly processes: readonly {
    readonly id: string;
    readonly role: string;
    readonly name: string;
    readonly verdict: string;
  }[];
  readonly services: readonly {
    readonly name: string;
    readonly ready: number;
    readonly requestsPerSecond: number;
    readonly errorShare: number;
  }[];
  readonly partitionsWithoutWriter: readonly { readonly service: string; readonly partitions: number }[];
  readonly deadLetters: readonly { readonly topic: string; readonly subscription: string; readonly count: number }[];
  readonly stoppedSubscriptions: readonly {
    readonly topic: string;
    readonly subscription: string;
    readonly partitions: number;
  }[];
}

/** `errorShare` over the last seconds above which a service alerts; default 0.01. */
export function standingRules(options: { readonly errorShare?: number } = {}): AlertRule<Observation>[] {
  const { errorShare = 0.01 } = options;
  return [
    {
      name: 'instance dead',
      severity: 'warn',
      forMs: 0,
      find: ({ processes }) =>
        processes
          .filter(({ role, verdict }) => role !== 'engine' && (verdict === 'dead' || verdict === 'stuck'))
          .map(({ id, name, verdict }) => ({ subject: id, text: `${name} is ${verdict}` })),
    },
    {
      name: 'engine unreachable',
      severity: 'page',
      forMs: 0,
      find: ({ processes }) => {
        const engines = processes.filter(({ role }) => role === 'engine');
        const lost = engines.length > 0 && engines.every(({ verdict }) => verdict === 'dead' || verdict === 'stuck');
        return lost ? [{ subject: 'engine', text: 'No engine answers: nothing can be written' }] : [];
      },
    },
    {
      name: 'service down',
      severity: 'page',
      forMs: 2000,
      find: ({ services }) =>
        services
          .filter(({ ready }) => ready === 0)
          .map(({ name }) => ({ subject: name, text: `${name} has no instance that takes calls` })),
    },
    {
      name: 'error rate',
      severity: 'page',
      forMs: 5000,
      find: ({ services }) =>
        services
          .filter(service => service.requestsPerSecond > 0 && service.errorShare > errorShare)
          .map(service => ({
            subject: service.name,
            text: `${(service.errorShare * 100).toFixed(1)} % of calls to ${service.name} fail (limit ${errorShare * 100} %)`,
          })),
    },
    {
      name: 'partition without writer',
      severity: 'warn',
      forMs: 3000,
      find: ({ partitionsWithoutWriter }) =>
        partitionsWithoutWriter.map(({ service, partitions }) => ({
          subject: service,
          text: `${partitions} ${partitions === 1 ? 'partition' : 'partitions'} of ${service} without a writer`,
        })),
    },
    {
      name: 'subscription stopped',
      severity: 'page',
      forMs: 0,
      find: ({ stoppedSubscriptions }) =>
        stoppedSubscriptions.map(({ topic, subscription, partitions }) => ({
          subject: `${topic} ${subscription}`,
          text: `${subscription} is stopped in ${partitions} ${partitions === 1 ? 'partition' : 'partitions'} of ${topic}; why and what to do: tandem topic show ${topic}`,
        })),
    },
    {
      name: 'dead letters',
      severity: 'warn',
      forMs: 0,
      find: ({ deadLetters }) =>
        deadLetters.map(({ topic, subscription, count }) => ({
          subject: `${topic} ${subscription}`,
          text: `${count} dead ${count === 1 ? 'letter' : 'letters'} in ${subscription} of ${topic}`,
        })),
    },
  ];
}
