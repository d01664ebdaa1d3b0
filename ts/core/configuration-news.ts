/**
 * Notices what becomes of the configuration, whoever changed it: appended, replaced, committed. It looks once per turn
 * at the log, so nobody who moves a pointer has to think of it.
 *
 * Invariant: each configuration that is committed is told once as such, in the order of the log, also when one turn
 * commits several: what was known of a server that was removed and came back ends between the two. That this server is
 * itself removed is told only when it knows of nothing committed that it still lacks: one that was added again meets
 * its removal as it catches up; and to a leader only when it leads no more.
 */

import { logIndex } from '../types.js'
import type { Configuration, LogIndex, Server, ServerId } from '../types.js'
import { membersOfAll } from './configuration.js'
import type { Outbox } from './outbox.js'
import type { RaftLog } from './raft-log.js'
import { NO_SERVERS } from './role.js'

export class ConfigurationNews {
  readonly #self: ServerId
  readonly #log: RaftLog
  readonly #outbox: Outbox
  /** The one in force, as it was last told. */
  #inForce: Configuration
  /** The newest one that was told to be committed, or that was so at the start. */
  #committedIndex: LogIndex
  #leaving = NO_SERVERS
  /** Of every configuration that may be in force somewhere: also of the one before an entry that is not committed. */
  #members: readonly Server[]
  /** They and `leaving`, put together when one of the two changes: whoever is refused asks here who leads. */
  #servers: readonly Server[]
  /** Of this server in them; `left`: it was a member, and that it is none is not told yet. */
  #standing: 'member' | 'left' | 'none'

  constructor(self: ServerId, log: RaftLog, outbox: Outbox) {
    this.#self = self
    this.#log = log
    this.#outbox = outbox
    this.#inForce = log.configuration
    this.#committedIndex = settledOf(log)
    this.#members = membersInQuestion(log)
    this.#servers = this.#members
    this.#standing = this.#isMember ? 'member' : 'none'
  }

  /** The members, and those that were removed and are still told so. */
  get servers(): readonly Server[] {
    return this.#servers
  }

  /** All of them but this server. */
  get contacts(): readonly Server[] {
    return this.servers.filter(({ id }) => id !== this.#self)
  }

  // Hot path: once per turn.
  tell(leaving: readonly Server[], isLeader: boolean): void {
    const log = this.#log
    const isCommitted = log.configurationIndex > this.#committedIndex && settledOf(log) > this.#committedIndex
    if (log.configuration !== this.#inForce || isCommitted || leaving !== this.#leaving) {
      this.#tellConfigurations()
      this.#tellContacts(leaving)
    }
    if (this.#standing === 'left' && !isLeader && log.commitIndex === log.knownCommitIndex) this.#tellRemoval()
  }

  get #isMember(): boolean {
    return this.#members.some(({ id }) => id === this.#self)
  }

  #tellRemoval(): void {
    this.#standing = 'none'
    this.#outbox.event({ type: 'removed', index: this.#log.configurationIndex })
  }

  #tellConfigurations(): void {
    const { configurations, settledIndex } = this.#log
    for (const { index, configuration } of configurations) {
      if (index <= this.#committedIndex || index > settledIndex) continue
      this.#outbox.event({ type: 'configuration', configuration, index, isCommitted: true })
      this.#committedIndex = index
      this.#inForce = configuration
    }
    const { configuration, configurationIndex: index } = this.#log
    if (configuration === this.#inForce) return
    this.#inForce = configuration
    this.#outbox.event({ type: 'configuration', configuration, index, isCommitted: index <= settledIndex })
  }

  #tellContacts(leaving: readonly Server[]): void {
    const before = this.contacts
    this.#leaving = leaving
    this.#members = membersInQuestion(this.#log)
    const isMember = new Set(this.#members.map(({ id }) => id))
    this.#servers = [...this.#members, ...leaving.filter(({ id }) => !isMember.has(id))]
    if (this.#isMember) this.#standing = 'member'
    else if (this.#standing === 'member') this.#standing = 'left'
    const { contacts } = this
    if (!areSame(before, contacts)) this.#outbox.event({ type: 'contacts', contacts })
  }
}

function membersInQuestion(log: RaftLog): readonly Server[] {
  return membersOfAll(log.configurationsInQuestion.map(({ configuration }) => configuration))
}

function settledOf(log: RaftLog): LogIndex {
  return logIndex(log.configurations.findLast(({ index }) => index <= log.settledIndex)?.index ?? 0)
}

/** The same servers at the same addresses, in whatever order. */
function areSame(a: readonly Server[], b: readonly Server[]): boolean {
  const addresses = new Map(b.map(({ id, address }) => [id, address]))
  return a.length === b.length && a.every(({ id, address }) => addresses.get(id) === address)
}
