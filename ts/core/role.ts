/** What the roles share: the part of the core that they may use, and what each of them must answer to. */

import type { Block, Configuration, LogIndex, Role, ServerId, Term } from '../types.js'
import type { Response } from './messages.js'
import type { Outbox } from './outbox.js'
import type { Fetch } from './ready.js'
import type { BlockMaker, RaftLog } from './raft-log.js'
import type { Tickets } from './tickets.js'

export interface CoreSettings {
  /** Election timeouts are drawn from electionTimeoutMs up to twice that. */
  readonly electionTimeoutMs: number
  readonly heartbeatMs: number
  /** The very first timeout is drawn from this up to twice this; null: as every other. For a cluster that was just bootstrapped. */
  readonly firstElectionTimeoutMs: number | null
}

/** The core as the roles see it. Only the transitions change the role, and they take effect at once. */
export interface RoleContext {
  readonly id: ServerId
  readonly settings: CoreSettings
  readonly log: RaftLog
  readonly tickets: Tickets
  readonly outbox: Outbox
  readonly maker: BlockMaker
  /** Live connections by peer; shared by all roles, kept by the core. */
  readonly sessions: ReadonlyMap<ServerId, number>
  /** The time of this turn. */
  readonly now: number
  readonly configuration: Configuration
  /** Bytes that the store will still take. */
  readonly credit: number
  drawElectionTimeout(): number
  /** Makes a block part of the log and of the next ticket. */
  accept(block: Block): void
  setLeader(leader: ServerId | null): void
  commitTo(index: LogIndex): void
  grantVote(candidate: ServerId): void
  becomeFollower(term: Term, leader: ServerId | null, reason: string): void
  becomePreCandidate(): void
  becomeCandidate(): void
  becomeLeader(): void
}

export interface RoleBehaviour {
  readonly role: Role
  /** The next time at which `tick` must be called; Infinity for never. */
  nextDeadline(): number
  tick(): void
  onResponse(from: ServerId, session: number, message: Response): void
  onPeerUp(peer: ServerId, session: number): void
  onPeerDown(peer: ServerId): void
  onPersisted(): void
  /** The last word before a Ready is taken: messages that are made once per turn. */
  flush(): void
}

/** Implemented by the leader alone; the other roles refuse. */
export interface LeaderDuties {
  readIndex(id: number): void
  fetched(fetch: Fetch, blocks: readonly Block[]): void
  fetchFailed(fetch: Fetch): void
}
