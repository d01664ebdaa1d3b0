/**
 * What a leader knows of one peer (thesis 10.2.1, 10.2.2), within one leadership.
 *
 * - `probe`: where the logs agree is not known, or the peer has no room: one message at a time.
 * - `replicate`: they agree up to matchIndex; a window of messages is on its way.
 * - `snapshot`: it lacks entries that are no longer kept, and is being given a snapshot: only heartbeats are sent.
 *
 * Invariant: matchIndex < nextIndex. matchIndex only grows, and only by what the peer says is durable: a hint never
 * moves it (scenario C4).
 */

import { logIndex } from '../../types.js'
import type { LogIndex, ServerId, SnapshotMeta } from '../../types.js'
import { Inflights } from './inflights.js'
import { LinkWindow } from './link-window.js'

export class Progress {
  readonly peer: ServerId
  /**
   * Moves by `becomeProbe`, `becomeReplicate` and `becomeSnapshot` alone. Invariant: `probe` has an empty window,
   * `replicate` reads nothing from the store, `snapshot` neither sends entries nor reads any.
   */
  mode: 'probe' | 'replicate' | 'snapshot' = 'probe'
  /**
   * The one that it was last to be given: the same again after a lost connection, as long as the log reaches down to it
   * (scenario N6).
   */
  snapshot: SnapshotMeta | null = null
  /**
   * What was known of it when this session began. Whatever it says on this session was said after it had all that, and
   * a log only loses entries of an earlier term, to a leader of a later one.
   */
  matchFloor: LogIndex = logIndex(0)
  /** The session on which it has shown less than the floor; null while it has not. */
  regressedOn: number | null = null
  /** The connection that requests leave on; null while the peer is down. */
  session: number | null
  /** The last entry that the peer has, equal and durable: moved by its answers in this term and session. 0 at first. */
  matchIndex: LogIndex = logIndex(0)
  /**
   * The next entry to send. In `replicate` past what was sent; back on a conflict, a refusal, a stall or a new
   * connection.
   */
  nextIndex: LogIndex
  readonly inflights = new Inflights()
  readonly window: LinkWindow
  /** In `probe`: the bytes of the message that is on its way; 0 when none is. */
  probeBytes = 0
  /**
   * The most bytes of a probe. A peer takes all of a message or nothing, and near the bound of its store it has room
   * for little: half of what it has refused, twice as much again with each that it has taken.
   */
  probeBytesMax = Infinity
  /** Of the last probe. */
  probeRound = 0
  /** In `probe`: the peer has no room, or the store could not be read. Ends with the next heartbeat. */
  paused = false
  /** The end and the round of the last message with entries on this session, unless an answer has disproved it. */
  sentThrough: LogIndex = logIndex(0)
  sentRound = 0
  /**
   * The peer hears of no commit behind it. Of one that was removed: its removal, so that it knows of nothing committed
   * that it lacks (`ConfigurationNews`). Of every other, while the leader is to yield: what lies before the removal of
   * that.
   */
  commitMost = Infinity
  /** Older entries are being read from the store for this peer. */
  fetching = false
  /** The highest round of this leadership that the peer has answered. */
  ackedRound = 0
  /** When the peer last answered in this term. */
  contactAt: number
  readonly #electionTimeoutMs: number
  /** When matchIndex last grew, or a message last entered an empty window. */
  advancedAt: number
  /** When anything was last sent; no heartbeat is due before that is a heartbeat ago. */
  sentAt = -Infinity

  constructor(
    peer: ServerId,
    nextIndex: LogIndex,
    session: number | null,
    { now, electionTimeoutMs }: { readonly now: number; readonly electionTimeoutMs: number },
  ) {
    this.#electionTimeoutMs = electionTimeoutMs
    this.window = new LinkWindow(electionTimeoutMs)
    this.peer = peer
    this.nextIndex = nextIndex
    this.session = session
    this.contactAt = now
    this.advancedAt = now
  }

  /** Whether the peer has answered within an election timeout. */
  isHeard(now: number): boolean {
    return now - this.contactAt < this.#electionTimeoutMs
  }

  /** Whether a probe is on its way or is being read for the peer, or has to wait. */
  get isAsking(): boolean {
    return this.mode === 'probe' && (this.probeBytes > 0 || this.paused || this.fetching)
  }

  /** Of entries that are on their way and not acknowledged. */
  get bytesUnderWay(): number {
    return this.mode === 'replicate' ? this.inflights.bytes : this.probeBytes
  }

  becomeProbe(nextIndex: LogIndex): void {
    this.window.left(this.bytesUnderWay)
    this.mode = 'probe'
    this.nextIndex = logIndex(Math.max(nextIndex, this.matchIndex + 1))
    this.inflights.clear()
    this.probeBytes = 0
    this.paused = false
    this.fetching = false
  }

  /** The peer has everything up to `accepted`, written or not. */
  becomeReplicate(accepted: LogIndex): void {
    this.probeBytesMax *= 2
    this.mode = 'replicate'
    this.nextIndex = logIndex(Math.max(accepted, this.matchIndex) + 1)
    this.inflights.clear()
    this.probeBytes = 0
    this.paused = false
  }

  becomeSnapshot(snapshot: SnapshotMeta): void {
    this.window.left(this.bytesUnderWay)
    this.mode = 'snapshot'
    this.snapshot = snapshot
    this.inflights.clear()
    this.probeBytes = 0
    this.paused = false
    this.fetching = false
  }

  /** The peer has these entries, durably. Returns whether that is news. */
  advance(matchIndex: LogIndex, now: number): boolean {
    this.inflights.freeThrough(matchIndex)
    if (matchIndex <= this.matchIndex) return false
    this.matchIndex = matchIndex
    this.advancedAt = now
    if (this.nextIndex <= matchIndex) {
      this.nextIndex = logIndex(matchIndex + 1)
      // A probe of which the peer has written only the beginning is still under way.
      if (matchIndex >= this.sentThrough) this.probeBytes = 0
      // What is being read for the old position is not needed any more, and will be dropped when it comes.
      this.fetching = false
    }
    return true
  }
}
