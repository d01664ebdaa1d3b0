/** What enters logs, what leaves them, and what is said about them: 5.3, figure 3. */

import type { Elections } from './elections.js'
import { afterStep, isSameEntry, lastTermOf, termAt } from './model.js'
import type { Entry, ServerModel, Stable, Turn, World } from './model.js'
import type { Snapshots } from './snapshots.js'
import type { AppendEntries, AppendEntriesResult, Message, Stretch, WriteStep } from './trace-format.js'
import { entriesIn } from './trace-format.js'

export class Logs {
  readonly #world: World
  readonly #elections: Elections
  readonly #snapshots: Snapshots

  constructor(world: World, elections: Elections, snapshots: Snapshots) {
    this.#world = world
    this.#elections = elections
    this.#snapshots = snapshots
  }

  /** Returns the states before the write and after each of its steps. */
  wrote(server: ServerModel, steps: readonly WriteStep[]): readonly Stable[] {
    const before = server.accepted
    const states = [before]
    const termAfter = steps.reduce((term, step) => (step.step === 'state' ? step.term : term), before.term)
    let now = before
    for (const step of steps) {
      if (step.step === 'append') this.#appended(server, step.entries, now, termAfter)
      if (step.step === 'truncate') this.#truncated(server, step.from, now, termAfter)
      if (step.step === 'compact') this.#snapshots.compacted(server, step, now)
      const log = step.step === 'install' ? this.#snapshots.installed(server, step, now) : now.log
      now = afterStep(now, step, log)
      states.push(now)
    }
    const leader = this.#world.leaders.get(now.term)
    if (leader?.server === server.id) leader.log = now.log
    return states
  }

  turned(server: ServerModel, turn: Turn): void {
    const { blame } = this.#world
    const { term, votedFor, log } = server.accepted
    const held = `term ${turn.term}, vote ${turn.votedFor}, last ${turn.lastIndex}/${turn.lastTerm}`
    const written = `term ${term}, vote ${votedFor}, last ${log.length}/${lastTermOf(log)}`
    if (held !== written) blame('state is stable', `${server.id} has ${held}, it has written ${written}`)
    const durable = termAt(server.durable.log, turn.durable)
    if (durable === undefined || durable !== termAt(log, turn.durable)) {
      const last = `${server.durable.log.length}/${lastTermOf(server.durable.log)}`
      blame('durable means durable', `${server.id} counts on ${turn.durable}, its stable storage ends with ${last}`)
    }
  }

  sent(server: ServerModel, to: string, message: Message): void {
    if (message.type === 'AppendEntries') this.#checkAppend(server, message)
    if (message.type === 'AppendEntriesResult' && message.success && message.match > 0) {
      this.#checkMatch(server, to, message)
    }
  }

  #appended(server: ServerModel, stretch: Stretch, now: Stable, termAfter: number): void {
    const { blame } = this.#world
    const before = server.accepted
    let termBefore = lastTermOf(now.log)
    if (stretch.first !== now.log.length + 1) {
      blame('log matching', `${server.id} appends ${stretch.first} to a log that ends with ${now.log.length}`)
    }
    for (const { index, ...entry } of entriesIn(stretch)) {
      if (entry.term < termBefore || entry.term > termAfter) {
        const bounds = `after term ${termBefore}, in term ${termAfter}`
        blame('terms only grow', `${server.id} appends entry ${index} of term ${entry.term} ${bounds}`)
      }
      if (!this.#isOffered(server, index, entry)) this.#appendedItself(server, index, entry, before)
      this.#world.identify(index, entry, termBefore, server.id)
      termBefore = entry.term
    }
  }

  /** Nobody has sent it that entry: it must be leader. */
  #appendedItself(server: ServerModel, index: number, entry: Entry, before: Stable): void {
    if (entry.term === before.term) {
      if (this.#world.leads(server, entry.term)) return
      if (before.votedFor === server.id) {
        this.#elections.establish(server, entry.term, before.log)
        return
      }
    }
    const name = `${index}/${entry.term} (${entry.hash})`
    this.#world.blame('entries come from leaders', `${server.id} appends ${name}, which no leader sent`)
  }

  #isOffered(server: ServerModel, index: number, entry: Entry): boolean {
    return [...server.memory.offered].some(([term, entries]) => {
      const offered = entries.get(index)
      return term >= server.accepted.term && offered !== undefined && isSameEntry(offered, entry)
    })
  }

  #truncated(server: ServerModel, from: number, now: Stable, termAfter: number): void {
    const { blame } = this.#world
    const what = `${server.id} deletes from ${from}`
    if (this.#world.leads(server, termAfter)) {
      blame('leader append-only', `${what} in term ${termAfter}, which it leads`)
    } else if (from <= server.commit) {
      blame('committed entries stay', `${what}, its commit index is ${server.commit}`)
    } else {
      const own = termAt(now.log, from)
      const isConflict = [...server.memory.offered].some(([term, entries]) => {
        const offered = entries.get(from)
        return term >= server.accepted.term && offered !== undefined && offered.term !== own
      })
      if (!isConflict) blame('truncate only at a conflict', `${what}, and no leader sent another entry for that index`)
    }
  }

  #checkAppend(server: ServerModel, message: AppendEntries): void {
    const { blame } = this.#world
    const leader = this.#world.leaders.get(message.term)
    if (leader?.server !== server.id) return
    const who = `${server.id} sends in term ${message.term}`
    const own = termAt(leader.log, message.prevIndex)
    if (own !== message.prevTerm) {
      blame('leader sends its log', `${who} prev ${message.prevIndex}/${message.prevTerm}, its own term is ${own}`)
    }
    for (const { index, ...entry } of message.entries.flatMap(entriesIn)) {
      const mine = leader.log[index - 1]
      if (mine === undefined || !isSameEntry(mine, entry)) {
        const has = mine === undefined ? 'none' : `${mine.term} (${mine.hash})`
        blame('leader sends its log', `${who} entry ${index}/${entry.term} (${entry.hash}), its own is ${has}`)
      } else if (mine.hash === null) {
        this.#world.identify(index, entry, termAt(leader.log, index - 1) ?? 0, server.id)
      }
    }
  }

  #checkMatch(server: ServerModel, to: string, { term, match }: AppendEntriesResult): void {
    const { blame, leaders } = this.#world
    const leader = leaders.get(term)
    const who = `${server.id} acknowledges ${match} to ${to} in term ${term}`
    const theirs = leader?.server === to ? termAt(leader.log, match) : undefined
    if (theirs === undefined) {
      blame('acknowledge only equal entries', `${who}, which does not have it as leader of that term`)
    } else if (termAt(server.durable.log, match) !== theirs) {
      const mine = `its own is of term ${termAt(server.accepted.log, match)}`
      const stored = `in stable storage of term ${termAt(server.durable.log, match)}, the leader's of ${theirs}`
      const isLate = termAt(server.accepted.log, match) === theirs
      const rule = isLate ? 'acknowledge only durable entries' : 'acknowledge only equal entries'
      blame(rule, `${who}: ${mine}, ${stored}`)
    }
  }
}
