/**
 * What is counted of a server while it runs, so that `metrics` can tell it. It costs some numbers per batch, and two
 * looks at the clock for each that is applied; all else is counted from the events.
 */

import type { Clock, LogIndex, ServerId } from '../types.js'
import type { Events, RaftEvents } from './events.js'
import { Histogram } from './histogram.js'

/** A batch of this leader that is not known to be committed. */
interface Batch {
  /** The first of it that is not; moves up. */
  first: number
  readonly last: number
  /** When it was made. */
  readonly at: number
}

export class Meter {
  /** By entry. */
  readonly commitLatency = new Histogram()
  /** By batch. */
  readonly applyLatency = new Histogram()
  /** By write. */
  readonly writeLatency = new Histogram()
  readonly snapshots: Record<RaftEvents['snapshot']['what'], number> = { taken: 0, failed: 0, received: 0, restored: 0 }
  preVotes = 0
  elections = 0
  leaderships = 0
  leaderChanges = 0
  disconnects = 0
  proposedEntries = 0
  appliedEntries = 0
  /** Lost to watchers. */
  droppedEvents = 0
  isStalled = false
  readonly #clock: Clock
  /** When this turn last looked at the clock. */
  #now = 0
  /** Ascending. At most as many as there are entries without an outcome (ApplyQueue). */
  #batches: Batch[] = []
  #applyingSince = 0
  #applyingFirst = 0
  #leader: ServerId | null = null

  constructor(clock: Clock, events: Events) {
    this.#clock = clock
    events.on('role', (event) => this.#roleChanged(event))
    events.on('leader', (event) => this.#leaderChanged(event))
    events.on('snapshot', ({ what }) => {
      this.snapshots[what] += 1
    })
    events.on('peer', ({ connected }) => {
      if (!connected) this.disconnects += 1
    })
    events.on('stall', ({ stalled }) => {
      this.isStalled = stalled
    })
  }

  /** The clock of this turn. What belongs to it is measured by that. */
  turn(now: number): void {
    this.#now = now
  }

  // Hot path: once per batch.
  proposed(first: LogIndex, last: LogIndex): void {
    this.proposedEntries += last + 1 - first
    this.#batches.push({ first, last, at: this.#now })
  }

  // Hot path: once per turn.
  committed(commitIndex: LogIndex): void {
    let done = 0
    for (const batch of this.#batches) {
      if (batch.first > commitIndex) break
      const last = Math.min(batch.last, commitIndex)
      this.commitLatency.observe(this.#now - batch.at, last + 1 - batch.first)
      batch.first = last + 1
      if (last < batch.last) break
      done += 1
    }
    if (done > 0) this.#batches = this.#batches.slice(done)
  }

  /** This leadership is over: what becomes of its entries is not known here. */
  leadershipEnded(): void {
    this.#batches = []
  }

  // Hot path: once per batch.
  applyBegins(first: LogIndex): void {
    this.#applyingSince = this.#clock.now()
    this.#applyingFirst = first
  }

  // Hot path: once per batch.
  applied(last: LogIndex): void {
    this.appliedEntries += last + 1 - this.#applyingFirst
    this.applyLatency.observe(this.#clock.now() - this.#applyingSince)
  }

  /** When this turn last looked at the clock. */
  get now(): number {
    return this.#now
  }

  // Hot path: once per write.
  written(begin: number): void {
    this.writeLatency.observe(this.#now - begin)
  }

  #roleChanged({ role }: RaftEvents['role']): void {
    if (role === 'preCandidate') this.preVotes += 1
    else if (role === 'candidate') this.elections += 1
    else if (role === 'leader') this.leaderships += 1
  }

  #leaderChanged({ leader }: RaftEvents['leader']): void {
    if (leader === null || leader.id === this.#leader) return
    this.#leader = leader.id
    this.leaderChanges += 1
  }
}
