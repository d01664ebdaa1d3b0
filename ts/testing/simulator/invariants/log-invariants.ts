/**
 * What must hold of logs, commit and the state machine (figure 3 of the paper, and the rules of durability), checked as
 * things happen: invariants 4, 5, 6, 7, 8, 9 and 12, and of 2 what concerns indexes. Only terms and counts are taken from
 * the core; what entries are is read from what it writes.
 */

import { assertInvariants } from '../../../core/invariants.js'
import type { RaftCore } from '../../../core/raft-core.js'
import type { Input, Ready } from '../../../core/ready.js'
import type { MemoryDisk } from '../../../storage/memory/memory-log-store.js'
import type { LogIndex } from '../../../types.js'
import type { AppliedCommand, Observer, ServerView } from '../observer.js'
import type { Truth } from './truth.js'
import { durableTerm } from './truth.js'
import { hold } from './violation.js'

/** Core steps between two full sweeps. */
const SWEEP_STEPS = 1000

interface Seen {
  commitIndex: number
  /** When this turn began. */
  turnCommitIndex: number
  appliedIndex: number
  /** What the state machine was given, in this boot. */
  machineIndex: number
  /** The terms of the accepted log, at their indexes: what was written, or is about to be. */
  readonly terms: number[]
}

export class LogInvariants implements Observer {
  readonly #truth: Truth
  readonly #servers: () => readonly ServerView[]
  readonly #seen: Seen[] = []
  /** The state machine's hash once it has applied up to an index; the same everywhere. */
  readonly #hashes: (number | undefined)[] = []
  /** Disks that are gone for good held these. */
  readonly #wiped: { readonly ordinal: number; readonly disk: MemoryDisk }[] = []
  #untilSweep = SWEEP_STEPS

  constructor(truth: Truth, servers: () => readonly ServerView[]) {
    this.#truth = truth
    this.#servers = servers
  }

  booted(server: ServerView): void {
    const terms: number[] = [0]
    for (const block of server.disk.durable.blocks) {
      this.#truth.accept(server.id, block, terms.at(-1) ?? 0)
      for (let index: number = block.first; index <= block.last; index += 1) terms[index] = block.term
    }
    this.#seen[server.ordinal] = { commitIndex: 0, turnCommitIndex: 0, appliedIndex: 0, machineIndex: 0, terms }
  }

  wiped({ ordinal, disk }: ServerView): void {
    this.#wiped.push({ ordinal, disk })
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore, input: Input): void {
    const seen = this.#of(server)
    if (input.type === 'turn') seen.turnCommitIndex = seen.commitIndex
    const { commitIndex, appliedIndex } = core.log
    if (commitIndex !== seen.commitIndex) this.#committed(server, core, seen, commitIndex)
    if (appliedIndex !== seen.appliedIndex) {
      hold(appliedIndex > seen.appliedIndex, 2, () => `${server.id}: applied goes back to ${appliedIndex}`)
      seen.appliedIndex = appliedIndex
    }
    this.#untilSweep -= 1
    if (this.#untilSweep > 0) return
    this.#untilSweep = SWEEP_STEPS
    this.#sweep()
  }

  // Hot path: once per turn.
  decided(server: ServerView, core: RaftCore, { ticket }: Ready): void {
    if (ticket === null) return
    const { terms, commitIndex, turnCommitIndex } = this.#of(server)
    let firstWritten = Infinity
    for (let at = 0; at < ticket.operations.length; at += 1) {
      const operation = ticket.operations[at]
      if (operation?.type === 'truncateSuffix') {
        const { from } = operation
        const next = ticket.operations[at + 1]
        hold(
          from > turnCommitIndex,
          12,
          () => `${server.id} truncates from ${from}, committed up to ${turnCommitIndex}`,
        )
        firstWritten = Math.min(firstWritten, from)
        const isConflict = next?.type === 'append' && next.block.first === from && next.block.term !== terms[from]
        // A second leader may replace within one turn what a first one has replaced.
        const isReplaced = next?.type === 'truncateSuffix' && next.from <= from
        hold(isConflict || isReplaced, 12, () => `${server.id} truncates from ${from}, where nothing conflicts`)
        terms.length = from
      } else if (operation?.type === 'append') {
        const { block } = operation
        hold(block.first === terms.length, 4, () => `${server.id} appends ${block.first} behind ${terms.length - 1}`)
        this.#truth.accept(server.id, block, terms[block.first - 1] ?? 0)
        for (let index: number = block.first; index <= block.last; index += 1) terms.push(block.term)
      }
    }
    for (let index = firstWritten; index <= commitIndex; index += 1) {
      hold(terms[index] === this.#truth.committed[index]?.term, 12, () => {
        return `${server.id} replaces the committed entry ${index}`
      })
    }
    const { lastIndex } = core.log
    hold(
      lastIndex === terms.length - 1,
      9,
      () => `${server.id} ends at ${lastIndex}, its writes at ${terms.length - 1}`,
    )
  }

