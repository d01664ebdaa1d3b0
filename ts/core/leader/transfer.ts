/**
 * Hands leadership over (thesis 3.10): while it lasts no proposals are taken, so the one that is to lead comes to have
 * everything; then it is asked to call for an election at once.
 *
 * Invariants: it belongs to one leadership and ends with it (scenario T1), and after an election timeout at the latest:
 * the leader then leads on as if nothing had been (T5). TimeoutNow leaves only when the other has the whole log (T2).
 * Each transfer has one outcome.
 */

import { logIndex } from '../../types.js'
import type { LogIndex, ServerId } from '../../types.js'
import type { TransferFailure } from '../ready.js'
import type { CoreContext } from '../role.js'
import type { Progress } from './progress.js'

interface Attempt {
  readonly id: number
  readonly to: ServerId
  readonly giveUpAt: number
  /**
   * Until then what is accepted is to be applied here before the other is asked, so that its callers get their answer:
   * that it is committed is not enough, as a quorum of the others may be faster than the disk of this server. What
   * cannot be is no reason to keep the leader.
   */
  readonly applyUntil: number
  /** The turn in which it began is over. */
  isFirm: boolean
  /** The session on which the other was last asked; null while it was not. */
  askedOn: number | null
  /** The other was asked before everything was applied here. */
  isEarly: boolean
}

export class Transfer {
  readonly #core: CoreContext
  readonly #peers: ReadonlyMap<ServerId, Progress>
  #attempt: Attempt | null = null
  /** Where the log ended when somebody was last asked; 0: nobody was. */
  #askedAt: LogIndex = logIndex(0)

  constructor(core: CoreContext, peers: ReadonlyMap<ServerId, Progress>) {
    this.#core = core
    this.#peers = peers
  }

  get isUnderWay(): boolean {
    return this.#attempt !== null
  }

  /**
   * Whether another may be elected because this server asked it to, or is about to: also by a TimeoutNow that comes
   * when the transfer has long come to nothing. It counts while the log of the other ends where it was asked, and once
   * a later entry is committed such a log is not up-to-date enough (5.4.1).
   */
  get mayElectAnother(): boolean {
    return this.#attempt !== null || this.#core.log.commitIndex <= this.#askedAt
  }

  /** Whether the other was not asked yet: what the state machine answers may be what is waited for. */
  get awaitsMachine(): boolean {
    return this.#attempt !== null && this.#attempt.askedOn === null
  }

  /** Whether the other was asked although this server had not applied everything. */
  get isEarly(): boolean {
    return this.#attempt?.isEarly === true
  }

  /** Whether no proposals are taken: those are that had come before it did. */
  get holdsBack(): boolean {
    return this.#attempt?.isFirm === true
  }

  /** `to` is null: whoever suits best. No proposal waits for one that is not heard. */
  begin(id: number, to: ServerId | null): void {
    const { now, settings, outbox } = this.#core
    const target = to ?? this.#mostCaughtUp()
    const flaw = this.#flawOf(target)
    if (target === null || flaw !== null) {
      outbox.transfer({ id, status: 'failed', to: target, reason: flaw ?? 'noTarget' })
      return
    }
    const giveUpAt = now + settings.electionTimeoutMs
    const applyUntil = now + settings.electionTimeoutMs / 2
    this.#attempt = { id, to: target, giveUpAt, applyUntil, isFirm: false, askedOn: null, isEarly: false }
  }

  nextDeadline(): number {
    const attempt = this.#attempt
    if (attempt === null) return Infinity
    return this.#core.now < attempt.applyUntil ? attempt.applyUntil : attempt.giveUpAt
  }

  tick(): void {
    if (this.#attempt !== null && this.#core.now >= this.#attempt.giveUpAt) this.#fail('timedOut')
  }

  /** That peer's process is gone: no reason to wait. */
  gone(peer: ServerId): void {
    if (this.#attempt?.to === peer) this.#fail('targetGone')
  }

  /** Hot path: once per turn of a leader. Asks the other when it has everything: once on each connection. */
  maybeAsk(): void {
    const attempt = this.#attempt
    if (attempt === null) return
    attempt.isFirm = true
    if (!this.#isVoter(attempt.to)) return this.#fail('notVoter')
    const { log, now } = this.#core
    const session = this.#sessionOfEqual(attempt.to)
    if (session === null || session === attempt.askedOn) return
    if (log.appliedIndex !== log.lastIndex && now < attempt.applyUntil) return
    attempt.askedOn = session
    attempt.isEarly = log.appliedIndex !== log.lastIndex
    this.#ask(attempt.to, session)
  }

  /**
   * This server may not lead on, and nobody waits for what comes of it: the voter that is most caught up is asked at
   * once if it has everything, unless another was asked.
   */
  askSuccessor(): void {
    if (this.#attempt !== null && this.#attempt.askedOn !== null) return
    const to = this.#mostCaughtUp()
    const session = to === null ? null : this.#sessionOfEqual(to)
    if (to !== null && session !== null) this.#ask(to, session)
  }

  /** The leadership is over. Who was asked may be the reason, and then leads soon. */
  end(): void {
    const attempt = this.#attempt
    if (attempt === null) return
    if (attempt.askedOn === null) return this.#fail('leadershipLost')
    this.#attempt = null
    this.#core.succession.expect(attempt)
  }

  #fail(reason: TransferFailure): void {
    const attempt = this.#attempt
    if (attempt === null) return
    this.#attempt = null
    this.#core.outbox.transfer({ id: attempt.id, status: 'failed', to: attempt.to, reason })
  }

  /** Where a voter may be asked: null while it is not connected, or lacks something (T2). */
  #sessionOfEqual(to: ServerId): number | null {
    const { session = null, matchIndex = 0 } = this.#peers.get(to) ?? {}
    return matchIndex === this.#core.log.lastIndex ? session : null
  }

  #ask(to: ServerId, session: number): void {
    const { log, hardState, outbox } = this.#core
    const { lastIndex, lastTerm } = log
    this.#askedAt = lastIndex
    outbox.request(to, session, { type: 'TimeoutNow', term: hardState.term, lastIndex, lastTerm })
  }

  #flawOf(target: ServerId | null): TransferFailure | null {
    if (this.#attempt !== null) return 'inProgress'
    if (target === null) return 'noTarget'
    if (!this.#isVoter(target)) return 'notVoter'
    return this.#isHeard(this.#peers.get(target)) ? null : 'notHeard'
  }

  /** Of those who come in, when two halves decide: who goes out could not lead for long. */
  #isVoter(id: ServerId): boolean {
    const { configuration, id: self } = this.#core
    return id !== self && configuration.voters.some((voter) => voter.id === id)
  }

  #isHeard(peer: Progress | undefined): peer is Progress {
    return peer !== undefined && peer.session !== null && peer.isHeard(this.#core.now)
  }

  /** Among the voters that are heard; of equals the first in the configuration. */
  #mostCaughtUp(): ServerId | null {
    const { configuration } = this.#core
    let best: Progress | null = null
    for (const { id } of configuration.voters) {
      const peer = this.#peers.get(id)
      if (!this.#isHeard(peer)) continue
      if (best === null || peer.matchIndex > best.matchIndex) best = peer
    }
    return best?.peer ?? null
  }
}
