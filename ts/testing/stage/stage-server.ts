/**
 * One server of a stage: its disk, which survives a crash, and the process that runs on it, which does not. Around the
 * core it does what a shell does: turns, carries out what the core decides, applies, reads for peers; and each of these
 * only when told.
 */

import { FULL_BATCH_BYTES, RaftCore } from '../../core/index.js'
import type {
  ApplyRange,
  CoreOptions,
  Fetch,
  Input,
  OutgoingMessage,
  PersistTicket,
  Ready,
  SnapshotSend,
} from '../../core/index.js'
import { assert } from '../../errors.js'
import { logIndex } from '../../types.js'
import type { ServerId, SnapshotMeta } from '../../types.js'
import type { ServerView } from '../observer.js'
import type { Observers } from '../observers.js'
import { makeBlock, stageBlockMaker } from './blocks.js'
import type { StageClients } from './stage-clients.js'
import type { StageDisk, StageSnapshot } from './stage-disk.js'
import { StageMachine } from './stage-machine.js'
import type { StageNetwork } from './stage-network.js'
import { formatEvent, formatMessage, formatOutcome, formatRead, formatTicket, formatTransfer } from './text.js'

/** Room in the store of a server that starts. */
const CREDIT_BYTES = 1 << 30

/** What all servers of a stage share. */
export interface ServerSite {
  readonly network: StageNetwork
  readonly clients: StageClients
  /** The server whose turn is under way; there is one at a time. */
  turning: ServerId | null
  now(): number
  observers(): Observers
  /** A line of text, if anybody reads it. */
  say(id: ServerId, line: () => string): void
  /** A core calls something a fault of the protocol. */
  blamed(id: ServerId, reason: string): void
}

/** What every core of this server is made with. */
export type ServerOptions = Pick<CoreOptions, 'settings' | 'random' | 'tailBytesMax'>

/** One server of a stage: a core, a disk, a state machine, and their connections. */
export class StageServer implements ServerView {
  readonly id: ServerId
  readonly ordinal: number
  readonly disk: StageDisk
  boot = 0
  /** Null while it is down. */
  core: RaftCore | null = null
  /** Its store has failed. */
  halted = false
  readonly epoch = 0
  /** The last ticket that the core was told is durable. */
  reported = 0
  machine = new StageMachine()
  /** What the state machine was handed and has not finished. */
  applying: ApplyRange | null = null
  /** The snapshot that the state machine is to hold. */
  restoring: SnapshotMeta | null = null
  /** Peers that are to be given a snapshot. */
  sends: SnapshotSend[] = []
  /** What is to be read from the store for peers. */
  fetches: Fetch[] = []
  /** Sessions of this boot, by the peer that was dialled. */
  readonly sessions = new Map<ServerId, number>()
  readonly #site: ServerSite
  readonly #options: ServerOptions

  constructor(site: ServerSite, ordinal: number, disk: StageDisk, options: ServerOptions) {
    this.id = disk.incarnation
    this.ordinal = ordinal
    this.disk = disk
    this.#site = site
    this.#options = options
  }

  /** The core of a server that is up. */
  get up(): RaftCore {
    assert(this.core !== null, `${this.id} is down`)
    return this.core
  }

