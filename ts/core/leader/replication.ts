/**
 * Brings one peer's log in line with the leader's (5.3; thesis 10.2.1): decides what to send it, reads its answers, and
 * moves what is known of it (`Progress`). Older entries than those in memory are read from the store by the shell
 * (`Fetch`); for entries that are no longer kept, it has the peer given a snapshot (`SnapshotSend`; 7).
 *
 * Invariants: every message carries the round of its turn. A heartbeat stands outside the window, and its prev is what
 * the peer is known to have, so it never conflicts. Nothing is truncated here: a leader only appends. A peer that has
 * lost what it acknowledged is told of, and counts for nothing from then on. Within a session nothing is sent again
 * because time has passed, for a slow link is not a lossy one: only when the answer to a later message shows that it
 * has not arrived.
 */

import { assert } from '../../errors.js'
import { logIndex } from '../../types.js'
import type { Block, LogIndex } from '../../types.js'
import type { AppendEntries, AppendEntriesResult } from '../messages.js'
import type { Fetch } from '../ready.js'
import type { CoreContext } from '../role.js'
import type { Progress } from './progress.js'
import type { ReadRounds } from './read-index.js'

/** Entries in one message; a single larger block goes alone. Far below the frame bound of the transports (4 MiB). */
const APPEND_BYTES_MAX = 1024 * 1024

export class Replication {
  readonly #core: CoreContext
  readonly #rounds: ReadRounds
  readonly #progress: Progress

  constructor(core: CoreContext, rounds: ReadRounds, progress: Progress) {
    this.#core = core
    this.#rounds = rounds
    this.#progress = progress
  }

