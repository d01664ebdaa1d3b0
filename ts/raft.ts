/**
 * One server of a cluster, as its users see it: checks what they ask, refuses early, and hands out the promise. Whatever can be
 * refused without the log is refused here.
 */

import { RaftError } from './errors.js'
import type { LeaderHint, Outcome } from './errors.js'
import type { Codec, StateMachine } from './machine/state-machine.js'
import { PAYLOAD_BYTES_MAX } from './format/block.js'
import { checkOptions, checkTimeout } from './options.js'
import type { RaftOptions } from './options.js'
import { ProposalGroup } from './server/calls/apply-queue.js'
import type { Proposal } from './server/calls/apply-queue.js'
import type { RaftEvents } from './observe/events.js'
import { openServer } from './server/open/open-server.js'
import type { RunningServer } from './server/open/open-server.js'
import { PendingCall } from './server/calls/pending-call.js'
import type { WaitOptions } from './server/calls/pending-call.js'
import type { StoreStats } from './storage/log-store.js'
import { logIndex } from './types.js'
import type { Configuration, LogIndex, Role, ServerId, Term } from './types.js'

export interface PeerStatus {
  readonly id: ServerId
  readonly address: string
  readonly connected: boolean
  /** As the leader knows it; 0 on other servers. */
  readonly matchIndex: LogIndex
  /** Where its log ends, as it last answered this leader; null on other servers, and while it has not. */
  readonly lastIndex: LogIndex | null
}

export interface Status {
  readonly id: ServerId
  readonly clusterId: string
  readonly role: Role
  readonly term: Term
  readonly leader: LeaderHint | null
  readonly firstIndex: LogIndex
  readonly lastIndex: LogIndex
  readonly durableIndex: LogIndex
  readonly commitIndex: LogIndex
  readonly appliedIndex: LogIndex
  readonly configuration: Configuration
  readonly peers: readonly PeerStatus[]
  readonly store: StoreStats
  /** 'none': a flush means nothing where the folder lies. */
  readonly durability: 'device' | 'none'
  /** Not null: this server has halted (store poisoned, or the state machine threw). */
  readonly fault: RaftError | null
}

const NO_PAYLOAD = new Uint8Array(0)

export class Raft<Command, Result, Query = never, Answer = never> {
  readonly #server: RunningServer
  readonly #machine: StateMachine<Command, Result, Query, Answer>
  readonly #codec: Codec<Command>

  private constructor(server: RunningServer, options: RaftOptions<Command, Result, Query, Answer>) {
    this.#server = server
    this.#machine = options.stateMachine
    this.#codec = options.codec
  }

  /** Opens the folder, joins the cluster, starts to take part. Rejects with a RaftError that names what to do. */
  static async open<Command, Result, Query = never, Answer = never>(
    options: RaftOptions<Command, Result, Query, Answer>,
  ): Promise<Raft<Command, Result, Query, Answer>> {
    checkOptions(options)
    return Raft.over(await openServer(options), options)
  }

  /** The public face of a server that is already open: for the simulator, which looks inside it as well. */
  static over<Command, Result, Query = never, Answer = never>(
    server: RunningServer,
    options: RaftOptions<Command, Result, Query, Answer>,
  ): Raft<Command, Result, Query, Answer> {
    return new Raft(server, options)
  }

  /** Resolves when a leader is known and what was committed when it became known is applied here. */
  ready(options?: WaitOptions): Promise<void> {
    const call = this.#call<void>(options)
    if (!call.settled) this.#server.loop.waitUntilReady(call)
    return call.promise
  }

  /** Replicates one command; resolves with the state machine's answer once it is committed and applied here. Leader only. */
  async apply(command: Command, options?: WaitOptions): Promise<Result> {
    const [result] = await this.#propose([this.#encode(command)], 'command', options)
    return result as Result
  }

