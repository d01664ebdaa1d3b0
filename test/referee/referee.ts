/**
 * Judges a trace by the rules of the Raft paper (rules.ts). Slow and plain on purpose, and independent: it knows
 * nothing of the library that it judges (a tidy rule sees to that). It goes on after a violation, so later ones may
 * follow from it.
 */

import { inOneOrder } from './causal-order.js'
import { Changes } from './changes.js'
import { Commits } from './commits.js'
import { Elections } from './elections.js'
import { Logs } from './logs.js'
import { Memory, World } from './model.js'
import type { Boot, Entry, ServerModel, Stable, Turn } from './model.js'
import { Reads } from './reads.js'
import { RULES } from './rules.js'
import type { RuleName, Violation } from './rules.js'
import { Snapshots } from './snapshots.js'
import { serverOf } from './trace-format.js'
import type { ClusterEvent, Message, ServerEvent, Trace, WriteStep } from './trace-format.js'

/** What is found is cut off there: one violation makes many. */
const VIOLATIONS_MAX = 100

export interface Judgement {
  readonly violations: readonly Violation[]
  /** Of every kind, of every message type sent, and of every step written. */
  readonly counts: ReadonlyMap<string, number>
}

/** Judges a whole trace, in either order. */
export function judgeTrace(trace: Trace): Judgement {
  const [cluster, ...events] = trace
  if (cluster?.event !== 'cluster') throw new SyntaxError('a trace begins with its cluster')
  const servers = events.map((event) => {
    if (event.event === 'cluster') throw new SyntaxError('a trace has one cluster')
    return event
  })
  const referee = new Referee(cluster)
  for (const event of cluster.order === 'global' ? servers : inOneOrder(servers)) referee.take(event)
  return referee
}

/** Judges a trace as it is made, in global order. */
export class Referee implements Judgement {
  readonly violations: Violation[] = []
  readonly counts = new Map<string, number>()
  readonly #world: World
  readonly #elections: Elections
  readonly #logs: Logs
  readonly #commits: Commits
  readonly #reads: Reads
  readonly #snapshots: Snapshots
  readonly #changes: Changes

  constructor(cluster: ClusterEvent) {
    this.#world = new World(cluster, (rule, detail) => this.#blame(rule, detail))
    this.#commits = new Commits(this.#world)
    this.#elections = new Elections(this.#world, (term) => this.#commits.chosen(term))
    this.#snapshots = new Snapshots(this.#world)
    this.#changes = new Changes(this.#world)
    this.#logs = new Logs(this.#world, this.#elections, this.#snapshots)
    this.#reads = new Reads(this.#world)
  }

  take(event: ServerEvent): void {
    this.#world.now += 1
    const kind = event.event === 'send' ? event.message.type : event.event
    this.#count(kind)
    const server = this.#world.server(serverOf(event))
    this.#checkSilence(server, event)
    switch (event.event) {
      case 'boot':
        return this.#boot(server, event)
      case 'write':
        return this.#write(server, event.write, event.steps)
      case 'persisted':
        return server.persisted(event.write)
      case 'turn':
        return this.#turn(server, event)
      case 'send':
        return this.#send(server, event.to, event.message)
      case 'receive':
        return this.#receive(server, event.from, event.message)
      case 'apply':
        return this.#commits.applied(server, event.entries)
      case 'restore':
        return this.#snapshots.restored(server, event.index)
      case 'read':
        return this.#reads.began(server, event.read)
      case 'answer':
        return this.#reads.answered(server, event.read, event.index)
      case 'crash':
        server.isUp = false
        return
      case 'halt':
        server.isHalted = true
        return
    }
  }

