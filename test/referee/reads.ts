/**
 * Reads without a log entry, as in thesis 6.4: the leader has committed an entry of its term; then a majority answers
 * what it sent after the read began; the answer shows at least what was committed when the read began.
 */

import { at, termAt } from './model.js'
import type { ServerModel, World } from './model.js'
import type { Message } from './trace-format.js'

export class Reads {
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  began(server: ServerModel, read: number): void {
    // What others have committed before is only known where all events stand in one order.
    const floor = this.#world.cluster.order === 'global' ? this.#world.committed.size : server.commit
    server.memory.reads.set(read, { at: this.#world.now, floor })
  }

  received(server: ServerModel, from: string, message: Message, sentAt: number, follows: number): void {
    if (message.type === 'AppendEntries') {
      const known = server.memory.contacts.get(from)
      if (known !== undefined && (known.term > message.term || (known.term === message.term && known.sentAt >= sentAt)))
        return
      server.memory.contacts.set(from, { term: message.term, sentAt })
    }
    if (message.type === 'AppendEntriesResult') {
      const answers = at(server.memory.answers, message.term, () => new Map<string, number>())
      answers.set(from, Math.max(answers.get(from) ?? 0, follows))
    }
  }

  answered(server: ServerModel, read: number, index: number | null): void {
    const begin = server.memory.reads.get(read)
    if (begin === undefined) throw new RangeError(`${server.id} answers read ${read}, which did not begin`)
    server.memory.reads.delete(read)
    if (index === null) return
    const { blame } = this.#world
    const what = `${server.id} answers read ${read} at ${index}`
    const troubles = server.latestTerms.map((term) => this.#troubleIn(server, term, index, begin.at))
    const [trouble] = troubles
    if (trouble !== undefined && !troubles.includes(null)) blame(...naming(troubles, what))
    if (index < begin.floor) blame('read what is committed', `${what}, ${begin.floor} was committed when it began`)
    if (index > server.commit) blame('read what is committed', `${what}, its commit index is ${server.commit}`)
  }

  #troubleIn(server: ServerModel, term: number, index: number, begin: number): Trouble | null {
    if (!this.#world.leads(server, term)) return { rule: 'read after a round', detail: `not as leader of term ${term}` }
    const log = this.#world.leaders.get(term)?.log ?? []
    const first = log.findIndex((entry) => entry.term === term) + 1
    if (first === 0 || server.commit < first || index < first) {
      const detail = `term ${term} began with ${first}, committed is ${server.commit}/${termAt(log, server.commit)}`
      return { rule: 'read only in the own term', detail }
    }
    const answers = [...(server.memory.answers.get(term) ?? [])].filter(([, follows]) => follows > begin)
    const heard = new Set([server.id, ...answers.map(([peer]) => peer)])
    if (this.#world.isQuorum(server, heard)) return null
    return { rule: 'read after a round', detail: `since then only [${[...heard].join(', ')}] were heard` }
  }
}

interface Trouble {
  readonly rule: 'read after a round' | 'read only in the own term'
  readonly detail: string
}

/** Of the terms in question the one that says most: a term that the server did not lead says little. */
function naming(troubles: readonly (Trouble | null)[], what: string): readonly [Trouble['rule'], string] {
  const named = troubles.flatMap((trouble) => (trouble === null ? [] : [trouble]))
  const best = named.find(({ detail }) => !detail.startsWith('not as leader')) ?? named[0]
  return [best?.rule ?? 'read after a round', `${what}: ${best?.detail}`]
}
