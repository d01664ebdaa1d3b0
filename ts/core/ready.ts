/**
 * What goes into the core and what comes out: plain data both ways, nothing is called back.
 * Sessions will add members to these unions.
 */

import type { LeaderHint } from '../errors.js'
import type {
  Block,
  Configuration,
  LogIndex,
  Role,
  Server,
  ServerId,
  SnapshotMeta,
  StoreIdentity,
  Term,
} from '../types.js'
import type { ChangeOutcome, ConfigurationChange } from './configuration-change.js'
import type { Request, Response } from './messages.js'
import type { PersistTicket } from './tickets.js'

/** Everything that a core is ever told. */
export type Input =
  /**
   * A turn of the shell begins. Sets the time and fires nothing: what has arrived must be seen before a timer may
   * expire (scenario E15).
   */
  | {
      readonly type: 'turn'
      readonly now: number
      /** On the clock that counts through suspend; absent: as before. Needed while the core `countsLease`. */
      readonly bootNow?: number
    }
  /** Everything that had arrived is in: deadlines may expire now. */
  | { readonly type: 'tick'; readonly now: number }
  | { readonly type: 'request'; readonly from: ServerId; readonly link: number; readonly message: Request }
  | { readonly type: 'response'; readonly from: ServerId; readonly session: number; readonly message: Response }
  /** Part of a message from that peer has arrived on that link, and the rest is on its way. */
  | { readonly type: 'arriving'; readonly from: ServerId; readonly link: number }
  /** This server was added, as others know, and is no first member of its cluster, whatever it took itself for. */
  | { readonly type: 'hasJoined' }
  | {
      readonly type: 'peerUp'
      readonly peer: ServerId
      readonly session: number
      /** What stands at the other end, as it says. */
      readonly store: StoreIdentity
    }
  | { readonly type: 'peerDown'; readonly peer: ServerId; readonly session: number }
  /** All connections with that peer have ended, and how they did says that its process is gone. */
  | { readonly type: 'peerGone'; readonly peer: ServerId }
  /** A batch that `admit` allowed, sealed at the index and term that it gave. */
  | { readonly type: 'propose'; readonly block: Block }
  /** Answered in `Ready.reads` under the same id. */
  | { readonly type: 'readIndex'; readonly id: number }
  /** Answered in `Ready.changes` under the same id, in the same turn. */
  | ({ readonly type: 'configure'; readonly id: number } & ChangeRequest)
  /**
   * Leadership is to go to that voter, or to the one that suits best. Answered in `Ready.transfers` under the same id.
   */
  | { readonly type: 'transfer'; readonly id: number; readonly to: ServerId | null }
  /** A leader is to give up leadership, to whoever is elected. */
  | { readonly type: 'stepDown'; readonly reason: string }
  /** That ticket and all before it are durable. */
  | { readonly type: 'persisted'; readonly ticket: number }
  /** The store is poisoned, or the state machine threw: from here on the core says nothing. */
  | { readonly type: 'halt' }
  /** Bytes that the store will take now. */
  | { readonly type: 'credit'; readonly bytes: number }
  /** The state machine has applied everything up to here; ends the range handed out. */
  | { readonly type: 'applied'; readonly index: LogIndex }
  /** No block at all: what was asked for is no longer kept. */
  | { readonly type: 'fetched'; readonly fetch: Fetch; readonly blocks: readonly Block[] }
  | { readonly type: 'fetchFailed'; readonly fetch: Fetch }
  /**
   * A snapshot of this server's own is whole and durable: the log may begin at `first`, and where peers need more of
   * it, at `firstLeast`.
   */
  | {
      readonly type: 'snapshotTaken'
      readonly snapshot: SnapshotMeta
      readonly first: LogIndex
      readonly firstLeast: LogIndex
    }
  /** A snapshot of another server is whole and durable here. One that says nothing new is ignored. */
  | { readonly type: 'snapshotReceived'; readonly snapshot: SnapshotMeta }
  /** The state machine has what `Ready.restore` handed out. */
  | { readonly type: 'restored'; readonly index: LogIndex }
  /** A peer that `Ready.sends` named has that snapshot, or could not be given it: it is tried again. */
  | { readonly type: 'snapshotSent'; readonly peer: ServerId; readonly index: LogIndex }
  /** `isGone`: that snapshot is not there any more, and the peer must be given another one. */
  | { readonly type: 'snapshotFailed'; readonly peer: ServerId; readonly isGone: boolean }

/** A change of the members, and what must be so for it. */
export interface ChangeRequest {
  readonly change: ConfigurationChange
  /** The configuration in force must be the one of this entry; null: whichever is. */
  readonly ifIndex: LogIndex | null
  /** Also where too few voters are heard. */
  readonly force: boolean
}

/** Whether a leader takes a batch now. */
export type Admission =
  /** Seal it at this place; at most `bytesMax` bytes, though a single block may be larger. */
  | { readonly status: 'accept'; readonly first: LogIndex; readonly term: Term; readonly bytesMax: number }
  /**
   * Keep it: two tickets are under way, or there is no room just now, on the disk or before the state machine. What
   * waits merges.
   */
  | { readonly status: 'wait' }
  /** Not leader. */
  | { readonly status: 'refuse' }

