/**
 * A stage: cores alone, with nothing real around them. The network is a list, disks complete when told, the clock is a
 * number, randomness is injected. It runs wherever JavaScript does, and moves only when it is told to: step by step
 * (`step`, `drain`, `write`), in turns as a shell takes them (`turn`, `tick`, `receive`, `persist`), or in bold strokes
 * (`run`, `settle`, `elect`). Whatever happens is checked by the invariants that the simulator checks as well; what
 * does not hold is thrown as a `Violation`.
 */

import { assertInvariants } from '../../core/index.js'
import type {
  ChangeOutcome,
  ChangeRequest,
  ConfigurationChange,
  CoreSettings,
  Input,
  RaftCore,
  Ready,
  Request,
  Response,
  TransferOutcome,
} from '../../core/index.js'
import { assert } from '../../errors.js'
import { logIndex, termOf } from '../../types.js'
import type { Configuration, HardState, ServerId, SnapshotMeta } from '../../types.js'
import { invariantsOf } from '../invariants/invariants.js'
import { ServerInvariants } from '../invariants/server-invariants.js'
import { Truth } from '../invariants/truth.js'
import type { Observer } from '../observer.js'
import { Observers } from '../observers.js'
import { earlierEntry, NOTHING, StageEntries } from './blocks.js'
import { StageClients } from './stage-clients.js'
import type { ProposalOutcome, StageRead } from './stage-clients.js'
import { StageDisk } from './stage-disk.js'
import { isRequest, StageNetwork } from './stage-network.js'
import type { Envelope } from './stage-network.js'
import { StageServer } from './stage-server.js'
import type { ServerSite } from './stage-server.js'
import { formatMessage } from './text.js'
import { checkOptionNames } from '../../option-checks.js'

export const SETTINGS: CoreSettings = { electionTimeoutMs: 1000, heartbeatMs: 100, firstElectionTimeoutMs: null }

/** Rounds of messages and writes after which a stage will not come to rest any more. */
const ROUNDS_MAX = 1000

/** What a `Stage` is made with. */
export interface StageOptions {
  /** Voters s1, s2, ...; 3 unless told. Ignored when `configuration` is given. */
  readonly servers?: number
  readonly configuration?: Configuration
  /** Servers with nothing on their disks: no members, which may be added, or such as lost them and came back. */
  readonly spares?: readonly ServerId[]
  /** Election timeout 1000 ms and heartbeat 100 ms, unless told. */
  readonly settings?: CoreSettings
  /** Bytes of blocks that a core keeps in memory; as many as in production, unless told. */
  readonly tailBytesMax?: number
  /** Messages will be made up (`ask`, `answer`): what one server does is still checked, what all agree on is not. */
  readonly madeUp?: boolean
  /** By server, numbers in [0, 1); unless told, s1 draws 0.1, s2 0.2, and so on, so that s1 times out first. */
  readonly random?: (id: ServerId) => () => number
  /** Terms of the entries that each server starts with, by id; otherwise only the bootstrap entry (1, term 1). */
  readonly logs?: Readonly<Record<ServerId, readonly number[]>>
  /** The hard state that each server starts with, where it differs from (term of its last entry, no vote, commit 0). */
  readonly hardStates?: Readonly<Record<ServerId, Partial<HardState>>>
  /** More that is told of everything. */
  readonly observers?: readonly Observer[]
}

const OPTION_NAMES = Object.keys({
  servers: true,
  configuration: true,
  spares: true,
  settings: true,
  tailBytesMax: true,
  madeUp: true,
  random: true,
  logs: true,
  hardStates: true,
  observers: true,
} satisfies Record<keyof StageOptions, true>)

/** What the core says of itself (docs/log-pointers.md). */
const coreInvariants: Observer = { stepped: (_server, core) => assertInvariants(core) }

