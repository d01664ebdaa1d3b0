/**
 * Invariant 29, where nothing goes wrong but that paths have a bandwidth: entries that take their time depose no
 * leader.
 *
 * - A leader whom a quorum has followed stays, and who follows it calls for no election.
 * - Heartbeats are not stuck behind entries: once the leader has had the time to measure the path, which shows only
 *   under load, it sends no more than takes an election timeout, or that and a single block, which goes alone. What it
 *   sent before it knew better is on its way, and may be for long.
 */

import type { Request, Response } from '../../../core/messages.js'
import type { RaftCore } from '../../../core/raft-core.js'
import type { Input, Ready } from '../../../core/ready.js'
import { BLOCK_BYTES_MAX } from '../../../format/block.js'
import type { ServerId, Term } from '../../../types.js'
import { hold } from '../../invariants/violation.js'
import type { ServerView } from '../../observer.js'
import type { NarrowPath } from '../doubles/narrow-path.js'
import type { WorldObserver } from '../world-observer.js'

/**
 * The first heartbeat that stands behind a window too large measures it, and by then as much may stand behind that one.
 */
const MEASURED_AFTER_WAITS = 3
const MEASURED_AFTER_TIMEOUTS = 2
/** A message that waits for no longer than this part of an election timeout shows nothing. */
const LOADED_PART = 1 / 4

export interface NarrowSite {
  readonly electionTimeoutMs: number
  now(): number
  /** Null while bytes cost no time there. */
  narrowPath(from: ServerId, to: ServerId): NarrowPath | null
}

export class NarrowPathInvariants implements WorldObserver {
  readonly #site: NarrowSite
  /** The leader that has committed an entry of its term; null before the first. */
  #leader: { readonly id: ServerId; readonly term: Term; readonly since: number } | null = null
  /** By server and peer: when they were last connected. */
  readonly #connectedAt = new Map<string, number>()
  /** The same: when a message last found the path without load. */
  readonly #unloadedAt = new Map<string, number>()
  /** By server: whether it followed that leader in its last turn. */
  readonly #isFollowing: boolean[] = []
  #isOver = false

  constructor(site: NarrowSite) {
    this.#site = site
  }

  healed(): void {
    this.#isOver = true
  }

  // Hot path: once per core step.
  stepped({ id }: ServerView, _core: RaftCore, input: Input): void {
    if (input.type === 'peerUp') this.#connectedAt.set(`${id}>${input.peer}`, this.#site.now())
  }

  decided({ id, ordinal }: ServerView, core: RaftCore, { events }: Ready): void {
    const leader = this.#leader
    if (this.#isOver) return
    if (leader === null) {
      const { log, role, term } = core
      const isFollowed = role === 'leader' && log.termAt(log.commitIndex) === term
      if (isFollowed) this.#leader = { id, term, since: this.#site.now() }
      return
    }
    const steppedDown = events.find((event) => event.type === 'steppedDown')
    hold(id !== leader.id || steppedDown === undefined, 29, () => {
      return `${id} steps down from term ${leader.term}, and its paths are only narrow: ${steppedDown?.reason}`
    })
    hold(core.role !== 'preCandidate' || this.#isFollowing[ordinal] !== true, 29, () => {
      return `${id} calls for an election, and the paths of its leader ${leader.id} are only narrow`
    })
    this.#isFollowing[ordinal] = core.role === 'follower' && core.leader?.id === leader.id
  }

  // Hot path: once per message.
  sent({ id }: ServerView, to: ServerId, message: Request | Response): void {
    const leader = this.#leader
    if (this.#isOver || leader?.id !== id || message.type !== 'AppendEntries') return
    const path = this.#site.narrowPath(id, to)
    if (path === null) return
    const { electionTimeoutMs } = this.#site
    const { waitMs, bytesPerMs } = path
    const [key, now] = [`${id}>${to}`, this.#site.now()]
    if (waitMs <= electionTimeoutMs * LOADED_PART) this.#unloadedAt.set(key, now)
    if (message.blocks.length === 0) return
    const seenAt = [this.#connectedAt, this.#unloadedAt].map((at) => at.get(key) ?? 0)
    const measuredMs = now - Math.max(leader.since, path.since, ...seenAt)
    const isMeasured = measuredMs > MEASURED_AFTER_WAITS * waitMs + MEASURED_AFTER_TIMEOUTS * electionTimeoutMs
    hold(!isMeasured || waitMs <= electionTimeoutMs + BLOCK_BYTES_MAX / bytesPerMs, 29, () => {
      return `what ${id} sends ${to} waits ${waitMs} ms behind entries; the election timeout is ${electionTimeoutMs} ms`
    })
  }
}
