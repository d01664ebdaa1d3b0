/**
 * From options to a running server: open the store, make sure who we are (bootstrap, cluster id), build the core over what
 * was stored, start the transport, begin to turn.
 *
 * Invariant: nothing is said to a peer before everything that is read here is durable.
 */

import { createHash } from 'node:crypto'

import { peersOf } from '../../core/configuration.js'
import { RaftCore } from '../../core/raft-core.js'
import type { BlockMaker } from '../../core/raft-log.js'
import { RaftError } from '../../errors.js'
import { entryBlock, lastEntryTime, sliceBlock } from '../../format/block.js'
import { encodeBootstrap } from '../../format/configuration.js'
import { Applier } from '../../machine/applier.js'
import type { RaftOptions } from '../../options.js'
import { nativeStore } from '../../storage/index.js'
import type { LogStore, StoredState } from '../../storage/log-store.js'
import type { Transport } from '../../transport/transport.js'
import { logIndex, termOf } from '../../types.js'
import type { Clock, Configuration, Identity, Logger } from '../../types.js'
import { ApplyQueue } from '../calls/apply-queue.js'
import { systemClock } from '../clock.js'
import { EntryClock } from '../entry-clock.js'
import { EventLoop } from '../turn/event-loop.js'
import { Events } from '../../observe/events.js'
import { Inbound } from '../turn/inbound.js'
import { PeerPins } from '../peer-pins.js'
import { ReadQueue } from '../calls/read-queue.js'
import { ReadyRunner } from '../turn/ready-runner.js'

/**
 * The first election after bootstrap need not wait for a leader that never was. Each voter waits this much longer than the one
 * before it in the list: the first one usually leads, and votes are rarely split.
 */
const FIRST_ELECTION_TIMEOUT_MS = 150
const CLUSTER_ID_FACT = 'clusterId'
const EMPTY = new Uint8Array(0)

/** A server that turns, and the rooms behind it that its public face looks into. */
export interface RunningServer {
  readonly loop: EventLoop
  readonly core: RaftCore
  readonly store: LogStore
  readonly events: Events
  readonly proposals: ApplyQueue
  readonly reads: ReadQueue
  readonly identity: Identity
  readonly stored: StoredState
  readonly transport: Transport
  readonly inbound: Inbound
  readonly clock: Clock
  readonly logger: Logger
}

const SILENT: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

type AnyOptions = RaftOptions<unknown, unknown, unknown, unknown>

export async function openServer(options: AnyOptions): Promise<RunningServer> {
  const store = (options.storage ?? nativeStore()).create(options.dir)
  const wake = { onWake: (): void => {} }
  try {
    const opened = await store.open(() => wake.onWake())
    if (opened.warning !== null) options.logger?.warn('store', { dir: options.dir, warning: opened.warning })
    const lastTime = await lastTimeOf(store, opened)
    const stored = await bootstrapIfNew(options, store, opened, wake)
    const server = build(options, store, stored, lastTime)
    wake.onWake = () => server.loop.schedule()
    await options.transport.start(server.identity, server.inbound, server.clock, server.logger)
    options.transport.setPeers(peersOf(server.core.configuration, options.id))
    server.loop.schedule()
    return server
  } catch (error) {
    await options.transport.close()
    await store.close()
    throw error
  }
}

/** Writes term 1 and the entry (1, term 1) that holds the first configuration, in one ticket; or checks that it is ours. */
async function bootstrapIfNew(
  options: AnyOptions,
  store: LogStore,
  stored: StoredState,
  wake: { onWake: () => void },
): Promise<StoredState> {
  const voters = options.bootstrap.map(({ id, address }) => ({ id, address }))
  const configuration: Configuration = { voters, outgoing: null, nonvoters: [] }
  const payload = encodeBootstrap(options.cluster ?? 'balsa', options.bootstrap)
  const clusterId = createHash('sha256').update(payload).digest('hex').slice(0, 32)
  const known = stored.facts.get(CLUSTER_ID_FACT)
  if (known !== undefined) {
    const knownId = new TextDecoder().decode(known)
    if (knownId === clusterId) return stored
    throw new RaftError(
      'ERR_RAFT_CLUSTER_MISMATCH',
      `the folder ${options.dir} belongs to cluster ${knownId}; the options cluster and bootstrap describe cluster ${clusterId}. Start with the list it was made with, or in an empty folder`,
    )
  }
  // No time: every server writes this entry by itself, and it is one entry, the same bytes everywhere (log matching, 5.3).
  const block = entryBlock('configuration', logIndex(1), termOf(1), 0, payload)
  const hardState = { term: termOf(1), votedFor: null, commitIndex: logIndex(0) }
  const fact = new TextEncoder().encode(clusterId)
  const ticket = store.submit([
    { type: 'append', block },
    { type: 'hardState', hardState },
    { type: 'put', key: CLUSTER_ID_FACT, value: fact },
  ])
  await untilDurable(store, ticket, wake)
  return {
    ...stored,
    lastIndex: logIndex(1),
    hardState,
    termRuns: [{ first: logIndex(1), term: termOf(1) }],
    configurations: [{ index: logIndex(1), configuration }],
    facts: new Map([[CLUSTER_ID_FACT, fact]]),
  }
}

