/**
 * Reads that wait for the leader to prove that it still leads (thesis 6.4): a read notes the commit index, a round of
 * AppendEntries is sent after it, and a quorum's answers to that round, or a later one, confirm it.
 *
 * Invariant: positions and rounds in the queue never fall. Rounds belong to one leadership (scenario R3).
 */

import type { LogIndex, ServerId } from '../../types.js'
import { quorumValue } from '../configuration.js'
import type { CoreContext } from '../role.js'
import type { Progress } from './progress.js'
import { RoundTimes } from './round-times.js'

/**
 * Waiting requests; the shell merges all reads of a turn into one, and no round lives longer than a leadership without
 * a quorum.
 */
export const READS_WAITING_MAX = 8192

/** A read with its position, and the round that will confirm it. */
interface WaitingRead {
  readonly id: number
  readonly index: LogIndex
  readonly round: number
}

export class ReadRounds {
  readonly #core: CoreContext
  readonly #peers: ReadonlyMap<ServerId, Progress>
  /**
   * The latest round of this leadership; every AppendEntries carries it, and every answer echoes it. Only grows, from 1
   * on: with 0 a follower refuses what is of a term that is over.
   */
  #round = 1
  readonly #times: RoundTimes
  /** Came before an entry of this term was committed: their position is not known yet (scenario R1). */
  #early: number[] = []
  /** Have a position; wait for the round that will be sent in this turn. */
  #fresh: { readonly id: number; readonly index: LogIndex }[] = []
  #waiting: WaitingRead[] = []

  constructor(core: CoreContext, peers: ReadonlyMap<ServerId, Progress>) {
    this.#core = core
    this.#peers = peers
    this.#times = new RoundTimes(core.settings.heartbeatMs)
    this.#times.began(this.#round, core.bootNow)
  }

  get current(): number {
    return this.#round
  }

  /** When that round began, or one before it, on the clock that counts through suspend; -Infinity: not known. */
  beganAt(round: number): number {
    return this.#times.beganAt(round)
  }

  /** Reads without an outcome. */
  get count(): number {
    return this.#early.length + this.#fresh.length + this.#waiting.length
  }

  /** `commitIndex` is null while nothing of this term is committed. */
  ask(id: number, commitIndex: LogIndex | null): void {
    if (this.count >= READS_WAITING_MAX) this.#core.outbox.read({ id, status: 'overloaded' })
    else if (commitIndex === null) this.#early.push(id)
    else this.#fresh.push({ id, index: commitIndex })
  }

  /** An entry of this term is committed: reads that waited for that get their position. */
  positionKnown(commitIndex: LogIndex): void {
    for (const id of this.#early) this.#fresh.push({ id, index: commitIndex })
    this.#early = []
  }

  /**
   * Whatever is sent from now on belongs to a later round: an answer to it was made after all that was sent before had
   * arrived.
   */
  nextRound(): void {
    this.#round += 1
    this.#times.began(this.#round, this.#core.bootNow)
  }

  /** Begins a round after all the reads that have a position. False: none waits for one. */
  beginRound(): boolean {
    if (this.#fresh.length === 0) return false
    this.nextRound()
    for (const { id, index } of this.#fresh) this.#waiting.push({ id, index, round: this.#round })
    this.#fresh = []
    return true
  }

  /** Answers the reads whose round a quorum of voters has answered. */
  confirm(): void {
    if (this.#waiting.length === 0) return
    const { configuration, id: self, outbox } = this.#core
    const acked = quorumValue(configuration, (v) => (v === self ? this.#round : (this.#peers.get(v)?.ackedRound ?? 0)))
    let confirmed = 0
    while ((this.#waiting[confirmed]?.round ?? Infinity) <= acked) confirmed += 1
    for (const { id, index } of this.#waiting.splice(0, confirmed)) outbox.read({ id, status: 'confirmed', index })
  }

  /** The leadership ends: every read still here is told so. */
  abandon(): void {
    const ids = [...this.#waiting.map((read) => read.id), ...this.#fresh.map((read) => read.id), ...this.#early]
    this.#waiting = []
    this.#fresh = []
    this.#early = []
    for (const id of ids) this.#core.outbox.read({ id, status: 'notLeader' })
  }
}
