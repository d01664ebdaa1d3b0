/**
 * Carries out one Ready: one write per peer, one ticket to the store, the state machine. What comes of it at once is
 * the answer of `run`; what comes later is left in the mailbox.
 *
 * Invariant: the order inside is wire, disk, state machine: what takes longest starts first. A command waits for the
 * disk of this server, or for the way to a peer and back and the disk there (thesis 10.2.1); the core has already held
 * back whatever must wait for this disk.
 */

import type { RaftCore } from '../../core/raft-core.js'
import type { ApplyRange, CoreEvent, Fetch, Ready } from '../../core/ready.js'
import { RaftError } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import type { Applied, Applier } from '../../machine/applier.js'
import type { Events } from '../../observe/events.js'
import type { Meter } from '../../observe/meter.js'
import type { LogStore } from '../../storage/log-store.js'
import { storeFault } from '../../storage/store-fault.js'
import { QuietLog } from '../../transport/quiet-log.js'
import type { Transport } from '../../transport/transport.js'
import { logIndex } from '../../types.js'
import type { Block, Logger, LogIndex, Server, ServerId } from '../../types.js'
import { lostEntries } from '../peer-pins.js'
import type { PeerPins } from '../peer-pins.js'
import type { PeerRefusals } from '../peer-refusals.js'
import type { Repairs } from '../repair/repairs.js'
import type { Replay } from '../replay.js'
import type { Snapshots } from '../snapshots.js'
import { comeAgain, removed } from '../refusals.js'
import { describe } from '../status.js'
import type { Mailbox } from './mailbox.js'
import type { WritesUnderWay } from './writes-under-way.js'

/** Entries read from the store at once for the state machine, at start. */
const REPLAY_BYTES_MAX = 1024 * 1024
/** A block that is damaged again each time it was repaired is given up: its disk is failing. */
const REPAIRS_IN_A_ROW_MAX = 8

export interface ReadyRunnerParts {
  readonly core: RaftCore
  readonly store: LogStore
  readonly transport: Transport
  readonly applier: Applier<unknown>
  readonly replay: Replay
  readonly pins: PeerPins
  readonly refusals: PeerRefusals
  readonly snapshots: Snapshots
  readonly repairs: Repairs
  readonly writes: WritesUnderWay
  readonly meter: Meter
  readonly mailbox: Mailbox
  readonly events: Events
  readonly logger: Logger
}

export class ReadyRunner {
  readonly #store: LogStore
  readonly #transport: Transport
  readonly #applier: Applier<unknown>
  readonly #replayed: Replay
  readonly #pins: PeerPins
  readonly #refusals: PeerRefusals
  readonly #snapshots: Snapshots
  readonly #repairs: Repairs
  readonly #writes: WritesUnderWay
  readonly #meter: Meter
  readonly #mailbox: Mailbox
  readonly #events: Events
  readonly #logger: Logger
  readonly #quiet: QuietLog
  /** Whom the transport is to dial from now on; null: it dials them. */
  #contacts: readonly Server[] | null = null
  /** Whom it dials. */
  #dialled: readonly Server[]

  constructor(parts: ReadyRunnerParts) {
    this.#store = parts.store
    this.#transport = parts.transport
    this.#applier = parts.applier
    this.#replayed = parts.replay
    this.#pins = parts.pins
    this.#refusals = parts.refusals
    this.#snapshots = parts.snapshots
    this.#repairs = parts.repairs
    this.#writes = parts.writes
    this.#meter = parts.meter
    this.#mailbox = parts.mailbox
    this.#events = parts.events
    this.#logger = parts.logger
    this.#quiet = new QuietLog(parts.logger)
    this.#dialled = parts.core.contacts
  }