/** Cores alone, which move only when they are told to: time, messages and writes are in the hands of whoever plays. */
export class Stage {
  /** Milliseconds; goes forward only. */
  now = 0
  readonly configuration: Configuration
  readonly settings: CoreSettings
  readonly servers: ReadonlyMap<ServerId, StageServer>
  readonly network = new StageNetwork()
  readonly clients: StageClients
  /** What all servers together have done so far. */
  readonly truth = new Truth(new StageEntries())
  /** Servers whose disks do nothing in `settle` and `run`. */
  readonly stalledDisks = new Set<ServerId>()
  /** Everything a core called a fault of the protocol. */
  readonly faults: string[] = []
  /** What happens, in lines of text. Null: nobody reads it. */
  trace: string[] | null = []
  #watching: readonly Observer[]
  #observers: Observers

  constructor(options: StageOptions = {}) {
    checkOptionNames('Stage', options, OPTION_NAMES)
    const { settings = SETTINGS, servers = 3, tailBytesMax, random } = options
    const named = Array.from({ length: servers }, (_, at) => `s${at + 1}`)
    this.settings = settings
    this.configuration = options.configuration ?? votersOnly(named)
    this.clients = new StageClients(this.truth)
    const own = [coreInvariants, new ServerInvariants(this.truth)]
    const all = [coreInvariants, ...invariantsOf(this.truth, () => this.servers.values())]
    this.#watching = [...(options.observers ?? []), ...(options.madeUp === true ? own : all)]
    this.#observers = new Observers(this.#watching)
    const site: ServerSite = {
      ...{ network: this.network, clients: this.clients, turning: null },
      now: () => this.now,
      observers: () => this.#observers,
      say: (id, line) => this.#say(id, line),
      blamed: (id, reason) => void this.faults.push(`${id}: ${reason}`),
    }
    const tail = tailBytesMax === undefined ? {} : { tailBytesMax }
    const ids = [...new Set([...allIds(this.configuration), ...(options.spares ?? [])])]
    this.servers = new Map(
      ids.map((id, ordinal) => {
        const drawn = random?.(id) ?? (() => (ordinal + 1) / 10)
        const disk = firstDisk(id, this.configuration, options)
        return [id, new StageServer(site, ordinal, disk, { settings, random: drawn, ...tail })]
      }),
    )
    for (const id of ids) this.start(id)
    this.connectAll()
  }

  /** One more that is told of everything from now on, before the invariants may find fault with it. */
  watch(observer: Observer): void {
    this.#watching = [observer, ...this.#watching]
    this.#observers = new Observers(this.#watching)
  }

  /** The server of that id. */
  server(id: ServerId): StageServer {
    const server = this.servers.get(id)
    assert(server !== undefined, `no server ${id}`)
    return server
  }

  /** Its core. */
  core(id: ServerId): RaftCore {
    return this.server(id).up
  }

  /** Who stands on the stage. */
  get ids(): readonly ServerId[] {
    return [...this.servers.keys()]
  }

  /** Of several that believe so, the one with the highest term. */
  get leader(): StageServer | null {
    const leaders = [...this.servers.values()].filter(({ core }) => core?.role === 'leader')
    return leaders.sort((a, b) => b.up.term - a.up.term)[0] ?? null
  }

  // Processes

  /** A process begins, and knows nobody yet. */
  start(id: ServerId): void {
    this.server(id).start()
  }

  /** What is not on the disk is gone, and so are its connections; messages that it sent may still arrive. */
  crash(id: ServerId): void {
    this.server(id).crash()
  }