  /** As `apply`, for a list in order, in one append. The first failure rejects the whole call; its outcome covers the list. */
  async applyAll(commands: readonly Command[], options?: WaitOptions): Promise<readonly Result[]> {
    if (commands.length === 0) return []
    const payloads = commands.map((command) => this.#encode(command))
    return (await this.#propose(payloads, 'command', options)) as readonly Result[]
  }

  /** Commits an empty entry; resolves with its index once everything before it is applied here. Leader only. */
  async barrier(options?: WaitOptions): Promise<LogIndex> {
    const [index] = await this.#propose([NO_PAYLOAD], 'barrier', options)
    return index as LogIndex
  }

  /** Asks the state machine. `linearizable`, the default, first does what `readIndex` does; `stale` asks at once. */
  async read(
    query: Query,
    options?: WaitOptions & { readonly consistency?: 'linearizable' | 'stale' },
  ): Promise<Answer> {
    if (this.#machine.query === undefined) {
      throw new RaftError('ERR_RAFT_OPTIONS', 'option stateMachine has no query function; give it one to use read')
    }
    if (options?.consistency !== 'stale') await this.readIndex(options)
    return this.#machine.query(query)
  }

  /**
   * Resolves once this server has proved that it led after the call began, and has applied everything that was committed
   * then: whatever the state machine holds now is a linearizable read (thesis 6.4). All calls of one turn share one round.
   */
  readIndex(options?: WaitOptions): Promise<LogIndex> {
    const call = this.#call<LogIndex>(options)
    const { core, loop, reads } = this.#server
    if (call.settled) return call.promise
    if (core.role !== 'leader') call.reject(loop.notLeader())
    else if (reads.full)
      call.reject(new RaftError('ERR_RAFT_OVERLOADED', 'too many reads wait: slow down', { retryable: true }))
    else reads.add(call)
    loop.schedule()
    return call.promise
  }

  /** Resolves once a quorum of voters has confirmed, after the call began, that this server leads. */
  async verifyLeader(options?: WaitOptions): Promise<void> {
    await this.readIndex(options)
  }

  get status(): Status {
    const { core, store, loop, identity, stored, inbound } = this.#server
    const { log } = core
    const { voters, outgoing, nonvoters } = core.configuration
    const others = [...voters, ...(outgoing ?? []), ...nonvoters].filter(({ id }) => id !== identity.serverId)
    return {
      id: identity.serverId,
      clusterId: identity.clusterId,
      role: core.role,
      term: core.term,
      leader: core.leader,
      firstIndex: log.firstIndex,
      lastIndex: log.lastIndex,
      durableIndex: log.durableIndex,
      commitIndex: log.commitIndex,
      appliedIndex: log.appliedIndex,
      configuration: core.configuration,
      peers: others.map(({ id, address }) => ({
        id,
        address,
        connected: inbound.isConnected(id),
        matchIndex: core.matchIndexOf(id),
        lastIndex: core.role === 'leader' ? inbound.lastIndexOf(id) : null,
      })),
      store: store.stats(),
      durability: stored.durability,
      fault: loop.fault,
    }
  }

  /** Returns what ends the subscription. A listener is called during a turn: it must not block, and what it throws is logged. */
  on<Name extends keyof RaftEvents>(name: Name, listener: (event: RaftEvents[Name]) => void): () => void {
    return this.#server.events.on(name, listener)
  }

  /** Settles every call, makes the commit index durable and releases the folder. Idempotent. */
  close(): Promise<void> {
    return this.#server.loop.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Resolves when the server has closed or halted, with the error that halted it or null. Never rejects. */
  get closed(): Promise<RaftError | null> {
    return this.#server.loop.ended
  }

  #propose(
    payloads: readonly Uint8Array[],
    kind: Proposal['kind'],
    options: WaitOptions | undefined,
  ): Promise<readonly unknown[]> {
    const { core, loop, proposals } = this.#server
    let queued: ProposalGroup | null = null
    const abandon = (): Outcome => (queued === null ? 'not-applied' : proposals.withdraw(queued))
    const call = this.#call<readonly unknown[]>(options, abandon)
    if (call.settled) return call.promise
    if (core.role !== 'leader') {
      call.reject(loop.notLeader())
      return call.promise
    }
    const group = new ProposalGroup(call, payloads.length)
    const index = logIndex(0)
    try {
      proposals.add(payloads.map((payload, position) => ({ kind, payload, group, position, index })))
      queued = group
      loop.schedule()
    } catch (error) {
      call.reject(error as RaftError)
    }
    return call.promise
  }

  #call<Value>(options: WaitOptions | undefined, abandon?: () => Outcome): PendingCall<Value> {
    checkTimeout(options?.timeoutMs)
    const { loop, clock } = this.#server
    const call = new PendingCall<Value>(abandon)
    const refusal = loop.refusal
    if (refusal !== null) call.reject(new RaftError(refusal.code, refusal.message, { cause: refusal }))
    else call.arm(options, loop.deadlines, clock.now())
    return call
  }

  #encode(command: Command): Uint8Array {
    let payload: Uint8Array
    try {
      payload = this.#codec.encode(command)
    } catch (cause) {
      throw new RaftError('ERR_RAFT_ENCODE', 'the codec could not encode the command; nothing was appended', { cause })
    }
    if (!(payload instanceof Uint8Array)) {
      throw new RaftError('ERR_RAFT_ENCODE', 'the codec must answer with a Uint8Array; nothing was appended')
    }
    if (payload.byteLength > PAYLOAD_BYTES_MAX) {
      throw new RaftError(
        'ERR_RAFT_TOO_LARGE',
        `the command has ${payload.byteLength} bytes, at most ${PAYLOAD_BYTES_MAX} are allowed: split it`,
      )
    }
    return payload
  }
}