  /** Begins, with what its disk has. */
  start(): void {
    assert(this.core === null, `${this.id} is up`)
    const { id, disk } = this
    const { hardState, lastIndex } = disk.durable
    const { term, votedFor, commitIndex } = hardState
    this.boot += 1
    this.core = new RaftCore({
      ...this.#options,
      ...{ id, store: disk, hardState, log: disk.durable.start(), maker: stageBlockMaker, now: this.#site.now() },
    })
    this.#say(() => `starts: term=${term} vote=${votedFor ?? '-'} commit=${commitIndex} last=${lastIndex}`)
    this.#site.observers().booted(this)
    this.step({ type: 'credit', bytes: CREDIT_BYTES })
  }

  /** Ends at once: what was not durable is lost. */
  crash(): void {
    this.#say(() => `crashes; ${this.disk.pendingTickets} unwritten tickets are lost`)
    this.#site.observers().crashed(this, 'crash')
    this.disk.crash()
    this.core = null
    this.halted = false
    this.reported = 0
    this.machine = new StageMachine()
    this.applying = null
    this.fetches = []
    this.restoring = null
    this.sends = []
    this.sessions.clear()
    this.#site.clients.crashed(this.id)
  }

  // Turns

  /** One input and its checks; nothing leaves before `drain`. */
  step(input: Input): void {
    const core = this.up
    core.step(input)
    this.#site.observers().stepped(this, core, input)
  }

  /** These inputs in one turn: what comes of them leaves at its end. */
  turn(inputs: readonly Input[]): void {
    this.inOneTurn(() => {
      for (const input of inputs) this.step(input)
    })
  }

  /** What `run` gives it, it is given in one turn. */
  inOneTurn(run: () => void): void {
    const site = this.#site
    if (site.turning === this.id) {
      run()
      return
    }
    assert(site.turning === null, `${this.id} turns while ${site.turning} does`)
    this.step({ type: 'turn', now: site.now(), bootNow: site.now() })
    site.turning = this.id
    try {
      run()
    } finally {
      site.turning = null
    }
    if (this.core !== null) this.drain()
  }

  /** Carries out one Ready. */
  drain(): Ready {
    const core = this.up
    const { clients } = this.#site
    const observers = this.#site.observers()
    const ready = core.takeReady()
    observers.decided(this, core, ready)
    for (const event of ready.events) {
      this.#say(() => formatEvent(event))
      if (event.type === 'breach') this.#site.blamed(this.id, event.reason)
    }
    if (ready.ticket !== null) this.#submit(ready.ticket)
    if (ready.lostAbove !== null) {
      this.#say(() => `proposals above ${ready.lostAbove} are lost`)
      clients.lost(this.id, ready.lostAbove)
    }
    for (const outgoing of ready.messages) this.#send(outgoing)
    for (const { link, reason } of ready.rejects) this.#say(() => `rejects link ${link}: ${reason}`)
    for (const read of ready.reads) {
      this.#say(() => formatRead(read))
      clients.answered(this.id, read)
    }
    for (const outcome of ready.changes) this.#say(() => formatOutcome(outcome))
    for (const transfer of ready.transfers) {
      this.#say(() => formatTransfer(transfer))
      clients.transferred(transfer)
    }
    if (ready.apply !== null) this.#hand(ready.apply)
    if (ready.restore !== null) this.#restoreLater(ready.restore.snapshot)
    for (const send of ready.sends) {
      this.#say(() => `gives ${send.peer} the snapshot at ${send.snapshot.index}`)
      this.sends.push(send)
    }
    for (const fetch of ready.fetches) {
      this.#say(() => `fetches ${fetch.from}-${fetch.to - 1} for ${fetch.peer}`)
      this.fetches.push(fetch)
    }
    observers.turned(this, core)
    return ready
  }

  #submit(ticket: PersistTicket): void {
    this.#say(() => formatTicket(ticket))
    this.disk.submit(ticket)
    this.#site.observers().submitted(this, ticket.ticket, ticket.operations)
  }

