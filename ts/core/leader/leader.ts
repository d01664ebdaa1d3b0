/**
 * A leader: takes proposals, brings every peer's log in line with its own, commits by counting durable matches, and
 * proves to readers that it still leads.
 *
 * Invariants: it never truncates. It counts itself only at its durable index. Only an entry of its own term is
 * committed by counting (5.4.2). Every message carries the round of its turn.
 */

import { logIndex } from '../../types.js'
import type { Block, LogIndex, ServerId } from '../../types.js'
import { isVoter, peersOf, quorumValue } from '../configuration.js'
import type { AppendEntries, AppendEntriesResult, Response } from '../messages.js'
import { Progress } from './progress.js'
import { ReadIndexQueue } from './read-index.js'
import type { Fetch } from '../ready.js'
import type { LeaderDuties, RoleBehaviour, RoleContext } from '../role.js'

/** Entries in one message; a single larger block goes alone. Far below the frame bound of the transports (4 MiB). */
const APPEND_BYTES_MAX = 1024 * 1024
/**
 * Election timeouts for which a quorum may write nothing of what waits. More than a leader gives its own disk: that it yields helps nobody
 * but its callers, and a message of APPEND_BYTES_MAX may take seconds over a slow link.
 */
const QUORUM_STALL_TIMEOUTS = 6

export class Leader implements RoleBehaviour, LeaderDuties {
  readonly role = 'leader'
  readonly #core: RoleContext
  readonly #peers = new Map<ServerId, Progress>()
  readonly #reads = new ReadIndexQueue()
  /** The no-op that began this leadership; until it is committed, nothing is known of what older terms committed (8). */
  readonly #firstOfTerm: LogIndex
  #round = 0
  #heartbeatAt: number
  #heartbeatDue = false
  /** The last heartbeat at which nothing waited to be committed. */
  #restedAt: number
  /** Older answers do not count: not before this leadership began, nor before the event loop came back. */
  #contactFloor: number

  constructor(core: RoleContext) {
    this.#core = core
    this.#heartbeatAt = core.now
    this.#contactFloor = core.now
    this.#restedAt = core.now
    this.#firstOfTerm = logIndex(core.log.lastIndex + 1)
    for (const { id } of peersOf(core.configuration, core.id)) {
      this.#peers.set(id, new Progress(id, this.#firstOfTerm, core.sessions.get(id) ?? null, core.now))
    }
  }

  /**
   * Called once, when the role has changed. The no-op asks for no credit: its own vote is durable, tickets are FIFO, and since the
   * vote this server has accepted no entry, so the store's queue holds none.
   */
  start(): void {
    this.#core.setLeader(this.#core.id)
    this.#core.accept(this.#core.maker.noop(this.#firstOfTerm, this.#core.tickets.term))
  }

  matchIndexOf(peer: ServerId): LogIndex {
    return this.#peers.get(peer)?.matchIndex ?? logIndex(0)
  }

  get peers(): ReadonlyMap<ServerId, Readonly<Progress>> {
    return this.#peers
  }

  grace(until: number): void {
    this.#contactFloor = Math.max(this.#contactFloor, until - this.#core.settings.electionTimeoutMs)
  }

