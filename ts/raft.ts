import type { LeaderHint, RaftError } from './errors.js'
import type { RaftOptions } from './options.js'
import type { StoreStats } from './storage/log-store.js'
import type { Configuration, LogIndex, Role, ServerId, Term } from './types.js'

export interface WaitOptions {
  /** Stops the wait, never the command. */
  readonly signal?: AbortSignal
  readonly timeoutMs?: number
}

export interface PeerStatus {
  readonly id: ServerId
  readonly address: string
  readonly connected: boolean
  /** As the leader knows it; 0 on other servers. */
  readonly matchIndex: LogIndex
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
  readonly durability: 'device' | 'none'
  /** Not null: this server has halted (store poisoned, or the state machine threw). */
  readonly fault: RaftError | null
}

export interface RaftEvents {
  leader: { readonly leader: LeaderHint | null; readonly term: Term }
  role: { readonly role: Role; readonly term: Term }
  peer: { readonly id: ServerId; readonly connected: boolean; readonly reason: string }
  stall: { readonly stalled: boolean; readonly reason: string }
  fault: { readonly error: RaftError }
}

/** One server of a cluster. */
export declare class Raft<Command, Result, Query = never, Answer = never> {
  static open<Command, Result, Query = never, Answer = never>(
    options: RaftOptions<Command, Result, Query, Answer>,
  ): Promise<Raft<Command, Result, Query, Answer>>
  /** A leader is known and this server has applied what was committed when it learned of it. */
  ready(options?: WaitOptions): Promise<void>
  /** Replicates one command; resolves with the state machine's answer once it is committed and applied here. Leader only. */
  apply(command: Command, options?: WaitOptions): Promise<Result>
  /** As `apply`, for a list in order, in one append. The first failure rejects the whole call (its outcome covers the list). */
  applyAll(commands: readonly Command[], options?: WaitOptions): Promise<readonly Result[]>
  /** Commits an empty entry; resolves with its index once everything before it is applied here. Leader only. */
  barrier(options?: WaitOptions): Promise<LogIndex>
  /** Asks the state machine. `linearizable` (default) first does what `readIndex` does. */
  read(query: Query, options?: WaitOptions & { readonly consistency?: 'linearizable' | 'stale' }): Promise<Answer>
  /**
   * Resolves once this server has confirmed that it is leader after the call began and has applied everything that was committed
   * then: whatever the state machine holds now is a linearizable read (6.4). All calls of one turn share one round.
   */
  readIndex(options?: WaitOptions): Promise<LogIndex>
  verifyLeader(options?: WaitOptions): Promise<void>
  readonly status: Status
  on<Name extends keyof RaftEvents>(name: Name, listener: (event: RaftEvents[Name]) => void): () => void
  /** Settles every call, flushes and releases the folder. Idempotent. */
  close(): Promise<void>
  /** Resolves when the server has closed or halted, with the error that halted it or null. Never rejects. */
  readonly closed: Promise<RaftError | null>
}
