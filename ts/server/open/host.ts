/**
 * What a process has once, however many groups its folder may come to hold: the store and its news, the wire, the
 * clock, the log.
 */

import { RaftError } from '../../errors.js'
import type { LogStore, StoredState, Ticket } from '../../storage/log-store.js'
import type { Transport } from '../../transport/transport.js'
import type { Clock, Logger } from '../../types.js'

export interface HostParts {
  readonly dir: string
  readonly store: LogStore
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
}

export class Host {
  readonly dir: string
  readonly store: LogStore
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
  /** Whom the store wakes: first whoever waits for a write of the start, then the turn. */
  #onNews: () => void = () => {}

  constructor(parts: HostParts) {
    this.dir = parts.dir
    this.store = parts.store
    this.transport = parts.transport
    this.clock = parts.clock
    this.logger = parts.logger
  }

  async open(): Promise<StoredState> {
    const stored = await this.store.open(() => this.#onNews())
    if (stored.warning !== null) this.logger.warn('store', { dir: this.dir, warning: stored.warning })
    return stored
  }

  /** From now on the store's news goes here. */
  onNews(callback: () => void): void {
    this.#onNews = callback
  }

  /**
   * Rejects when the store fails, or has no room for `what`: a running server waits for room, one that has not begun
   * says so instead.
   */
  async untilDurable(ticket: Ticket, what: string): Promise<void> {
    for (;;) {
      const news = new Promise<void>((resolve) => this.onNews(resolve))
      const { durable, fault, stalled } = this.store.poll()
      if (fault !== null) throw fault
      if (durable >= ticket) return
      if (stalled) throw diskFull(what)
      await news
    }
  }

  async close(): Promise<void> {
    await this.transport.close()
    await this.store.close()
  }
}

function diskFull(what: string): RaftError {
  const message = `the disk is full: ${what} cannot be written. Free space and start again`
  return new RaftError('ERR_RAFT_STORE_FULL', message)
}
