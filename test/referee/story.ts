/**
 * Tells a trace step by step. It keeps account of what each server would have by the rules, so that a step says only
 * what is special about it; whoever tells a bad trace overrides what is wrong.
 */

import type { Turn } from './model.js'
import type {
  Compaction,
  Installation,
  Message,
  ServerEvent,
  Snapshot,
  Stretch,
  TraceEvent,
  Voters,
  WriteStep,
} from './trace-format.js'

export interface Told {
  readonly term: number
  readonly hash: string
  readonly configuration?: Voters
}

interface Teller {
  term: number
  votedFor: string | null
  log: Told[]
  commit: number
  durable: number
  role: string
  writes: number
  applied: number
  first: number
  snapshot: Snapshot | null
  /** The end of its log when it became candidate. */
  asks: { readonly lastIndex: number; readonly lastTerm: number }
}

export interface StoryOptions {
  readonly voters?: readonly string[]
  readonly preVote?: boolean
  readonly order?: 'global' | 'perServer'
  /** Terms of the logs with which servers begin, by server; [1] unless told. */
  readonly logs?: Readonly<Record<string, readonly number[]>>
  readonly commits?: Readonly<Record<string, number>>
  /** In which all begin; unless told, each in that of its last entry. */
  readonly term?: number
}

export class Story {
  readonly trace: TraceEvent[] = []
  readonly #servers = new Map<string, Teller>()
  readonly voters: readonly string[]
  round = 0

  constructor(options: StoryOptions = {}) {
    const { voters = ['a', 'b', 'c'], preVote = false, order = 'global' } = options
    this.voters = voters
    this.trace.push({ event: 'cluster', order, voters, outgoing: null, preVote })
    for (const id of voters) {
      const log = (options.logs?.[id] ?? [1]).map((term, at) => ({ term, hash: hashOf(at + 1, term) }))
      const commit = options.commits?.[id] ?? 0
      const term = options.term ?? log.at(-1)?.term ?? 0
      const rest = { role: 'follower', writes: 0, applied: 0, asks: { lastIndex: 0, lastTerm: 0 } }
      const whole = { first: 1, snapshot: null }
      this.#servers.set(id, { term, votedFor: null, log, commit, durable: log.length, ...rest, ...whole })
      this.boot(id)
    }
  }

  of(id: string): Teller {
    const server = this.#servers.get(id)
    if (server === undefined) throw new RangeError(`no server ${id}`)
    return server
  }

  tell(...events: readonly ServerEvent[]): this {
    this.trace.push(...events)
    return this
  }

  boot(id: string): this {
    const { term, votedFor, log, commit, first, snapshot } = this.of(id)
    const runs = log.flatMap((entry, at) =>
      at + 1 < first || (at + 1 > first && entry.term === log[at - 1]?.term)
        ? []
        : [{ first: at + 1, term: entry.term }],
    )
    return this.tell({ event: 'boot', server: id, term, votedFor, commit, snapshot, first, last: log.length, runs })
  }

  crash(id: string): this {
    return this.tell({ event: 'crash', server: id })
  }

  /** What was written is there again, and it begins as a follower. */
  restart(id: string): this {
    const { log, snapshot } = this.of(id)
    const commit = snapshot?.index ?? 0
    Object.assign(this.of(id), { role: 'follower', writes: 0, applied: 0, commit, durable: log.length })
    return this.boot(id)
  }

  write(id: string, ...steps: readonly WriteStep[]): this {
    const server = this.of(id)
    for (const step of steps) {
      if (step.step === 'append') {
        const { term, hashes, configuration } = step.entries
        for (const hash of hashes)
          server.log.push({ term, hash, ...(configuration === undefined ? {} : { configuration }) })
      } else if (step.step === 'truncate') {
        server.log.length = step.from - 1
        server.durable = Math.min(server.durable, server.log.length)
      } else if (step.step === 'state') {
        server.term = step.term
        server.votedFor = step.votedFor
      } else {
        this.#standOn(server, step)
      }
    }
    server.writes += 1
    return this.tell({ event: 'write', server: id, write: server.writes, steps })
  }