  turned(server: ServerView, core: RaftCore): void {
    const { appliedIndex, commitIndex, durableIndex, lastIndex } = core.log
    const isOrdered =
      appliedIndex <= commitIndex &&
      commitIndex <= lastIndex &&
      durableIndex <= lastIndex &&
      appliedIndex <= durableIndex
    hold(isOrdered, 9, () => {
      return `${server.id}: applied ${appliedIndex}, committed ${commitIndex}, durable ${durableIndex}, last ${lastIndex}`
    })
  }

  applied(server: ServerView, commands: readonly AppliedCommand[], last: LogIndex, hash: number): void {
    const seen = this.#of(server)
    const { committed, commandsUpTo } = this.#truth
    const from = seen.machineIndex
    hold(last > from && last < committed.length, 8, () => {
      return `${server.id} applies ${from + 1} .. ${last}, committed are ${committed.length - 1}`
    })
    for (const { index, term, id } of commands) {
      const truth = committed[index]
      hold(truth?.term === term && truth.command === id && index > from && index <= last, 8, () => {
        return `${server.id} applies command ${id} of term ${term} at ${index}, committed is ${truth?.command} of term ${truth?.term}`
      })
    }
    const count = (commandsUpTo[last] ?? 0) - (commandsUpTo[from] ?? 0)
    hold(count === commands.length, 8, () => {
      return `${server.id} applies ${commands.length} commands in ${from + 1} .. ${last}, committed are ${count}`
    })
    const durable = durableTerm(server.disk, last)
    hold(durable === committed[last]?.term, 9, () => `${server.id} applies ${last} before it is durable`)
    seen.machineIndex = last
    const known = this.#hashes[last]
    hold(known === undefined || known === hash, 8, () => {
      return `${server.id}: the state machine's hash at ${last} is ${hash}, elsewhere it was ${known}`
    })
    this.#hashes[last] = hash
  }

  /** What all servers hold, whole. */
  #sweep(): void {
    for (const server of this.#servers()) {
      const { core } = server
      const seen = this.#seen[server.ordinal]
      if (core === null || seen === undefined) continue
      assertInvariants(core)
      const end = Math.min(core.log.commitIndex, this.#truth.commitIndex)
      for (let index = 1; index <= end; index += 1) {
        hold(core.log.termAt(index as LogIndex) === this.#truth.committed[index]?.term, 5, () => {
          return `${server.id} has another committed entry at ${index}`
        })
      }
    }
  }

  #committed(server: ServerView, core: RaftCore, seen: Seen, commitIndex: number): void {
    hold(commitIndex > seen.commitIndex, 2, () => `${server.id}: commit goes back to ${commitIndex}`)
    const isLeader = core.role === 'leader'
    hold(isLeader || commitIndex <= this.#truth.commitIndex, 7, () => {
      return `${server.id} commits ${commitIndex}, no leader has committed more than ${this.#truth.commitIndex}`
    })
    if (isLeader && commitIndex > this.#truth.commitIndex) this.#checkQuorum(server, core, commitIndex)
    for (let index = seen.commitIndex + 1; index <= commitIndex; index += 1) {
      const term = core.log.termAt(index as LogIndex) ?? 0
      const known = this.#truth.find(index, term)
      hold(known !== null, 5, () => `${server.id} commits ${index} of term ${term}, which was never written`)
      const truth = this.#truth.committed[index]
      if (truth === undefined) this.#truth.commit(known, core.term)
      else {
        hold(
          truth.term === term,
          5,
          () => `${server.id} commits ${index} of term ${term}, committed is term ${truth.term}`,
        )
      }
    }
    seen.commitIndex = commitIndex
  }

  /** Recomputed from what the disks hold, in each half of the leader's configuration (5.3, 5.4.2). */
  #checkQuorum(server: ServerView, core: RaftCore, index: number): void {
    const term = core.log.termAt(index as LogIndex)
    hold(term === core.term, 7, () => `${server.id} commits ${index} of term ${term} by counting, in term ${core.term}`)
    const holders = new Set<string>()
    for (const { id, disk } of this.#servers()) if (durableTerm(disk, index) === term) holders.add(id)
    for (const { ordinal, disk } of this.#wiped) if (durableTerm(disk, index) === term) holders.add(`s${ordinal + 1}`)
    const { voters, outgoing } = core.configuration
    for (const half of outgoing === null ? [voters] : [voters, outgoing]) {
      const count = half.filter(({ id }) => holders.has(id)).length
      hold(count * 2 > half.length, 7, () => {
        return `${server.id} commits ${index} of term ${term}, durable only on ${[...holders].join(', ')}`
      })
    }
  }

  #of(server: ServerView): Seen {
    const seen = this.#seen[server.ordinal]
    hold(seen !== undefined, 0, () => `${server.id} acts before it has booted`)
    return seen
  }
}