  /** A new process, connected with all that are up. */
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
    this.server(id).step(input)
  }

  /** Carries out what the core has decided. */
  drain(id: ServerId): Ready {
    return this.server(id).drain()
  }

  /** A turn of the shell: the time, the inputs, no deadline. */
  turn(id: ServerId, ...inputs: readonly Input[]): void {
    this.server(id).turn(inputs)
  }

  /** Whatever reaches this server meanwhile reaches it in one turn: what it decides leaves it at the end. */
  inOneTurn(id: ServerId, run: () => void): void {
    this.server(id).inOneTurn(run)
  }

  // Time

  /** Lets the deadlines of one server expire that are due at `now`. */
  tick(id: ServerId, now = this.now): void {
    this.now = Math.max(this.now, now)
    this.turn(id, { type: 'tick', now: this.now })
  }

  /**
   * Goes to the next deadline of one server and lets it expire; one that is overdue by much is first put off (scenario
   * E15).
   */
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

  /** Disks, network, state machines and reads from the store until nothing moves; no time passes. */
  settle(): void {
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      let moved = this.deliver()
      for (const [id, server] of this.servers) {
        if (server.core === null || server.halted) continue
        moved += server.fetches.length + server.sends.length
        moved += Number(server.applying !== null) + Number(server.restoring !== null)
        if (!this.stalledDisks.has(id)) {
          moved += server.disk.pendingTickets + server.disk.written - server.reported
          this.persist(id)
        }
        this.serveFetches(id)
        this.serveSnapshots(id)
        this.restore(id)
        this.apply(id)
      }
      if (moved === 0) return
    }
    assert(false, 'stage: it does not come to rest')
  }

  /** One server campaigns and everything settles; whoever led is silent meanwhile, because only this one is ticked. */
  elect(id: ServerId): StageServer {
    this.timeout(id)
    this.settle()
    assert(this.core(id).role === 'leader', `${id} was not elected, it is ${this.core(id).role}`)
    return this.server(id)
  }

  // Disks and state machines

  /** The oldest tickets become durable and are reported; all of them unless told. */
  persist(id: ServerId, count?: number): void {
    this.write(id, count)
    this.report(id)
  }

  /** The oldest tickets become durable, and nobody is told yet. */
  write(id: ServerId, count?: number): void {
    this.server(id).write(count)
  }

  /** What is durable is reported, if that is news. */
  report(id: ServerId): void {
    this.server(id).report()
  }

  /** The store is poisoned. */
  failStore(id: ServerId): void {
    this.server(id).failStore()
  }

  /** The state machine finishes what it was handed; only up to an index, when told. */
  apply(id: ServerId, upTo = Infinity): void {
    this.server(id).apply(upTo)
  }

  /** Reads from the store what lagging peers lack. */
  serveFetches(id: ServerId): void {
    this.server(id).serveFetches()
  }

  /** Takes a snapshot of what is applied, and keeps so many entries of what it covers, the last one at least. */
  snapshot(id: ServerId, trailing = 1): SnapshotMeta {
    return this.server(id).snapshot(trailing)
  }

  /** The state machine becomes what the snapshot holds that it is to hold. */
  restore(id: ServerId): void {
    this.server(id).restore()
  }

  /** Peers are given the snapshots that they are to be given; whom no message reaches gets none. */
  serveSnapshots(id: ServerId): void {
    const server = this.server(id)
    for (const { peer, snapshot } of server.sends.splice(0)) {
      const receiver = this.server(peer)
      const stored = server.disk.snapshots.get(snapshot.id)
      const reaches = receiver.core !== null && !this.network.isCut(id, peer)
      if (stored !== undefined && reaches) {
        receiver.receiveSnapshot(stored)
        this.turn(id, { type: 'snapshotSent', peer, index: snapshot.index })
      } else {
        this.turn(id, { type: 'snapshotFailed', peer, isGone: false })
      }
    }
  }

  // Clients

  /**
   * The payloads of a batch that was taken; null when the core does not take one now. It asks as for a full batch,
   * unless told.
   */
  propose(id: ServerId, count = 1, size?: number, waitingBytes?: number): readonly number[] | null {
    let payloads: readonly number[] | null = null
    this.inOneTurn(id, () => {
      payloads = this.proposeInTurn(id, count, size, waitingBytes)
    })
    return payloads
  }

  /** The same inside a turn that was begun and will be drained. */
  proposeInTurn(id: ServerId, count = 1, size?: number, waitingBytes?: number): readonly number[] | null {
    return this.server(id).proposeInTurn(count, size, waitingBytes)
  }

  /** A linearizable read (thesis 6.4); answers with its id. */
  read(id: ServerId): number {
    let read = 0
    this.inOneTurn(id, () => {
      read = this.readInTurn(id)
    })
    return read
  }

  /** The same inside a turn that was begun and will be drained. */
  readInTurn(id: ServerId): number {
    return this.server(id).readInTurn()
  }

  /** What became of each proposal, by its payload. */
  get outcomes(): ReadonlyMap<number, ProposalOutcome> {
    return this.clients.outcomes
  }

  /** What became of each read, by its id. */
  get readOutcomes(): ReadonlyMap<number, StageRead> {
    return this.clients.readOutcomes
  }

  /** A change of the members; what the core answers. */
  configure(id: ServerId, change: ConfigurationChange, request: Partial<ChangeRequest> = {}): ChangeOutcome {
    let answer: ChangeOutcome | undefined
    const listener: Observer = { decided: (_server, _core, ready) => void (answer ??= ready.changes[0]) }
    const observers = this.#observers
    this.#observers = new Observers([listener, ...this.#watching])
    this.turn(id, { type: 'configure', id: 0, change, ifIndex: null, force: false, ...request })
    this.#observers = observers
    assert(answer !== undefined, `${id} does not answer a change`)
    return answer
  }

  /** Hands leadership over, to that voter or to whoever suits best (thesis 3.10); answers with the id of it. */
  transfer(id: ServerId, to: ServerId | null = null): number {
    let transfer = 0
    this.inOneTurn(id, () => {
      transfer = this.server(id).transferInTurn(to)
    })
    return transfer
  }

  /** What became of each transfer, by its id. */
  get transferOutcomes(): ReadonlyMap<number, TransferOutcome> {
    return this.clients.transferOutcomes
  }

  // Network

  /** Messages under way, in the order in which they were sent. */
  get inFlight(): readonly Envelope[] {
    return this.network.inFlight
  }

  /** Everybody reaches everybody. */
  connectAll(): void {
    for (const from of this.ids) for (const to of this.ids) if (from !== to) this.connect(from, to)
  }

  /** A new session from one server to another; an older one, if there is one, is replaced without a word. */
  connect(from: ServerId, to: ServerId): void {
    const dialer = this.server(from)
    if (dialer.core === null || this.server(to).core === null) return
    const session = this.network.dial(from, to, dialer.boot)
    dialer.sessions.set(to, session)
    this.turn(from, { type: 'peerUp', peer: to, session, store: this.server(to).disk })
  }

  /** Ends the connection from one to the other. */
  disconnect(from: ServerId, to: ServerId): void {
    const dialer = this.server(from)
    const session = dialer.sessions.get(to)
    if (session === undefined || dialer.core === null) return
    dialer.sessions.delete(to)
    this.turn(from, { type: 'peerDown', peer: to, session })
  }

  /** The process of a server dies, and the kernel of its machine ends its connections: whoever is up is told. */
  kill(id: ServerId): void {
    this.crash(id)
    for (const other of this.ids) {
      if (this.server(other).core === null) continue
      this.disconnect(other, id)
      this.turn(other, { type: 'peerGone', peer: id })
    }
  }

  /** All connections of two servers end at once as if both processes had gone. They may connect again. */
  reset(a: ServerId, b: ServerId): void {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      this.disconnect(from, to)
      this.turn(from, { type: 'peerGone', peer: to })
    }
  }

  /** From now on nothing that one sends reaches the other; nobody is told. */
  cut(from: ServerId, to: ServerId): void {
    this.network.cut(from, to)
  }

  /** Cuts both ways between one server and all others. */
  isolate(id: ServerId): void {
    for (const other of this.ids) {
      if (other === id) continue
      this.cut(id, other)
      this.cut(other, id)
    }
  }

  /** Undoes every cut. */
  heal(): void {
    this.network.heal()
  }

  /** Delivers what is under way now and matches, each message as a turn of its own. Returns how many. */
  deliver(matches: (envelope: Envelope) => boolean = () => true): number {
    const chosen = this.network.take(matches)
    for (const envelope of chosen) this.receive(envelope)
    return chosen.length
  }

  /** Loses what is under way now and matches; returns it. */
  drop(matches: (envelope: Envelope) => boolean = () => true): readonly Envelope[] {
    return this.network.take(matches)
  }

  /** A message arrives, whether or not it has before. */
  receive(envelope: Envelope): void {
    const { from, to, message } = envelope
    const input = this.inputOf(envelope)
    if (input === null) return
    this.#say(to, () => `receives from ${from}: ${formatMessage(message)}`)
    this.#observers.delivered(from, this.server(to), message)
    this.turn(to, input)
  }

  /** What a message is to the server that it reaches; null when nobody is there to hear it. */
  inputOf(envelope: Envelope): Input | null {
    const { core, boot } = this.server(envelope.to)
    return core === null ? null : this.network.inputOf(envelope, boot)
  }

  // Messages that are made up

  /** A request arrives that nobody sent; returns what is answered at once. */
  ask(from: ServerId, to: ServerId, message: Request): readonly Response[] {
    this.askOnly(from, to, message)
    return this.answersTo(from)
  }

  /** The same, and the answer stays in the network. */
  askOnly(from: ServerId, to: ServerId, message: Request): void {
    this.receive({ from, to, link: this.#linkOf(from, to), message })
  }

  /** A response arrives that nobody sent, on the current session. */
  answer(from: ServerId, to: ServerId, message: Response): void {
    this.receive({ from, to, link: this.#linkOf(to, from), message })
  }

  /** Takes the responses under way to a server out of the network. */
  answersTo(id: ServerId): readonly Response[] {
    const envelopes = this.drop(({ to, message }) => to === id && !isRequest(message))
    return envelopes.flatMap(({ message }) => (isRequest(message) ? [] : [message]))
  }

  /** The requests under way to a server. */
  requestsTo(id: ServerId): readonly Request[] {
    return this.inFlight.flatMap(({ to, message }) => (to === id && isRequest(message) ? [message] : []))
  }

  #linkOf(dialer: ServerId, listener: ServerId): number {
    const session = this.server(dialer).sessions.get(listener)
    assert(session !== undefined, `${dialer} is not connected to ${listener}`)
    return this.network.linkOf(session)
  }

  #say(id: ServerId, line: () => string): void {
    this.trace?.push(`${id} ${line()}`)
  }
}

export function votersOnly(ids: readonly ServerId[]): Configuration {
  return { voters: ids.map((id) => ({ id, address: `${id}:1` })), outgoing: null, nonvoters: [] }
}

function allIds({ voters, outgoing, nonvoters }: Configuration): readonly ServerId[] {
  return [...new Set([...voters, ...(outgoing ?? []), ...nonvoters].map(({ id }) => id))].sort()
}

function firstDisk(id: ServerId, configuration: Configuration, options: StageOptions): StageDisk {
  const { logs, hardStates, spares } = options
  const terms = logs?.[id] ?? (spares?.includes(id) === true ? [] : [1])
  const entries = terms.map((term, at) => {
    return at > 0 ? earlierEntry(at + 1, term) : { ...earlierEntry(1, term), payload: NOTHING, configuration }
  })
  const hardState = { term: termOf(terms.at(-1) ?? 0), votedFor: null, commitIndex: logIndex(0) }
  return new StageDisk(id, entries, { ...hardState, ...hardStates?.[id] })
}
