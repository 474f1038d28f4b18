/** What a process stands on: time, chance, diagnostics and the ways to reach others. Tests put a simulated one here. */
import { hostname } from 'node:os';
import { memoryTransport } from '../communication/memory.ts';
import { joinHostPort, tcpTransport } from '../communication/tcp.ts';
import { tlsTransport } from '../communication/tls.ts';
import type { Transport } from '../communication/transport.ts';
import { unixTransport } from '../communication/unix.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Logger } from '../core/logger.ts';
import { type Random, systemRandom } from '../core/random.ts';
import { type Level, openLogger } from '../monitoring/logger.ts';
import { openMeter, type ReadableMeter } from '../monitoring/meter.ts';
import { openRecordRing, type RecordRing } from '../monitoring/record-ring.ts';
import { openTracer, type ReadableTracer } from '../monitoring/tracer.ts';

export interface Host {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: ReadableMeter;
  readonly tracer: ReadableTracer;
  /** The last problems, for the monitor. */
  readonly records: RecordRing;
  readonly transports: readonly Transport[];
  /** Directory of certificates, when the app's processes speak TLS with each other. */
  readonly linkTls?: string | undefined;
  readonly node: string;
  readonly zone: string;
  /** Of this machine's instances, as against those of others. */
  readonly weight: number;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface HostOptions {
  readonly id: string;
  readonly write: (line: string) => void;
  readonly level?: Level | 'silent' | undefined;
  readonly format?: 'json' | 'pretty' | undefined;
  readonly color?: boolean | undefined;
  readonly zone?: string | undefined;
  readonly weight?: number | undefined;
  readonly linkTls?: string | undefined;
}

/** The real thing: this machine's clock, chance and sockets. @throws CONFIG when the certificates in `linkTls` are not fit. */
export function systemHost(options: HostOptions): Host {
  const records = openRecordRing();
  const { write, level, format, color, linkTls } = options;
  const logger = openLogger({
    write,
    clock: systemClock,
    level,
    format,
    color,
    fields: { process: options.id },
    onProblem: records.add,
  });
  const transports = [tcpTransport(), unixTransport(), memoryTransport()];
  if (linkTls !== undefined) transports.push(tlsTransport({ directory: linkTls, clock: systemClock, logger }));
  return {
    clock: systemClock,
    random: systemRandom,
    logger,
    meter: openMeter(systemClock),
    tracer: openTracer({ random: systemRandom, clock: systemClock }),
    records,
    transports,
    linkTls,
    node: hostname(),
    zone: options.zone ?? 'local',
    weight: options.weight ?? 1,
    environment: process.env,
  };
}

/** Where a process's link listens, on a port of the system's choice: for this machine alone, unless the app has more than one. */
export function linkAddress(linkHost = '127.0.0.1', linkTls?: string): string {
  return `${linkTls === undefined ? 'tcp' : 'tls'}://${joinHostPort(linkHost, 0)}`;
}
