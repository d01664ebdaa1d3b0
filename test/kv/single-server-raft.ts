/**
 * A Raft server of one, in memory, for tests that need no cluster: entries are applied in the next turn of the event
 * loop, in order. Tests steer it: who leads, what fails, and when things settle.
 */

import {
  RaftError,
  type LeaderHint,
  type RaftErrorCode,
  type RaftEvents,
  type StateMachine,
  type Status,
} from 'balsa-raft'
import { replyCodec } from 'balsa-kv/replication/reply-codec.js'
import type { Reply } from 'balsa-kv/resp/reply.js'
import type { KvRaft } from 'balsa-kv/server/kv-raft.js'
import { logIndex, termOf, type LogIndex, type Role } from '#balsa/types.js'

type Listener = (event: never) => void

export interface SingleServerOptions {
  readonly id: string
  /** For the time of entries. */
  readonly now?: () => number
}

export class SingleServerRaft implements KvRaft {
  readonly #machine: StateMachine<Uint8Array, Reply, null, null>
  readonly #id: string
  readonly #now: () => number
  readonly #listeners = new Map<string, Set<Listener>>()
  readonly closed: Promise<RaftError | null>
  #resolveClosed: (error: RaftError | null) => void = () => undefined
  #index = 0
  #time = 0
  #role: Role = 'leader'
  #leader: LeaderHint | null
  #queue: (() => void)[] = []
  #held = false
  readonly #peers = new Map<string, boolean>()
  #readyWaiters: (() => void)[] = []
  /** The next calls of `applyAll` fail with these, before they do anything. */
  readonly failures: RaftError[] = []
  /** Sizes of the batches that came. */
  readonly batches: number[] = []
  readIndexCalls = 0
  /** The next calls of `propose` fail with these. */
  readonly foreignFailures: RaftError[] = []
  /** Why a call of `propose` fails with which those have nothing to do; undefined: it does not. */
  foreignRefusal: (command: Uint8Array) => RaftError | undefined = () => undefined
  proposals = 0
  /** What `query` was asked for. */
  readonly queries: Parameters<KvRaft['query']>[1][] = []
  queryFailure: RaftError | null = null
  /** How far peers are; 0 where nothing is said. */
  readonly matches = new Map<string, number>()
  /** Why peers are down. */
  readonly downReasons = new Map<string, string>()
  /** What `status` tells of peers that are refused. */
  readonly refusals = new Map<string, Status['peers'][number]['refusal']>()
  /** What `status` tells of the servers. */
  configuration: Status['configuration']
  /** What `status` tells of snapshots. */
  snapshotStatus: Status['snapshot'] = {
    last: null,
    isTaking: false,
    isRestoring: false,
    failure: null,
    unavailable: null,
  }
  /** What `status` tells of its joining. */
  join: Status['join'] = null
  /** What `status` tells of the clock. */
  clock = { offsetMs: 0, jumps: 0 }

