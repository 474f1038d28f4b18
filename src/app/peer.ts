/**
 * What all processes of an app have in common: a link that others reach them by, heartbeats, a registry of everybody
 * else, and a caller. The link opens first (its address goes into the beats), the beats stop first at the end.
 */
import { openCaller } from '../calling/open-caller.ts';
import type { Caller } from '../calling/outgoing.ts';
import { followSwitches } from '../calling/strategy-switches.ts';
import { linkDialer } from '../communication/link-dialer.ts';
import { openLinkServer } from '../communication/link-server.ts';
import type { Strategy } from '../contract/balance.ts';
import type { Descriptor } from '../contract/descriptor.ts';
import type { Answerer, Incoming } from '../core/channel.ts';
import { TandemError } from '../core/errors.ts';
import { Closers } from '../core/lifecycle.ts';
import type { PartitionBeat, Role } from '../failure-detection/beat.ts';
import type { BeatReading, BeatSender } from '../failure-detection/beat-sender.ts';
import { startBeatsInLoop } from '../failure-detection/beats-in-loop.ts';
import { startBeats } from '../failure-detection/start-beats.ts';
import type { Engine } from '../log/engine.ts';
import { metricsAnswer } from '../monitoring/metrics-answer.ts';
import { openRegistry } from '../naming/open-registry.ts';
import type { Registry } from '../naming/registry.ts';
import type { PartitionMap } from '../partitioning/partition-map.ts';
import type { Host } from './host.ts';

export interface PeerOptions {
  readonly id: string;
  readonly role: Role;
  readonly service?: string | undefined;
  readonly host: Host;
  readonly engine: Engine;
  /** Where the engine's link is, for the beats' own connection from a worker thread. Without it beats come from the main loop. */
  readonly engineAddress?: string | undefined;
  /** Where to listen: `tcp://127.0.0.1:0`. */
  readonly listen: string;
  readonly descriptor?: Descriptor | undefined;
}

/** Something that answers some of the methods. */
export interface Part {
  handles(method: string): boolean;
  readonly answer: Answerer;
}

export interface Peer {
  readonly id: string;
  readonly address: string;
  readonly registry: Registry;
  readonly caller: Caller;
  /** Adds a part; calls for it are answered from then on. */
  serve(part: Part): void;
  /** What the beats say from now on. */
  report(state: Partial<PeerState>): void;
  /**
   * Reports ready and waits until that beat came back over the bus: then the others heard it too. Who is ready before
   * may be called by someone who was told so, through a gateway that does not know yet.
   * @throws UNAVAILABLE at the deadline (monotonic ms): the engine does not carry its beats.
   */
  announce(deadline: number): Promise<void>;
  /** Says goodbye on the bus, lets running calls end, closes the link. */
  close(graceMs: number): Promise<void>;
}

export interface PeerState {
  readonly ready: boolean;
  readonly draining: boolean;
  readonly inflight: () => number;
  readonly partitions: () => readonly PartitionBeat[];
  readonly map: () => PartitionMap | undefined;
  /** Where clients reach it, as URLs. */
  readonly doors: readonly string[];
}

export async function openPeer(options: PeerOptions): Promise<Peer> {
  const { id, role, service, host, engine, descriptor } = options;
  const { clock, random, logger, meter, tracer, records, transports } = host;
  const closers = new Closers();
  const parts: Part[] = [];
  const metrics = metricsAnswer({ meter, tracer, records });

  const answer: Answerer = (incoming: Incoming) => {
    const part = parts.find(candidate => candidate.handles(incoming.method));
    if (part) return part.answer(incoming);
    if (incoming.method === '$metrics') return { body: metrics(incoming.body) };
    if (incoming.method === '$describe' && descriptor) return { body: descriptor };
    if (incoming.method === '$ping') return { body: id };
    throw new TandemError('NOT_FOUND', `${id} does not answer '${incoming.method}'`);
  };

  const server = await openLinkServer({ transports, address: options.listen, answer, clock, random, logger, meter });
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  closers.add('dialer', () => dialer.close());
  const describe = async (address: string, deadline: number): Promise<Descriptor> =>
    (await dialer.dial(address).call('$describe', null, { deadline })).body as Descriptor;
  const registry = openRegistry({ bus: engine.bus, describe, clock, random, logger });
  closers.add('registry', () => registry.close());
  const caller = openCaller({
    registry,
    dialer,
    clock,
    random,
    logger,
    meter,
    tracer,
    self: { id, service, zone: host.zone },
  });
  closers.add('caller', () => caller.close());
  const apply = (name: string, strategy: Strategy | undefined): void => caller.setStrategy(name, strategy);
  const switches = followSwitches({ engine, clock, random, logger, apply });
  closers.add('switches', () => switches.close());

  const state: { -readonly [K in keyof PeerState]: PeerState[K] } = {
    ready: false,
    draining: false,
    inflight: () => 0,
    partitions: () => [],
    map: () => undefined,
    doors: [],
  };
  const identity = {
    id,
    role,
    service,
    node: host.node,
    zone: host.zone,
    weight: host.weight,
    pid: process.pid,
    address: server.address,
    descriptorHash: descriptor?.hash ?? '',
  };
  const read = (): BeatReading => ({
    ready: state.ready,
    draining: state.draining,
    inflight: state.inflight(),
    partitions: state.partitions(),
    map: state.map(),
    doors: state.doors,
  });
  const beats: BeatSender = options.engineAddress
    ? startBeats({ identity, read, clock, logger, engineAddress: options.engineAddress, linkTls: host.linkTls })
    : startBeatsInLoop({ identity, read, clock, bus: engine.bus });

  const report = (changes: Partial<PeerState>): void => {
    Object.assign(state, changes);
    beats.changed();
  };
  return {
    id,
    address: server.address,
    registry,
    caller,
    serve: part => void parts.push(part),
    report,
    announce: async deadline => {
      report({ ready: true });
      const heard = registry.until(({ member }) => member(id)?.beat.ready === true, 'its own heartbeat', deadline);
      await heard.catch(cause => {
        const where = options.engineAddress ? ` at ${options.engineAddress}` : '';
        throw new TandemError(
          'UNAVAILABLE',
          `the engine${where} does not carry the heartbeats of ${id}: is it running? Look at its records (tandem logs engine)`,
          { cause },
        );
      });
    },
    close: async graceMs => {
      await beats.close();
      await server.close(graceMs);
      await closers.close();
    },
  };
}
