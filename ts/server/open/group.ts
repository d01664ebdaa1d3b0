/**
 * What one Raft group has of its own, built over what its host has: the core, the calls, the state machine's applier,
 * the turn. Built in one place, in order, each part from those before it; afterwards nobody reaches from one part
 * through another.
 */

import { RaftCore } from '../../core/raft-core.js'
import { entryBlock, sliceBlock } from '../../format/block.js'
import { decodeConfiguration, encodeConfiguration } from '../../format/configuration.js'
import { incarnationsOf, withIncarnations } from '../../format/incarnations.js'
import { ownBlocks } from '../../format/own-blocks.js'
import { metaOf } from '../../format/server-meta.js'
import { Applier } from '../../machine/applier.js'
import { publishEvents } from '../../observe/channels.js'
import { Events } from '../../observe/events.js'
import { Meter } from '../../observe/meter.js'
import type { Settings } from '../../options.js'
import { SnapshotSchedule } from '../../snapshot/snapshot-schedule.js'
import type { FoundSnapshots } from '../../snapshot/snapshot-store.js'
import type { StoredState } from '../../storage/log-store.js'
import { logIndex } from '../../types.js'
import type { ConfigurationStatus, Identity, JoinStatus, LogIndex, Server as Peer, ServerId } from '../../types.js'
import { ApplyQueue } from '../calls/apply-queue.js'
import { ChangeCall, ChangeQueue } from '../calls/change-queue.js'
import { Deadlines } from '../calls/deadlines.js'
import { LeadershipQueue } from '../calls/leadership-queue.js'
import { QueriesUnderWay } from '../calls/queries-under-way.js'
import { ReadQueue } from '../calls/read-queue.js'
import { ReadyQueue } from '../calls/ready-queue.js'
import { Signals } from '../calls/signals.js'
import { SnapshotQueue } from '../calls/snapshot-queue.js'
import { ApplyProgress } from '../apply-progress.js'
import { Currency } from '../currency.js'
import { EntryClock } from '../entry-clock.js'
import { Forwarding } from '../forward/forwarding.js'
import { hasJoined } from '../joined-fact.js'
import { Life } from '../life.js'
import type { OwnBoots } from '../own-boots.js'
import { PeerPins } from '../peer-pins.js'
import { PeerRefusals } from '../peer-refusals.js'
import { Repairs } from '../repair/repairs.js'
import { Replay } from '../replay.js'
import { Server } from '../server.js'
import { SnapshotTransfers } from '../snapshot-transfers.js'
import { Snapshots } from '../snapshots.js'
import { describe } from '../status.js'
import { Teller } from '../teller.js'
import { EventLoop } from '../turn/event-loop.js'
import { Inbound } from '../turn/inbound.js'
import { Mailbox } from '../turn/mailbox.js'
import { ReadyRunner } from '../turn/ready-runner.js'
import { WritesUnderWay } from '../turn/writes-under-way.js'
import { clusterIdOf, clusterIds, recoveriesOf } from './cluster-id.js'
import type { Host } from './host.js'
import type { MachineStart } from './machine-start.js'

/**
 * The first election after bootstrap need not wait for a leader that never was. Each voter waits this much longer than
 * the one before it in the list: the first one usually leads, and votes are rarely split.
 */
const FIRST_ELECTION_TIMEOUT_MS = 150
const EMPTY = new Uint8Array(0)

export type GroupSettings = Settings<unknown, unknown, unknown, unknown>

export interface Group {
  readonly server: Server
  /** Where the transport hands in what arrives. */
  readonly inbound: Inbound
  /** Whom the store's news asks for a turn. */
  readonly mailbox: Mailbox
  /** What the transport shows to peers. */
  readonly identity: Identity
  /** Whom the transport dials at first: the members that the log knew at the start, less this one. */
  readonly peers: readonly Peer[]
}

/** What is on the disk when a group begins. */
export interface GroupState {
  readonly stored: StoredState
  /** The payload of the first entry; null where it is not known. */
  readonly first: Uint8Array | null
  /** Of the newest stored entry. */
  readonly lastTime: number
  readonly machine: MachineStart
  /** What was in the store of snapshots. */
  readonly snapshots: FoundSnapshots
  readonly boots: OwnBoots
  /** What the server waits for until it is a member; null: it is none that joins. */
  readonly join: JoinStatus | null
}

