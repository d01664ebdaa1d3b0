/**
 * Snapshots on their way between this server and its peers: given to those that the core names, taken from those that
 * offer one which says news. Each has a channel of its own, and moves in the background.
 *
 * Invariants: one is received at a time, that of the newest term. What is being sent stays in the store. A leader that
 * is none any more sends nothing; what it owed the core is forgotten with its role.
 */

import { TERM_JUMP_MAX } from '../core/message-check.js'
import type { RaftCore } from '../core/raft-core.js'
import type { SnapshotSend } from '../core/ready.js'
import { textOf } from '../foreign-values.js'
import { decodeTransfer, encodeTransfer } from '../snapshot/transfer/messages.js'
import type { TransferMessage } from '../snapshot/transfer/messages.js'
import { SnapshotReceiving } from '../snapshot/transfer/receiving.js'
import { SnapshotSending } from '../snapshot/transfer/sending.js'
import type { SnapshotStore, StoredSnapshot } from '../snapshot/snapshot-store.js'
import { QuietLog } from '../transport/quiet-log.js'
import type { Channel, ChannelHandlers } from '../transport/channel.js'
import type { Transport } from '../transport/transport.js'
import { isPosition, POSITION_MAX } from '../types.js'
import type { CancelTimer, Clock, Identity, Logger, ServerId } from '../types.js'
import type { Mailbox } from './turn/mailbox.js'

/** A peer that could not be given its snapshot is tried again after this, twice as long after each further failure. */
const RETRY_MS = 500
export const RETRY_MS_MAX = 30_000

export interface TransferParts {
  readonly identity: Identity
  readonly core: RaftCore
  readonly store: SnapshotStore
  readonly transport: Transport
  readonly mailbox: Mailbox
  readonly clock: Clock
  readonly logger: Logger
  readonly bytesPerSecond: number | null
  /** Whether the state machine can be restored at all. */
  readonly canRestore: boolean
}

/** Where the snapshots of this server stand: looked up when one is to be sent, and told when one has come. */
export interface SnapshotShelf {
  find(id: string): StoredSnapshot | null
  received(stored: StoredSnapshot): void
  /** What came of that one may be gone on with. */
  interrupted(id: string): void
  /** What was being sent or received is not any more. */
  released(): void
}

/** How far one snapshot has come. */
export interface TransferProgress {
  readonly peer: ServerId
  readonly direction: 'sent' | 'received'
  /** So much of it is written where it goes. */
  readonly written: number
  readonly bytes: number
}

interface Receiving {
  readonly from: ServerId
  readonly term: number
  readonly transfer: SnapshotReceiving
}

type Offer = Extract<TransferMessage, { readonly type: 'offer' }>

export class SnapshotTransfers {
  readonly #identity: Identity
  readonly #core: RaftCore
  readonly #store: SnapshotStore
  readonly #transport: Transport
  readonly #mailbox: Mailbox
  readonly #clock: Clock
  readonly #bytesPerSecond: number | null
  readonly #canRestore: boolean
  readonly #logger: Logger
  readonly #quiet: QuietLog
  readonly #sendings = new Map<ServerId, SnapshotSending>()
  /** Failures in a row, by peer. */
  readonly #failures = new Map<ServerId, number>()
  /** Of peers that are to be tried again, and with which: it must stay as well, since much of it may be there. */
  readonly #retries = new Map<CancelTimer, string>()
  #receiving: Receiving | null = null
  #shelf: SnapshotShelf | null = null
  #isClosed = false

  constructor(parts: TransferParts) {
    this.#identity = parts.identity
    this.#core = parts.core
    this.#store = parts.store
    this.#transport = parts.transport
    this.#mailbox = parts.mailbox
    this.#clock = parts.clock
    this.#bytesPerSecond = parts.bytesPerSecond
    this.#canRestore = parts.canRestore
    this.#logger = parts.logger
    this.#quiet = new QuietLog(parts.logger)
  }

  /** Called once, before anything else. */
  serve(shelf: SnapshotShelf): void {
    this.#shelf = shelf
  }

  /** Whether peers can be given snapshots at all. */
  get canSend(): boolean {
    return this.#transport.openChannel !== undefined
  }