async function untilDurable(store: LogStore, ticket: number, wake: { onWake: () => void }): Promise<void> {
  for (;;) {
    const news = new Promise<void>((resolve) => {
      wake.onWake = resolve
    })
    const { durable, fault, stalled } = store.poll()
    if (fault !== null) throw fault
    if (durable >= ticket) return
    // A running server waits for room; one that has not begun says so instead.
    if (stalled) throw diskFull()
    await news
  }
}

function diskFull(): RaftError {
  return new RaftError(
    'ERR_RAFT_STORE_FULL',
    'the disk is full: the first entry cannot be written. Free space and start again',
  )
}

async function lastTimeOf(store: LogStore, { firstIndex, lastIndex }: StoredState): Promise<number> {
  if (lastIndex < firstIndex) return 0
  const [block] = await store.read(lastIndex, logIndex(lastIndex + 1), 1)
  return block === undefined ? 0 : lastEntryTime(block)
}

function build(options: AnyOptions, store: LogStore, stored: StoredState, lastTime: number): RunningServer {
  const clock = options.clock ?? systemClock()
  const logger = options.logger ?? SILENT
  const events = new Events(logger)
  const proposals = new ApplyQueue()
  const reads = new ReadQueue()
  const entryClock = new EntryClock(clock, lastTime)
  const core: RaftCore = makeCore(options, stored, clock, {
    noop: (first, term) => entryBlock('noop', first, term, entryClock.next(core.log.lastBlock), EMPTY),
    slice: sliceBlock,
  })
  const identity: Identity = {
    clusterId: new TextDecoder().decode(stored.facts.get(CLUSTER_ID_FACT)),
    serverId: options.id,
    incarnation: stored.incarnation,
    bootCounter: stored.bootCounter,
  }
  const pins: PeerPins = new PeerPins(
    identity,
    stored.facts,
    () => core.configuration,
    () => loop.schedule(),
  )
  const { transport } = options
  const parts = { core, store, transport, clock, logger, events, proposals, reads, pins, entryClock }
  const runner = new ReadyRunner({
    ...parts,
    applier: new Applier(options.stateMachine, options.codec),
    schedule: () => loop.schedule(),
    push: (input) => loop.push(input),
    halt: (error) => loop.halt(error),
    notLeader: () => loop.notLeader(),
  })
  const loop: EventLoop = new EventLoop({ ...parts, runner })
  const inbound = new Inbound({
    store,
    transport,
    pins,
    logger,
    events,
    push: (input) => loop.push(input),
    isEnding: () => loop.refusal !== null,
  })
  return { loop, core, store, transport, events, logger, clock, proposals, reads, identity, stored, inbound }
}

function makeCore(options: AnyOptions, stored: StoredState, clock: Clock, maker: BlockMaker): RaftCore {
  const electionTimeoutMs = options.electionTimeoutMs ?? 1000
  const isNew = stored.hardState.term === 1 && stored.lastIndex === 1
  const place = options.bootstrap.findIndex(({ id }) => id === options.id) + 1
  return new RaftCore({
    id: options.id,
    settings: {
      electionTimeoutMs,
      heartbeatMs: options.heartbeatMs ?? 100,
      firstElectionTimeoutMs: isNew ? Math.min(FIRST_ELECTION_TIMEOUT_MS * place, electionTimeoutMs) : null,
    },
    hardState: stored.hardState,
    log: { ...stored, commitIndex: stored.hardState.commitIndex },
    maker,
    random: options.random ?? Math.random,
    now: clock.now(),
  })
}
