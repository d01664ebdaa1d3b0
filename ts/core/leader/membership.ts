/**
 * Changes of the members (thesis 4), as a leader makes them: takes one when the rules allow it, begins to feed whoever
 * comes and ends with whoever goes, promotes a nonvoter that has caught up, leaves a joint configuration, and says when
 * this leader itself is out.
 *
 * Invariants: at most one configuration is not committed (scenario M2), and none is made before an entry of this term
 * is committed (M1): else two leaders could each commit one, by quorums that share nobody. What follows of the log
 * alone, the promotion and the end of a joint configuration, is done by whoever leads (M5).
 */

import { assert } from '../../errors.js'
import { logIndex } from '../../types.js'
import type { Configuration, LogIndex, Server, ServerId } from '../../types.js'
import { configurationAfter, isStep, withoutOutgoing } from '../configuration-change.js'
import type { ChangeRefusal } from '../configuration-change.js'
import { isVoter, membersOf, membersOfAll, quorumValue } from '../configuration.js'
import { FULL_BATCH_BYTES } from '../intake.js'
import type { ChangeRequest } from '../ready.js'
import { NO_SERVERS } from '../role.js'
import type { CoreContext } from '../role.js'
import { Progress } from './progress.js'
import type { QuorumWatch } from './quorum-watch.js'
import type { ReadRounds } from './read-index.js'
import { Replication } from './replication.js'
import type { Transfer } from './transfer.js'

/** A stretch of catching up: everything that the log held when it began (thesis 4.2.1). */
interface Round {
  readonly target: LogIndex
  readonly startedAt: number
}

/** A server whose removal is committed, and which may not know it yet. */
interface Leaver {
  readonly server: Server
  readonly removedAt: LogIndex
  readonly until: number
  /** The round with which its removal was sent; null while it has not the entry. */
  toldIn: number | null
}

export class Membership {
  readonly #core: CoreContext
  readonly #quorum: QuorumWatch
  readonly #rounds: ReadRounds
  readonly #transfer: Transfer
  readonly #peers: Map<ServerId, Progress>
  readonly #replications: Map<ServerId, Replication>
  /** The no-op that began this leadership. */
  readonly #firstOfTerm: LogIndex
  /** Of the members as they were last looked at: by id, as the newest configuration has them. */
  #members: readonly Server[] = NO_SERVERS
  /** The configuration that the members were taken from, and whether it was committed then. */
  #seen: Configuration | null = null
  #wasCommitted = false
  /** Nonvoters that are to be promoted. */
  readonly #catchingUp = new Map<ServerId, Round>()
  /** Nonvoters that a caller waits for, so that they take the place of another member. */
  readonly #successors = new Map<ServerId, Round>()
  readonly #leavers = new Map<ServerId, Leaver>()
  #leaving = NO_SERVERS

  constructor(
    core: CoreContext,
    quorum: QuorumWatch,
    rounds: ReadRounds,
    transfer: Transfer,
    peers: Map<ServerId, Progress>,
    replications: Map<ServerId, Replication>,
  ) {
    this.#core = core
    this.#quorum = quorum
    this.#rounds = rounds
    this.#transfer = transfer
    this.#peers = peers
    this.#replications = replications
    this.#firstOfTerm = logIndex(core.log.lastIndex + 1)
  }

  /** Servers whose removal is committed and that are still told so. Another list whenever it changes. */
  get leaving(): readonly Server[] {
    return this.#leaving
  }

  /** Whether this server leads on only until its own removal is committed: it takes no proposals meanwhile. */
  get isOutgoing(): boolean {
    return !this.#core.electorate.isVoterHere(this.#core.configuration)
  }