  /**
   * Hot path: once per turn. Returns the error that must halt this server, or what the state machine has answered; null
   * when it had nothing to do, or answers later.
   */
  run(ready: Ready): RaftError | Applied | null {
    this.#replayed.look()
    this.report(ready)
    // Before anything is said to whoever is still connected as the boot before.
    for (const { by, error } of this.#pins.takeSuperseded()) this.#transport.expel?.(by.serverId, error, by)
    this.#send(ready)
    this.#talkToContacts()
    const fault = this.#writes.submit(ready.ticket)
    if (fault !== null) return fault
    for (const fetch of ready.fetches) this.#fetch(fetch)
    for (const send of ready.sends) this.#snapshots.send(send)
    if (ready.restore !== null) this.#snapshots.restore(ready.restore)
    return ready.apply === null ? null : this.#apply(ready.apply)
  }

  /**
   * Only what the core has to tell, to the log and to whoever listens: all that is done with the last Ready before
   * silence.
   */
  report(ready: Ready): void {
    for (const event of ready.events) this.#tell(event)
  }

  #tell(event: CoreEvent): void {
    switch (event.type) {
      case 'role':
        this.#logger.info('raft.role', { role: event.role, term: event.term })
        return this.#events.emit('role', { role: event.role, term: event.term })
      case 'leader':
        this.#logger.info('raft.leader', { leader: event.leader?.id ?? null, term: event.term })
        return this.#events.emit('leader', { leader: event.leader, term: event.term })
      case 'steppedDown':
        return this.#logger.warn('raft.stepped-down', { term: event.term, reason: event.reason })
      case 'configuration':
        return this.#configurationChanged(event)
      case 'removed':
        this.#logger.warn('raft.removed', {
          index: event.index,
          reason: 'this server is no member of the cluster any more',
        })
        return this.#events.emit('removed', { index: event.index })
      case 'contacts':
        this.#contacts = event.contacts
        return
      case 'regressed':
        return this.#expel(event.peer, lostEntries(event.peer, event.acknowledged, logEnd(event.lastIndex)))
      case 'breach':
        return this.#quiet.error('peer.broke-protocol', event.peer, event.reason, { peer: event.peer })
    }
  }

  #configurationChanged({ configuration, index, isCommitted }: Extract<CoreEvent, { type: 'configuration' }>): void {
    const { voters, outgoing, nonvoters } = configuration
    const idsOf = (servers: readonly Server[]): string => servers.map(({ id }) => id).join(' ')
    const names = { voters: idsOf(voters), outgoing: outgoing === null ? null : idsOf(outgoing) }
    this.#logger.info('raft.configuration', { index, isCommitted, ...names, nonvoters: idsOf(nonvoters) })
    if (isCommitted) this.#pins.committed(configuration, index)
    this.#events.emit('configuration', { configuration: describe(configuration), index, isCommitted })
  }

  /** After everything of this turn was said: also to those that are left now. */
  #talkToContacts(): void {
    const contacts = this.#contacts
    if (contacts === null) return
    this.#contacts = null
    const stays = new Set(contacts.map(({ id }) => id))
    for (const { id } of this.#dialled) {
      if (stays.has(id)) continue
      this.#transport.expel?.(id, removed(id))
      this.#refusals.forget(id)
    }
    // What was let in without being known is to come again as what it is, and be written down.
    for (const { id } of contacts) if (this.#pins.isGuest(id)) this.#transport.expel?.(id, comeAgain(id))
    this.#dialled = contacts
    this.#transport.setPeers(contacts)
  }

  /** The peer stays out until it comes with another boot: it may have got back what it lost. */
  #expel(peer: ServerId, error: RaftError): void {
    this.#pins.expel(peer, error)
    this.#refusals.refused(peer, error)
    this.#transport.expel?.(peer, error)
  }

  #send(ready: Ready): void {
    const transport = this.#transport
    for (const outgoing of ready.messages) {
      if (outgoing.kind === 'request') transport.send(outgoing.to, outgoing.session, outgoing.message)
      else transport.respond(outgoing.link, outgoing.message)
    }
    if (ready.messages.length > 0) transport.flush()
    for (const { link, reason } of ready.rejects) transport.reject(link, reason)
  }

  #fetch(fetch: Fetch): void {
    this.#store.read(fetch.from, fetch.to, fetch.bytesMax).then(
      (blocks) => this.#mailbox.push({ type: 'fetched', fetch, blocks }),
      (error: unknown) => {
        const fields = { peer: fetch.peer, from: fetch.from }
        this.#quiet.error('peer.entries-unreadable', fetch.peer, textOf(error), fields)
        this.#repairs.noticed(error)
        this.#mailbox.push({ type: 'fetchFailed', fetch })
      },
    )
  }

  /** What is left of the range behind the end of the replay is handed out again. */
  #apply(whole: ApplyRange): RaftError | Applied | null {
    const last = this.#replayed.cut(whole)
    const range = last === whole.last ? whole : { ...whole, last }
    this.#meter.applyBegins(range.first)
    const { capturing } = this.#snapshots
    if (capturing !== null) return this.#answerLater(capturing.then(() => this.#applyNow(range)))
    if (range.blocks === null) return this.#answerLater(this.#replay(range))
    try {
      const applied = this.#applier.apply(range.first, range.last, range.blocks)
      return applied instanceof Promise ? this.#answerLater(applied) : applied
    } catch (error) {
      if (error instanceof RaftError) return error
      throw error
    }
  }

  /** When a state has been captured that this range would have changed. */
  async #applyNow(range: ApplyRange): Promise<Applied> {
    return range.blocks === null ? this.#replay(range) : this.#applier.apply(range.first, range.last, range.blocks)
  }

  /** A part of the range, as much as one read gives: after a restart, or when the machine lags behind the tail. */
  async #replay(range: ApplyRange): Promise<Applied> {
    const blocks = await this.#readForMachine(range)
    const last = logIndex(Math.min(range.last, blocks.at(-1)?.last ?? 0))
    return this.#applier.apply(range.first, last, blocks)
  }

  /** Nothing is applied until what is damaged was repaired, block after block; this server goes on meanwhile. */
  async #readForMachine({ first, last }: ApplyRange): Promise<readonly Block[]> {
    let damagedAt = 0
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#store.read(first, logIndex(last + 1), REPLAY_BYTES_MAX)
      } catch (error) {
        const fault = storeFault(`read the entries from ${first}`, error)
        const at = fault.damaged?.first ?? 0
        if (at > damagedAt) tries = 1
        if (at === 0 || tries > REPAIRS_IN_A_ROW_MAX) throw fault
        damagedAt = at
        await this.#repairs.repaired(fault)
      }
    }
  }

  #answerLater(applying: Promise<Applied>): null {
    applying.then(
      (applied) => this.#mailbox.push({ type: 'answered', applied }),
      (error: unknown) => {
        if (!(error instanceof RaftError)) return assertionEscaped(error)
        this.#mailbox.push({ type: 'failed', error })
      },
    )
    return null
  }
}

const logEnd = (lastIndex: LogIndex | null): string =>
  lastIndex === null ? 'its log does not agree so far' : `its log ends at ${lastIndex}`

/** Not about the world: thrown again where nobody catches it. */
function assertionEscaped(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}
