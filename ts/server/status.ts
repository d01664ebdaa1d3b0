/** How a server stands, as it sees itself: one look, no promise. */

import type { LeaderHint, RaftError } from '../errors.js'
import type { StoreStats } from '../storage/log-store.js'
import type { Configuration, LogIndex, Role, Server, ServerId, Term } from '../types.js'

export interface PeerStatus {
  readonly id: ServerId
  readonly address: string
  readonly connected: boolean
  /** As the leader knows it; 0 on other servers. */
  readonly matchIndex: LogIndex
  /** Where its log ends, as it last answered this leader; null on other servers, and while it has not. */
  readonly lastIndex: LogIndex | null
}

/** How the date of this machine stands to the time that entries carry (docs/architecture.md, Time). */
export interface ClockStatus {
  /** How far the wall clock is ahead of entry time, in milliseconds; negative when it is behind. */
  readonly offsetMs: number
  /** How often the wall clock has jumped since this server was opened. */
  readonly jumps: number
}

/** The core's own configuration is not given away. */
export function copyOf({ voters, outgoing, nonvoters }: Configuration): Configuration {
  const serverOf = ({ id, address }: Server): Server => ({ id, address })
  return {
    voters: voters.map(serverOf),
    outgoing: outgoing?.map(serverOf) ?? null,
    nonvoters: nonvoters.map((nonvoter) => ({ ...nonvoter })),
  }
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
  readonly clock: ClockStatus
  readonly store: StoreStats
  /** 'none': a flush means nothing where the folder lies. */
  readonly durability: 'device' | 'none'
  /** Not null: this server has halted (store poisoned, or the state machine threw). */
  readonly fault: RaftError | null
}
