/**
 * What servers say to each other, named as in the paper (figure 2), the thesis (9.6) and their logs.
 * Answers carry everything needed to judge them (term, round, match), so a lost, late or repeated one does no harm.
 * There is no InstallSnapshot: snapshots travel beside these, over channels (`snapshot/transfer/messages`).
 */

import type { Block, LogIndex, Term } from '../types.js'

/**
 * Leader to peer. With no blocks it is a heartbeat: outside the window, answered at once (docs/architecture.md, "The
 * core").
 */
export interface AppendEntries {
  readonly type: 'AppendEntries'
  readonly term: Term
  readonly prevIndex: LogIndex
  readonly prevTerm: Term
  /** Consecutive blocks from prevIndex + 1. */
  readonly blocks: readonly Block[]
  /** Invariant: a heartbeat's is at most its prevIndex. */
  readonly commitIndex: LogIndex
  /** Grows within one leadership; echoed, so that the leader knows which answers were caused after a read (6.4). */
  readonly round: number
}

/** Peer to leader. Answers merge: one stands for every AppendEntries of its link received before it. */
export interface AppendEntriesResult {
  readonly type: 'AppendEntriesResult'
  readonly term: Term
  /** `busy`: the peer has no room; it accepted nothing of that message. */
  readonly status: 'matched' | 'conflict' | 'busy'
  /** The last entry that is both proven equal to the leader's and durable here. On a conflict: 0. */
  readonly matchIndex: LogIndex
  /**
   * On a conflict: the highest index at which the logs may agree, and this server's term there, so that the leader
   * skips whole terms (5.3). A hint only: never used as a match. 0 and 0 otherwise.
   */
  readonly hintIndex: LogIndex
  readonly hintTerm: Term
  /** The highest round seen from this leadership, 1 or more; 0: the message was of a term that is over. */
  readonly round: number
  /** The last entry of this server's log, whether it agrees or not. Absent when the peer's version does not say. */
  readonly lastIndex?: LogIndex
  /**
   * The last entry that is proven equal to the leader's, where that is not durable here yet: what was accepted is not
   * sent again. Absent where it is `matchIndex`, or when the peer's version does not say.
   */
  readonly acceptedIndex?: LogIndex
}

/** Asks for a vote in a term that its sender has begun (5.2); says where its log ends (5.4.1). */
export interface RequestVote {
  readonly type: 'RequestVote'
  readonly term: Term
  readonly lastIndex: LogIndex
  readonly lastTerm: Term
  /**
   * The leader itself has asked for this election: that voters hear it is no reason to refuse (thesis 4.2.3). Absent
   * otherwise; a peer whose version does not know it refuses as ever.
   */
  readonly isTransfer?: true
}

/** The answer to a `RequestVote`; a grant is durable before it leaves. */
export interface RequestVoteResult {
  readonly type: 'RequestVoteResult'
  readonly term: Term
  readonly granted: boolean
}

/** Asks whether an election could be won (thesis 9.6). `proposedTerm` is stored by nobody. */
export interface PreVote {
  readonly type: 'PreVote'
  readonly proposedTerm: Term
  readonly lastIndex: LogIndex
  readonly lastTerm: Term
  /** Names this attempt of this sender; echoed. */
  readonly round: number
}

/** The answer to a `PreVote`; nothing is promised by it. */
export interface PreVoteResult {
  readonly type: 'PreVoteResult'
  /** The voter's own durable term. */
  readonly term: Term
  readonly granted: boolean
  readonly round: number
}

/**
 * Leader to the voter that is to lead next: call for an election at once (thesis 3.10). Answered by what follows from
 * it. Whoever gets it late, twice or by mistake does nothing: it counts in that term alone, from its leader, and while
 * the log of the receiver ends where the leader's did.
 */
export interface TimeoutNow {
  readonly type: 'TimeoutNow'
  readonly term: Term
  readonly lastIndex: LogIndex
  readonly lastTerm: Term
}

/** What is sent over the connection that its sender has dialled. */
export type Request = AppendEntries | RequestVote | PreVote | TimeoutNow
/** What is answered, over the connection that the request came by. */
export type Response = AppendEntriesResult | RequestVoteResult | PreVoteResult
