/** What the roles share: the parts of the core that they may use, and what each of them must answer to. */

import { logIndex } from '../types.js'
import type { Block, Configuration, LogIndex, Role, Server, ServerId, Term } from '../types.js'
import type { Electorate, PeerSession } from './electorate.js'
import type { TermAndVote } from './hard-state.js'
import type { Intake } from './intake.js'
import type { Progress } from './leader/progress.js'
import type { LeaderLoss } from './leader-loss.js'
import type { AppendEntries, Response, TimeoutNow } from './messages.js'
import type { Outbox } from './outbox.js'
import type { Pledge } from './pledge.js'
import type { BlockMaker, RaftLog } from './raft-log.js'
import type { Admission, ChangeRequest, Fetch } from './ready.js'
import type { Succession } from './succession.js'
import type { Tickets } from './tickets.js'

/** The times of a core, in milliseconds. */
export interface CoreSettings {
  /** Election timeouts are drawn from electionTimeoutMs up to twice that. */
  readonly electionTimeoutMs: number
  readonly heartbeatMs: number
  /**
   * The very first timeout is drawn from this up to twice this; null: as every other. For a cluster that was just
   * bootstrapped.
   */
  readonly firstElectionTimeoutMs: number | null
  /**
   * 0 .. ELECTION_PRIORITY_MAX, which is what it is when it is absent: with each less, timeouts are an election timeout
   * longer. With 0 this server calls for no election by itself.
   */
  readonly electionPriority?: number
}

/** The core as the roles see it. Only the transitions change the role, and they take effect at once. */
export interface CoreContext {
  readonly id: ServerId
  readonly settings: CoreSettings
  readonly hardState: TermAndVote
  readonly log: RaftLog
  readonly tickets: Tickets
  readonly intake: Intake
  readonly outbox: Outbox
  readonly maker: BlockMaker
  readonly losses: LeaderLoss
  readonly pledge: Pledge
  readonly succession: Succession
  /** Live connections by peer; shared by all roles, kept by the core. */
  readonly sessions: ReadonlyMap<ServerId, PeerSession>
  readonly electorate: Electorate
  /** The time of this turn. */
  readonly now: number
  /** The same on the clock that counts through suspend, or earlier; -Infinity where nobody asks for it. */
  readonly bootNow: number
  /** In force from the moment it is appended (thesis 4.1). */
  readonly configuration: Configuration
  /** In [0, 1). */
  random(): number
  drawElectionTimeout(): number
  setLeader(leader: ServerId | null): void
  /** Returns the new role, for what the old one was about to be told. */
  becomeFollower(term: Term, leader: ServerId | null, reason: string): RoleBehaviour
  becomePreCandidate(): void
  /** `isTransfer`: the leader of the term before has asked for it. */
  becomeCandidate(isTransfer: boolean): void
  becomeLeader(): void
}

const NO_PEERS: ReadonlyMap<ServerId, Readonly<Progress>> = new Map()
export const NO_SERVERS: readonly Server[] = []

/**
 * A role, as the core asks it. Whatever only some roles can do is refused, or ignored, unless a role says otherwise:
 * the core never asks which role it is that answers.
 */
export abstract class RoleBehaviour {
  abstract readonly role: Role
  protected readonly core: CoreContext

  constructor(core: CoreContext) {
    this.core = core
  }

  /** The next time at which `tick` must be called; Infinity for never. */
  abstract nextDeadline(): number
  abstract tick(): void
  /** An answer of a term that is not above this server's own, to something that was asked in whatever role. */
  abstract onResponse(from: ServerId, session: number, message: Response): void
  /** Invariant: message.term is the current term. */
  abstract handleAppendEntries(from: ServerId, link: number, message: AppendEntries): void

  onPersisted(): void {}

  /** Part of a message from that peer has arrived on that link, and the rest is on its way. */
  onArriving(_from: ServerId, _link: number): void {}

  onPeerUp(_peer: ServerId, _session: number): void {}

  onPeerDown(_peer: ServerId): void {}

  /** All connections with that peer have ended, and how they did says that its process is gone. */
  onPeerGone(_peer: ServerId): void {}

  /** Invariant: message.term is the current term. */
  onTimeoutNow(_from: ServerId, _message: TimeoutNow): void {}

  /** The last word before a Ready is taken: messages that are made once per turn. */
  flush(): void {}

  /** After the event loop was blocked: what is still on its way gets this long. */
  grace(_until: number): void {}