  /** Why this server, which is no voter any more, must not lead on; null while it may. */
  get reasonToYield(): string | null {
    if (!this.isOutgoing || !this.#isCommitted) return null
    return `it is no voter of the configuration ${this.#core.log.configurationIndex}, which is committed`
  }

  /** From now on the members hear of every commit, the removal of this server among them. */
  tellRemoval(): void {
    this.#tellCommits(Infinity)
  }

  /**
   * Of one that was removed another store may come by now, under the same id: only who is still connected as the member
   * that it was is told.
   */
  connected(peer: ServerId): void {
    if (this.#leavers.has(peer)) this.#leave(peer)
  }

  configure(id: number, request: ChangeRequest): void {
    const { log, outbox } = this.#core
    const next = this.#next(request)
    if ('kind' in next) return outbox.change({ id, status: 'refused', refusal: next })
    this.#append(next)
    outbox.change({ id, status: 'appended', index: log.configurationIndex, configuration: next })
  }

  /**
   * Takes the next step that follows of the log alone, if there is one and it may be taken. Asked whenever a peer has
   * answered or something was committed.
   */
  // Hot path: once per answer.
  advance(): void {
    const { configuration } = this.#core
    if (configuration !== this.#seen || this.#wasCommitted !== this.#isCommitted) this.#follow()
    if (configuration.outgoing === null && this.#catchingUp.size === 0) return
    if (this.#whyNotYet() === null) {
      // The joint configuration is committed by both of its halves: only now the one that goes may be left (M4).
      if (configuration.outgoing !== null) return this.#append(withoutOutgoing(configuration))
      for (const [id, round] of this.#catchingUp) if (this.#maybePromote(id, round)) return
    }
    this.#nextRounds()
  }

  /** The last word of a turn to those that were removed: that it is committed. Who has answered is left. */
  flush(): void {
    if (this.#leavers.size === 0) return
    for (const [id, leaver] of this.#leavers) {
      const progress = this.#peers.get(id)
      const isTold = progress === undefined || (leaver.toldIn !== null && progress.ackedRound >= leaver.toldIn)
      if (isTold || this.#core.now >= leaver.until) this.#leave(id)
      else if (leaver.toldIn === null && progress.matchIndex >= leaver.removedAt) {
        this.#rounds.nextRound()
        leaver.toldIn = this.#rounds.current
        this.#replications.get(id)?.sendHeartbeat()
      }
    }
  }

  get #isCommitted(): boolean {
    const { configurationIndex, settledIndex } = this.#core.log
    return configurationIndex <= settledIndex
  }

  /** What a request makes of the configuration in force, or why it is refused. */
  #next({ change, ifIndex, force }: ChangeRequest): Configuration | ChangeRefusal {
    const { configuration, log } = this.#core
    // A joint configuration is in nobody's way: it is left in the step in which it is committed.
    const reason = this.#whyNotYet()
    if (reason !== null) return { kind: 'notYet', reason }
    const { configurationIndex: index } = log
    if (ifIndex !== null && ifIndex !== index) return { kind: 'otherIndex', expected: ifIndex, index }
    if (change.type === 'add' && this.#leavers.has(change.server.id)) {
      return { kind: 'notYet', reason: `server ${change.server.id} is still told that it was removed` }
    }
    const changed = configurationAfter(configuration, change)
    if ('flaw' in changed) return { kind: 'flaw', reason: changed.flaw }
    if (force) return this.#named(changed.configuration)
    const refusal = this.#withoutQuorum(configuration)
    if (refusal !== null) return refusal
    // Before the quorum of what comes, which may need it.
    if (change.type === 'replace' && !this.#isReady(change.by)) return { kind: 'lags', id: change.by }
    return this.#withoutQuorum(changed.configuration) ?? this.#named(changed.configuration)
  }

  #withoutQuorum(configuration: Configuration): ChangeRefusal | null {
    const unheard = this.#unheardOf(configuration)
    if (unheard === null) return null
    if (this.#quorum.hasListened) return { kind: 'noQuorum', unheard }
    return {
      kind: 'notYet',
      reason: `${unheard.join(', ')} may still answer: this leader has listened only for a moment`,
    }
  }

  /** The same with the stores that vote in it: of one that was never connected nobody knows which that would be. */
  #named(after: Configuration): Configuration | ChangeRefusal {
    const named = this.#core.electorate.named(this.#core.configuration, after)
    if (!('unknown' in named)) return named
    return { kind: 'notYet', reason: `server ${named.unknown} is not connected, and its store is to be known to vote` }
  }

  /** Whether its last round was short enough; each that was not is followed by another. */
  #isReady(id: ServerId): boolean {
    const round = this.#successors.get(id)
    if (round !== undefined && !this.#isAt(id, round)) return false
    const isReady = round !== undefined && this.#wasShort(round)
    if (isReady) this.#successors.delete(id)
    else this.#successors.set(id, this.#newRound())
    return isReady
  }

  /** Why no configuration may be appended now; null when one may. */
  #whyNotYet(): string | null {
    const { log, intake } = this.#core
    if (log.commitIndex < this.#firstOfTerm) return 'no entry of this term is committed yet'
    if (!this.#isCommitted) return `the configuration ${log.configurationIndex} is not committed yet`
    // Else the log would grow behind the voter that is to have all of it, and which may be none by then (T2).
    if (this.#transfer.isUnderWay || this.isOutgoing) return 'leadership is being handed over'
    return intake.admit(FULL_BATCH_BYTES).status === 'accept' ? null : 'there is no room for an entry just now'
  }

  #append(configuration: Configuration): void {
    const { log, intake, maker, hardState } = this.#core
    assert(isStep(log.configuration, configuration), () => {
      return `membership: no step leads from configuration ${log.configurationIndex} to what is to follow it`
    })
    intake.accept(maker.configuration(logIndex(log.lastIndex + 1), hardState.term, configuration))
    this.#follow()
  }

  /** The configuration in force has changed, or is committed now: feeds whoever is a member, and knows who goes. */
  #follow(): void {
    const { configuration, log, id: self } = this.#core
    this.#seen = configuration
    this.#wasCommitted = this.#isCommitted
    const before = this.#members
    this.#members = membersOfAll(log.configurationsInQuestion.map((at) => at.configuration))
    const isMember = new Set(this.#members.map(({ id }) => id))
    for (const { id } of this.#members) if (id !== self && !this.#peers.has(id)) this.#feed(id)
    for (const server of before) if (server.id !== self && !isMember.has(server.id)) this.#removed(server)
    const waiting = new Set(configuration.nonvoters.filter(({ promote }) => promote).map(({ id }) => id))
    for (const id of this.#catchingUp.keys()) if (!waiting.has(id)) this.#catchingUp.delete(id)
    for (const id of this.#successors.keys()) if (!isMember.has(id)) this.#successors.delete(id)
    for (const id of waiting) if (!this.#catchingUp.has(id)) this.#catchingUp.set(id, this.#newRound())
    // Who knows that this server is removed hears it no more, and so not who is to lead after it.
    this.#tellCommits(this.isOutgoing ? log.configurationIndex - 1 : Infinity)
  }

  /** To the members, up to that index; those that were removed hear of their removal and no more. */
  #tellCommits(most: number): void {
    for (const [id, progress] of this.#peers) if (!this.#leavers.has(id)) progress.commitMost = most
  }

  #feed(id: ServerId): void {
    const { log, configuration, electorate, now, settings } = this.#core
    const { electionTimeoutMs } = settings
    const session = electorate.sessionOf(configuration, id)
    const progress = new Progress(id, log.lastIndex, session, { now, electionTimeoutMs })
    this.#peers.set(id, progress)
    this.#replications.set(id, new Replication(this.#core, this.#rounds, progress))
  }

  #removed(server: Server): void {
    const { log, now, settings } = this.#core
    const until = now + settings.electionTimeoutMs
    const progress = this.#peers.get(server.id)
    assert(progress !== undefined, () => `membership: ${server.id} was a member, and nothing is known of its log`)
    progress.commitMost = log.configurationIndex
    this.#leavers.set(server.id, { server, removedAt: log.configurationIndex, until, toldIn: null })
    this.#leaversChanged()
  }

  #leave(id: ServerId): void {
    this.#leavers.delete(id)
    this.#peers.delete(id)
    this.#replications.delete(id)
    this.#leaversChanged()
  }

  #leaversChanged(): void {
    this.#leaving = [...this.#leavers.values()].map(({ server }) => server)
  }

  /** Whether it was promoted: its last round was shorter than an election timeout, and the voters with it can go on. */
  #maybePromote(id: ServerId, round: Round): boolean {
    const { configuration } = this.#core
    if (!this.#isAt(id, round) || !this.#wasShort(round)) return false
    const changed = configurationAfter(configuration, { type: 'promote', id, atOnce: true })
    if ('flaw' in changed || this.#unheardOf(changed.configuration) !== null) return false
    const named = this.#named(changed.configuration)
    if ('kind' in named) return false
    this.#append(named)
    return true
  }

  /** Whoever has come to the end of its round begins another one. */
  #nextRounds(): void {
    for (const [id, round] of this.#catchingUp) if (this.#isAt(id, round)) this.#catchingUp.set(id, this.#newRound())
  }

  #newRound(): Round {
    return { target: this.#core.log.lastIndex, startedAt: this.#core.now }
  }

  /** Of one that has just ended (thesis 4.2.1). */
  #wasShort({ startedAt }: Round): boolean {
    return this.#core.now - startedAt < this.#core.settings.electionTimeoutMs
  }

  #isAt(id: ServerId, { target }: Round): boolean {
    return (this.#peers.get(id)?.matchIndex ?? 0) >= target
  }

  /** The voters that are not heard, where too few are for a quorum; null when there are enough. */
  #unheardOf(configuration: Configuration): readonly ServerId[] | null {
    if (quorumValue(configuration, (id) => Number(this.#isHeard(id))) === 1) return null
    const voters = membersOf(configuration).filter(({ id }) => isVoter(configuration, id))
    return voters.filter(({ id }) => !this.#isHeard(id)).map(({ id }) => id)
  }

  /** Heard on the connection of now, within an election timeout, and known to agree with this log as far as it goes. */
  #isHeard(id: ServerId): boolean {
    const progress = this.#peers.get(id)
    if (progress === undefined) return id === this.#core.id
    const { session, matchIndex, regressedOn } = progress
    return session !== null && matchIndex > 0 && regressedOn === null && progress.isHeard(this.#core.now)
  }
}
