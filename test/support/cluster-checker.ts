/**
 * What must hold of the whole cluster after every step (figure 3 of the paper, and the rules of durability). It is told
 * what leaves each server and what each disk holds, and derives the rest itself, naively: sets and maps, no cleverness
 * shared with the core.
 */

import { assert } from '#balsa/errors.js'
import type { Configuration, Server, ServerId } from '#balsa/types.js'
import { assertInvariants } from '#balsa/core/index.js'
import type {
  AppendEntries,
  AppendEntriesResult,
  PersistTicket,
  RaftCore,
  Request,
  Response,
  TicketOperation,
} from '#balsa/core/index.js'
import { entriesOf } from './fake-blocks.js'
import type { FakeEntry } from './fake-blocks.js'
import type { FakeDisk } from './fake-disk.js'

/** What the checker sees of a server. */
export interface CheckedServer {
  readonly id: ServerId
  readonly core: RaftCore | null
  readonly disk: FakeDisk
  readonly halted: boolean
}

interface Committed {
  readonly term: number
  readonly payload: number
}

/** What a server was seen to reach in one boot. */
interface Seen {
  term: number
  commitIndex: number
  applied: number
  /** What it committed as leader, and in which term: it may lead no more when its Ready is taken. */
  ledTo: number
  ledTerm: number
}

export class ClusterChecker {
  /** How often each rare situation came up. */
  readonly reached = new Map<string, number>()
  /** The one truth: entry i at position i - 1. */
  readonly committed: Committed[] = []
  readonly #servers: () => Iterable<CheckedServer>
  readonly #leaders = new Map<number, ServerId>()
  /** By `index/term`: the payload, and the term of the entry before. Equal everywhere is log matching (5.3). */
  readonly #entries = new Map<string, string>()
  /** By term: the terms of the entries of its leader's log, which only grows while it leads (5.3). */
  readonly #leaderLogs = new Map<number, number[]>()
  /** By `term/peer`: the highest entry that was sent. */
  readonly #sentTo = new Map<string, number>()
  readonly #grants = new Map<string, ServerId>()
  /** The highest term that each server has revealed, over all its boots. */
  readonly #revealed = new Map<ServerId, number>()
  readonly #seen = new Map<ServerId, Seen>()

  readonly #global: boolean

  /** Not `global`: messages are made up by the test, and only what holds of one server by itself is checked. */
  constructor(servers: () => Iterable<CheckedServer>, global: boolean) {
    this.#servers = servers
    this.#global = global
  }

  /** The highest index that any leader has committed. */
  get commitIndex(): number {
    return this.committed.length
  }

  reach(what: string): void {
    this.reached.set(what, (this.reached.get(what) ?? 0) + 1)
  }

  booted(server: CheckedServer): void {
    const { term, commitIndex } = server.disk.hardState
    // A cluster may begin with history.
    if (!this.#seen.has(server.id)) {
      for (const { term, payload } of server.disk.entries.slice(this.committed.length, commitIndex)) {
        this.committed.push({ term, payload })
      }
    }
    const revealed = this.#revealed.get(server.id) ?? 0
    assert(term >= revealed, `${server.id} restarts in term ${term} after it told others of term ${revealed}`)
    this.#seen.set(server.id, { term, commitIndex: 0, applied: 0, ledTo: 0, ledTerm: 0 })
    this.#checkEntries(server.disk.accepted, 1)
  }

  /** After every input. */
  stepped(server: CheckedServer): void {
    const { core, id } = server
    if (core === null) return
    assertInvariants(core)
    const seen = this.#seenOf(id)
    assert(core.term >= seen.term, `${id} went from term ${seen.term} back to ${core.term}`)
    assert(core.log.commitIndex >= seen.commitIndex, `${id}: commit went back to ${core.log.commitIndex}`)
    if (core.term > seen.term && server.disk.pending.some(({ operations }) => operations.some(isHardState))) {
      this.reach('term grew while an older one was not durable')
    }
    seen.term = core.term
    if (core.role !== 'leader') return
    this.#checkLeader(server, core)
    seen.ledTo = core.log.commitIndex
    seen.ledTerm = core.term
  }

  /** Before the disk has the ticket. What is removed conflicts with what follows (5.3), or with what replaced that in turn. */
  submitting({ id, disk }: CheckedServer, ticket: PersistTicket): void {
    const terms = disk.accepted.map(({ term }) => term)
    ticket.operations.forEach((operation, at) => {
      if (operation.type === 'append') {
        for (let index: number = operation.block.first; index <= operation.block.last; index += 1) {
          terms[index - 1] = operation.block.term
        }
      }
      if (operation.type !== 'truncateSuffix') return
      const { from } = operation
      const next = ticket.operations[at + 1]
      const isConflict = next?.type === 'append' && next.block.first === from && next.block.term !== terms[from - 1]
      const isReplaced = next?.type === 'truncateSuffix' && next.from <= from
      assert(isConflict || isReplaced, `${id} truncates from ${from}, where nothing conflicts`)
    })
  }