  constructor(machine: StateMachine<Uint8Array, Reply, null, null>, options: SingleServerOptions) {
    this.#machine = machine
    this.#id = options.id
    this.configuration = { voters: [{ id: this.#id, address: '127.0.0.1:1' }], outgoing: null, nonvoters: [] }
    this.#now = options.now ?? Date.now
    this.#leader = { id: options.id, address: '127.0.0.1:1' }
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve))
  }

  applyAll(commands: readonly Uint8Array[]): Promise<readonly Reply[]> {
    const failure = this.failures.shift() ?? this.#refusal()
    if (failure !== undefined) return Promise.reject(failure)
    this.batches.push(commands.length)
    return this.replicate(commands)
  }

  /** Taken by whoever leads; `foreignFailures` come first. */
  async propose(command: Uint8Array): Promise<Awaited<ReturnType<KvRaft['propose']>>> {
    this.proposals += 1
    const failure =
      this.#leader === null ? this.#refusal() : (this.foreignFailures.shift() ?? this.foreignRefusal(command))
    if (failure !== undefined) throw failure
    const [result = null] = await this.replicate([command])
    // As it travels.
    return { index: logIndex(this.#index), term: termOf(1), result: replyCodec.decode(replyCodec.encode(result)) }
  }

  /** All of it is here, whoever leads. */
  query(_query: null, options: Parameters<KvRaft['query']>[1] = {}): Promise<null> {
    this.queries.push(options)
    if (this.queryFailure !== null) return Promise.reject(this.queryFailure)
    return new Promise((resolve) => this.#enqueue(() => resolve(null)))
  }

  /** Applies entries, whoever leads. */
  replicate(commands: readonly Uint8Array[]): Promise<readonly Reply[]> {
    return new Promise((resolve, reject) => {
      this.#enqueue(() => {
        this.#time = Math.max(this.#time, this.#now())
        const entries = commands.map((command) => ({
          index: logIndex((this.#index += 1)),
          term: termOf(1),
          time: this.#time,
          command: command.slice(),
        }))
        Promise.resolve(
          this.#machine.apply(entries, {
            appliedIndex: logIndex(this.#index),
            isAwaited: () => true,
            replaying: false,
          }),
        ).then(resolve, reject)
      })
    })
  }

  /** A leader is known, and everything that came before is applied. */
  ready(): Promise<void> {
    return new Promise((resolve) => {
      this.#readyWaiters.push(resolve)
      this.#enqueue(() => this.#settleReady())
    })
  }

  readIndex(): Promise<LogIndex> {
    this.readIndexCalls += 1
    const failure = this.#refusal()
    if (failure !== undefined) return Promise.reject(failure)
    return new Promise((resolve) => this.#enqueue(() => resolve(logIndex(this.#index))))
  }

  get entryTime(): number {
    return Math.max(this.#time, this.#now())
  }

  get status(): Status {
    const index = logIndex(this.#index)
    return {
      id: this.#id,
      recoveries: [],
      clusterId: '0'.repeat(32),
      role: this.#role,
      term: termOf(1),
      leader: this.#leader,
      firstIndex: logIndex(1),
      repairs: { count: 0, underWay: 0, failure: null },
      snapshot: this.snapshotStatus,
      lastIndex: index,
      durableIndex: index,
      commitIndex: index,
      appliedIndex: index,
      configuration: this.configuration,
      configurationIndex: logIndex(1),
      configurationIsCommitted: true,
      join: this.join,
      peers: [...this.#peers].map(([peer, connected]) => ({
        ...{ id: peer, address: '127.0.0.1:1', connected, lastIndex: null },
        matchIndex: logIndex(this.matches.get(peer) ?? 0),
        downReason: this.downReasons.get(peer) ?? null,
        refusal: this.refusals.get(peer) ?? null,
      })),
      clock: this.clock,
      store: {
        firstIndex: 1,
        lastIndex: index,
        groupCommits: 0,
        flushes: 0,
        wakes: 0,
        bytesWritten: 0,
        usedBytes: 0,
        capacityBytes: null,
      },
      durability: 'none',
      fault: null,
    }
  }

  on: KvRaft['on'] = (name, listener) => {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }

  close(): Promise<void> {
    this.release()
    this.#resolveClosed(null)
    return Promise.resolve()
  }

  /** Nothing settles until `release`. */
  hold(): void {
    this.#held = true
  }

  release(): void {
    this.#held = false
    if (this.#queue.length > 0) setImmediate(() => this.#drain())
  }

  /** Another server leads, or nobody does. */
  follow(leader: LeaderHint | null, term = 2): void {
    this.#role = 'follower'
    this.#leader = leader
    this.#emit('role', { role: 'follower', term: termOf(term) })
    this.#emit('leader', { leader, term: termOf(term) })
    this.#enqueue(() => this.#settleReady())
  }

  /** The connection to a peer comes up or goes down. */
  peer(id: string, connected: boolean, reason = 'a test'): void {
    this.#peers.set(id, connected)
    this.#emit('peer', { id, connected, reason })
  }

  /** What the library tells of snapshots. */
  snapshotEvent(what: RaftEvents['snapshot']['what']): void {
    this.#emit('snapshot', { what, index: logIndex(this.#index), term: termOf(1), reason: null })
  }

  /** Another configuration is in force. */
  reconfigure(configuration: Status['configuration'], index = 1): void {
    this.configuration = configuration
    this.#emit('configuration', { configuration, index: logIndex(index), isCommitted: true })
  }

  lead(): void {
    this.#role = 'leader'
    this.#leader = { id: this.#id, address: '127.0.0.1:1' }
    this.#emit('role', { role: 'leader', term: termOf(3) })
    this.#emit('leader', { leader: this.#leader, term: termOf(3) })
    this.#enqueue(() => this.#settleReady())
  }

  #emit<Name extends keyof RaftEvents>(name: Name, event: RaftEvents[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) (listener as (event: RaftEvents[Name]) => void)(event)
  }

  #refusal(): RaftError | undefined {
    if (this.#role === 'leader') return undefined
    const code: RaftErrorCode = this.#leader === null ? 'ERR_RAFT_NO_LEADER' : 'ERR_RAFT_NOT_LEADER'
    return new RaftError(code, 'another server leads', { leader: this.#leader })
  }

  #settleReady(): void {
    if (this.#leader === null) return
    const waiters = this.#readyWaiters
    this.#readyWaiters = []
    for (const resolve of waiters) resolve()
  }

  #enqueue(action: () => void): void {
    this.#queue.push(action)
    if (!this.#held && this.#queue.length === 1) setImmediate(() => this.#drain())
  }

  #drain(): void {
    if (this.#held) return
    const actions = this.#queue
    this.#queue = []
    for (const action of actions) action()
  }
}
