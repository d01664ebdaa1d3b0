/**
 * What a process has once, however many groups its folder may come to hold: the store and its news, the wire, the
 * clock, the log.
 */

import { isOurs, RaftError } from '../../errors.js'
import type { RaftErrorCode } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import { optionsError, shown } from '../../option-checks.js'
import type { FoundSnapshots, SnapshotStore, SnapshotStoreFactory } from '../../snapshot/snapshot-store.js'
import type { LogStore, StoredState, StoreFactory, Ticket } from '../../storage/log-store.js'
import type { Transport, TransportHandlers } from '../../transport/transport.js'
import type { Clock, Identity, Logger } from '../../types.js'
import { closeSnapshots, closeStore, closeTransport } from '../closing.js'

/** An open has no bound, since a long log takes its time; one that takes longer than this is told of. */
const SLOW_OPEN_MS = 10_000
const SLOW_OPEN = `it has not opened within ${SLOW_OPEN_MS} ms: its disk is slow, or does not answer, or its log is long`

export interface HostParts {
  readonly dir: string
  readonly storage: StoreFactory
  readonly snapshotStorage: SnapshotStoreFactory
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
}

export class Host {
  readonly dir: string
  readonly store: LogStore
  readonly snapshots: SnapshotStore
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
  /** Whom the store wakes: first whoever waits for a write of the start, then the turn. */
  #onNews: () => void = () => {}
  /** This host has started the transport, so it is this host's to close. Set once. */
  #isListening = false

  /** Throws ERR_RAFT_OPTIONS when the factory makes no store. */
  constructor(parts: HostParts) {
    this.dir = parts.dir
    this.store = makeStore(parts.storage, parts.dir)
    this.snapshots = makeSnapshotStore(parts.snapshotStorage, parts.dir)
    this.transport = parts.transport
    this.clock = parts.clock
    this.logger = parts.logger
  }

  async open(): Promise<StoredState> {
    const open = (): Promise<StoredState> => this.store.open(() => this.#onNews())
    const cancel = this.clock.setTimer(SLOW_OPEN_MS, () => this.#warn(SLOW_OPEN))
    const opened = orRaftError(open, 'ERR_RAFT_DIR_UNUSABLE', `the store in ${this.dir} cannot be opened`)
    const stored = await opened.finally(cancel)
    if (stored.warning !== null) this.#warn(stored.warning)
    return stored
  }

  /** What is there. The folder is this server's by now. */
  async openSnapshots(): Promise<FoundSnapshots> {
    const open = (): Promise<FoundSnapshots> => this.snapshots.open()
    return orRaftError(open, 'ERR_RAFT_DIR_UNUSABLE', `the snapshots in ${this.dir} cannot be opened`)
  }

  async listen(self: Identity, handlers: TransportHandlers): Promise<void> {
    const start = (): Promise<string> => this.transport.start(self, handlers, this.clock, this.logger)
    await orRaftError(start, 'ERR_RAFT_LISTEN', 'the transport cannot start')
    this.#isListening = true
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

  /**
   * After an open that failed: gives back what was taken. A transport that was not started is not this host's to close.
   */
  async giveUp(): Promise<void> {
    try {
      if (this.#isListening) await closeTransport(this.transport, this.clock, this.logger)
      await closeSnapshots(this.snapshots, this.clock, this.logger)
    } finally {
      await this.#giveUpStore()
    }
  }

  #warn(warning: string): void {
    this.logger.warn('store', { dir: this.dir, warning })
  }

  /** Why it could not open is what the caller is told; this is for the log. */
  async #giveUpStore(): Promise<void> {
    try {
      await closeStore(this.store, this.dir, this.clock)
    } catch (error) {
      if (!(error instanceof RaftError)) throw error
      this.logger.error('store left behind', { code: error.code, error: error.message })
    }
  }
}

function makeStore(storage: StoreFactory, dir: string): LogStore {
  return made('storage', 'store', storage.name, dir, () => storage.create(dir))
}

function makeSnapshotStore(storage: SnapshotStoreFactory, dir: string): SnapshotStore {
  return made('snapshotStorage', 'store of snapshots', storage.name, dir, () => storage.create(dir))
}

/** What a factory of a user makes is looked at once, here. */
function made<Store>(option: string, what: string, name: string, dir: string, make: () => Store): Store {
  let store: unknown
  try {
    store = make()
  } catch (error) {
    if (isOurs(error)) throw error
    throw optionsError(`option ${option}: the factory ${name} made no ${what} for ${dir}: ${textOf(error)}`, error)
  }
  const isStore = typeof store === 'object' && store !== null && 'open' in store && typeof store.open === 'function'
  if (isStore) return store as Store
  throw optionsError(`option ${option}: the factory ${name} made ${shown(store)} and no ${what} for ${dir}`)
}

/** An error of what users bring, as the library's own. */
async function orRaftError<Value>(doing: () => Promise<Value>, code: RaftErrorCode, what: string): Promise<Value> {
  try {
    return await doing()
  } catch (error) {
    if (isOurs(error)) throw error
    throw new RaftError(code, `${what}: ${textOf(error)}`, { cause: error })
  }
}

function diskFull(what: string): RaftError {
  const message = `the disk is full: ${what} cannot be written. Free space and start again`
  return new RaftError('ERR_RAFT_STORE_FULL', message)
}
