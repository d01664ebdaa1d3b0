/**
 * Raft as figure 2 of the paper has it, and nothing more: no pre-vote, no pipelining, every answer waits for the disk.
 * Under a random schedule it makes up traces, to show what the referee accepts; with one of its rules left out, what it
 * finds.
 */

import { below, pick } from '../support/seed.js'
import type { Random } from '../support/seed.js'
import type { Message, ServerEvent, Stretch, TraceEvent, WriteStep } from './trace-format.js'
import { entriesIn } from './trace-format.js'

/** The rule that is left out. */
export type Omission =
  | 'one vote'
  | 'up-to-date check'
  | 'majority of votes'
  | 'own term only'
  | 'conflict check'
  | 'commit clamp'
  | 'durable term'

interface Entry {
  readonly term: number
  readonly hash: string
}

interface Peer {
  nextIndex: number
  matchIndex: number
}

interface Envelope {
  readonly from: string
  readonly to: string
  readonly message: Message
}

class Server {
  readonly id: string
  isUp = true
  // Persistent.
  term = 1
  votedFor: string | null = null
  log: Entry[] = [{ term: 1, hash: 'first' }]
  // Volatile.
  role: 'follower' | 'candidate' | 'leader' = 'follower'
  commit = 0
  applied = 0
  writes = 0
  votes = new Set<string>()
  peers = new Map<string, Peer>()

  constructor(id: string) {
    this.id = id
  }

  get lastTerm(): number {
    return this.log.at(-1)?.term ?? 0
  }

  termAt(index: number): number | undefined {
    return index === 0 ? 0 : this.log[index - 1]?.term
  }
}

export class ReferenceRaft {
  readonly trace: TraceEvent[] = []
  readonly #random: Random
  readonly #omission: Omission | null
  readonly #servers: readonly Server[]
  #network: Envelope[] = []
  #commands = 0

  constructor(random: Random, omission: Omission | null = null) {
    this.#random = random
    this.#omission = omission
    const voters = pick(random, [
      ['a', 'b', 'c'],
      ['a', 'b', 'c', 'd', 'e'],
    ])
    this.#servers = voters.map((id) => new Server(id))
    this.trace.push({ event: 'cluster', order: 'global', voters, outgoing: null, preVote: false })
    for (const server of this.#servers) this.#boot(server)
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step += 1) this.#step()
  }

  #step(): void {
    const server = pick(this.#random, this.#servers)
    const draw = this.#random()
    if (draw < 0.6) this.#deliver()
    else if (draw < 0.62) this.#crashOrRestart(server)
    else if (!server.isUp) return
    else if (draw < 0.68) this.#timeout(server)
    else if (draw < 0.85) this.#serve(server)
    else if (server.role === 'leader') this.#broadcast(server)
  }

  #deliver(): void {
    if (this.#network.length === 0) return
    const at = below(this.#random, this.#network.length)
    const envelope = this.#network[at]
    // Some are lost, some come twice.
    if (this.#random() < 0.9) this.#network.splice(at, 1)
    if (this.#network.length > 60) this.#network.shift()
    const server = this.#servers.find(({ id }) => id === envelope?.to)
    if (envelope === undefined || server?.isUp !== true || this.#random() < 0.1) return
    this.#tell({ event: 'receive', ...envelope })
    this.#handle(server, envelope.from, envelope.message)
    this.#turn(server)
  }

  #crashOrRestart(server: Server): void {
    if (server.isUp) this.#tell({ event: 'crash', server: server.id })
    else this.#boot(server)
    server.isUp = !server.isUp
  }

  #boot(server: Server): void {
    Object.assign(server, { role: 'follower', commit: 0, applied: 0, writes: 0 })
    const { id, term, votedFor, log } = server
    const runs = log.flatMap((entry, at) =>
      entry.term === log[at - 1]?.term ? [] : [{ first: at + 1, term: entry.term }],
    )
    this.#tell({
      event: 'boot',
      server: id,
      term,
      votedFor,
      commit: 0,
      snapshot: null,
      first: 1,
      last: log.length,
      runs,
    })
  }

