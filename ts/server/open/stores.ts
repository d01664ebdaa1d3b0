/**
 * The two stores of one folder, the log and its snapshots, while they are open: in a server that runs, or for the one
 * write of a call that starts no server.
 */

import { isOurs, RaftError } from '../../errors.js'
import type { RaftErrorCode } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import { lastEntryTime } from '../../format/block.js'
import { optionsError, shown } from '../../option-checks.js'
import type { FoundSnapshots, SnapshotStore, SnapshotStoreFactory } from '../../snapshot/snapshot-store.js'
import type { LogStore, StoredState, StoreFactory } from '../../storage/log-store.js'
import { neverEmpty } from '../../storage/lost-data.js'
import { storeFault } from '../../storage/store-fault.js'
import { isPosition, logIndex, STORED_MAX } from '../../types.js'
import type { Block, Clock, Logger, LogIndex, StoreOperation } from '../../types.js'
import { closeSnapshots, closeStore } from '../closing.js'

/** An open has no bound, since a long log takes its time; one that takes longer than this is told of. */
const SLOW_OPEN_MS = 10_000
const SLOW_OPEN = `it has not opened within ${SLOW_OPEN_MS} ms: its disk is slow, or does not answer, or its log is long`

export interface StoresParts {
  readonly dir: string
  readonly storage: StoreFactory
  readonly snapshotStorage: SnapshotStoreFactory
  readonly clock: Clock
  readonly logger: Logger
}

export class Stores {
  readonly dir: string
  readonly store: LogStore
  readonly snapshots: SnapshotStore
  readonly clock: Clock
  readonly logger: Logger
  /** Whom the store wakes: first whoever waits for a write of the start, then the turn. */
  #onNews: () => void = () => {}

  /** Throws ERR_RAFT_OPTIONS when a factory makes no store. */
  constructor(parts: StoresParts) {
    this.dir = parts.dir
    this.store = makeStore(parts.storage, parts.dir)
    this.snapshots = makeSnapshotStore(parts.snapshotStorage, parts.dir)
    this.clock = parts.clock
    this.logger = parts.logger
  }

  async open(): Promise<StoredState> {
    const open = (): Promise<StoredState> => this.store.open(() => this.#onNews())
    const cancel = this.clock.setTimer(SLOW_OPEN_MS, () => this.#warn(SLOW_OPEN))
    const opened = orRaftError(open, 'ERR_RAFT_DIR_UNUSABLE', `the store in ${this.dir} cannot be opened`)
    const stored = await opened.finally(cancel)
    if (stored.warning !== null) this.#warn(stored.warning)
    checkNumbers(this.dir, stored)
    return stored
  }

  /** What is there. The folder is this server's by now. */
  async openSnapshots(): Promise<FoundSnapshots> {
    const open = (): Promise<FoundSnapshots> => this.snapshots.open()
    return orRaftError(open, 'ERR_RAFT_DIR_UNUSABLE', `the snapshots in ${this.dir} cannot be opened`)
  }

  /** From now on the store's news goes here. */
  onNews(callback: () => void): void {
    this.#onNews = callback
  }

  /**
   * Resolves when that is durable, as one ticket. Rejects when the store fails, or has no room for `what`: a running
   * server waits for room, one that has not begun says so instead.
   */
  async write(operations: readonly StoreOperation[], what: string): Promise<void> {
    const ticket = this.store.submit(operations)
    for (;;) {
      const news = new Promise<void>((resolve) => this.onNews(resolve))
      const { durable, fault, stalled } = this.store.poll()
      if (fault !== null) throw fault
      if (durable >= ticket) return
      if (stalled) throw diskFull(what)
      await news
    }
  }

  /** The block of one entry that is there. */
  async blockOf(index: LogIndex): Promise<Block | null> {
    try {
      const [block = null] = await this.store.read(index, logIndex(index + 1), 1)
      return block
    } catch (error) {
      throw storeFault(`read the entry ${index}`, error)
    }
  }

  /** The time of the newest entry; of an empty log that of the snapshot on which it stands, or 0. */
  async lastTime({ firstIndex, lastIndex, snapshot }: StoredState): Promise<number> {
    if (lastIndex < firstIndex) return snapshot?.time ?? 0
    const block = await this.blockOf(lastIndex)
    return block === null ? 0 : lastEntryTime(block)
  }

  /** Rejects with what keeps the folder from being free. */
  async close(): Promise<void> {
    await closeSnapshots(this.snapshots, this.clock, this.logger)
    await closeStore(this.store, this.dir, this.clock)
  }

  /** After what could not be done: why is what the caller is told, and what else fails now is for the log. */
  async giveUp(): Promise<void> {
    try {
      await this.close()
    } catch (error) {
      if (!(error instanceof RaftError)) throw error
      this.logger.error('store.left-behind', { code: error.code, error: error.message })
    }
  }

  #warn(warning: string): void {
    this.logger.warn('store.warning', { dir: this.dir, warning })
  }
}

/** Opens the folder, has that done with what is stored there, and frees it again. */
export async function withStores<Answer>(
  parts: StoresParts,
  work: (stores: Stores, stored: StoredState) => Promise<Answer>,
): Promise<Answer> {
  const stores = new Stores(parts)
  let answer: Answer
  try {
    answer = await work(stores, await stores.open())
  } catch (error) {
    await stores.giveUp()
    throw error
  }
  await stores.close()
  return answer
}

/** Every number in the store must have room above it for what is counted from it. */
function checkNumbers(dir: string, { lastIndex, hardState, bootCounter }: StoredState): void {
  const numbers = { 'last index': lastIndex, term: hardState.term, 'commit index': hardState.commitIndex, bootCounter }
  for (const [name, value] of Object.entries(numbers)) {
    if (isPosition(value, STORED_MAX)) continue
    throw new RaftError(
      'ERR_RAFT_STORE_CORRUPT',
      `the folder ${dir} holds the ${name} ${value}, and ${STORED_MAX} is the largest that a server can go on from: no server counts so far, so it is damaged or forged. The others go on without this server while they are a majority. ${neverEmpty}`,
    )
  }
}
export function makeStore(storage: StoreFactory, dir: string): LogStore {
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
export async function orRaftError<Value>(
  doing: () => Promise<Value>,
  code: RaftErrorCode,
  what: string,
): Promise<Value> {
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