  #send(outgoing: OutgoingMessage): void {
    const { network } = this.#site
    const envelope = network.addressed(this.id, outgoing)
    const { to, message } = envelope
    this.#site.observers().sent(this, to, message)
    const isOver = outgoing.kind === 'request' && this.sessions.get(to) !== outgoing.session
    const isLost = isOver || network.isCut(this.id, to)
    this.#say(() => `sends to ${to}: ${formatMessage(message)}${isLost ? ' (lost)' : ''}`)
    if (!isLost) network.inFlight.push(envelope)
  }

  #hand(range: ApplyRange): void {
    assert(this.applying === null, `${this.id} is handed a range while it applies another`)
    this.applying = range
    this.#say(() => `may apply ${range.first}-${range.last}${range.blocks === null ? ' from disk' : ''}`)
  }

  #restoreLater(snapshot: SnapshotMeta): void {
    assert(this.applying === null && this.restoring === null, `${this.id} restores while its state machine is busy`)
    this.restoring = snapshot
    this.#say(() => `may restore ${snapshot.index}`)
  }

  // Disk and state machine

  /** The oldest tickets become durable, all of them unless told; nobody hears of it yet. */
  write(count?: number): void {
    const { disk } = this
    const { written } = disk
    disk.write(count)
    if (disk.written > written) this.#site.observers().durable(this, disk.written)
  }

  /** What is durable is reported, if that is news. */
  report(): void {
    const ticket = this.disk.written
    if (ticket === this.reported) return
    this.#say(() => `disk: ticket ${ticket} is durable`)
    this.inOneTurn(() => this.reportInTurn())
  }

  /** Has it report, in the turn that is under way. */
  reportInTurn(): void {
    this.reported = this.disk.written
    this.step({ type: 'persisted', ticket: this.reported })
  }

  /** The store is poisoned. */
  failStore(): void {
    this.#say(() => 'disk: fails')
    this.halted = true
    this.turn([{ type: 'halt' }])
  }

  /** The state machine finishes what it was handed, up to an index. */
  apply(upTo: number): void {
    const range = this.applying
    if (range === null) return
    this.applying = null
    const last = logIndex(Math.min(range.last, upTo))
    const { entries, firstIndex } = this.disk.durable
    const commands = this.machine.apply({ ...range, last }, (from, to) => {
      return entries.slice(from - firstIndex, to - firstIndex + 1)
    })
    this.#site.observers().applied(this, commands, last, this.machine.hash)
    this.#site.clients.applied(this.id, commands)
    this.turn([{ type: 'applied', index: last }])
  }

  /** Takes a snapshot of what is applied, and compacts behind it: `trailing` entries are kept, one at least. */
  snapshot(trailing: number): SnapshotMeta {
    const { log } = this.up
    const { configuration, index: configurationIndex } = log.configurationAt(log.appliedIndex)
    const term = log.termAt(log.appliedIndex)
    assert(term !== null && log.appliedIndex > 0, `${this.id} has nothing to take a snapshot of`)
    const index = log.appliedIndex
    const id = `${this.id}-${this.boot}-${index}`
    const meta = { id, index, term, time: 0, configuration, configurationIndex, clusterName: 'stage' }
    this.disk.snapshots.set(id, { meta, applied: [...this.machine.applied] })
    this.#say(() => `snapshot at ${index}/${term}`)
    const first = logIndex(index + 1 - trailing)
    this.turn([{ type: 'snapshotTaken', snapshot: meta, first, firstLeast: first }])
    return meta
  }

  /** A snapshot of another server has come whole. */
  receiveSnapshot(snapshot: StageSnapshot): void {
    const { meta } = snapshot
    this.disk.snapshots.set(meta.id, snapshot)
    this.#say(() => `receives the snapshot at ${meta.index}`)
    this.turn([{ type: 'snapshotReceived', snapshot: meta }])
  }

  /** The state machine becomes what the snapshot holds. */
  restore(): void {
    const meta = this.restoring
    if (meta === null) return
    this.restoring = null
    const snapshot = this.disk.snapshots.get(meta.id)
    assert(snapshot !== undefined, `${this.id}: the snapshot ${meta.id} is not there`)
    this.machine.restore(snapshot.applied)
    this.#site.observers().restored(this, meta, this.machine.hash)
    this.#say(() => `restored ${meta.index}`)
    this.turn([{ type: 'restored', index: meta.index }])
  }

  /** Reads from the store what lagging peers lack. */
  serveFetches(): void {
    const { durable } = this.disk
    for (const fetch of this.fetches.splice(0)) {
      // A leader that was deposed meanwhile may have removed what it wanted to send.
      if (fetch.to - 1 > durable.lastIndex) this.turn([{ type: 'fetchFailed', fetch }])
      else this.turn([{ type: 'fetched', fetch, blocks: durable.read(fetch.from, fetch.to, fetch.bytesMax) }])
    }
  }

  // Clients

  /** The payloads of a batch that was taken; null when the core does not take one now. */
  proposeInTurn(count: number, size?: number, waitingBytes = FULL_BATCH_BYTES): readonly number[] | null {
    const admission = this.up.admit(waitingBytes)
    if (admission.status !== 'accept') {
      this.#say(() => `proposal: ${admission.status}`)
      return null
    }
    const { first, term } = admission
    const payloads = this.#site.clients.proposed(this.id, first, count)
    this.#say(() => `proposal: ${count} at ${first}`)
    this.step({ type: 'propose', block: makeBlock(first, term, payloads, size) })
    return payloads
  }

  /** Has it read, in the turn that is under way; answers with which read it is. */
  readInTurn(): number {
    const read = this.#site.clients.asked(this.id)
    this.step({ type: 'readIndex', id: read })
    return read
  }

  /** Hands leadership over (thesis 3.10); answers with its id. */
  transferInTurn(to: ServerId | null): number {
    const id = this.#site.clients.beginTransfer()
    this.step({ type: 'transfer', id, to })
    return id
  }

  #say(line: () => string): void {
    this.#site.say(this.id, line)
  }
}