  /** What a snapshot covers and a log lacks, other servers have. */
  #standOn(server: Teller, step: Compaction | Installation): void {
    const { snapshot } = step
    server.snapshot = snapshot
    server.first = step.step === 'compact' ? step.first : snapshot.index + 1
    if (step.step === 'compact' || step.keeps) return
    const { log } =
      [...this.#servers.values()].find((each) => each.log[snapshot.index - 1]?.term === snapshot.term) ?? server
    server.log = log.slice(0, snapshot.index)
  }

  persisted(id: string): this {
    const server = this.of(id)
    server.durable = server.log.length
    return this.tell({ event: 'persisted', server: id, write: server.writes })
  }

  turn(id: string, different: Partial<Turn> = {}): this {
    const server = this.of(id)
    if (different.role !== undefined) server.role = different.role
    if (different.commit !== undefined) server.commit = different.commit
    const { role, term, votedFor, log, commit, durable } = server
    const last = { lastIndex: log.length, lastTerm: log.at(-1)?.term ?? 0 }
    return this.tell({ event: 'turn', server: id, role, term, votedFor, ...last, commit, durable, ...different })
  }

  send(from: string, to: string, message: Message): this {
    return this.tell({ event: 'send', from, to, message })
  }

  receive(from: string, to: string, message: Message): this {
    return this.tell({ event: 'receive', from, to, message })
  }

  pass(from: string, to: string, message: Message): this {
    return this.send(from, to, message).receive(from, to, message)
  }

  /** Term and vote, written, durable, and the turn after. */
  state(id: string, term: number, votedFor: string | null, different: Partial<Turn> = {}): this {
    this.write(id, stateStep(term, votedFor))
    return this.persisted(id).turn(id, different)
  }

  requestVote(id: string): Message {
    const { term, asks } = this.of(id)
    return { type: 'RequestVote', term, ...asks }
  }

  campaign(id: string, term: number): this {
    const { log } = this.of(id)
    this.of(id).asks = { lastIndex: log.length, lastTerm: log.at(-1)?.term ?? 0 }
    return this.state(id, term, id, { role: 'candidate' })
  }

  ask(id: string, voter: string): this {
    return this.pass(id, voter, this.requestVote(id))
  }

  /** The voter was asked, and grants. */
  grant(voter: string, id: string): this {
    const { term } = this.of(id)
    this.state(voter, term, id, { role: 'follower' })
    return this.pass(voter, id, { type: 'RequestVoteResult', term, granted: true })
  }

  /** It has the votes; it appends the entry that begins its term. */
  lead(id: string): this {
    this.propose(id, { role: 'leader' })
    return this
  }

  elect(id: string, term: number, ...voters: readonly string[]): this {
    this.campaign(id, term)
    for (const voter of voters) this.ask(id, voter).grant(voter, id)
    return this.lead(id)
  }

  propose(id: string, different: Partial<Turn> = {}): this {
    const { term, log } = this.of(id)
    this.write(id, appendStep(log.length + 1, term))
    return this.turn(id, different)
  }

  /** AppendEntries of a leader from `first` on; one after its last entry is a heartbeat. */
  append(leader: string, first: number, commit = this.of(leader).commit): Extract<Message, { type: 'AppendEntries' }> {
    const { term, log } = this.of(leader)
    const entries = log.slice(first - 1).map((entry, at) => stretchOf(first + at, entry))
    const prevTerm = log[first - 2]?.term ?? 0
    return { type: 'AppendEntries', term, prevIndex: first - 1, prevTerm, entries, commit, round: this.round }
  }

  matched(leader: string, match: number): Message {
    return { type: 'AppendEntriesResult', term: this.of(leader).term, success: true, match, round: this.round }
  }

  /** What a follower does with it, up to its stable storage; `from`: what it deletes first. */
  take(leader: string, id: string, first: number, from: number | null = null): this {
    const { term, log } = this.of(leader)
    const server = this.of(id)
    const removal: WriteStep[] = from === null ? [] : [{ step: 'truncate', from }]
    const steps = log.slice(first - 1).map((entry, at): WriteStep => {
      return { step: 'append', entries: stretchOf(first + at, entry) }
    })
    const state = server.term === term ? [] : [stateStep(term, null)]
    return this.write(id, ...removal, ...steps, ...state)
  }

