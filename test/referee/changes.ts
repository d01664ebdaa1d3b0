/**
 * How the members change (thesis 4.1 to 4.3, and the correction of 4.1 that its author published later): one change at
 * a time, each decided under the one before, and never so that two quorums could decide without each other.
 */

import { formatVoters, isMajority, membersOf, termAt, votersOf } from './model.js'
import type { ServerModel, Turn, World } from './model.js'

export class Changes {
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  /** What a leader has added in this turn. */
  turned(server: ServerModel, turn: Turn): void {
    const { log } = server.accepted
    const from = server.logBefore.length
    if (!this.#world.leads(server, turn.term) || log.length <= from) return
    const added = log.flatMap(({ term, configuration }, at) => {
      return at < from || term !== turn.term || configuration === undefined ? [] : [at + 1]
    })
    for (const index of added) this.#added(server, turn, index)
  }

  #added(server: ServerModel, turn: Turn, index: number): void {
    const { blame, cluster } = this.#world
    const { log } = server.accepted
    const before = log.slice(0, index - 1)
    const [old, next] = [votersOf(before, cluster), votersOf(log.slice(0, index), cluster)]
    const what = `${server.id} goes at ${index} from ${formatVoters(old)} to ${formatVoters(next)}`
    const open = before.findLastIndex(({ configuration }) => configuration !== undefined) + 1
    if (open > turn.commit) blame('one change at a time', `${what}, the change at ${open} is not committed`)
    if (termAt(log, turn.commit) !== turn.term) {
      blame('one change at a time', `${what}, committed is ${turn.commit}, which is not of its term`)
    }
    const all = [...new Set([...membersOf(old), ...membersOf(next)])]
    const apart = subsetsOf(all).find((some) => {
      const others = new Set(all.filter((id) => !some.has(id)))
      return isMajority(old, some) && isMajority(next, others)
    })
    if (apart !== undefined) {
      blame('changes share a majority', `${what}: [${[...apart].join(', ')}] decides without the others`)
    }
  }
}

function subsetsOf(ids: readonly string[]): readonly ReadonlySet<string>[] {
  return Array.from({ length: 2 ** ids.length }, (_, bits) => {
    return new Set(ids.filter((_id, at) => Math.floor(bits / 2 ** at) % 2 === 1))
  })
}
