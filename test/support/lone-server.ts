/**
 * One server with the real shell, the real core and a store in memory, among peers that the test plays: its transport
 * keeps what is sent and hands in what the test says. Time stands still until the test moves it.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { msgpackCodec, Raft } from 'balsa-raft'
import { settingsOf } from '#balsa/options.js'
import { openServer } from '#balsa/server/open/open-server.js'
import type { Server } from '#balsa/server/server.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { MemoryStoreFactory } from '#balsa/storage/memory/memory-log-store.js'
import type { LinkId, Session, Transport, TransportHandlers } from '#balsa/transport/transport.js'
import type { RaftOptions, StoreFactory } from 'balsa-raft'
import type { Request, Response } from '#balsa/core/index.js'
import type { Identity, Introduction } from '#balsa/types.js'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import { ManualClock } from '../transport/manual-clock.js'
import { matched, preVoteResult, vote } from './messages.js'
import { SumMachine } from './raft-cluster.js'
import type { Answer, Command } from './raft-cluster.js'

/** The test is the network. */
export class StageTransport implements Transport {
  readonly requests: { readonly to: string; readonly message: Request }[] = []
  readonly responses: { readonly link: LinkId; readonly message: Response }[] = []
  #handlers: TransportHandlers | null = null

  get handlers(): TransportHandlers {
    if (this.#handlers === null) throw new Error('the transport was not started')
    return this.#handlers
  }

  async start(_self: Identity, handlers: TransportHandlers): Promise<string> {
    this.#handlers = handlers
    return 'stage'
  }

  send(to: string, _session: Session, message: Request): void {
    this.requests.push({ to, message })
  }

  respond(link: LinkId, message: Response): void {
    this.responses.push({ link, message })
  }

  setPeers(): void {}
  flush(): void {}
  reject(): void {}
  async close(): Promise<void> {}
}

export type LoneRaft = Raft<Command, number, 'total', Answer>
type LoneOptions = RaftOptions<Command, number, 'total', Answer>

/** Draws of 0.5: an election is due 1.5 timeouts after a sign of the leader. */
export const ELECTION_MS = 1500
/** Half more than the first timeout of the first server after bootstrap. */
export const FIRST_ELECTION_MS = 225

export class LoneServer {
  readonly transport: StageTransport
  readonly clock: ManualClock
  readonly storage: MemoryStoreFactory
  readonly machine: SumMachine
  readonly raft: LoneRaft
  /** What `raft` is the face of. */
  readonly server: Server

  private constructor(raft: LoneRaft, server: Server, parts: Parts) {
    this.raft = raft
    this.server = server
    this.transport = parts.transport
    this.clock = parts.clock
    this.storage = parts.storage
    this.machine = parts.machine
  }

  /** s1 of s1, s2, s3. `wrap` puts something between the server and its store; `extra` are further options. */
  static async open(
    wrap: (storage: StoreFactory) => StoreFactory = (storage) => storage,
    extra: Partial<LoneOptions> = {},
  ): Promise<LoneServer> {
    const storage = memoryStore()
    const parts = { storage, transport: new StageTransport(), clock: new ManualClock(), machine: new SumMachine() }
    const { transport, clock, machine } = parts
    const options = { ...optionsOf(wrap(storage), transport), clock, stateMachine: machine, random: () => 0.5 }
    const settings = settingsOf({ ...options, ...extra })
    const server = await openServer(settings)
    return new LoneServer(new Raft(server, settings), server, parts)
  }

  /** Everything that waits for a turn has had it, and what the store completes at once is durable. */
  readonly turns = async (): Promise<void> => {
    for (let turn = 0; turn < 4; turn += 1) await nextTurn()
  }

  /** Connections to these peers are up; `saying` is what they say of themselves besides. */
  async connect(peers: readonly string[] = ['s2', 's3'], saying: Partial<Introduction> = {}): Promise<void> {
    const { handlers } = this.transport
    const { clusterId } = this.raft.status
    const admitted = peers.map((peer) => handlers.admit(introductionOf(peer, { clusterId, ...saying })))
    await this.turns()
    await Promise.all(admitted)
    for (const peer of peers) handlers.onPeerUp(peer, 1)
    await this.turns()
  }

  /** s2 grants whatever s1 asks, until s1 leads term 2. */
  async lead(): Promise<void> {
    const { handlers } = this.transport
    await this.connect()
    this.clock.advance(FIRST_ELECTION_MS)
    await this.turns()
    handlers.onResponse('s2', 1, preVoteResult(1, true))
    await this.turns()
    handlers.onResponse('s2', 1, vote(2, true))
    await this.turns()
    if (this.raft.status.role !== 'leader') throw new Error(`s1 does not lead, it is ${this.raft.status.role}`)
  }

  /** Peers say that they have everything up to the last entry, and have heard the round that was sent last. */
  async acknowledge(peers: readonly string[] = ['s2']): Promise<void> {
    const { term, lastIndex } = this.raft.status
    const last = this.transport.requests.findLast(({ message }) => message.type === 'AppendEntries')?.message
    const round = last?.type === 'AppendEntries' ? last.round : 0
    for (const peer of peers) this.transport.handlers.onResponse(peer, 1, matched(term, lastIndex, round))
    await this.turns()
  }

  /** Without handing over: its peers are made up. */
  close(): Promise<void> {
    return this.raft.close({ transferLeadership: false })
  }

  /** The rooms in which something stands. */
  get occupied(): Readonly<Record<string, number>> {
    return Object.fromEntries(Object.entries(this.server.counters).filter(([, count]) => count !== 0))
  }
}

interface Parts {
  readonly storage: MemoryStoreFactory
  readonly transport: StageTransport
  readonly clock: ManualClock
  readonly machine: SumMachine
}

/** Options for s1 of three servers, with the clock and the chance of the machine. */
export function optionsOf(storage: StoreFactory, transport: Transport): LoneOptions {
  return {
    id: 's1',
    dir: '/s1',
    bootstrap: ['s1', 's2', 's3'].map((id) => ({ id, address: `${id}:1` })),
    transport,
    storage,
    stateMachine: new SumMachine(),
    logger: false,
    codec: msgpackCodec<Command>(),
  }
}