export function makeGroup(settings: GroupSettings, host: Host, state: GroupState): Group {
  const { stored, lastTime, boots } = state
  const { dir, store, transport, clock, logger } = host
  const identity = identityOf(settings.id, state)
  const entryClock = new EntryClock(clock, logger, lastTime)
  const core = makeCore(settings, state, clock.now(), entryClock)
  const mailbox = new Mailbox(clock)
  const life = new Life()
  const events = new Events(logger)
  publishEvents(events, settings.id)
  const meter = new Meter(clock, events)
  const currency = new Currency()
  const pins = new PeerPins(identity, stored.facts, core, mailbox, settings.acceptPeerBoot)
  const refusals = new PeerRefusals(clock, events, logger)
  const writes = new WritesUnderWay(store, pins, meter)
  const proposals = new ApplyQueue()
  const { applier, replay } = makeApplier(settings, state, core, proposals)
  const snapshotParts = { identity, core, applier, entryClock, mailbox, events }
  const { snapshots, transfers, snapshotCalls } = makeSnapshots(settings, host, state, snapshotParts)
  const isConnected = (id: ServerId): boolean => inbound.isConnected(id)
  const repairs = new Repairs({ identity, core, store, transport, isConnected, clock, events, logger })
  const reads = new ReadQueue()
  const forwarding = new Forwarding({
    ...{ core, transport, clock, life, mailbox, proposals, reads, resultCodec: settings.resultCodec },
    ...{ electionTimeoutMs: settings.electionTimeoutMs, random: settings.random, local: () => server.local, identity },
    codec: settings.codec,
    clients: {
      ...settings,
      clusterName: settings.cluster,
      clientsMax: settings.clients.max,
      machine: settings.stateMachine,
    },
  })
  const runner = new ReadyRunner({
    ...{ core, store, transport, applier, replay, pins, refusals },
    ...{ snapshots, repairs, writes, meter, mailbox, events, logger },
  })
  const change = (call: ChangeCall): Promise<unknown> => server.change(call, undefined)
  const teller = makeTeller(settings, host, state, { identity, core, pins, isConnected, change })
  const inbound: Inbound = new Inbound({
    ...{ identity, teller, core, boots, store, transport, transfers, repairs, forwarding, pins, refusals },
    ...{ mailbox, life, events, logger },
  })
  const shared = {
    ...{ ...makeCalls(), proposals, reads, core, store, clock, events, life, mailbox, pins, entryClock },
    ...{ snapshots, snapshotCalls, meter, currency, transport },
  }
  const applyProgress = new ApplyProgress(logger, core.log.appliedIndex, clock.now())
  const loop = new EventLoop({ ...shared, repairs, forwarding, dir, logger, writes, runner, applyProgress })
  // Whatever its end comes to, `closed` tells it. Behind the turn: who has a leader remove itself is answered first.
  const closeByItself = (): void => void loop.close().then(ignore, ignore)
  if (settings.onRemoved === 'close') events.on('removed', () => queueMicrotask(closeByItself))
  const { electionTimeoutMs } = settings
  const server: Server = new Server({
    ...{ ...shared, repairs, forwarding, electionTimeoutMs, loop, inbound, refusals, writes },
    ...{ identity, recoveries: recoveriesOf(stored), durability: stored.durability, join: state.join },
  })
  return { server, inbound, mailbox, identity, peers: core.contacts }
}

/** Where calls wait, by what they ask for; those that propose or read wait elsewhere. */
function makeCalls() {
  return {
    readies: new ReadyQueue(),
    changes: new ChangeQueue(),
    queries: new QueriesUnderWay(),
    leadership: new LeadershipQueue(),
    deadlines: new Deadlines(),
    signals: new Signals(),
  }
}

function makeApplier(settings: GroupSettings, { machine }: GroupState, core: RaftCore, proposals: ApplyQueue) {
  const { stateMachine, codec, resultCodec } = settings
  const replay = new Replay(core)
  const tagAt = (index: LogIndex): number | null => proposals.tagAt(index)
  const isReplay = (index: LogIndex): boolean => replay.has(index)
  const ask = { tagAt, isReplay, readConfiguration }
  return { replay, applier: new Applier(stateMachine, codec, resultCodec, machine, ask) }
}

/** As it is told. */
function readConfiguration(payload: Uint8Array): ConfigurationStatus {
  return describe(decodeConfiguration(payload).configuration)
}

function ignore(): void {}

function identityOf(serverId: ServerId, { stored, first, boots }: GroupState): Identity {
  return {
    clusterId: clusterIdOf(stored) ?? '',
    formerClusterIds: first === null ? [] : clusterIds(first, recoveriesOf(stored)).slice(0, -1),
    serverId,
    incarnation: stored.incarnation,
    ...boots.newest,
  }
}

interface TellerNeighbours {
  readonly identity: Identity
  readonly core: RaftCore
  readonly pins: PeerPins
  readonly isConnected: (id: ServerId) => boolean
  readonly change: (call: ChangeCall) => Promise<unknown>
}

