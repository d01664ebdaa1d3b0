/** What is committed, and what reaches state machines: 5.3, 5.4, figure 3. */

import { isSameEntry, termAt } from './model.js'
import type { Entry, ServerModel, Turn, World } from './model.js'
import type { AppendEntries, Message, Stretch } from './trace-format.js'
import { entriesIn } from './trace-format.js'

export class Commits {
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  /** Entries that were committed before the trace began. */
  began(server: ServerModel, commit: number, term: number): void {
    this.#register(server.accepted.log, commit, term)
  }

  /** Before the turn is what is remembered of the server. */
  turned(server: ServerModel, turn: Turn): void {
    const { blame } = this.#world
    const before = server.commit
    this.#raiseClamp(server)
    if (turn.commit < before) {
      blame('commit index never falls', `${server.id} commits ${turn.commit} after ${before}`)
    }
    if (turn.commit <= before) return
    const terms = [server.memory.turn?.term ?? server.durable.term, turn.term]
    const led = terms.filter((term) => this.#world.leads(server, term))
    const proven = led.find((term) => this.#isStored(server, turn.commit, term))
    if (proven !== undefined) this.#register(this.#world.leaders.get(proven)?.log ?? [], turn.commit, proven)
    else if (turn.commit <= server.memory.clamp) this.#followed(server, before, turn.commit)
    else this.#blameCommit(server, turn, led)
  }

  sent(server: ServerModel, message: Message): void {
    if (message.type !== 'AppendEntries' || message.commit <= server.commit) return
    const told = `${server.id} tells commit index ${message.commit}`
    this.#world.blame('leader tells its commit index', `${told}, its own is ${server.commit}`)
  }

  applied(server: ServerModel, stretch: Stretch): void {
    const { blame } = this.#world
    for (const { index, ...entry } of entriesIn(stretch)) {
      const what = `${server.id} applies ${index}/${entry.term} (${entry.hash})`
      if (index !== server.memory.applied + 1) blame('apply in order', `${what} after ${server.memory.applied}`)
      server.memory.applied = index
      if (index > server.commit) blame('apply only committed entries', `${what}, its commit index is ${server.commit}`)
      const others = [this.#world.applied.get(index), this.#world.committed.get(index), server.accepted.log[index - 1]]
      const different = others.find((other) => other !== undefined && !isSameEntry(other, entry))
      if (different === undefined) {
        this.#world.applied.set(index, entry)
        const before = termAt(server.accepted.log, index - 1)
        if (before !== undefined) this.#world.identify(index, entry, before, server.id)
      } else blame('state machine safety', `${what}, elsewhere it is ${different.term} (${different.hash})`)
    }
  }

  /** A leader has every entry that was committed before its term (5.4.3). */
  chosen(term: number): void {
    for (const [index, entry] of this.#world.committed) this.#checkLeader(term, index, entry, entry.in)
  }

  #checkLeader(term: number, index: number, entry: Entry, committedIn: number): void {
    const leader = this.#world.leaders.get(term)
    if (leader === undefined || committedIn >= term) return
    const own = leader.log[index - 1]
    if (own !== undefined && isSameEntry(own, entry)) return
    const what = `${index}/${entry.term}, committed in term ${committedIn}`
    this.#world.blame('leader completeness', `${leader.server}, leader of term ${term}, lacks entry ${what}`)
  }

  /** AppendEntries of a leader that is not out of date let a follower commit what they prove to be equal (figure 2). */
  #raiseClamp(server: ServerModel): void {
    const { memory } = server
    const term = memory.turn?.term ?? server.durable.term
    for (const message of memory.fresh) {
      if (message.term < term) continue
      const bound = Math.min(message.commit, endOf(message))
      const theirs = termAt(this.#world.leaders.get(message.term)?.log ?? [], bound)
      if (theirs !== undefined && theirs === termAt(server.accepted.log, bound))
        memory.clamp = Math.max(memory.clamp, bound)
    }
    memory.fresh = []
  }

  /** Whether the entry is of that term and in the stable storage of a majority (5.3, 5.4.2). */
  #isStored(server: ServerModel, index: number, term: number): boolean {
    return termAt(server.accepted.log, index) === term && this.#world.isQuorum(server, this.#holders(index, term))
  }

  #holders(index: number, term: number | undefined): ReadonlySet<string> {
    const holders = [...this.#world.servers.values()].filter(({ durable }) => termAt(durable.log, index) === term)
    return new Set(holders.map(({ id }) => id))
  }

  #followed(server: ServerModel, before: number, commit: number): void {
    for (let index = before + 1; index <= commit; index += 1) {
      const known = this.#world.committed.get(index)
      const own = server.accepted.log[index - 1]
      if (known === undefined || (own !== undefined && isSameEntry(known, own))) continue
      const what = `${server.id} commits ${index}/${own?.term}, committed is ${known.term}`
      this.#world.blame('state machine safety', what)
    }
  }

  #blameCommit(server: ServerModel, turn: Turn, led: readonly number[]): void {
    const { blame } = this.#world
    const term = termAt(server.accepted.log, turn.commit)
    const what = `${server.id} commits ${turn.commit}/${term} in term ${turn.term}`
    const holders = [...this.#holders(turn.commit, term)].join(', ')
    if (led.length === 0) blame('follower commit clamp', `${what}, leaders allow ${server.memory.clamp}`)
    else if (term === undefined || !led.includes(term)) blame('commit only the own term', what)
    else blame('commit by majority', `${what}, stored on [${holders}]`)
  }

  #register(log: readonly Entry[], commit: number, term: number): void {
    const { committed, leaders, blame } = this.#world
    for (let index = commit; index >= 1; index -= 1) {
      const entry = log[index - 1]
      if (entry === undefined) continue
      const known = committed.get(index)
      if (known !== undefined && !isSameEntry(known, entry)) {
        blame('state machine safety', `entry ${index} is committed with term ${known.term} and with term ${entry.term}`)
      }
      if (known !== undefined && known.in <= term) return
      committed.set(index, { ...entry, in: term })
      for (const later of leaders.keys()) this.#checkLeader(later, index, entry, term)
    }
  }
}

function endOf({ prevIndex, entries }: AppendEntries): number {
  return entries.reduce((end, { hashes }) => end + hashes.length, prevIndex)
}
