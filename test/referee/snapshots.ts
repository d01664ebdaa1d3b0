/**
 * What is compacted, what is installed in its place, and what state machines become: section 7, figure 13. A log of the
 * model stays whole: what is discarded was committed, and is still compared with what others have at its place.
 */

import { formatVoters, isSameVoters, termAt, votersOf } from './model.js'
import type { Entry, ServerModel, Stable, World } from './model.js'
import type { Compaction, Installation, Snapshot } from './trace-format.js'

export class Snapshots {
  readonly #world: World
  /** Every one that a log has stood on, by its name. */
  readonly #made = new Map<string, Snapshot>()

  constructor(world: World) {
    this.#world = world
  }

  /** A log that was there before the trace began stands on it. */
  began(snapshot: Snapshot): void {
    this.#made.set(snapshot.id, snapshot)
  }

  compacted(server: ServerModel, { first, prevTerm, snapshot }: Compaction, now: Stable): void {
    const { blame, cluster } = this.#world
    const what = `${server.id} takes a snapshot at ${snapshot.index}/${snapshot.term}`
    const term = termAt(now.log, snapshot.index)
    const { applied } = server.memory
    if (snapshot.index > applied) blame('snapshot what is applied', `${what}, it has applied ${applied}`)
    if (snapshot.term !== term) blame('snapshot what is applied', `${what}, its own entry there is of term ${term}`)
    const voters = votersOf(now.log.slice(0, snapshot.index), cluster)
    if (!isSameVoters(voters, snapshot.voters)) {
      const told = `${formatVoters(snapshot.voters)}, in force there is ${formatVoters(voters)}`
      blame('snapshot what is applied', `${what} with ${told}`)
    }
    this.#made.set(snapshot.id, snapshot)
    this.#checkFront(server, first, snapshot, now)
    const own = termAt(now.log, first - 1)
    if (own !== prevTerm) {
      blame('compact behind a snapshot', `${server.id} says term ${prevTerm} before ${first}, it is ${own}`)
    }
  }

  /** Returns the log after it. */
  installed(server: ServerModel, { snapshot, keeps }: Installation, now: Stable): readonly Entry[] {
    const { blame } = this.#world
    const what = `${server.id} installs ${snapshot.id} at ${snapshot.index}/${snapshot.term}`
    const made = this.#made.get(snapshot.id)
    if (made === undefined) blame('snapshots come from servers', `${what}, which no server has made`)
    else if (JSON.stringify(made) !== JSON.stringify(snapshot)) {
      blame('snapshots come from servers', `${what}, its maker said ${made.index}/${made.term}`)
    }
    this.#checkFront(server, snapshot.index + 1, snapshot, now)
    const own = termAt(now.log, snapshot.index)
    if (keeps !== (own === snapshot.term)) {
      blame('install keeps what follows', `${what} and keeps ${keeps ? 'what' : 'nothing of what'} follows ${own}`)
    }
    server.memory.heard.add(snapshot.term)
    server.memory.clamp = Math.max(server.memory.clamp, snapshot.index)
    return keeps ? now.log : this.covered(snapshot)
  }

  restored(server: ServerModel, index: number): void {
    const { blame } = this.#world
    const what = `${server.id} restores its state machine to ${index}`
    if (!server.durableSnapshots.has(index)) {
      blame('restore only what is stored', `${what}, its stable log never stood on such a snapshot`)
    }
    if (index < server.memory.applied) blame('apply in order', `${what} after ${server.memory.applied}`)
    server.memory.applied = index
  }

  /** What was committed up to there: all that a log has behind a snapshot that was not its own. */
  covered({ index, term }: Snapshot): readonly Entry[] {
    const { committed } = this.#world
    return Array.from({ length: index }, (_, at) => {
      const { in: _in, ...entry } = committed.get(at + 1) ?? { in: 0, term, hash: null }
      return at + 1 === index ? { ...entry, term } : entry
    })
  }

  #checkFront(server: ServerModel, first: number, snapshot: Snapshot, now: Stable): void {
    const { blame } = this.#world
    const what = `${server.id} discards what is before ${first} behind a snapshot at ${snapshot.index}`
    if (first > snapshot.index + 1) blame('compact behind a snapshot', `${what}, which does not cover that`)
    const before = now.snapshot?.index ?? 0
    if (first < now.first || snapshot.index < before) {
      blame('compact behind a snapshot', `${what}; before it was ${now.first} behind ${before}`)
    }
  }
}