  #boot(server: ServerModel, boot: Boot): void {
    if (boot.snapshot !== null) this.#snapshots.began(boot.snapshot)
    const found = stableOf(boot, boot.snapshot === null ? [] : this.#snapshots.covered(boot.snapshot))
    const before = [server.durable, ...server.pending.map(({ stable }) => stable)]
    // A write that was under way may have reached the storage; the commit index may have been written by itself.
    const kept = before.findLast((stable) => isFoundAgain(stable, found, server.commitMax))
    if (server.hasBooted && kept === undefined) {
      const log = (stable: Stable): string => `${stable.log.length}/${stable.log.at(-1)?.term ?? 0}`
      const describe = (stable: Stable): string =>
        `term ${stable.term}, vote ${stable.votedFor}, log ${log(stable)} from ${stable.first}`
      const held = before.map(describe).join(' or ')
      this.#blame('restart from stable storage', `${server.id} finds ${describe(found)}, stored was ${held}`)
    }
    const known = found.log.map((entry, at) => this.#world.knownAt(at + 1, entry))
    const stable = { ...found, log: kept === undefined || !server.hasBooted ? known : kept.log }
    server.accepted = stable
    server.logBefore = stable.log
    server.keep(stable)
    server.pending = []
    server.lastWrite = 0
    server.hasWritten = false
    server.memory = new Memory()
    server.bootCommit = boot.commit
    server.isUp = true
    server.isHalted = false
    if (server.hasBooted) return
    server.hasBooted = true
    let termBefore = 0
    for (const [at, entry] of stable.log.entries()) {
      if (entry.term < termBefore || entry.term > stable.term) {
        this.#blame('terms only grow', `${server.id} begins with entry ${at + 1} of term ${entry.term}`)
      }
      this.#world.identify(at + 1, entry, termBefore, server.id)
      termBefore = entry.term
    }
    this.#commits.began(server, boot.commit, boot.term)
  }

  #write(server: ServerModel, write: number, steps: readonly WriteStep[]): void {
    if (write !== server.lastWrite + 1) throw new RangeError(`${server.id} writes ${write} after ${server.lastWrite}`)
    server.lastWrite = write
    for (const { step } of steps) this.#count(step)
    const states = this.#logs.wrote(server, steps)
    this.#elections.wrote(server, states)
    const stable = states.at(-1) ?? server.accepted
    if (!server.hasWritten) server.logBefore = server.accepted.log
    server.hasWritten = true
    server.accepted = stable
    server.pending.push({ write, stable })
  }

  #turn(server: ServerModel, turn: Turn): void {
    if (!server.hasWritten) server.logBefore = server.accepted.log
    server.hasWritten = false
    this.#logs.turned(server, turn)
    this.#elections.turned(server, turn)
    this.#commits.turned(server, turn)
    this.#changes.turned(server, turn)
    const { memory } = server
    memory.turnBefore = memory.turn
    memory.turn = turn
    server.commitMax = Math.max(server.commitMax, turn.commit)
    for (const term of memory.offered.keys()) if (term < turn.term) memory.offered.delete(term)
  }

  #send(server: ServerModel, to: string, message: Message): void {
    this.#elections.sent(server, to, message)
    this.#logs.sent(server, to, message)
    this.#commits.sent(server, message)
    const key = keyOf(server.id, to, message)
    if (this.#world.sent.has(key)) return
    const contact = server.memory.contacts.get(to)
    const follows = 'term' in message && contact?.term === message.term ? contact.sentAt : 0
    this.#world.sent.set(key, { at: this.#world.now, follows })
  }

  #receive(server: ServerModel, from: string, message: Message): void {
    const sent = this.#world.sent.get(keyOf(from, server.id, message))
    if (sent === undefined) {
      this.#blame('messages are received as sent', `${server.id} has from ${from} ${JSON.stringify(message)}`)
    }
    server.remember(from, message)
    this.#reads.received(server, from, message, sent?.at ?? 0, sent?.follows ?? 0)
  }

  #checkSilence(server: ServerModel, { event }: ServerEvent): void {
    if (event === 'boot' ? server.isUp : !server.isUp) {
      const what = server.isUp ? 'boots while it is up' : `does something (${event}) while it is down`
      this.#blame('stopped servers are silent', `${server.id} ${what}`)
    }
    // What was handed to the state machine before may still be applied: it is committed, and nobody hears of it.
    const isSpeech = event === 'send' || event === 'write'
    if (server.isHalted && isSpeech) {
      this.#blame('stopped servers are silent', `${server.id} does something (${event}) after its storage has failed`)
    }
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  #blame(rule: RuleName, detail: string): void {
    if (this.violations.length >= VIOLATIONS_MAX) return
    this.violations.push({ rule, place: RULES[rule], detail, line: this.#world.now + 1 })
  }
}

/** `covered`: what its snapshot says of the entries that are not there. */
function stableOf({ term, votedFor, commit, first, last, snapshot, runs }: Boot, covered: readonly Entry[]): Stable {
  const log = Array.from({ length: last }, (_, at) => {
    if (at + 1 < first) return covered[at] ?? { term: 0, hash: null }
    const run = runs.findLast((each) => each.first <= at + 1)
    if (run === undefined) throw new RangeError(`the runs of a log do not cover entry ${at + 1}`)
    return { term: run.term, hash: null }
  })
  return { term, votedFor, commit, log, first, snapshot }
}

function isFoundAgain(stable: Stable, found: Stable, commitMax: number): boolean {
  if (stable.term !== found.term || stable.votedFor !== found.votedFor) return false
  if (found.commit < stable.commit || found.commit > Math.max(stable.commit, commitMax)) return false
  if (stable.first !== found.first || stable.snapshot?.id !== found.snapshot?.id) return false
  const isSame = ({ term }: Entry, at: number): boolean => at + 1 < found.first || term === found.log[at]?.term
  return stable.log.length === found.log.length && stable.log.every(isSame)
}

function keyOf(from: string, to: string, message: Message): string {
  return `${from}>${to} ${JSON.stringify(message)}`
}