/** A message, and where it goes: to a peer, in a session of its connection, or back over the link of its request. */
export type OutgoingMessage =
  | { readonly kind: 'request'; readonly to: ServerId; readonly session: number; readonly message: Request }
  | { readonly kind: 'response'; readonly link: number; readonly message: Response }

/** Committed and durable entries for the state machine. One range is out at a time. */
export interface ApplyRange {
  readonly first: LogIndex
  readonly last: LogIndex
  /** Cover first .. last, and may reach beyond it on the right; null when the bytes must be read from the store. */
  readonly blocks: readonly Block[] | null
}

/** Entries that a peer lacks and the tail no longer holds: to be read from the store and handed back in `fetched`. */
export interface Fetch {
  readonly peer: ServerId
  readonly session: number
  readonly term: Term
  readonly from: LogIndex
  /** Half-open end. */
  readonly to: LogIndex
  readonly bytesMax: number
}

/** A peer that lacks entries which are no longer kept: it is to be given that snapshot. */
export interface SnapshotSend {
  readonly peer: ServerId
  readonly term: Term
  readonly snapshot: SnapshotMeta
}

/** The state machine is to become what that snapshot holds; an older one that reaches firstIndex - 1 serves as well. */
export interface Restore {
  readonly snapshot: SnapshotMeta
  readonly firstIndex: LogIndex
}

/** What became of a `readIndex`, under its id. */
export type ReadOutcome =
  /** Linearizable once this index is applied. */
  | { readonly id: number; readonly status: 'confirmed'; readonly index: LogIndex }
  | { readonly id: number; readonly status: 'notLeader' | 'overloaded' }

/** Why leadership was not handed over. */
export type TransferFailure =
  | 'notLeader'
  /** Another transfer is under way. */
  | 'inProgress'
  /** No voter is heard that could lead. */
  | 'noTarget'
  /** Whoever was named is no voter, or this server itself. */
  | 'notVoter'
  /** It is not connected, or has not answered for an election timeout: nothing was held back for it. */
  | 'notHeard'
  /** Its process has gone. */
  | 'targetGone'
  /** Not within an election timeout. */
  | 'timedOut'
  /** This leadership has ended before the other was asked. */
  | 'leadershipLost'
  /** Whoever was asked was not elected, another server was. */
  | 'otherElected'

/** What became of a `transfer`, under its id. */
export type TransferOutcome =
  /** It leads a later term. */
  | { readonly id: number; readonly status: 'transferred'; readonly to: ServerId }
  /** `to`: whom it was meant for; null when nobody was found. */
  | {
      readonly id: number
      readonly status: 'failed'
      readonly to: ServerId | null
      readonly reason: TransferFailure
    }

/** What a core has to tell, to a log and to whoever listens; nothing depends on it. */
export type CoreEvent =
  | { readonly type: 'role'; readonly role: Role; readonly term: Term }
  | { readonly type: 'leader'; readonly leader: LeaderHint | null; readonly term: Term }
  | { readonly type: 'steppedDown'; readonly term: Term; readonly reason: string }
  /** A peer has lost entries that it had acknowledged to this leader. */
  | {
      readonly type: 'regressed'
      readonly peer: ServerId
      readonly acknowledged: LogIndex
      /** Where its log ends now; null when it does not say. */
      readonly lastIndex: LogIndex | null
    }
  /** In force from now on; with `isCommitted`, no leader takes it back. Each that is committed is told so, in order. */
  | {
      readonly type: 'configuration'
      readonly configuration: Configuration
      readonly index: LogIndex
      readonly isCommitted: boolean
    }
  /** This server was a member, and is none any more by the newest configuration that is known to be committed. */
  | { readonly type: 'removed'; readonly index: LogIndex }
  /** Whom this server talks to from now on: members, and for a moment those that were removed. */
  | { readonly type: 'contacts'; readonly contacts: readonly Server[] }
  /** A peer sent what no correct server sends; nothing was done with it. */
  | { readonly type: 'breach'; readonly peer: ServerId; readonly reason: string }

/**
 * What is to be done after the inputs of a turn, in this order: send, write, apply. What must wait for a write is held
 * back.
 */
export interface Ready {
  readonly ticket: PersistTicket | null
  readonly messages: readonly OutgoingMessage[]
  readonly apply: ApplyRange | null
  /** Nothing is applied until it has been answered. */
  readonly restore: Restore | null
  readonly sends: readonly SnapshotSend[]
  readonly fetches: readonly Fetch[]
  readonly reads: readonly ReadOutcome[]
  readonly changes: readonly ChangeOutcome[]
  readonly transfers: readonly TransferOutcome[]
  /** Leadership ended: proposals of this server above this index have an unknown outcome, whatever happens later. */
  readonly lostAbove: LogIndex | null
  /** Links whose peer broke the protocol. */
  readonly rejects: readonly { readonly link: number; readonly reason: string }[]
  readonly events: readonly CoreEvent[]
}
