/** How a server stands, as it sees itself: one look, no promise. */

import type { LeaderHint, RaftError } from '../errors.js'
import type { PeerRefusal } from './peer-refusals.js'
import type { RepairStatus } from './repair/repairs.js'
import type { StoreStats } from '../storage/log-store.js'
import { metaOf } from '../format/server-meta.js'
import type {
  Configuration,
  ConfigurationStatus,
  JoinStatus,
  LogIndex,
  Member,
  Role,
  Server,
  ServerId,
  Term,
} from '../types.js'

/** Another member, as this server sees it. */
export interface PeerStatus {
  readonly id: ServerId
  /** As the configuration says it. */
  readonly address: string
  /** The connection that this server dials to it is up and admitted; what it dials to us does not count. */
  readonly connected: boolean
  /** Why it is not: how the last connection ended or the last dial failed. Null while it is, or nothing is known. */
  readonly downReason: string | null
  /** As the leader knows it; 0 on other servers. */
  readonly matchIndex: LogIndex
  /** Where its log ends, as it last answered this leader; null on other servers, and while it has not. */
  readonly lastIndex: LogIndex | null
  /**
   * Why this server refuses whoever comes as this peer, or is refused by it, and since when; null when they were well
   * the last time.
   */
  readonly refusal: PeerRefusal | null
}

/** How the date of this machine stands to the time that entries carry (docs/architecture.md, Time). */
export interface ClockStatus {
  /** How far the wall clock is ahead of entry time, in milliseconds; negative when it is behind. */
  readonly offsetMs: number
  /** How often the wall clock has jumped since this server was opened. */
  readonly jumps: number
}

/** A snapshot that is whole and durable. */
export interface SnapshotInfo {
  readonly id: string
  /** The last entry that it covers, and the term of that. */
  readonly index: LogIndex
  readonly term: Term
  /** What its file takes. */
  readonly bytes: number
}

export interface SnapshotStatus {
  /** The newest one here; null while there is none. */
  readonly last: SnapshotInfo | null
  readonly isTaking: boolean
  /** The state machine is being replaced by what a snapshot holds; nothing is applied meanwhile. */
  readonly isRestoring: boolean
  /** Why the last attempt to take one failed; null when it did not, or there was none. */
  readonly failure: RaftError | null
  /** Why none will be taken, and the log is kept whole; null when it is not so. */
  readonly unavailable: string | null
}

/** The core's own configuration is not given away. */
export function describe({ voters, outgoing, nonvoters, leaseMs }: Configuration): ConfigurationStatus {
  const memberOf = (server: Server): Member => {
    const { id, address } = server
    const meta = metaOf(server)
    return meta === null ? { id, address } : { id, address, meta }
  }
  return {
    voters: voters.map(memberOf),
    outgoing: outgoing?.map(memberOf) ?? null,
    nonvoters: nonvoters.map((nonvoter) => ({ ...memberOf(nonvoter), promote: nonvoter.promote })),
    ...(leaseMs === undefined ? {} : { leaseMs }),
  }
}

/** A configuration, and the entry that it came from. */
export interface ConfigurationAnswer {
  readonly configuration: ConfigurationStatus
  /** For `ifIndex`: a change that names it is refused once another configuration is in force. */
  readonly index: LogIndex
  /** Whether no leader can take it back. */
  readonly isCommitted: boolean
}

/** How things stand on one server, read at once and without waiting (`raft.status`). */
export interface Status {
  readonly id: ServerId
  readonly clusterId: string
  /** The recoveries of the cluster from a lost quorum, the oldest first: for the option of a server that comes new. */
  readonly recoveries: readonly string[]
  /** Of a server that has closed or halted: follower, and no leader is known to it. */
  readonly role: Role
  /** Never falls; grows with each election that this server hears of. */
  readonly term: Term
  /** The leader of this term, as far as this server has heard; null while none is known. */
  readonly leader: LeaderHint | null
  /** The oldest entry that is kept: 1 until the log is compacted behind a snapshot. */
  readonly firstIndex: LogIndex
  /** The newest entry, written or not. Falls when a leader replaces entries that were never committed. */
  readonly lastIndex: LogIndex
  /** Up to here the log is on this server's disk. */
  readonly durableIndex: LogIndex
  /** Up to here this server knows the log to be committed; never falls while it runs. */
  readonly commitIndex: LogIndex
  /** Up to here the state machine has answered, or was restored; at most the smaller of the two before it. */
  readonly appliedIndex: LogIndex
  /** The newest in the log, committed or not (thesis 4.1). */
  readonly configuration: ConfigurationStatus
  /** The entry that it came from, and whether no leader can take that back. */
  readonly configurationIndex: LogIndex
  readonly configurationIsCommitted: boolean
  /** Every member but this server. */
  readonly peers: readonly PeerStatus[]
  /**
   * What this server waits for while it has `join` among its options and is no member by the newest configuration that
   * it has: also one that was removed. Null otherwise. While `Raft.open` asks addresses there is no status yet, and
   * option `onJoin` tells it.
   */
  readonly join: JoinStatus | null
  readonly snapshot: SnapshotStatus
  /** Of damaged blocks of the log that other members are asked for. */
  readonly repairs: RepairStatus
  readonly clock: ClockStatus
  readonly store: StoreStats
  /** 'none': a flush means nothing where the folder lies. */
  readonly durability: 'device' | 'none'
  /** Not null: this server has halted (store poisoned, or the state machine threw). */
  readonly fault: RaftError | null
}