  nextDeadline(): number {
    return Math.min(this.#heartbeatAt, this.#quorumLostAt(), this.#stalledAt())
  }

  tick(): void {
    const { now, settings, tickets } = this.#core
    if (now >= this.#quorumLostAt()) {
      this.#core.becomeFollower(tickets.term, null, 'no quorum answered for an election timeout')
    } else if (now >= this.#stalledAt()) {
      this.#core.becomeFollower(tickets.term, null, 'its own disk made no progress for two election timeouts')
    } else if (now >= this.#heartbeatAt) {
      const stall = this.#quorumStall()
      if (stall !== null) return this.#core.becomeFollower(tickets.term, null, stall)
      this.#heartbeatAt = now + settings.heartbeatMs
      this.#heartbeatDue = true
      for (const progress of this.#peers.values()) this.#retry(progress)
    }
  }

  onPeerUp(peer: ServerId, session: number): void {
    const progress = this.#peers.get(peer)
    if (progress === undefined) return
    progress.session = session
    // At least the last entry is sent, so that a peer that lags is noticed without waiting for a proposal.
    progress.becomeProbe(progress.matchIndex === 0 ? this.#core.log.lastIndex : logIndex(progress.matchIndex + 1))
  }

  onPeerDown(peer: ServerId): void {
    const progress = this.#peers.get(peer)
    if (progress !== undefined) progress.session = null
  }

  onPersisted(): void {
    this.#maybeCommit()
  }

  readIndex(id: number): void {
    if (this.#reads.full) this.#core.outbox.read({ id, status: 'overloaded' })
    else this.#reads.add(id, this.#committedInTerm ? this.#core.log.commitIndex : null)
  }

  /** The reads that a leadership leaves behind. */
  abandonReads(): void {
    for (const id of this.#reads.drain()) this.#core.outbox.read({ id, status: 'notLeader' })
  }

  onResponse(from: ServerId, session: number, message: Response): void {
    const { tickets, now } = this.#core
    if (message.type === 'PreVoteResult') return
    if (message.term > tickets.term) {
      this.#core.becomeFollower(message.term, null, `a ${message.type} carried term ${message.term}`)
      return
    }
    const progress = this.#peers.get(from)
    if (message.type !== 'AppendEntriesResult' || message.term < tickets.term || progress === undefined) return
    // An answer of an earlier connection may speak of a log that the peer no longer has (scenario C12).
    if (progress.session !== session) return
    progress.contactAt = now
    progress.ackedRound = Math.max(progress.ackedRound, Math.min(message.round, this.#round))
    this.#handleResult(progress, message)
    this.#confirmReads()
  }

  /** Hot path: once per batch. Everything accepted in this turn leaves in one message per peer. */
  flush(): void {
    const { now, settings } = this.#core
    if (this.#reads.needsRound) {
      this.#round += 1
      this.#reads.startRound(this.#round)
      for (const progress of this.#peers.values()) this.#sendHeartbeat(progress)
      this.#confirmReads()
    }
    for (const progress of this.#peers.values()) {
      this.#sendAppends(progress)
      // Appends serve as well, but only while they are answered: that waits for a disk, which may be slow (scenario E14).
      const quietSince = Math.min(progress.sentAt, progress.contactAt)
      if (this.#heartbeatDue && now - quietSince >= settings.heartbeatMs) this.#sendHeartbeat(progress)
    }
    this.#heartbeatDue = false
  }

  fetched(fetch: Fetch, blocks: readonly Block[]): void {
    const progress = this.#endFetch(fetch)
    if (progress === null) return
    progress.paused = true
    if (areContiguous(blocks, progress.nextIndex)) this.#send(progress, progress.nextIndex, blocks)
  }

  fetchFailed(fetch: Fetch): void {
    const progress = this.#endFetch(fetch)
    // Tried again after the next heartbeat, never around the hole (scenario C16).
    if (progress !== null) progress.paused = true
  }

  get #committedInTerm(): boolean {
    return this.#core.log.commitIndex >= this.#firstOfTerm
  }

  #handleResult(progress: Progress, message: AppendEntriesResult): void {
    const { log, now } = this.#core
    if (message.status === 'conflict') {
      const agreed = log.lastIndexWithTermAtMost(message.hintTerm, message.hintIndex)
      const next = logIndex(Math.max(Math.min(agreed + 1, progress.nextIndex), progress.matchIndex + 1))
      // One lost message has its whole window refused: the first refusal is answered, the others tell nothing new (scenario C22).
      if (!progress.isAsking || next < progress.nextIndex) progress.becomeProbe(next)
      return
    }
    // A peer cannot have more than we sent; a larger claim is no ground to commit on.
    if (message.matchIndex > log.lastIndex) {
      const reason = `it claims entry ${message.matchIndex}, the log ends at ${log.lastIndex}`
      this.#core.outbox.event({ type: 'protocolFault', peer: progress.peer, reason })
      return
    }
    // A heartbeat's answer proves nothing new: only what was sent as a probe, once it has arrived, opens the window again,
    // or a peer without room would be sent a whole window after each heartbeat (scenario C22).
    const arrived = message.matchIndex >= progress.nextIndex
    if (progress.advance(message.matchIndex, now)) this.#maybeCommit()
    if (message.status === 'busy') {
      progress.becomeProbe(logIndex(progress.matchIndex + 1))
      progress.paused = true
    } else if (progress.mode === 'probe' && (arrived || progress.matchIndex === log.lastIndex)) {
      progress.becomeReplicate()
    }
  }

  /** The highest entry that a quorum holds durably, this server included, if it is of this term (5.3, 5.4.2). */
  #maybeCommit(): void {
    const { log, configuration, id, tickets } = this.#core
    const index = logIndex(quorumValue(configuration, (v) => (v === id ? log.durableIndex : this.matchIndexOf(v))))
    if (index <= log.commitIndex || log.termAt(index) !== tickets.term) return
    this.#core.commitTo(index)
    this.#reads.positionKnown(log.commitIndex)
  }

  #confirmReads(): void {
    const { configuration, id } = this.#core
    const round = quorumValue(configuration, (v) => (v === id ? this.#round : (this.#peers.get(v)?.ackedRound ?? 0)))
    for (const read of this.#reads.confirm(round)) {
      this.#core.outbox.read({ id: read.id, status: 'confirmed', index: read.index })
    }
  }

  #sendAppends(progress: Progress): void {
    const { log } = this.#core
    while (progress.session !== null && !progress.fetching && progress.nextIndex <= log.lastIndex) {
      if (progress.mode === 'probe' ? progress.paused : progress.inflights.full) return
      if (progress.nextIndex < log.tailFirst) {
        this.#fetch(progress, progress.session)
        return
      }
      const blocks = log.blocks(progress.nextIndex, log.lastIndex, APPEND_BYTES_MAX)
      this.#send(progress, progress.nextIndex, blocks)
      if (progress.mode === 'probe') {
        progress.paused = true
        return
      }
      const last = blocks.at(-1)?.last ?? progress.nextIndex
      if (progress.inflights.count === 0) progress.advancedAt = this.#core.now
      progress.inflights.add(last, bytesOf(blocks))
      progress.nextIndex = logIndex(last + 1)
    }
  }

  #send(progress: Progress, from: LogIndex, blocks: readonly Block[]): void {
    const prevIndex = logIndex(from - 1)
    const prevTerm = this.#core.log.termAt(prevIndex)
    if (progress.session === null || prevTerm === null) return
    const { tickets, log, outbox } = this.#core
    const commitIndex = blocks.length === 0 ? logIndex(Math.min(log.commitIndex, prevIndex)) : log.commitIndex
    const message: AppendEntries = {
      type: 'AppendEntries',
      term: tickets.term,
      prevIndex,
      prevTerm,
      blocks,
      commitIndex,
      round: this.#round,
    }
    outbox.request(progress.peer, progress.session, message)
    progress.sentAt = this.#core.now
  }

  /** Outside the window; its prev is what the peer is known to have, so it never conflicts. */
  #sendHeartbeat(progress: Progress): void {
    this.#send(progress, logIndex(progress.matchIndex + 1), [])
  }

  #fetch(progress: Progress, session: number): void {
    const { tickets, log, outbox } = this.#core
    progress.becomeProbe(progress.nextIndex)
    progress.fetching = true
    outbox.fetch({
      peer: progress.peer,
      session,
      term: tickets.term,
      from: progress.nextIndex,
      to: log.tailFirst,
      bytesMax: APPEND_BYTES_MAX,
    })
  }

  /** The progress that a fetch still serves; null when term, connection or position have changed meanwhile. */
  #endFetch(fetch: Fetch): Progress | null {
    const progress = this.#peers.get(fetch.peer)
    if (progress === undefined || progress.session !== fetch.session) return null
    if (!progress.fetching || fetch.term !== this.#core.tickets.term || fetch.from !== progress.nextIndex) return null
    progress.fetching = false
    return progress
  }

  /**
   * Once per heartbeat. A probe that was lost or refused for lack of room is sent again; a window without progress for an
   * election timeout has lost something, and begins again from what is known.
   */
  #retry(progress: Progress): void {
    const { now, settings } = this.#core
    if (progress.fetching) return
    if (progress.mode === 'probe') {
      progress.paused = false
    } else if (progress.inflights.count > 0 && now - progress.advancedAt >= settings.electionTimeoutMs) {
      progress.becomeProbe(logIndex(progress.matchIndex + 1))
    }
  }

  /** An election timeout after a quorum was last in contact (check-quorum; scenario E9). */
  #quorumLostAt(): number {
    const { configuration, id, now, settings } = this.#core
    const contactAt = quorumValue(configuration, (v) => (v === id ? now : (this.#peers.get(v)?.contactAt ?? 0)))
    return Math.max(contactAt, this.#contactFloor) + settings.electionTimeoutMs
  }

  /**
   * Why a leader must yield whose quorum hears it and writes nothing of what waits: its callers would wait for ever (scenario E13). Null
   * when it need not. A voter moves when it has everything, or its match grows. Looked at with each heartbeat.
   */
  #quorumStall(): string | null {
    const { log, configuration, id, now, settings } = this.#core
    if (log.commitIndex === log.lastIndex) this.#restedAt = now
    const floor = Math.max(this.#restedAt, this.#contactFloor)
    const movedAt = (peer: Progress | undefined): number => {
      if (peer === undefined || peer.matchIndex === log.lastIndex) return now
      return Math.max(peer.advancedAt, floor)
    }
    const limit = now - QUORUM_STALL_TIMEOUTS * settings.electionTimeoutMs
    if (quorumValue(configuration, (v) => (v === id ? now : movedAt(this.#peers.get(v)))) > limit) return null
    const stalled = [...this.#peers.values()].filter(
      (peer) => isVoter(configuration, peer.peer) && movedAt(peer) <= limit,
    )
    const names = stalled.map(({ peer }) => peer).join(', ')
    const waiting = `${log.commitIndex + 1} .. ${log.lastIndex}`
    return `${names} wrote nothing of the entries ${waiting} for ${QUORUM_STALL_TIMEOUTS} election timeouts`
  }

  /** A leader whose disk hangs must yield (scenario E13). */
  #stalledAt(): number {
    const submittedAt = this.#core.tickets.oldestSubmittedAt
    return submittedAt === null ? Infinity : submittedAt + 2 * this.#core.settings.electionTimeoutMs
  }
}

/** Whether the blocks are some, begin at `first` and have no hole: what a store gave back is not believed (scenario C16). */
function areContiguous(blocks: readonly Block[], first: LogIndex): boolean {
  let next: number = first
  for (const block of blocks) {
    if (block.first !== next) return false
    next = block.last + 1
  }
  return blocks.length > 0
}

function bytesOf(blocks: readonly Block[]): number {
  let bytes = 0
  for (const block of blocks) bytes += block.data.byteLength
  return bytes
}
