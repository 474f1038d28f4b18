/**
 * The series that the monitor builds its picture from, named once. Every room may record more; what is not listed here
 * still reaches `/metrics`. Attribute `code` is `ok`, a declared error's camelCase code, or a system code.
 */
import { catalogue, isSystemCode } from '../core/errors.ts';

export const metricNames = {
  /** Histogram, ms {service, method, code}: whole calls as their callers see them, retries included (calling; the gateway calls through it too). */
  call: 'tandem.call.duration',
  /** Counter {service, instance}: tries by the instance that they were sent to: the balancer's spread. */
  picked: 'tandem.call.picked',
  /** Histogram, ms {service, method}: handling at the instance, failed calls included. */
  server: 'tandem.server.duration',
  /** Counter {service, method, code}: calls that the instance answered with an error. */
  serverErrors: 'tandem.server.errors',
  /** Counter {service, method}: answers by a fallback, a cache or a lower level than asked. */
  degraded: 'tandem.call.degraded',
  /** Histogram, ms {method, route, status}: HTTP requests at a gateway. */
  http: 'tandem.http.duration',
  /** Histogram, ms {service, method, status}: gRPC calls at a gateway; of a stream, all of it. */
  grpc: 'tandem.grpc.duration',
  /** Gauge {topic, subscription}: events that wait. */
  topicLag: 'tandem.topic.lag',
  /** Counter {topic, subscription}: events given up, since the process that read them started. */
  topicDead: 'tandem.event.dead',
  /** Counter {topic, subscription}: events handled. */
  topicHandled: 'tandem.event.handled',
  /** Counter {topic, subscription}: tries of events that failed and were tried again. */
  topicRetried: 'tandem.event.retried',
  /** Counter {topic, subscription}: events put behind a parked key. */
  topicParked: 'tandem.event.parked',
  /** Gauge {topic, subscription, partition}: 1 while an entry that cannot be read holds a subscription up. */
  topicStopped: 'tandem.topic.stopped',
  /** Gauge {service}: calls that wait for an instance with room. */
  balanceWaiting: 'tandem.balance.waiting',
  /** Gauge, ms {service, strategy}: how long the instance that each strategy would have picked is expected to take. */
  balanceExpected: 'tandem.balance.expected',
  /** Counter {service, instance, reason}: outliers that were left out for a while. */
  ejected: 'tandem.balance.ejected',
  /** Counter {status}: bytes at the door of upstreams that were no request, or one too slow or too large. */
  refused: 'tandem.http.refused',
  /** Gauge {group}: upstreams that get requests. */
  upstreamsWell: 'tandem.upstream.well',
} as const;

export const metricHelp: Readonly<Record<string, string>> = {
  [metricNames.call]: 'Whole calls as their callers see them, retries included.',
  [metricNames.picked]: 'Tries of calls, by the instance that they were sent to.',
  [metricNames.balanceWaiting]: 'Calls that wait for an instance with room.',
  [metricNames.balanceExpected]: 'How long the instance that each strategy would have picked is expected to take.',
  [metricNames.ejected]: 'Instances that were left out for a while as outliers.',
  [metricNames.refused]: 'Requests that were refused unread: malformed, too large, too slow.',
  [metricNames.upstreamsWell]: 'Upstreams of a group that get requests.',
  [metricNames.server]: 'Handling of calls at the instance, failed calls included.',
  [metricNames.serverErrors]: 'Calls that the instance answered with an error.',
  [metricNames.degraded]: 'Answers by a fallback, a cache or a lower level than asked.',
  [metricNames.http]: 'HTTP requests at a gateway.',
  [metricNames.grpc]: 'gRPC calls at a gateway.',
  [metricNames.topicLag]: 'Events of a topic that a subscription has not handled yet.',
  [metricNames.topicDead]: 'Events that a subscription gave up as dead letters.',
  [metricNames.topicHandled]: 'Events that a subscription has handled.',
  [metricNames.topicRetried]: 'Tries of events that failed and were tried again.',
  [metricNames.topicParked]: 'Events that wait because an earlier one of their key was given up.',
  [metricNames.topicStopped]: '1 while an entry that cannot be read holds a subscription up.',
  'tandem.dns.answers': 'Questions answered by DNS.',
  'tandem.process.start': 'Start of the process in seconds since 1970.',
  'tandem.process.memory': 'Resident memory.',
  'tandem.meter.refused': 'Series that were refused because the process has too many.',
};

/**
 * Whether an answer's code counts against availability: the system failed. What a contract declares and what the caller
 * got wrong (INVALID, NOT_FOUND, ...) are answers. Being turned away by overload is a failure for the one turned away.
 */
export function countsAsFailure(code: string | undefined): boolean {
  if (code === undefined || code === 'ok' || code === '' || !isSystemCode(code)) return false;
  if (code === 'OVERLOADED') return true;
  return catalogue[code].status >= 500 && code !== 'UNSUPPORTED';
}