  #timeout(server: Server): void {
    if (server.role === 'leader') return
    server.term += 1
    server.votedFor = server.id
    server.role = 'candidate'
    server.votes = new Set([server.id])
    this.#write(server, stateOf(server))
    this.#turn(server)
    const { term, log, lastTerm } = server
    this.#toOthers(server, { type: 'RequestVote', term, lastIndex: log.length, lastTerm })
  }

  /** A client asks the leader, and all apply what is committed. */
  #serve(server: Server): void {
    while (server.applied < server.commit) {
      server.applied += 1
      const entry = server.log[server.applied - 1] ?? { term: 0, hash: '' }
      const entries = { first: server.applied, term: entry.term, hashes: [entry.hash] }
      this.#tell({ event: 'apply', server: server.id, entries })
    }
    if (server.role !== 'leader') return
    this.#append(server)
    this.#turn(server)
  }

  #append(server: Server): void {
    this.#commands += 1
    const entry = { term: server.term, hash: `command ${this.#commands}` }
    server.log.push(entry)
    const entries = { first: server.log.length, term: entry.term, hashes: [entry.hash] }
    this.#write(server, { step: 'append', entries })
  }

  #broadcast(server: Server): void {
    for (const [to, { nextIndex }] of server.peers) {
      // A message need not hold all that the peer lacks.
      const entries = stretchesOf(server.log, nextIndex).slice(0, below(this.#random, 3))
      const prevTerm = server.termAt(nextIndex - 1) ?? 0
      const { term, commit } = server
      this.#send(server, to, {
        type: 'AppendEntries',
        term,
        prevIndex: nextIndex - 1,
        prevTerm,
        entries,
        commit,
        round: 0,
      })
    }
  }

  #handle(server: Server, from: string, message: Message): void {
    if ('term' in message && message.term > server.term) {
      server.term = message.term
      server.votedFor = null
      server.role = 'follower'
      if (this.#omission !== 'durable term') this.#write(server, stateOf(server))
    }
    switch (message.type) {
      case 'RequestVote':
        return this.#vote(server, from, message)
      case 'RequestVoteResult':
        if (server.role === 'candidate' && message.granted && message.term === server.term) server.votes.add(from)
        return this.#maybeLead(server)
      case 'AppendEntries':
        return this.#accept(server, from, message)
      case 'AppendEntriesResult':
        return this.#answered(server, from, message)
      case 'PreVote':
      case 'PreVoteResult':
      case 'TimeoutNow':
        throw new RangeError(`figure 2 knows no ${message.type}`)
    }
  }

  #vote(server: Server, from: string, message: Extract<Message, { type: 'RequestVote' }>): void {
    const { lastIndex, lastTerm } = message
    const isFree = server.votedFor === null || server.votedFor === from || this.#omission === 'one vote'
    const isCurrent = lastTerm > server.lastTerm || (lastTerm === server.lastTerm && lastIndex >= server.log.length)
    const isGood = isCurrent || this.#omission === 'up-to-date check'
    const granted = message.term === server.term && server.role === 'follower' && isFree && isGood
    if (granted && server.votedFor !== from) {
      server.votedFor = from
      this.#write(server, stateOf(server))
    }
    this.#turn(server)
    this.#send(server, from, { type: 'RequestVoteResult', term: server.term, granted })
  }

  #maybeLead(server: Server): void {
    const needed = this.#omission === 'majority of votes' ? 2 : Math.floor(this.#servers.length / 2) + 1
    if (server.role !== 'candidate' || server.votes.size < needed) return
    server.role = 'leader'
    const others = this.#servers.filter(({ id }) => id !== server.id)
    server.peers = new Map(others.map(({ id }) => [id, { nextIndex: server.log.length + 1, matchIndex: 0 }]))
    this.#append(server)
  }

  #accept(server: Server, from: string, message: Extract<Message, { type: 'AppendEntries' }>): void {
    const { prevIndex, prevTerm } = message
    const isOld = message.term < server.term
    if (!isOld) server.role = 'follower'
    const success = !isOld && server.termAt(prevIndex) === prevTerm
    const entries = message.entries.flatMap(entriesIn)
    const last = prevIndex + entries.length
    if (success) {
      this.#store(server, entries, last)
      const end = this.#omission === 'commit clamp' ? server.log.length : last
      server.commit = Math.max(server.commit, Math.min(message.commit, end))
    }
    this.#turn(server)
    const match = success ? last : 0
    this.#send(server, from, { type: 'AppendEntriesResult', term: server.term, success, match, round: 0 })
  }

  /** Receiver rules 3 and 4. */
  #store(server: Server, entries: readonly (Entry & { readonly index: number })[], last: number): void {
    const steps: WriteStep[] = []
    const conflict = entries.find(({ index, term }) => (server.termAt(index) ?? term) !== term)?.index
    const isShorter = this.#omission === 'conflict check' && server.log.length > last && last >= server.commit
    const from = isShorter ? last + 1 : conflict
    if (from !== undefined) {
      server.log.length = from - 1
      steps.push({ step: 'truncate', from })
    }
    for (const { index, term, hash } of entries) {
      if (index <= server.log.length) continue
      server.log.push({ term, hash })
      steps.push({ step: 'append', entries: { first: index, term, hashes: [hash] } })
    }
    if (steps.length > 0) this.#write(server, ...steps)
  }

  #answered(server: Server, from: string, message: Extract<Message, { type: 'AppendEntriesResult' }>): void {
    const peer = server.peers.get(from)
    if (server.role !== 'leader' || message.term !== server.term || peer === undefined) return
    if (!message.success) {
      peer.nextIndex = Math.max(1, peer.nextIndex - 1)
      return
    }
    peer.matchIndex = Math.max(peer.matchIndex, message.match)
    peer.nextIndex = Math.max(peer.nextIndex, peer.matchIndex + 1)
    const matches = [server.log.length, ...[...server.peers.values()].map(({ matchIndex }) => matchIndex)]
    const index = matches.sort((a, b) => b - a)[Math.floor(this.#servers.length / 2)] ?? 0
    const isOwn = server.termAt(index) === server.term || this.#omission === 'own term only'
    if (index > server.commit && isOwn) server.commit = index
  }

  #turn(server: Server): void {
    const { id, role, term, votedFor, log, lastTerm, commit } = server
    const last = { lastIndex: log.length, lastTerm, durable: log.length }
    this.#tell({ event: 'turn', server: id, role, term, votedFor, ...last, commit })
  }

  #write(server: Server, ...steps: readonly WriteStep[]): void {
    server.writes += 1
    const { id, writes } = server
    this.#tell({ event: 'write', server: id, write: writes, steps })
    this.#tell({ event: 'persisted', server: id, write: writes })
  }

  #toOthers(server: Server, message: Message): void {
    for (const { id } of this.#servers) if (id !== server.id) this.#send(server, id, message)
  }

  #send(server: Server, to: string, message: Message): void {
    this.#tell({ event: 'send', from: server.id, to, message })
    this.#network.push({ from: server.id, to, message })
  }

  #tell(event: ServerEvent): void {
    this.trace.push(event)
  }
}

function stateOf({ term, votedFor }: Server): WriteStep {
  return { step: 'state', term, votedFor, commit: 0 }
}

function stretchesOf(log: readonly Entry[], first: number): readonly Stretch[] {
  return log.slice(first - 1).map(({ term, hash }, at) => ({ first: first + at, term, hashes: [hash] }))
}