  /** This server has given its vote: whoever got it has time to win (5.2). */
  onVoteGranted(): void {}

  /**
   * When an election is due, for a role that counts the time without a leader; a follower keeps it through a change of
   * term.
   */
  get electionAt(): number | null {
    return null
  }

  /** Whether a live leader is heard, or is here: then nobody gets a vote (9.6, 6). */
  get hearsLeader(): boolean {
    return false
  }

  /** When the leader of this term was last heard, or by a leader a quorum; -Infinity for never. */
  get leaderContactAt(): number {
    return -Infinity
  }

  /** Whether a batch of proposals with so many bytes would be taken now. */
  admit(_waitingBytes: number): Admission {
    return { status: 'refuse' }
  }

  readIndex(id: number): void {
    this.core.outbox.read({ id, status: 'notLeader' })
  }

  /** Whether what is committed here is all that is committed anywhere, at that time of the clock of leases. */
  holdsLease(_bootNow: number): boolean {
    return false
  }

  /** The same of what the state machine has. */
  mayReadByLease(_bootNow: number): boolean {
    return false
  }

  configure(id: number, _request: ChangeRequest): void {
    this.core.outbox.change({ id, status: 'refused', refusal: { kind: 'notLeader' } })
  }

  /** Leadership is to go to that voter, or to the one that suits best. */
  transfer(id: number, to: ServerId | null): void {
    this.core.outbox.transfer({ id, status: 'failed', to, reason: 'notLeader' })
  }

  /** Leadership is to be given up. */
  stepDown(_reason: string): void {}

  fetched(_fetch: Fetch, _blocks: readonly Block[]): void {}

  fetchFailed(_fetch: Fetch): void {}

  /** A peer has the snapshot that it was to be given. */
  snapshotSent(_peer: ServerId, _index: LogIndex): void {}

  snapshotFailed(_peer: ServerId, _isGone: boolean): void {}

  /** Peers that are being given a snapshot. */
  get snapshotsSent(): number {
    return 0
  }

  /** The first entry that a peer needs, however old while it is given a snapshot, else `least` at the least. */
  neededFrom(_least: LogIndex): LogIndex {
    return logIndex(Number.MAX_SAFE_INTEGER)
  }

  /** What is known of each peer. */
  get peers(): ReadonlyMap<ServerId, Readonly<Progress>> {
    return NO_PEERS
  }

  /** Servers that were removed, and that this role still tells so. Another list whenever it changes. */
  get leaving(): readonly Server[] {
    return NO_SERVERS
  }

  /**
   * What all of those are known to have that this role feeds from memory: nobody else needs what lies below it. One
   * that needs older entries than the tail has, or a snapshot, reads from the store until it comes near.
   */
  get heldByPeers(): LogIndex {
    return logIndex(Number.MAX_SAFE_INTEGER)
  }

  /** Reads that wait for this role to prove that it leads. */
  get readsWaiting(): number {
    return 0
  }

  /** Whether there may be something to do for this role once the state machine has answered. */
  get awaitsMachine(): boolean {
    return false
  }

  /** 1 while this role hands over. */
  get transfersUnderWay(): number {
    return 0
  }

  /** The role is over: whatever it owed gets its outcome. */
  end(_reason: string): void {}

  /**
   * Whether this server calls for elections by itself: it was not told never to, and is a voter. Also one whose removal
   * is not committed: it may be the only one that has that entry, so that nobody else can be elected without its vote
   * (thesis 4.2.2).
   */
  protected get mayCampaign(): boolean {
    const { configuration, electorate, settings, log } = this.core
    if (settings.electionPriority === 0) return false
    if (electorate.isVoterHere(configuration)) return true
    const isInQuestion = log.configurationIndex > log.commitIndex
    const inQuestion = isInQuestion ? log.configurationsInQuestion : []
    return inQuestion.some((at) => electorate.isVoterHere(at.configuration))
  }

  /** A second leader in one term cannot be (5.2): the message is refused and told. */
  protected refuseLeader(from: ServerId, link: number, term: Term, leader: ServerId): void {
    this.core.outbox.breach(from, link, `it claims to lead term ${term}, which ${leader} leads`)
  }
}

/** 0 for a peer that is not known, as for one that has nothing. */
export function matchIndexOf(peers: ReadonlyMap<ServerId, Readonly<Progress>>, peer: ServerId): LogIndex {
  return peers.get(peer)?.matchIndex ?? logIndex(0)
}
