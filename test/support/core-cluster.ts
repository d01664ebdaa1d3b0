/**
 * A cluster of cores in one process, with nothing real around them: the network is a list, the disks complete when told,
 * the clock is a number, randomness is injected. Tests drive it step by step; every step is checked (`ClusterChecker`).
 *
 * Each server dials each other one; requests leave on the dialled session, answers come back on its link. A message is
 * delivered, dropped or repeated only when the test says so.
 */

import { assert } from '#balsa/errors.js'
import { logIndex } from '#balsa/types.js'
import type { Configuration, HardState, ServerId } from '#balsa/types.js'
import { FULL_BATCH_BYTES, RaftCore } from '#balsa/core/index.js'
import type {
  ApplyRange,
  CoreSettings,
  Fetch,
  Input,
  OutgoingMessage,
  ReadOutcome,
  Ready,
  Request,
  Response,
} from '#balsa/core/index.js'
import { ClusterChecker } from './cluster-checker.js'
import { entriesOf, fakeBlockMaker, makeBlock } from './fake-blocks.js'
import type { FakeEntry } from './fake-blocks.js'
import { FakeDisk } from './fake-disk.js'
import type { Random } from './seed.js'
import { formatEvent, formatMessage, formatRead, formatTicket } from './trace.js'

export const SETTINGS: CoreSettings = { electionTimeoutMs: 1000, heartbeatMs: 100, firstElectionTimeoutMs: null }

export interface ClusterOptions {
  /** Voters s1, s2, ...; 3 unless told. Ignored when `configuration` is given. */
  readonly servers?: number
  readonly configuration?: Configuration
  readonly settings?: CoreSettings
  readonly tailBytesMax?: number
  /** The test makes up messages (`ask`, `answer`): what one server does is still checked, what all agree on is not. */
  readonly madeUp?: boolean
  /** By server; unless told, s1 draws 0.1, s2 0.2, and so on, so that s1 times out first. */
  readonly random?: (id: ServerId) => Random
  /** Terms of the entries that each server starts with, by id; otherwise only the bootstrap entry (1, term 1). */
  readonly logs?: Readonly<Record<ServerId, readonly number[]>>
  /** The hard state that each server starts with, where it differs from (term of its last entry, no vote, commit 0). */
  readonly hardStates?: Readonly<Record<ServerId, Partial<HardState>>>
}

/** A message under way. */
export interface Envelope {
  readonly from: ServerId
  readonly to: ServerId
  readonly link: number
  readonly message: Request | Response
}

interface Link {
  readonly dialer: ServerId
  readonly listener: ServerId
  readonly session: number
  /** The boot of the dialer: another process never sees the answers. */
  readonly boot: number
}

export type ProposalOutcome = 'committed' | 'unknown'

/** What became of a read: its answer, or nothing because the server crashed. */
export type FakeRead = ReadOutcome | { readonly id: number; readonly status: 'crashed' }

/** One server: what survives a crash, and what does not. */
export class FakeServer {
  readonly id: ServerId
  readonly disk: FakeDisk
  boot = 0
  core: RaftCore | null = null
  /** The state machine: payloads in the order applied; empty again after a crash. */
  applied: FakeEntry[] = []
  applying: ApplyRange | null = null
  fetches: Fetch[] = []
  /** Sessions of this boot, by the peer that was dialled. */
  readonly sessions = new Map<ServerId, number>()
  /** Payloads by index, for proposals that have no outcome yet. */
  readonly proposals = new Map<number, number>()
  /** What was committed when each unanswered read began. */
  readonly reads = new Map<number, number>()
  halted = false
  /** The last ticket that the core was told is durable. */
  reported = 0

  constructor(id: ServerId, disk: FakeDisk) {
    this.id = id
    this.disk = disk
  }

  /** The core of a server that is up. */
  get up(): RaftCore {
    assert(this.core !== null, `${this.id} is down`)
    return this.core
  }
}

