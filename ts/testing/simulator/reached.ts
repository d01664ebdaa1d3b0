/**
 * Counts the rare situations that a batch of worlds has been in: one that misses some has tested less than it claims.
 */

import { isVoter } from '../../core/configuration.js'
import type { AppendEntriesResult, Request, Response } from '../../core/messages.js'
import type { RaftCore } from '../../core/raft-core.js'
import type { CoreEvent, Input, Ready } from '../../core/ready.js'
import { asksByLease, isForward } from '../../server/forward/messages.js'
import { decodeRepair } from '../../server/repair/messages.js'
import { decodeTransfer } from '../../snapshot/transfer/messages.js'
import type { ServerId, StoreOperation } from '../../types.js'
import type { ServerView } from '../observer.js'
import type { Operation, Returned, WorldObserver } from './world-observer.js'

type Compaction = Extract<StoreOperation, { readonly type: 'compact' }>
type ConfigurationEvent = Extract<CoreEvent, { readonly type: 'configuration' }>

/** What core events are counted as, by how their reason begins. */
const STEP_DOWNS: readonly (readonly [start: string, what: string])[] = [
  ['no quorum answered', 'step-down without a quorum'],
  ['its own disk', 'step-down because of a stalled disk'],
  ['this server has halted', 'step-down because it halted'],
  ['it is no voter', 'step-down of a leader that is no voter'],
]

const ANSWERED: Partial<Record<Operation['kind'], string>> = {
  ...{ read: 'read answered', submit: 'submit answered', query: 'query answered' },
}

export class Reached implements WorldObserver {
  readonly counts = new Map<string, number>()
  /** By server: the term of the last leadership that was counted. */
  readonly #led: (number | undefined)[] = []
  /** By core: the entry of the configuration that was last told. */
  readonly #told = new WeakMap<RaftCore, number>()

  /** By server that came back with another disk: where the log on that ended. */
  readonly #renewed = new Map<number, number>()
  /** Ends of channels on which something was said. */
  readonly #framed = new WeakSet<object>()