function makeTeller(
  { id: self, cluster: clusterName, allowJoin }: GroupSettings,
  { transport, clock, logger }: Host,
  { stored, first }: GroupState,
  { identity, core, pins, isConnected, change }: TellerNeighbours,
): Teller {
  const isReached = (id: ServerId): boolean => id === self || isConnected(id)
  return new Teller({
    ...{ self: identity, clusterName, first, recoveries: recoveriesOf(stored), allowJoin, clock, logger },
    leader: () => core.leader,
    isMember: (id) => pins.isPeer(id),
    isTaken: (id) => pins.isTaken(id),
    unreached: () => core.configuration.nonvoters.find(({ id }) => !isReached(id))?.id ?? null,
    addressFlaw: (address) => transport.addressFlaw?.(address) ?? null,
    add: (server) => change(additionOf(server)),
  })
}

function additionOf(server: Peer): ChangeCall {
  return new ChangeCall({ change: { type: 'add', server, promote: false }, ifIndex: null, force: false })
}

interface SnapshotNeighbours {
  readonly identity: Identity
  readonly core: RaftCore
  readonly applier: Applier<unknown>
  readonly entryClock: EntryClock
  readonly mailbox: Mailbox
  readonly events: Events
}

function makeSnapshots(
  settings: GroupSettings,
  { snapshots: store, transport, clock, logger }: Host,
  { snapshots: found }: GroupState,
  { identity, core, applier, entryClock, mailbox, events }: SnapshotNeighbours,
): { readonly snapshots: Snapshots; readonly transfers: SnapshotTransfers; readonly snapshotCalls: SnapshotQueue } {
  const { stateMachine: machine, cluster: clusterName } = settings
  const { retain, sendBytesPerSecond: bytesPerSecond } = settings.snapshots
  const shared = { identity, store, mailbox, clock, logger }
  const canRestore = machine.canSnapshot
  const transfers = new SnapshotTransfers({ ...shared, core, transport, bytesPerSecond, canRestore })
  const snapshotCalls = new SnapshotQueue()
  const schedule = scheduleOf(settings, core, clock.now())
  const snapshots = new Snapshots({
    ...{ ...shared, clusterName, found, retain, schedule, machine, transfers, entryClock, events },
    ...{ queue: snapshotCalls, applier },
  })
  return { snapshots, transfers, snapshotCalls }
}

function scheduleOf({ snapshots, random }: GroupSettings, { log }: RaftCore, now: number): SnapshotSchedule {
  const begin = { appliedIndex: log.appliedIndex, snapshotIndex: log.snapshot?.index ?? logIndex(0) }
  return new SnapshotSchedule(snapshots.isAutomatic ? snapshots : null, begin, now, random())
}

/** Null: as every other. */
function firstElectionTimeoutMs(
  { id, bootstrap, electionTimeoutMs }: GroupSettings,
  { hardState, lastIndex, configurations, snapshot }: StoredState,
): number | null {
  const newest = configurations.at(-1)?.configuration ?? snapshot?.configuration
  // Nobody else could lead, nor be asked.
  if (newest?.outgoing === null && newest.voters.length === 1 && newest.voters[0]?.id === id) return 0
  const isNew = hardState.term === 1 && lastIndex === 1
  if (!isNew) return null
  const place = bootstrap.findIndex((server) => server.id === id) + 1
  return Math.min(FIRST_ELECTION_TIMEOUT_MS * place, electionTimeoutMs)
}

function makeCore(
  settings: GroupSettings,
  { stored, machine }: GroupState,
  now: number,
  entryClock: EntryClock,
): RaftCore {
  const { id, electionTimeoutMs, heartbeatMs, electionPriority, random } = settings
  const core: RaftCore = new RaftCore({
    id,
    store: { incarnation: stored.incarnation, hasJoined: hasJoined(stored.facts) },
    settings: {
      electionTimeoutMs,
      heartbeatMs,
      electionPriority,
      firstElectionTimeoutMs: firstElectionTimeoutMs(settings, stored),
    },
    hardState: stored.hardState,
    log: {
      ...stored,
      // What the machine has was committed.
      commitIndex: logIndex(Math.max(stored.hardState.commitIndex, machine.machineIndex)),
      appliedIndex: machine.appliedIndex,
    },
    maker: {
      noop: (first, term) => entryBlock('noop', first, term, entryClock.next(core.log.lastBlock), EMPTY),
      configuration: (first, term, configuration) => {
        const payload = encodeConfiguration({ clusterName: settings.cluster, configuration })
        return entryBlock('configuration', first, term, entryClock.next(core.log.lastBlock), payload)
      },
      metaOf,
      incarnationsOf,
      withIncarnations,
      slice: sliceBlock,
      keep: ownBlocks,
    },
    random,
    now,
  })
  return core
}
