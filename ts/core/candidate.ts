/**
 * A server that wants to lead. First it asks whether it could win, which changes nothing anywhere (preCandidate, thesis
 * 9.6); only then does it raise its term and ask for votes (candidate, 5.2).
 *
 * Invariant: a voter counts once (scenario E3), only for its own term or round, and oneself only when the vote is
 * durable.
 */

import { termOf } from '../types.js'
import type { ServerId } from '../types.js'
import { hasQuorum } from './configuration.js'
import type { AppendEntries, Request, Response } from './messages.js'
import { RoleBehaviour } from './role.js'
import type { CoreContext } from './role.js'

/** What both steps share: ask every voter, count each grant once, begin again when time is up. */
abstract class Campaign extends RoleBehaviour {
  abstract override readonly role: 'preCandidate' | 'candidate'
  /** The voters that have said yes. */
  readonly #grants = new Set<ServerId>()
  /** When this attempt is given up for another one; Infinity while what it asks has not left. */
  #electionAt = Infinity

  protected abstract question(): Request
  protected abstract win(): void

  nextDeadline(): number {
    return this.#electionAt
  }

  tick(): void {
    const { now, pledge } = this.core
    if (now < this.#electionAt) return
    // It may stand for election because its leader has asked it to, and for another one only later.
    if (pledge.isKept(now)) {
      this.#electionAt = pledge.until
      return
    }
    if (this.mayCampaign) return this.core.becomePreCandidate()
    this.core.becomeFollower(this.core.hardState.term, null, 'it calls for elections only when it is asked to')
  }

  override onPeerUp(peer: ServerId, session: number): void {
    this.ask(peer, session)
  }

  /** Somebody has won this term: no reason to go on (5.2). */
  handleAppendEntries(from: ServerId, link: number, message: AppendEntries): void {
    const follower = this.core.becomeFollower(message.term, from, `${from} leads term ${message.term}`)
    follower.handleAppendEntries(from, link, message)
  }

  /**
   * What it asks leaves when term and vote are durable, and only then does the time for answers begin: a disk slower
   * than an election timeout would never win.
   */
  override onPersisted(): void {
    if (this.#electionAt < Infinity || !this.core.tickets.hardStateIsDurable) return
    this.#electionAt = this.core.now + this.core.drawElectionTimeout()
    this.asked()
  }

  /** Called once, when its questions leave. */
  protected asked(): void {}

  protected askAll(): void {
    for (const [peer, { session }] of this.core.sessions) this.ask(peer, session)
  }

  protected ask(peer: ServerId, session: number): void {
    const { tickets, hardState, outbox, configuration, electorate } = this.core
    if (!electorate.counts(configuration, peer, session)) return
    outbox.hold(tickets.gate, hardState.term, { kind: 'request', to: peer, session, message: this.question() })
  }

  /** This server is for itself. */
  protected grantedHere(): void {
    const { configuration, electorate, id } = this.core
    if (electorate.isVoterHere(configuration)) this.#granted(id)
  }

  /** A grant of what is no voter here is ignored. */
  protected grantedBy(id: ServerId, session: number): void {
    const { configuration, electorate } = this.core
    if (electorate.counts(configuration, id, session)) this.#granted(id)
  }

  #granted(id: ServerId): void {
    this.#grants.add(id)
    if (hasQuorum(this.core.configuration, this.#grants)) this.win()
  }
}

export class PreCandidate extends Campaign {
  readonly role = 'preCandidate'
  readonly #round: number

  /** `round` names this attempt: an answer to another one is ignored. */
  constructor(core: CoreContext, round: number) {
    super(core)
    this.#round = round
  }

  /** Called once, when the role has changed. */
  start(): void {
    this.askAll()
    this.onPersisted()
    this.grantedHere()
  }

  onResponse(from: ServerId, session: number, message: Response): void {
    const { hardState, configuration, electorate } = this.core
    if (message.type !== 'PreVoteResult' || message.round !== this.#round) return
    // A grant's term is never adopted. A refusal's is, or the longest log and the highest term block each other for
    // ever (scenario E6); then a fresh timeout is waited for.
    if (message.granted) this.grantedBy(from, session)
    else if (message.term > hardState.term && electorate.counts(configuration, from, session)) {
      this.core.becomeFollower(message.term, null, `voter ${from} refused a pre-vote: its term is ${message.term}`)
    }
  }

  protected question(): Request {
    const { hardState, log } = this.core
    const proposedTerm = termOf(hardState.term + 1)
    const { lastIndex, lastTerm } = log
    return { type: 'PreVote', proposedTerm, lastIndex, lastTerm, round: this.#round }
  }

  protected win(): void {
    this.core.becomeCandidate(false)
  }
}

/** Invariant: term and own vote are in the ticket that every message of this candidacy waits for. */
export class Candidate extends Campaign {
  readonly role = 'candidate'
  readonly #isTransfer: boolean

  /** `isTransfer`: the leader of the term before has asked for it, so nobody refuses because it is heard. */
  constructor(core: CoreContext, isTransfer: boolean) {
    super(core)
    this.#isTransfer = isTransfer
  }

  start(): void {
    this.askAll()
  }

  protected override asked(): void {
    this.grantedHere()
  }

  onResponse(from: ServerId, session: number, message: Response): void {
    const { term } = this.core.hardState
    if (message.type === 'RequestVoteResult' && message.term === term && message.granted) this.grantedBy(from, session)
  }

  protected question(): Request {
    const { hardState, log } = this.core
    const { lastIndex, lastTerm } = log
    const question = { type: 'RequestVote', term: hardState.term, lastIndex, lastTerm } as const
    return this.#isTransfer ? { ...question, isTransfer: true } : question
  }

  protected win(): void {
    this.core.becomeLeader()
  }
}
