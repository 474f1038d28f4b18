/**
 * What all processes of an app have in common: a link that others reach them by, heartbeats, a registry of everybody
 * else, and a caller. A peer of one process hands `beats: 'loop'`; a process of its own beats from a worker thread.
 */
import { type Caller, openCaller } from '../calling/caller.ts';
import { linkDialer } from '../communication/link-dialer.ts';
import { openLinkServer } from '../communication/link-server.ts';
import type { Descriptor } from '../contract/descriptor.ts';
import type { Answerer, Dialer } from '../core/channel.ts';
import { TandemError } from '../core/errors.ts';
import { Closers } from '../core/lifecycle.ts';
import { limits } from '../core/limits.ts';
import type { PartitionBeat, Role } from '../failure-detection/beat.ts';
import { startBeats } from '../failure-detection/beat-sender.ts';
import type { Engine } from '../log/engine.ts';
import { metricsAnswer } from '../monitoring/metrics-answer.ts';
import { openRegistry } from '../naming/open-registry.ts';
import type { Registry } from '../naming/registry.ts';
import type { Host } from './host.ts';