  connected(session: number): void {
    const progress = this.#progress
    progress.session = session
    progress.window.forget()
    progress.sentThrough = logIndex(0)
    progress.matchFloor = progress.matchIndex
    // At least the last entry is sent, so that a peer that lags is noticed without waiting for a proposal.
    progress.becomeProbe(progress.matchIndex === 0 ? this.#core.log.lastIndex : logIndex(progress.matchIndex + 1))
  }

  disconnected(): void {
    this.#progress.session = null
  }

  /**
   * Whether an answer belongs to the connection of now: an older one may speak of a log that the peer no longer has
   * (scenario C12).
   */
  isCurrent(session: number): boolean {
    return this.#progress.session === session
  }

  /** Returns whether the peer has more than was known. */
  handleResult(message: AppendEntriesResult): boolean {
    const progress = this.#progress
    const { log, now } = this.#core
    if (this.#showsLoss(message)) {
      this.#regressed(message)
      return false
    }
    progress.regressedOn = null
    progress.contactAt = now
    progress.ackedRound = Math.max(progress.ackedRound, Math.min(message.round, this.#rounds.current))
    progress.window.answered(message.round, now)
    if (message.status === 'conflict') {
      if (progress.mode !== 'snapshot') this.#stepBack(message)
      return false
    }
    // A peer cannot have more than we sent; a larger claim is no ground to commit on.
    const accepted = acceptedIndexOf(message)
    if (accepted > log.lastIndex) {
      const reason = `it claims entry ${accepted}, the log ends at ${log.lastIndex}`
      this.#core.outbox.event({ type: 'breach', peer: progress.peer, reason })
      return false
    }
    // A heartbeat's answer proves nothing new: only what was sent as a probe, once all of it is written, opens the
    // window again, or a peer without room would be sent a whole window after each heartbeat (scenario C22).
    const isProven = progress.probeBytes > 0 && message.matchIndex >= progress.sentThrough
    const isNews = progress.advance(message.matchIndex, now)
    if (progress.mode === 'snapshot') {
      // It has come by what it lacked in another way.
      if (progress.nextIndex >= log.firstIndex) progress.becomeProbe(progress.nextIndex)
    } else if (message.status === 'busy') {
      this.#wait(message)
    } else if (progress.mode === 'probe' && (isProven || progress.matchIndex === log.lastIndex)) {
      progress.becomeReplicate(accepted)
    } else if (this.#disproves(message)) {
      progress.becomeProbe(logIndex(accepted + 1))
    }
    return isNews
  }

  /** Hot path: once per batch. Everything accepted since the last time leaves, as far as the window goes. */
  sendAppends(): void {
    const progress = this.#progress
    const { log } = this.#core
    if (progress.mode === 'snapshot') return
    while (progress.session !== null && !progress.fetching && progress.nextIndex <= log.lastIndex) {
      const { window } = progress
      if (progress.mode === 'probe' ? progress.isAsking : progress.inflights.isFull(window.bytes)) {
        if (progress.bytesUnderWay * 2 >= window.bytes) window.full()
        return
      }
      if (progress.nextIndex < log.firstIndex) {
        this.#sendSnapshot()
        return
      }
      if (progress.nextIndex < log.tailFirst) {
        this.#fetch(progress.session)
        return
      }
      const isProbe = progress.mode === 'probe'
      const bytesMax = Math.min(APPEND_BYTES_MAX, isProbe ? this.#probeBytesMax : window.messageBytes)
      const blocks = log.blocks(progress.nextIndex, log.lastIndex, bytesMax)
      if (isProbe) {
        this.#probe(blocks)
        return
      }
      const last = blocks.at(-1)?.last ?? progress.nextIndex
      if (progress.inflights.count === 0) progress.advancedAt = this.#core.now
      progress.inflights.add(last, bytesOf(blocks))
      this.#send(progress.nextIndex, blocks)
      progress.nextIndex = logIndex(last + 1)
    }
  }

  /**
   * Its prev is what the peer has; where that is no longer kept, the beginning, which everyone has. Of a peer that may
   * have everything, as after a snapshot, it asks for the end: no entry follows that could (scenario N7).
   */
  sendHeartbeat(): void {
    const { mode, nextIndex, matchIndex } = this.#progress
    const { log } = this.#core
    if (mode === 'probe' && nextIndex > log.lastIndex) return this.#send(nextIndex, [])
    const isKept = log.termAt(matchIndex) !== null
    this.#send(logIndex(isKept ? matchIndex + 1 : 1), [])
  }

  /**
   * A heartbeat is due: appends serve as well, but only while they are answered: that waits for a disk, which may be
   * slow (scenario E14).
   */
  sendHeartbeatIfQuiet(): void {
    const quietSince = Math.min(this.#progress.sentAt, this.#progress.contactAt)
    if (this.#core.now - quietSince >= this.#core.settings.heartbeatMs) this.sendHeartbeat()
  }

  /** Once per heartbeat: whoever had no room is asked again. */
  retry(): void {
    this.#progress.paused = false
  }

  fetched(fetch: Fetch, blocks: readonly Block[]): void {
    if (!this.#endFetch(fetch)) return
    const { nextIndex } = this.#progress
    if (areContiguous(blocks, nextIndex)) this.#probe(blocks)
    else this.#progress.paused = true
  }

  /** Tried again after the next heartbeat, never around the hole (scenario C16). */
  fetchFailed(fetch: Fetch): void {
    if (this.#endFetch(fetch)) this.#progress.paused = true
  }

  /** The peer has that snapshot: what follows it is asked for like everything else, since it may be older news. */
  snapshotSent(index: LogIndex): void {
    if (this.#progress.mode === 'snapshot') this.#progress.becomeProbe(logIndex(index + 1))
  }

  /** Tried again after the next heartbeat; when that one is gone, with the one on which the log stands by then. */
  snapshotFailed(isGone: boolean): void {
    if (isGone) this.#progress.snapshot = null
    if (this.#progress.mode !== 'snapshot') return
    this.#progress.becomeProbe(this.#progress.nextIndex)
    this.#progress.paused = true
  }

  /** The first entry that the peer needs; null when it is not heard, and so may need whatever. */
  neededFrom(least: LogIndex): LogIndex | null {
    const { mode, snapshot, matchIndex } = this.#progress
    if (mode === 'snapshot' && snapshot !== null) return logIndex(snapshot.index + 1)
    return this.#progress.isHeard(this.#core.now) ? logIndex(Math.max(matchIndex + 1, least)) : null
  }

  /**
   * Whether an answer shows that the peer has lost what it had acknowledged before this session: its log ends below
   * that, or does not agree up to there. An answer of an earlier session shows nothing, and does not come here.
   */
  #showsLoss({ status, lastIndex, hintIndex, hintTerm }: AppendEntriesResult): boolean {
    const { matchFloor } = this.#progress
    if (lastIndex !== undefined && lastIndex < matchFloor) return true
    return status === 'conflict' && this.#core.log.lastIndexWithTermAtMost(hintTerm, hintIndex) < matchFloor
  }

  /**
   * Whether an answer shows that something has been lost on the way: it was made after a message that had left behind
   * all entries, and does not have them.
   */
  #disproves(message: AppendEntriesResult): boolean {
    const { sentThrough, sentRound, bytesUnderWay } = this.#progress
    return bytesUnderWay > 0 && message.round > sentRound && acceptedIndexOf(message) < sentThrough
  }

  /** Whether a probe has left after what this answers: its own answer says more, or has said it. */
  #isOvertaken({ round }: AppendEntriesResult): boolean {
    return round < this.#progress.probeRound
  }

  /** The peer has no room. That may have been said of a window, and a probe be on its way by now. */
  #wait(message: AppendEntriesResult): void {
    const progress = this.#progress
    if (this.#isOvertaken(message)) return
    if (progress.probeBytes > 0) progress.probeBytesMax = Math.max(1, Math.floor(progress.probeBytes / 2))
    progress.becomeProbe(logIndex(acceptedIndexOf(message) + 1))
    progress.paused = true
  }

  /** Once for each session: whoever hears of it ends the session. */
  #regressed({ lastIndex }: AppendEntriesResult): void {
    const progress = this.#progress
    if (progress.regressedOn === progress.session) return
    progress.regressedOn = progress.session
    const { peer, matchFloor: acknowledged } = progress
    this.#core.outbox.event({ type: 'regressed', peer, acknowledged, lastIndex: lastIndex ?? null })
  }

  /**
   * The logs differ at what was sent: whole terms are skipped on the way back to where they agree (5.3). A refusal of
   * what was sent before a snapshot was may come after it has changed that (scenario N7).
   */
  #stepBack(message: AppendEntriesResult): void {
    const progress = this.#progress
    if (this.#isOvertaken(message)) return
    const { hintIndex, hintTerm } = message
    const agreed = this.#core.log.lastIndexWithTermAtMost(hintTerm, hintIndex)
    const next = logIndex(Math.max(Math.min(agreed + 1, progress.nextIndex), progress.matchIndex + 1))
    // One lost message has its whole window refused: the first refusal is answered, the others tell nothing new
    // (scenario C22).
    if (!progress.isAsking || next < progress.nextIndex) progress.becomeProbe(next)
  }

  get #probeBytesMax(): number {
    return Math.min(this.#progress.window.bytes, this.#progress.probeBytesMax)
  }

  /** One message, and nothing behind it until it is answered. */
  #probe(blocks: readonly Block[]): void {
    const progress = this.#progress
    progress.probeBytes = bytesOf(blocks)
    progress.probeRound = this.#rounds.current
    this.#send(progress.nextIndex, blocks)
  }

  /** Invariant: what is under way counts these blocks already. */
  #send(from: LogIndex, blocks: readonly Block[]): void {
    const progress = this.#progress
    const { peer, session, commitMost } = progress
    const { hardState, log, outbox, now } = this.#core
    const prevIndex = logIndex(from - 1)
    const prevTerm = log.termAt(prevIndex)
    if (session === null || prevTerm === null) return
    const end = blocks.length === 0 ? prevIndex : log.lastIndex
    const commitIndex = logIndex(Math.min(log.commitIndex, end, commitMost))
    const round = this.#rounds.current
    const { term } = hardState
    const message: AppendEntries = { type: 'AppendEntries', term, prevIndex, prevTerm, blocks, commitIndex, round }
    outbox.request(peer, session, message)
    progress.sentAt = now
    progress.window.sent(round, now, progress.bytesUnderWay, blocks.length === 0)
    const last = blocks.at(-1)?.last
    if (last === undefined) return
    progress.sentThrough = last
    progress.sentRound = round
  }

  #sendSnapshot(): void {
    const progress = this.#progress
    const { log, outbox, hardState } = this.#core
    assert(
      log.snapshot !== null,
      () => `replication: entry ${progress.nextIndex} is not kept, and there is no snapshot`,
    )
    const before = progress.snapshot
    const reaches = before !== null && before.index >= log.firstIndex - 1
    const snapshot = reaches ? before : log.snapshot
    progress.becomeSnapshot(snapshot)
    outbox.sendSnapshot({ peer: progress.peer, term: hardState.term, snapshot })
  }

  #fetch(session: number): void {
    const progress = this.#progress
    const { hardState, log, outbox } = this.#core
    progress.becomeProbe(progress.nextIndex)
    progress.fetching = true
    outbox.fetch({
      peer: progress.peer,
      session,
      term: hardState.term,
      from: progress.nextIndex,
      to: log.tailFirst,
      bytesMax: Math.min(APPEND_BYTES_MAX, this.#probeBytesMax),
    })
  }

  /** Whether the fetch still serves: term, connection and position may have changed meanwhile. */
  #endFetch(fetch: Fetch): boolean {
    const progress = this.#progress
    if (progress.session !== fetch.session || !progress.fetching) return false
    if (fetch.term !== this.#core.hardState.term || fetch.from !== progress.nextIndex) return false
    progress.fetching = false
    return true
  }
}

/**
 * Whether the blocks are some, begin at `first` and have no hole: what a store gave back is not believed (scenario
 * C16).
 */
function areContiguous(blocks: readonly Block[], first: LogIndex): boolean {
  let next: number = first
  for (const block of blocks) {
    if (block.first !== next) return false
    next = block.last + 1
  }
  return blocks.length > 0
}

/** Where what is equal here and there ends, durable or not. Of a peer that does not say, what is durable. */
function acceptedIndexOf({ acceptedIndex, matchIndex }: AppendEntriesResult): LogIndex {
  return logIndex(Math.max(acceptedIndex ?? 0, matchIndex))
}

function bytesOf(blocks: readonly Block[]): number {
  let bytes = 0
  for (const block of blocks) bytes += block.data.byteLength
  return bytes
}
