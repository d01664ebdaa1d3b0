/**
 * Commands that look at every key, carried out in slices: each turn has so much time for all of them, and goes on with
 * the next in the turn after. Each sees the data set as it is when its walk begins.
 *
 * Bounds: `WALKS_MAX` go on at a time, since each change of a key is shown to all of them; others wait for their turn.
 */

import type { DataSet } from '../data-set/data-set.js'
import { keyWeight, type Item } from '../data-set/item.js'
import type { KeyWalk } from '../data-set/key-walk.js'
import type { Walk } from '../data-set/walk.js'
import { WALK_SLICE_MS, WALKS_MAX } from '../limits.js'
import type { Reply } from '../resp/reply.js'
import type { KvClock } from './clock.js'
import { loading } from './raft-answers.js'

/** Items between two looks at the clock; one with a long key counts as several. */
const STEP_ITEMS = 64

/** Who waits for the answer. */
export interface Walker {
  /** The client is gone: nobody waits any longer. */
  readonly isGone: boolean
  settle(reply: Reply): void
}

interface Wanted {
  readonly walker: Walker
  readonly keyWalk: KeyWalk
  /** By which keys are dead or alive, when the walk begins; at least the data set's own. */
  readonly time: () => number
}

interface UnderWay extends Wanted {
  readonly walk: Walk
  /** Keys that an entry was about to change: to be visited in a step, so that no entry has to wait for that. */
  readonly aside: string[]
}

export class Walks {
  readonly #data: DataSet
  readonly #clock: Pick<KvClock, 'now' | 'defer'>
  #waiting: Wanted[] = []
  /** The one whose turn it is first. */
  #underWay: UnderWay[] = []
  #isStepping = false
  #isAsked = false
  #isClosed = false

  constructor(data: DataSet, clock: Pick<KvClock, 'now' | 'defer'>) {
    this.#data = data
    this.#clock = clock
  }

  /** Begun or waiting. */
  get count(): number {
    return this.#waiting.length + this.#underWay.length
  }

  add(walker: Walker, keyWalk: KeyWalk, time: () => number): void {
    this.#waiting.push({ walker, keyWalk, time })
    this.#ask()
  }

  /** Nobody waits any longer. */
  close(): void {
    this.#isClosed = true
    for (const { walk } of this.#underWay) walk.end()
    this.#underWay = []
    this.#waiting = []
  }

  #ask(): void {
    if (this.#isAsked || this.#isClosed) return
    this.#isAsked = true
    this.#clock.defer(this.#slice)
  }

  readonly #slice = (): void => {
    this.#isAsked = false
    const end = this.#clock.now() + WALK_SLICE_MS
    do {
      this.#begin()
      const next = this.#underWay.shift()
      if (next === undefined) return
      if (this.#goesOn(next)) this.#underWay.push(next)
    } while (this.#clock.now() < end)
    if (this.count > 0) this.#ask()
  }

  #begin(): void {
    while (this.#underWay.length < WALKS_MAX) {
      const next = this.#waiting.shift()
      if (next === undefined) return
      if (next.walker.isGone) continue
      if (this.#data.isRestoring) {
        next.walker.settle(loading)
        continue
      }
      const { keyWalk } = next
      const aside: string[] = []
      const visit = ({ key }: Item): void => (this.#isStepping ? keyWalk.visit(key) : void aside.push(key))
      const walk = this.#data.readAt(next.time(), () => this.#data.walk(visit))
      this.#underWay.push({ ...next, walk, aside })
    }
  }

  #goesOn(underWay: UnderWay): boolean {
    const { walker, keyWalk, walk } = underWay
    if (!walker.isGone && !keyWalk.isOver && this.#step(underWay)) return true
    walk.end()
    walker.settle(keyWalk.answer())
    return false
  }

  /** False: everything is visited. */
  #step({ keyWalk, walk, aside }: UnderWay): boolean {
    let left = STEP_ITEMS
    while (left > 0) {
      const key = aside.pop()
      if (key === undefined) break
      keyWalk.visit(key)
      left -= keyWeight(key)
    }
    if (left <= 0) return true
    this.#isStepping = true
    const goesOn = walk.step(left)
    this.#isStepping = false
    return goesOn
  }
}