  /** Sent, taken, written, acknowledged. */
  replicate(leader: string, id: string, first: number, from: number | null = null): this {
    this.pass(leader, id, this.append(leader, first)).take(leader, id, first, from)
    this.turn(id).persisted(id).turn(id)
    return this.pass(id, leader, this.matched(leader, this.of(leader).log.length))
  }

  /** A heartbeat that tells the commit index. */
  tellCommit(leader: string, id: string): this {
    const { commit, log } = this.of(leader)
    return this.pass(leader, id, this.append(leader, log.length + 1)).turn(id, { commit })
  }

  apply(id: string, upTo: number): this {
    const server = this.of(id)
    for (let index = server.applied + 1; index <= upTo; index += 1) {
      const entry = server.log[index - 1] ?? { term: 0, hash: '' }
      this.tell({ event: 'apply', server: id, entries: { first: index, term: entry.term, hashes: [entry.hash] } })
    }
    server.applied = upTo
    return this
  }

  /** The snapshot that it would take of what it has applied, or has at another index. */
  snapshotOf(id: string, index = this.of(id).applied): Snapshot {
    const { log } = this.of(id)
    const known = log.slice(0, index).findLast(({ configuration }) => configuration !== undefined)?.configuration
    const voters = known ?? { voters: this.voters, outgoing: null }
    return { id: `${id}-${index}`, index, term: log[index - 1]?.term ?? 0, voters }
  }

  /** It takes a snapshot and discards what is before `first`. */
  compact(id: string, first: number, different: Partial<Compaction> = {}): this {
    const prevTerm = this.of(id).log[first - 2]?.term ?? 0
    return this.write(id, { step: 'compact', first, prevTerm, snapshot: this.snapshotOf(id), ...different }).turn(id)
  }

  /** It is given that snapshot, and takes it in. */
  install(id: string, snapshot: Snapshot, keeps = false): this {
    const { term, votedFor } = this.of(id)
    const state = snapshot.term > term ? [stateStep(snapshot.term, null)] : [stateStep(term, votedFor)]
    this.write(id, { step: 'install', snapshot, keeps }, ...state)
    this.of(id).commit = snapshot.index
    return this.persisted(id).turn(id)
  }

  restore(id: string, index: number): this {
    this.of(id).applied = index
    return this.tell({ event: 'restore', server: id, index })
  }

  /** The leader changes who votes. */
  change(id: string, voters: readonly string[], outgoing: readonly string[] | null = null): this {
    const { term, log } = this.of(id)
    const step = appendStep(log.length + 1, term)
    return this.write(id, { ...step, entries: { ...step.entries, configuration: { voters, outgoing } } }).turn(id)
  }

  read(id: string, read: number): this {
    return this.tell({ event: 'read', server: id, read })
  }

  answer(id: string, read: number, index: number | null): this {
    return this.tell({ event: 'answer', server: id, read, index })
  }

  /** One round of heartbeats from the leader, answered by these. */
  roundOf(leader: string, ...peers: readonly string[]): this {
    this.round += 1
    for (const peer of peers) {
      const { log } = this.of(leader)
      this.pass(leader, peer, this.append(leader, log.length + 1)).turn(peer)
      this.pass(peer, leader, this.matched(leader, log.length))
    }
    return this.turn(leader)
  }
}

function stretchOf(first: number, { term, hash, configuration }: Told): Stretch {
  return { first, term, hashes: [hash], ...(configuration === undefined ? {} : { configuration }) }
}

export function hashOf(index: number, term: number): string {
  return `e${index}.${term}`
}

export function appendStep(
  first: number,
  term: number,
  hash = hashOf(first, term),
): Extract<WriteStep, { step: 'append' }> {
  return { step: 'append', entries: { first, term, hashes: [hash] } }
}

export function stateStep(term: number, votedFor: string | null): WriteStep {
  return { step: 'state', term, votedFor, commit: 0 }
}