  submitted(server: CheckedServer, ticket: PersistTicket): void {
    let first = server.disk.accepted.length + 1
    for (const operation of ticket.operations) {
      if (operation.type === 'append') first = Math.min(first, operation.block.first)
      if (operation.type !== 'truncateSuffix') continue
      first = Math.min(first, operation.from)
      this.reach('conflict truncation')
      const { commitIndex } = this.#seenOf(server.id)
      assert(operation.from > commitIndex, `${server.id} truncates from ${operation.from}, committed to ${commitIndex}`)
    }
    this.#checkEntries(server.disk.accepted, first)
  }

  /** After every Ready: the accepted log is what the ticket says, and what is committed can be compared. */
  drained(server: CheckedServer): void {
    const { core, disk, id } = server
    if (core === null || server.halted || !this.#global) return
    assert(
      core.log.lastIndex === disk.accepted.length,
      `${id} ends at ${core.log.lastIndex}, its tickets say otherwise`,
    )
    const seen = this.#seenOf(id)
    const { commitIndex } = core.log
    for (let index = seen.commitIndex + 1; index <= commitIndex; index += 1) {
      const entry = disk.accepted[index - 1]
      assert(entry !== undefined, `${id} committed entry ${index}, which it does not have`)
      this.#commit(id, index, entry)
    }
    seen.commitIndex = commitIndex
  }

  /** Hot path of the random driver: everything that leaves a server passes here, while its disk is as it is. */
  sent(server: CheckedServer, to: ServerId, message: Request | Response): void {
    const { term, votedFor } = server.disk.hardState
    const who = `${server.id} sends ${message.type}`
    const revealed = message.type === 'PreVote' ? message.proposedTerm - 1 : message.term
    assert(revealed <= term, `${who} of term ${revealed}, durable is term ${term}`)
    this.#revealed.set(server.id, Math.max(this.#revealed.get(server.id) ?? 0, revealed))
    if (!this.#global) return
    switch (message.type) {
      case 'AppendEntries':
        assert(this.#leaders.get(message.term) === server.id, `${who} in term ${message.term}, which it does not lead`)
        return this.#checkAppend(server, to, message)
      case 'AppendEntriesResult':
        return this.#checkResult(server, message)
      case 'RequestVote':
        assert(term === message.term && votedFor === server.id, `${who} before its vote for itself is durable`)
        return this.#grant(server.id, message.term, server.id)
      case 'RequestVoteResult':
        if (!message.granted) return
        assert(term === message.term && votedFor === to, `${who} to ${to} before the vote is durable`)
        return this.#grant(server.id, message.term, to)
      case 'PreVote':
      case 'PreVoteResult':
        return
    }
  }

  /** An entry reaches the state machine of a server. */
  applied(server: CheckedServer, index: number, entry: FakeEntry): void {
    const seen = this.#seenOf(server.id)
    assert(index === seen.applied + 1, `${server.id} applies ${index} after ${seen.applied}`)
    seen.applied = index
    if (!this.#global) return
    const truth = this.committed[index - 1]
    assert(truth !== undefined, `${server.id} applies ${index}, which nobody has committed`)
    assert(
      truth.term === entry.term && truth.payload === entry.payload,
      `${server.id} applies ${entry.payload}/${entry.term} at ${index}, committed is ${truth.payload}/${truth.term}`,
    )
    const durable = server.disk.entries[index - 1]
    assert(durable?.term === entry.term, `${server.id} applies ${index} before it is durable`)
  }

  /** One leader per term, ever; and it has every committed entry (5.2, 5.4). */
  #checkLeader({ id, disk }: CheckedServer, core: RaftCore): void {
    const leader = this.#leaders.get(core.term)
    assert(leader === undefined || leader === id, `term ${core.term} has two leaders: ${leader} and ${id}`)
    if (leader !== undefined) return
    this.#leaders.set(core.term, id)
    this.reach('leader')
    const { term, votedFor } = disk.hardState
    if (!this.#global) return
    assert(term === core.term && votedFor === id, `${id} leads term ${core.term} without a durable vote for itself`)
    const voters = [...this.#servers()].filter(
      (voter) => this.#grants.get(`${voter.id}/${term}`) === id || voter.id === id,
    )
    const granted = new Set(voters.map((voter) => voter.id))
    assert(isQuorum(core.configuration, granted), `${id} leads term ${term} by the votes of ${[...granted].join(', ')}`)
    this.committed.forEach((entry, at) => {
      const own = core.log.termAt((at + 1) as never)
      assert(own === entry.term, `leader ${id} of term ${core.term} lacks committed entry ${at + 1}/${entry.term}`)
    })
    if (core.log.lastIndex - 1 > core.log.commitIndex) this.reach('leader with an uncommitted tail')
  }

  #checkEntries(log: readonly FakeEntry[], first: number): void {
    for (let index = first; index <= log.length; index += 1) {
      const entry = log[index - 1]
      const before = log[index - 2]
      if (entry === undefined) continue
      const key = `${index}/${entry.term}`
      const value = `${entry.payload} after term ${before?.term ?? 0}`
      const known = this.#entries.get(key)
      assert(known === undefined || known === value, `log matching: entry ${key} is ${value} and also ${known}`)
      this.#entries.set(key, value)
    }
  }

  #commit(id: ServerId, index: number, entry: FakeEntry): void {
    const truth = this.committed[index - 1]
    if (truth !== undefined) {
      const same = truth.term === entry.term && truth.payload === entry.payload
      assert(
        same,
        `${id} commits ${entry.payload}/${entry.term} at ${index}, before it was ${truth.payload}/${truth.term}`,
      )
      return
    }
    assert(
      index <= this.#seenOf(id).ledTo,
      `${id} commits ${index}, no leader has committed more than ${this.committed.length}`,
    )
    this.#checkQuorum(id, index, entry.term)
    this.committed.push({ term: entry.term, payload: entry.payload })
  }

  /** Commit recomputed from what the disks hold, in each half of the leader's configuration. */
  #checkQuorum(leader: ServerId, index: number, term: number): void {
    const holders = new Set<ServerId>()
    for (const { id, disk } of this.#servers()) if (disk.entries[index - 1]?.term === term) holders.add(id)
    for (const server of this.#servers()) {
      if (server.id !== leader || server.core === null) continue
      const held = isQuorum(server.core.configuration, holders)
      assert(held, `${leader} commits ${index}/${term}, durable only on ${[...holders].join(', ')}`)
      const { ledTo, ledTerm } = this.#seenOf(leader)
      const last = server.disk.accepted[ledTo - 1]?.term
      assert(last === ledTerm, `${leader} commits up to an entry of term ${last} in term ${ledTerm}`)
      if (!holders.has(leader)) this.reach('commit without own disk')
    }
  }

  #checkAppend(server: CheckedServer, to: ServerId, message: AppendEntries): void {
    const { accepted } = server.disk
    const { prevIndex, prevTerm, term, commitIndex, blocks } = message
    const own = prevIndex === 0 ? 0 : accepted[prevIndex - 1]?.term
    assert(own === prevTerm, `${server.id} sends prev ${prevIndex}/${prevTerm}, its own is ${own}`)
    assert(commitIndex <= this.committed.length, `${server.id} sends commit ${commitIndex} before it is committed`)
    if (blocks.length === 0) {
      assert(
        commitIndex <= prevIndex,
        `${server.id} sends a heartbeat with commit ${commitIndex} above prev ${prevIndex}`,
      )
    }
    const stream = `${term}/${to}`
    const sentTo = this.#sentTo.get(stream) ?? 0
    if (blocks.length > 0 && prevIndex < sentTo) this.reach('sent again from further back')
    this.#sentTo.set(stream, Math.max(sentTo, blocks.at(-1)?.last ?? 0))
    const leaderLog = this.#leaderLogs.get(term) ?? []
    this.#leaderLogs.set(term, leaderLog)
    for (const entry of accepted.slice(leaderLog.length)) leaderLog.push(entry.term)
    for (const block of blocks) {
      entriesOf(block).forEach((entry, at) => {
        const index = block.first + at
        const known = this.#entries.get(`${index}/${entry.term}`)
        assert(
          known?.startsWith(`${entry.payload} `) === true,
          `${server.id} sends ${index}/${entry.term}, not its entry`,
        )
      })
    }
  }

  /** What a match says is durable here and equal there. */
  #checkResult(server: CheckedServer, message: AppendEntriesResult): void {
    const { matchIndex, term, status } = message
    if (status === 'conflict') assert(matchIndex === 0, `${server.id} sends a conflict with match ${matchIndex}`)
    if (status === 'busy') this.reach('busy')
    if (matchIndex === 0) return
    const durable = server.disk.entries[matchIndex - 1]?.term
    const leaders = this.#leaderLogs.get(term)?.[matchIndex - 1]
    assert(durable !== undefined, `${server.id} acknowledges ${matchIndex} before it is durable`)
    assert(
      durable === leaders,
      `${server.id} acknowledges ${matchIndex} of term ${durable}, the leader of ${term} has ${leaders} there`,
    )
  }

  #grant(voter: ServerId, term: number, candidate: ServerId): void {
    const key = `${voter}/${term}`
    const before = this.#grants.get(key)
    assert(
      before === undefined || before === candidate,
      `${voter} votes in term ${term} for ${before} and ${candidate}`,
    )
    this.#grants.set(key, candidate)
  }

  #seenOf(id: ServerId): Seen {
    const seen = this.#seen.get(id)
    assert(seen !== undefined, `checker: ${id} never booted`)
    return seen
  }
}

function isHardState(operation: TicketOperation): boolean {
  return operation.type === 'hardState'
}

/** A majority of each half, counted by hand. */
export function isQuorum(configuration: Configuration, set: ReadonlySet<ServerId>): boolean {
  const halves: (readonly Server[])[] = [configuration.voters]
  if (configuration.outgoing !== null) halves.push(configuration.outgoing)
  return halves.every((half) => half.filter(({ id }) => set.has(id)).length * 2 > half.length)
}
