/**
 * How much may be on its way to one peer: what its link carries in a quarter of an election timeout, so that a
 * heartbeat that stands behind it is still in time.
 *
 * The link is measured by heartbeats: they take the same way as entries, in the same order, and are answered at once,
 * while the answer to entries waits for the peer's disk. So a slow disk is never taken for a slow link, and the window
 * is made smaller by heartbeats alone. What counts is the time in the queue: the way itself, which a heartbeat with
 * nothing before it takes as well, is taken off, so that a long way does not make a small window.
 *
 * Invariant: WINDOW_BYTES_MIN <= bytes <= INFLIGHT_BYTES_MAX. A link belongs to a peer, not to one connection.
 */

import { INFLIGHT_BYTES_MAX } from './inflights.js'

/** Below this a window would cost more in messages than it wins in time. */
export const WINDOW_BYTES_MIN = 16 * 1024
/** Before anything is known: doubled with each good answer, so a fast link has all of it within a second. */
const WINDOW_BYTES_START = 256 * 1024
/** What is no load: a message with less before it shows how long the way is. */
const IDLE_BYTES_MAX = 4 * 1024
/** Several messages share a window, so that its answers come one by one and it never runs empty. */
const MESSAGES_PER_WINDOW = 4

/** The first message of a round, which has not been answered. */
interface Probe {
  readonly round: number
  readonly sentAt: number
  /** On their way when it left, its own included. */
  readonly bytes: number
  readonly isHeartbeat: boolean
}

export class LinkWindow {
  /** How long a heartbeat may wait behind entries. */
  readonly #queueMs: number
  #bytes = WINDOW_BYTES_START
  /** How long the way there and back takes when nothing is on it; null while that was never seen. */
  #wayMs: number | null = null
  #probe: Probe | null = null
  /** The last round in which something was sent. */
  #round = -1
  /** On their way by the end of that round, and no longer waited for. */
  #leftBytes = 0
  #leftRound = -1
  /** More would have been sent since the last answer that was measured. */
  #wasFull = false

  constructor(electionTimeoutMs: number) {
    this.#queueMs = electionTimeoutMs / 4
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Of one message; a single larger block goes alone. */
  get messageBytes(): number {
    return Math.max(WINDOW_BYTES_MIN, Math.floor(this.#bytes / MESSAGES_PER_WINDOW))
  }

  /** A connection has ended: what was on its way is not answered. */
  forget(): void {
    this.#probe = null
    this.#wasFull = false
    this.#leftBytes = 0
  }

  /** So much is no longer waited for, and on its way all the same: what follows stands behind it. */
  left(bytes: number): void {
    this.#leftBytes += bytes
    this.#leftRound = this.#round
  }

  /** There was more to send than it allows. */
  full(): void {
    this.#wasFull = true
  }

  /** Hot path: once per message. `bytes`: on their way with it. */
  sent(round: number, now: number, bytes: number, isHeartbeat: boolean): void {
    if (round === this.#round) return
    this.#round = round
    // A heartbeat that follows entries which nobody has answered says more than they do.
    if (this.#probe !== null && (this.#probe.isHeartbeat || !isHeartbeat)) return
    this.#probe = { round, sentAt: now, bytes: bytes + this.#leftBytes, isHeartbeat }
  }

  /** Everything sent in rounds before `round` has arrived, and the first message of it. */
  answered(round: number, now: number): void {
    if (round > this.#leftRound) this.#leftBytes = 0
    const probe = this.#probe
    if (probe === null || round < probe.round) return
    this.#probe = null
    const delayMs = now - probe.sentAt
    const isIdle = probe.bytes <= IDLE_BYTES_MAX
    if (isIdle) this.#wayMs = probe.isHeartbeat ? delayMs : Math.min(delayMs, this.#wayMs ?? Infinity)
    else if (this.#wayMs !== null) this.#wayMs = Math.min(delayMs, this.#wayMs)
    this.#adapt(probe, delayMs - (this.#wayMs ?? 0))
  }

  #adapt({ bytes, isHeartbeat }: Probe, queuedMs: number): void {
    const wasFull = this.#wasFull
    this.#wasFull = false
    if (queuedMs > this.#queueMs) {
      const carried = Math.floor((bytes * this.#queueMs) / queuedMs)
      if (isHeartbeat) this.#bytes = Math.max(WINDOW_BYTES_MIN, Math.min(this.#bytes, carried))
    } else if (wasFull && queuedMs <= this.#queueMs / 2) {
      this.#bytes = Math.min(INFLIGHT_BYTES_MAX, 2 * this.#bytes)
    }
  }
}