export class CoreCluster {
  now = 0
  inFlight: Envelope[] = []
  readonly servers = new Map<ServerId, FakeServer>()
  readonly checker: ClusterChecker
  readonly outcomes = new Map<number, ProposalOutcome>()
  readonly readOutcomes = new Map<number, FakeRead>()
  /** Servers whose disks do nothing in `settle` and `run`. */
  readonly stalledDisks = new Set<ServerId>()
  /** Everything a core called a fault of the protocol. */
  readonly faults: string[] = []
  /** Null: nobody reads it. */
  trace: string[] | null = []
  readonly configuration: Configuration
  readonly settings: CoreSettings
  readonly #options: ClusterOptions
  readonly #cuts = new Set<string>()
  readonly #links: Link[] = []
  readonly #randoms = new Map<ServerId, Random>()
  /** Reads that began before their leader had committed anything. */
  readonly #early = new Set<number>()
  /** The server whose turn is under way. */
  #turning: ServerId | null = null
  #sessions = 0
  #payloads = 0
  #reads = 0

  constructor(options: ClusterOptions = {}) {
    this.#options = options
    this.settings = options.settings ?? SETTINGS
    const ids = Array.from({ length: options.servers ?? 3 }, (_, at) => `s${at + 1}`)
    this.configuration = options.configuration ?? votersOnly(ids)
    this.checker = new ClusterChecker(() => this.servers.values(), options.madeUp !== true)
    allIds(this.configuration).forEach((id, at) => {
      this.servers.set(id, new FakeServer(id, this.#firstDisk(id)))
      this.#randoms.set(id, options.random?.(id) ?? (() => (at + 1) / 10))
    })
    for (const id of this.servers.keys()) this.start(id)
    this.connectAll()
  }

  server(id: ServerId): FakeServer {
    const server = this.servers.get(id)
    assert(server !== undefined, `no server ${id}`)
    return server
  }

  core(id: ServerId): RaftCore {
    return this.server(id).up
  }

  get ids(): readonly ServerId[] {
    return [...this.servers.keys()]
  }

  get leader(): FakeServer | null {
    const leaders = [...this.servers.values()].filter(({ core }) => core?.role === 'leader')
    return leaders.sort((a, b) => b.up.term - a.up.term)[0] ?? null
  }

  // Processes

  start(id: ServerId): void {
    const server = this.server(id)
    assert(server.core === null, `${id} is up`)
    server.boot += 1
    server.core = new RaftCore({
      id,
      settings: this.settings,
      hardState: server.disk.hardState,
      log: server.disk.start(),
      maker: fakeBlockMaker,
      random: this.#randoms.get(id) ?? (() => 0),
      now: this.now,
      ...(this.#options.tailBytesMax === undefined ? {} : { tailBytesMax: this.#options.tailBytesMax }),
    })
    const { term, votedFor, commitIndex } = server.disk.hardState
    this.#say(
      id,
      `starts: term=${term} vote=${votedFor ?? '-'} commit=${commitIndex} last=${server.disk.entries.length}`,
    )
    this.checker.booted(server)
    server.core.step({ type: 'credit', bytes: 1 << 30 })
    this.checker.stepped(server)
    this.checker.drained(server)
  }

  /** What is not on the disk is gone, and so are its connections; messages that it sent may still arrive. */
  crash(id: ServerId): void {
    const server = this.server(id)
    const unwritten = server.disk.pending.length
    this.#say(id, `crashes; ${unwritten} unwritten tickets are lost`)
    if (unwritten > 0) this.checker.reach('crash with unwritten tickets')
    server.disk.crash()
    server.core = null
    server.applied = []
    server.applying = null
    server.fetches = []
    server.sessions.clear()
    server.halted = false
    server.reported = 0
    for (const [index, payload] of server.proposals) this.#settle(server, index, payload, 'unknown')
    for (const read of server.reads.keys()) this.readOutcomes.set(read, { id: read, status: 'crashed' })
    server.reads.clear()
  }

  restart(id: ServerId): void {
    if (this.server(id).core !== null) this.crash(id)
    this.start(id)
    for (const other of this.ids) {
      if (other === id || this.server(other).core === null) continue
      this.connect(id, other)
      this.connect(other, id)
    }
  }

  // Inputs

  /** One input and its checks; nothing leaves before `drain`. */
  step(id: ServerId, input: Input): void {
    const server = this.server(id)
    server.up.step(input)
    this.checker.stepped(server)
  }

  /** A turn of the shell: the time, the inputs, no deadline. */
  turn(id: ServerId, ...inputs: readonly Input[]): void {
    this.inOneTurn(id, () => {
      for (const input of inputs) this.step(id, input)
    })
  }

  /** Whatever reaches this server meanwhile reaches it in one turn: what it decides leaves it at the end. */
  inOneTurn(id: ServerId, run: () => void): void {
    if (this.#turning === id) {
      run()
      return
    }
    assert(this.#turning === null, `${id} turns while ${this.#turning} does`)
    this.step(id, { type: 'turn', now: this.now })
    this.#turning = id
    try {
      run()
    } finally {
      this.#turning = null
    }
    if (this.server(id).core !== null) this.drain(id)
  }

  /** Lets the deadlines of one server expire that are due at `now`. */
  tick(id: ServerId, now = this.now): void {
    this.now = Math.max(this.now, now)
    this.turn(id, { type: 'tick', now: this.now })
  }

  /** Goes to the next deadline of one server and lets it expire; one that is overdue by much is first put off (scenario E15). */
  timeout(id: ServerId): void {
    this.inOneTurn(id, () => {
      const deadline = this.core(id).nextDeadline()
      assert(deadline < Infinity, `${id} waits for nothing`)
      this.tick(id, deadline)
    })
  }

  /** Time passes and every server that is up notices, in steps of half a heartbeat; messages and disks wait. */
  pass(ms: number): void {
    const end = this.now + ms
    while (this.now < end) {
      this.now = Math.min(end, this.now + this.settings.heartbeatMs / 2)
      for (const [id, { core }] of this.servers) if (core !== null) this.tick(id)
    }
  }

  /** Time passes with a network and disks that work. */
  run(ms: number): void {
    const end = this.now + ms
    while (this.now < end) {
      this.pass(this.settings.heartbeatMs / 2)
      this.settle()
    }
  }

  /** Carries out one Ready. */
  drain(id: ServerId): Ready {
    const server = this.server(id)
    const ready = server.up.takeReady()
    for (const event of ready.events) {
      this.#say(id, formatEvent(event))
      if (event.type === 'breach') this.faults.push(`${id}: ${event.reason}`)
      if (event.type === 'steppedDown') this.#steppedDown(server, event.reason)
    }
    if (ready.ticket !== null) {
      this.#say(id, formatTicket(ready.ticket))
      this.checker.submitting(server, ready.ticket)
      server.disk.submit(ready.ticket)
      this.checker.submitted(server, ready.ticket)
    }
    if (ready.lostAbove !== null) this.#lost(server, ready.lostAbove)
    this.checker.drained(server)
    for (const outgoing of ready.messages) this.#send(server, outgoing)
    for (const { link, reason } of ready.rejects) this.#say(id, `rejects link ${link}: ${reason}`)
    for (const read of ready.reads) this.#answered(server, read)
    if (ready.apply !== null) {
      assert(server.applying === null, `${id} is handed a range while it applies another`)
      server.applying = ready.apply
      this.#say(
        id,
        `may apply ${ready.apply.first}-${ready.apply.last}${ready.apply.blocks === null ? ' from disk' : ''}`,
      )
    }
    for (const fetch of ready.fetches) {
      this.#say(id, `fetches ${fetch.from}-${fetch.to - 1} for ${fetch.peer}`)
      server.fetches.push(fetch)
      this.checker.reach('fetch below the tail')
    }
    return ready
  }

  // Disk and state machine

  /** The oldest tickets become durable and are reported; all of them unless told. */
  persist(id: ServerId, count?: number): void {
    this.write(id, count)
    this.report(id)
  }

  /** The oldest tickets become durable, and nobody is told yet. */
  write(id: ServerId, count?: number): void {
    const { disk } = this.server(id)
    disk.write(count)
    const overwritten = disk.pending.some(({ operations }) =>
      operations.some((operation) => operation.type === 'truncateSuffix' && operation.from <= disk.entries.length),
    )
    if (overwritten) this.checker.reach('write of entries that a later ticket removes')
  }

  /** What is durable is reported, if that is news. */
  report(id: ServerId): void {
    const server = this.server(id)
    const ticket = server.disk.written
    if (ticket === server.reported) return
    server.reported = ticket
    this.#say(id, `disk: ticket ${ticket} is durable`)
    this.turn(id, { type: 'persisted', ticket })
  }

  /** The store is poisoned. */
  failStore(id: ServerId): void {
    const server = this.server(id)
    this.#say(id, 'disk: fails')
    server.halted = true
    this.turn(id, { type: 'halt' })
  }

  /** The state machine finishes the range that it was handed. */
  apply(id: ServerId): void {
    const server = this.server(id)
    const range = server.applying
    if (range === null) return
    server.applying = null
    const { first, last } = range
    const entries =
      range.blocks?.flatMap(entriesOf).slice(0, last - first + 1) ?? server.disk.entries.slice(first - 1, last)
    assert(entries.length === last - first + 1, `${id} is to apply ${first}-${last} and has ${entries.length} entries`)
    if (range.blocks !== null) assert(range.blocks[0]?.first === first, `${id}: blocks do not begin at ${first}`)
    entries.forEach((entry, at) => {
      this.checker.applied(server, first + at, entry)
      server.applied.push(entry)
      const payload = server.proposals.get(first + at)
      if (payload !== undefined) {
        assert(payload === entry.payload, `${id} proposed ${payload} at ${first + at}, applied is ${entry.payload}`)
        this.#settle(server, first + at, payload, 'committed')
      }
    })
    this.turn(id, { type: 'applied', index: last })
  }

  /** Reads from the store what lagging peers lack. */
  serveFetches(id: ServerId): void {
    const server = this.server(id)
    for (const fetch of server.fetches.splice(0)) {
      // A leader that was deposed meanwhile may have removed what it wanted to send.
      if (fetch.to - 1 > server.disk.entries.length) {
        this.turn(id, { type: 'fetchFailed', fetch })
        continue
      }
      const blocks = server.disk.read(fetch.from, fetch.to, fetch.bytesMax)
      this.turn(id, { type: 'fetched', fetch, blocks })
    }
  }

  // Clients

  /** The payloads of a batch that was taken; null when the core does not take one now. It asks as for a full batch, unless told. */
  propose(id: ServerId, count = 1, size?: number, waitingBytes = FULL_BATCH_BYTES): readonly number[] | null {
    let payloads: readonly number[] | null = null
    this.inOneTurn(id, () => {
      payloads = this.proposeInTurn(id, count, size, waitingBytes)
    })
    return payloads
  }

  /** The same inside a turn that the test has begun and will drain. */
  proposeInTurn(id: ServerId, count = 1, size?: number, waitingBytes = FULL_BATCH_BYTES): readonly number[] | null {
    const server = this.server(id)
    const admission = server.up.admit(waitingBytes)
    if (admission.status !== 'accept') {
      this.#say(id, `proposal: ${admission.status}`)
      return null
    }
    const payloads = Array.from({ length: count }, () => (this.#payloads += 1))
    const block = makeBlock(admission.first, admission.term, payloads, size)
    payloads.forEach((payload, at) => server.proposals.set(admission.first + at, payload))
    this.#say(id, `proposal: ${count} at ${admission.first}`)
    this.step(id, { type: 'propose', block })
    return payloads
  }

  /** Returns the id of the read. */
  read(id: ServerId): number {
    this.#reads += 1
    const read = this.#reads
    const { reads, up } = this.server(id)
    reads.set(read, this.checker.commitIndex)
    if (up.role === 'leader' && up.log.termAt(up.log.commitIndex) !== up.term) this.#early.add(read)
    this.turn(id, { type: 'readIndex', id: read })
    return read
  }

  // Network

  connectAll(): void {
    for (const from of this.ids) for (const to of this.ids) if (from !== to) this.connect(from, to)
  }

  /** A new session from one server to another; an older one, if there is one, is replaced without a word. */
  connect(from: ServerId, to: ServerId): void {
    const dialer = this.server(from)
    if (dialer.core === null || this.server(to).core === null) return
    this.#sessions += 1
    const session = this.#sessions
    dialer.sessions.set(to, session)
    this.#links.push({ dialer: from, listener: to, session, boot: dialer.boot })
    this.turn(from, { type: 'peerUp', peer: to, session })
  }

  disconnect(from: ServerId, to: ServerId): void {
    const dialer = this.server(from)
    const session = dialer.sessions.get(to)
    if (session === undefined || dialer.core === null) return
    dialer.sessions.delete(to)
    this.turn(from, { type: 'peerDown', peer: to, session })
  }

  /** From now on nothing that one sends reaches the other; nobody is told. */
  cut(from: ServerId, to: ServerId): void {
    this.#cuts.add(`${from}>${to}`)
  }

  /** Cuts both ways between one server and all others. */
  isolate(id: ServerId): void {
    for (const other of this.ids) {
      if (other === id) continue
      this.cut(id, other)
      this.cut(other, id)
    }
  }

  isCut(from: ServerId, to: ServerId): boolean {
    return this.#cuts.has(`${from}>${to}`)
  }

  heal(): void {
    this.#cuts.clear()
  }

  /** Delivers what is under way now and matches, each message as a turn of its own. Returns how many. */
  deliver(matches: (envelope: Envelope) => boolean = () => true): number {
    const chosen = this.inFlight.filter(matches)
    this.inFlight = this.inFlight.filter((envelope) => !chosen.includes(envelope))
    for (const envelope of chosen) this.receive(envelope)
    return chosen.length
  }

  /** Loses what is under way now and matches; returns it. */
  drop(matches: (envelope: Envelope) => boolean = () => true): readonly Envelope[] {
    const lost = this.inFlight.filter(matches)
    this.inFlight = this.inFlight.filter((envelope) => !lost.includes(envelope))
    return lost
  }

  /** A message arrives, whether or not it has before. */
  receive(envelope: Envelope): void {
    const input = this.inputOf(envelope)
    if (input === null) return
    this.#say(envelope.to, `receives from ${envelope.from}: ${formatMessage(envelope.message)}`)
    const { role, term } = this.core(envelope.to)
    this.turn(envelope.to, input)
    const grew = this.core(envelope.to).term > term
    if (role === 'preCandidate' && envelope.message.type === 'PreVoteResult' && grew) {
      if (this.core(envelope.to).role === 'follower') this.checker.reach('term adopted from a refused pre-vote')
    }
  }

  /** A request that the test made up arrives; returns what is answered at once. */
  ask(from: ServerId, to: ServerId, message: Request): readonly Response[] {
    this.askOnly(from, to, message)
    return this.answersTo(from)
  }

  /** The same, and the answer stays in the network. */
  askOnly(from: ServerId, to: ServerId, message: Request): void {
    const session = this.server(from).sessions.get(to)
    assert(session !== undefined, `${from} is not connected to ${to}`)
    this.receive({ from, to, link: this.#linkOf(session), message })
  }

  /** A response that the test made up arrives on the current session. */
  answer(from: ServerId, to: ServerId, message: Response): void {
    const session = this.server(to).sessions.get(from)
    assert(session !== undefined, `${to} is not connected to ${from}`)
    this.receive({ from, to, link: this.#linkOf(session), message })
  }

  /** Takes the responses under way to a server out of the network. */
  answersTo(id: ServerId): readonly Response[] {
    const envelopes = this.drop((envelope) => envelope.to === id && !isRequest(envelope.message))
    return envelopes.flatMap(({ message }) => (isRequest(message) ? [] : [message]))
  }

  /** The requests under way to a server. */
  requestsTo(id: ServerId): readonly Request[] {
    return this.inFlight.flatMap(({ to, message }) => (to === id && isRequest(message) ? [message] : []))
  }

  /** Null when nobody is there to hear it. */
  inputOf({ from, to, link, message }: Envelope): Input | null {
    const server = this.server(to)
    const wire = this.#links[link]
    if (server.core === null || wire === undefined) return null
    if (isRequest(message)) return { type: 'request', from, link, message }
    if (wire.boot !== server.boot) return null
    return { type: 'response', from, session: wire.session, message }
  }

  /** Disks, network, state machines and reads from the store until nothing moves; no time passes. */
  settle(): void {
    for (let round = 0; round < 1000; round += 1) {
      let moved = this.deliver()
      for (const [id, server] of this.servers) {
        if (server.core === null || server.halted) continue
        moved += server.fetches.length + (server.applying === null ? 0 : 1)
        if (!this.stalledDisks.has(id)) {
          moved += server.disk.pending.length + server.disk.written - server.reported
          this.persist(id)
        }
        this.serveFetches(id)
        this.apply(id)
      }
      if (moved === 0) return
    }
    assert(false, 'cluster: it does not come to rest')
  }

  /** One server campaigns and everything settles; whoever led is silent meanwhile, because only this one is ticked. */
  elect(id: ServerId): FakeServer {
    this.timeout(id)
    this.settle()
    assert(this.core(id).role === 'leader', `${id} was not elected, it is ${this.core(id).role}`)
    return this.server(id)
  }

  #firstDisk(id: ServerId): FakeDisk {
    const terms = this.#options.logs?.[id] ?? [1]
    const entries = terms.map((term, at) => ({
      term,
      payload: at === 0 ? 0 : -(at * 1000 + term),
      size: 24,
      configuration: at === 0 ? this.configuration : null,
    }))
    const hardState = { term: (terms.at(-1) ?? 1) as HardState['term'], votedFor: null, commitIndex: logIndex(0) }
    return new FakeDisk(entries, { ...hardState, ...this.#options.hardStates?.[id] })
  }

  #send(server: FakeServer, outgoing: OutgoingMessage): void {
    assert(!server.halted, `${server.id} sends after its store has failed`)
    const link = outgoing.kind === 'response' ? outgoing.link : this.#linkOf(outgoing.session)
    const wire = this.#links[link]
    assert(wire !== undefined, `${server.id} answers on link ${link}, which does not exist`)
    const to = outgoing.kind === 'request' ? outgoing.to : wire.dialer
    const isDialer = outgoing.kind === 'request'
    assert(isDialer ? wire.dialer === server.id && wire.listener === to : wire.listener === server.id, 'wrong link')
    this.checker.sent(server, to, outgoing.message)
    const lost = this.isCut(server.id, to) || (isDialer && server.sessions.get(to) !== outgoing.session)
    this.#say(server.id, `sends to ${to}: ${formatMessage(outgoing.message)}${lost ? ' (lost)' : ''}`)
    if (!lost) this.inFlight.push({ from: server.id, to, link, message: outgoing.message })
  }

  /** Sessions are numbered as links are made. */
  #linkOf(session: number): number {
    return session - 1
  }

  #answered(server: FakeServer, read: ReadOutcome): void {
    this.#say(server.id, formatRead(read))
    const floor = server.reads.get(read.id)
    assert(floor !== undefined, `${server.id} answers read ${read.id} twice, or nobody asked`)
    server.reads.delete(read.id)
    this.readOutcomes.set(read.id, read)
    if (read.status !== 'confirmed') return
    this.checker.reach('read confirmed')
    if (this.#early.has(read.id)) this.checker.reach('read that waited for the first commit of its term')
    assert(read.index >= floor, `read ${read.id} confirmed at ${read.index}, ${floor} was committed before it began`)
    assert(read.index <= this.checker.commitIndex, `read ${read.id} confirmed at ${read.index}, not committed`)
  }

  #steppedDown(server: FakeServer, reason: string): void {
    if (reason.includes('no quorum')) this.checker.reach('step-down without a quorum')
    if (reason.includes('disk')) this.checker.reach('step-down because of a stalled disk')
    if (reason.includes('term')) this.checker.reach('step-down because of a higher term')
    if (server.proposals.size > 0) this.checker.reach('step-down with an uncommitted tail')
  }

  #lost(server: FakeServer, above: number): void {
    this.#say(server.id, `proposals above ${above} are lost`)
    for (const [index, payload] of server.proposals) {
      if (index > above) this.#settle(server, index, payload, 'unknown')
    }
  }

  #settle(server: FakeServer, index: number, payload: number, outcome: ProposalOutcome): void {
    assert(!this.outcomes.has(payload), `proposal ${payload} has two outcomes`)
    server.proposals.delete(index)
    this.outcomes.set(payload, outcome)
  }

  #say(id: ServerId, line: string): void {
    this.trace?.push(`${id} ${line}`)
  }
}

export function votersOnly(ids: readonly ServerId[]): Configuration {
  return { voters: ids.map((id) => ({ id, address: `${id}:1` })), outgoing: null, nonvoters: [] }
}

export function isRequest(message: Request | Response): message is Request {
  return message.type === 'AppendEntries' || message.type === 'RequestVote' || message.type === 'PreVote'
}

function allIds({ voters, outgoing, nonvoters }: Configuration): readonly ServerId[] {
  return [...new Set([...voters, ...(outgoing ?? []), ...nonvoters].map(({ id }) => id))].sort()
}