  count(what: string, times = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + times)
  }

  crashed(server: ServerView, how: string): void {
    this.count(`crash: ${how}`)
    if (server.disk.pendingTickets > 0) this.count('crash with unwritten tickets')
    if (server.core?.role === 'leader') this.count('crash of a leader')
    if (server.core !== null) this.#crashedWith(server.core)
    if (server.core?.role === 'leader' && server.core.configuration.outgoing !== null) {
      this.count('crash of a leader in a joint configuration')
    }
  }

  forgot(): void {
    this.count('server that has forgotten')
  }

  renewed({ ordinal }: ServerView): void {
    this.#renewed.set(ordinal, Infinity)
  }

  booted({ ordinal, disk }: ServerView): void {
    if (this.#renewed.has(ordinal)) this.#renewed.set(ordinal, disk.durable.lastIndex)
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore, input: Input): void {
    if (input.type === 'readIndex' && core.role === 'leader' && core.log.termAt(core.log.commitIndex) !== core.term) {
      this.count('read deferred until the first commit of its term')
    } else if (input.type === 'fetchFailed') this.count('entries for a peer could not be read')
    else if (input.type === 'arriving') this.count('part of a message has arrived')
    else if (input.type === 'snapshotTaken') this.#taken(core, input.first, input.snapshot.index)
    if (core.role !== 'leader') return
    if (this.#led[server.ordinal] === core.term) return
    this.#led[server.ordinal] = core.term
    this.count('leader')
    if (core.log.lastIndex - 1 > core.log.commitIndex) this.count('leader with an uncommitted tail')
  }

  decided(server: ServerView, core: RaftCore, ready: Ready): void {
    const { ordinal } = server
    if (core.log.configurationIndex > (this.#renewed.get(ordinal) ?? Infinity)) this.#addedAgain(server, core)
    for (const event of ready.events) this.#event(core, event)
    if (ready.fetches.length > 0) this.count('fetch below the tail')
    if (ready.apply?.blocks === null) this.count('replay from the store')
    if (core.role === 'leader' && core.log.commitIndex > core.log.durableIndex) this.count('commit without own disk')
    if (ready.ticket === null) return
    if (ready.ticket.operations.some(({ type }) => type === 'truncateSuffix')) this.count('conflict truncation')
    for (const operation of ready.ticket.operations) if (operation.type === 'compact') this.#compacted(operation)
  }

  restored(): void {
    this.count('restored from a snapshot')
  }

  framed(_server: ServerView, channel: object, frame: Uint8Array): void {
    if (decodeRepair(frame)?.type === 'refused') this.count('repair refused')
    if (isForward(frame)) this.count(asksByLease(frame) ? 'leader asked by lease' : 'forwarded')
    const message = decodeTransfer(frame)
    if (message === null || typeof message === 'string') return
    const isFirst = !this.#framed.has(channel)
    this.#framed.add(channel)
    if (message.type === 'refused') this.count('transfer refused')
    else if (message.type === 'done') this.count(isFirst ? 'stale offer' : 'transfer done')
    else if (message.type === 'want' && message.again) {
      if (!isFirst) this.count('damaged piece')
      else this.count(message.offset > 0 ? 'transfer resumed' : 'transfer begun')
    }
  }

  sent(_server: ServerView, _to: ServerId, message: Request | Response): void {
    if (message.type === 'AppendEntriesResult' && message.status !== 'matched') this.#refused(message)
  }

  returned({ kind, isByLease, isOutside }: Operation, { status, code }: Returned): void {
    if (isOutside && status === 'ok') this.count(`${kind} answered outside`)
    if (isByLease && status === 'ok') this.count(`${kind} by lease answered`)
    if (status === 'ok')
      this.count(ANSWERED[kind] ?? (kind.startsWith('session') ? `${kind} answered` : 'write answered'))
    else this.count(code === null ? 'call lost with its process' : `call ended with ${code}, ${status}`)
  }

  repaired(): void {
    this.count('repaired')
  }

  recovered(): void {
    this.count('recovery')
  }

  fault(kind: string): void {
    this.count(`fault: ${kind}`)
  }

  #addedAgain({ id, ordinal, epoch }: ServerView, { configuration }: RaftCore): void {
    if (!isVoter(configuration, id)) return
    this.#renewed.delete(ordinal)
    this.count(epoch === 0 ? 'voter again with another disk' : 'voter that came after a recovery')
  }

  /** The last entry is kept in any case. */
  #taken({ log }: RaftCore, first: number, index: number): void {
    if (log.snapshot?.index === index && log.firstIndex < Math.min(first, index)) {
      this.count('compaction held for a peer')
    }
  }

  #crashedWith({ role, counters, log, tickets }: RaftCore): void {
    if (role === 'leader' && counters.snapshotsSent > 0) this.count('crash of a leader that gives a snapshot')
    if (log.restoreDue === null) return
    this.count(tickets.snapshotIsDurable ? 'crash before a restore is through' : 'crash before an install is durable')
  }

  #compacted({ first, snapshot, keepSuffix }: Compaction): void {
    const isInstalled = first > snapshot.index
    if (isInstalled) this.count(keepSuffix ? 'snapshot over a log that agrees' : 'snapshot in the place of a log')
    else this.count('compaction')
  }

  #refused({ status }: AppendEntriesResult): void {
    this.count(status === 'busy' ? 'busy' : 'conflict')
  }

  #configuration(core: RaftCore, { configuration, index, isCommitted }: ConfigurationEvent): void {
    if (configuration.outgoing !== null && isCommitted) this.count('joint configuration')
    // What comes back in force was committed before; what is committed then is followed by nothing else.
    if (isCommitted && index === core.log.configurationIndex && core.role === 'follower') {
      const before = this.#told.get(core) ?? 0
      if (before > index) this.count('configuration rolled back')
    }
    this.#told.set(core, index)
  }

  #event(core: RaftCore, event: CoreEvent): void {
    if (event.type === 'breach') this.count('protocol fault')
    if (event.type === 'configuration') this.#configuration(core, event)
    if (event.type === 'role' && event.role === 'preCandidate') this.count('pre-vote')
    if (event.type !== 'steppedDown') return
    const known = STEP_DOWNS.find(([start]) => event.reason.startsWith(start))
    this.count(known?.[1] ?? 'step-down because of a higher term')
    if (core.log.lastIndex > core.log.commitIndex) this.count('step-down with an uncommitted tail')
  }
}