  /** Snapshots under way. */
  get count(): number {
    return this.#sendings.size + Number(this.#receiving !== null)
  }

  /** Each that is under way. */
  get progress(): readonly TransferProgress[] {
    const told: TransferProgress[] = []
    for (const [peer, { written, snapshot }] of this.#sendings) {
      told.push({ peer, direction: 'sent', written, bytes: snapshot.bytes })
    }
    const receiving = this.#receiving
    if (receiving !== null) {
      const { written, bytes } = receiving.transfer
      told.push({ peer: receiving.from, direction: 'received', written, bytes })
    }
    return told
  }

  /** Those that must stay in the store. */
  get ids(): readonly string[] {
    const sent = [...this.#sendings.values()].map(({ snapshot }) => snapshot.header.id)
    sent.push(...this.#retries.values())
    return this.#receiving === null ? sent : [...sent, this.#receiving.transfer.header.id]
  }

  /** A peer is to be given that snapshot. One that is on its way goes on, whatever became of the session. */
  send({ peer, term, snapshot: { id, index } }: SnapshotSend): void {
    const before = this.#sendings.get(peer)
    if (before?.snapshot.header.id === id) return
    before?.end('another snapshot is sent instead')
    const snapshot = this.#shelf?.find(id) ?? null
    if (snapshot === null) return this.#failed(peer, id, `the snapshot at ${index} is not in the store`)
    if (!this.canSend) return this.#failed(peer, id, 'the transport has no channels')
    const sending: SnapshotSending = new SnapshotSending({
      store: this.#store,
      snapshot,
      term,
      bytesPerSecond: this.#bytesPerSecond,
      clock: this.#clock,
      ended: (failure) => this.#sent(peer, sending, failure),
    })
    this.#sendings.set(peer, sending)
    this.#logger.info('snapshot.offered', { peer, index, bytes: snapshot.bytes })
    const handlers: ChannelHandlers = {
      onFrame: (frame) => sending.onFrame(frame),
      onClosed: (reason) => sending.onClosed(reason),
    }
    this.#openChannel(peer, handlers).then(
      (channel) => sending.begin(channel),
      (error: unknown) => sending.end(textOf(error)),
    )
  }

  /** A peer has opened a channel: its first word must be an offer. */
  onChannel(from: ServerId, channel: Channel): ChannelHandlers | null {
    if (this.#isClosed) return null
    let transfer: SnapshotReceiving | null = null
    const fault = (reason: string): void => {
      channel.close(reason)
      transfer?.closed(reason)
    }
    const onFrame = (frame: Uint8Array): void => {
      const message = decodeTransfer(frame)
      if (message === null) return fault('it makes no sense')
      if (typeof message === 'string') return refuse(channel, message)
      if (message.type === 'damaged') return transfer === null ? fault('it came damaged') : transfer.damaged()
      if (message.type === 'offer' && transfer === null) transfer = this.#offered(from, channel, message)
      else if (message.type === 'piece' && transfer !== null) transfer.piece(message.offset, message.data)
      else if (message.type === 'refused') transfer?.closed(message.reason)
      else fault(`a ${message.type} makes no sense here`)
    }
    return { onFrame, onClosed: (reason) => transfer?.closed(reason) }
  }

  /** Once per turn. */
  turn(): void {
    const { role, term, log } = this.#core
    if (this.#sendings.size > 0 && role !== 'leader') {
      for (const sending of [...this.#sendings.values()]) sending.end(`it leads term ${term} no more`)
    }
    const receiving = this.#receiving
    if (receiving === null || log.appliedIndex < receiving.transfer.header.index) return
    this.#receiving = null
    receiving.transfer.done()
    this.#shelf?.released()
  }

  /** Nothing is on its way any more, nor tried again; the peers are told why. */
  close(reason: string): void {
    this.#isClosed = true
    for (const cancel of this.#retries.keys()) cancel()
    this.#retries.clear()
    for (const sending of [...this.#sendings.values()]) sending.end(reason)
    this.#receiving?.transfer.refuse(reason)
  }

  async #openChannel(peer: ServerId, handlers: ChannelHandlers): Promise<Channel> {
    const channel = await this.#transport.openChannel?.(peer, handlers)
    if (channel === undefined) throw new Error('the transport opened no channel')
    return channel
  }

  #sent(peer: ServerId, sending: SnapshotSending, failure: string | null): void {
    if (this.#sendings.get(peer) === sending) this.#sendings.delete(peer)
    if (failure !== null) this.#failed(peer, sending.snapshot.header.id, failure)
    this.#shelf?.released()
    if (failure !== null) return
    this.#failures.delete(peer)
    const { index } = sending.snapshot.header
    this.#logger.info('snapshot.sent', { peer, index })
    this.#mailbox.push({ type: 'snapshotSent', peer, index })
  }

  #failed(peer: ServerId, id: string, reason: string): void {
    if (this.#isClosed) return
    const failures = this.#failures.get(peer) ?? 0
    this.#failures.set(peer, failures + 1)
    this.#quiet.warn('snapshot.not-sent', peer, reason, { peer })
    const delayMs = Math.min(RETRY_MS * 2 ** failures, RETRY_MS_MAX)
    const cancel = this.#clock.setTimer(delayMs, () => {
      this.#retries.delete(cancel)
      this.#mailbox.push({ type: 'snapshotFailed', peer, isGone: this.#shelf?.find(id) === null })
    })
    this.#retries.set(cancel, id)
  }

  /** Null: it was answered at once. */
  #offered(from: ServerId, channel: Channel, offer: Offer): SnapshotReceiving | null {
    const { header, bytes, term } = offer
    const flaw = this.#flawOf(offer)
    if (flaw !== null) {
      this.#quiet.warn('snapshot.refused', from, flaw, { peer: from, index: header.index })
      refuse(channel, flaw)
      return null
    }
    if (header.index <= this.#core.log.commitIndex) {
      channel.send(encodeTransfer({ type: 'done' }))
      return null
    }
    this.#receiving?.transfer.refuse(`${from} offers another one`)
    const transfer: SnapshotReceiving = new SnapshotReceiving({
      ...{ store: this.#store, header, bytes, wire: channel, clock: this.#clock },
      received: (stored) => this.#received(from, stored),
      failed: (reason) => this.#receivingFailed(from, transfer, reason),
    })
    this.#receiving = { from, term, transfer }
    this.#logger.info('snapshot.coming', { peer: from, index: header.index, bytes })
    void transfer.begin()
    return transfer
  }

  /** Why an offer is not taken. */
  #flawOf({ header, term }: Offer): string | null {
    const { clusterId } = this.#identity
    if (this.#isClosed) return 'this server is closing'
    if (header.clusterId !== clusterId) return `it is of cluster ${header.clusterId}, and this one is ${clusterId}`
    if (!this.#canRestore) return 'the state machine of this server has no restore'
    if (term < this.#core.term) return `term ${term} is over, this is term ${this.#core.term}`
    const isPlausible = isPosition(header.index, POSITION_MAX) && header.term <= term && isPosition(term, POSITION_MAX)
    if (!isPlausible || term - this.#core.term > TERM_JUMP_MAX) {
      return `entry ${header.index} of term ${header.term}, in term ${term}, is no place that a log comes to`
    }
    const busy = this.#receiving
    if (busy !== null && busy.term > term) return `one of term ${busy.term} is on its way from ${busy.from}`
    return null
  }

  #received(from: ServerId, stored: StoredSnapshot): void {
    const { index } = stored.header
    this.#logger.info('snapshot.received', { peer: from, index, bytes: stored.bytes })
    this.#shelf?.received(stored)
  }

  #receivingFailed(from: ServerId, transfer: SnapshotReceiving, reason: string): void {
    if (this.#receiving?.transfer === transfer) this.#receiving = null
    this.#shelf?.interrupted(transfer.header.id)
    if (!this.#isClosed) this.#quiet.warn('snapshot.not-received', from, reason, { peer: from })
  }
}

function refuse(channel: Channel, reason: string): void {
  channel.send(encodeTransfer({ type: 'refused', reason }))
  channel.close(reason)
}
