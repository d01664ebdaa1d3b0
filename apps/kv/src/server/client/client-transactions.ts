/**
 * MULTI, EXEC, DISCARD, WATCH and UNWATCH of one client: the transaction that it puts together, and the keys that it
 * watches.
 *
 * WATCH is a read: a key's version is taken where a read of it would be carried out. EXEC is one entry, which every
 * server carries out only if all watched keys still have their versions; that it is known here before of a key that was
 * changed saves the log such an entry (watchers.ts).
 */

import type { LocalContext } from '../../commands/local-command.js'
import type { CommandRow } from '../../commands/command-table.js'
import type { DataSet } from '../../data-set/data-set.js'
import { ENTRY_BYTES_MAX, FORWARDED_ANSWER_BYTES_MAX, WATCHED_BYTES_MAX, WATCHED_KEYS_MAX } from '../../limits.js'
import { failure, nullArray, ok, queued, type ErrorReply, type Reply } from '../../resp/reply.js'
import type { Leadership } from '../leadership.js'
import { answerTooLarge, elsewhere, outOfMemory } from '../raft-answers.js'
import type { Proposal, Read } from '../turn-batch.js'
import type { ClientCommand } from './client-command.js'
import type { ClientGate } from './client-gate.js'
import { Transaction } from './transaction.js'
import type { Watchers, Watching } from './watchers.js'

export class ClientTransactions implements Watching {
  readonly #watchers: Watchers
  readonly #leadership: Leadership
  readonly #local: LocalContext
  readonly #refusalNow: ClientGate['refusalNow']
  /** Null: MULTI was not said. */
  #open: Transaction | null = null
  /** The version at which each watched key was found. */
  readonly #watched = new Map<string, number>()
  /** With those whose WATCH is under way: how many keys there may be, and their bytes in an entry. */
  #watchedKeys = 0
  #watchedBytes = 0
  /** One of them has changed since. */
  #isChanged = false
  #isClosed = false

  /**
   * `local` is for the commands in a transaction that this server answers by itself. `refusalNow`: what the client may
   * not do any more at EXEC.
   */
  constructor(watchers: Watchers, leadership: Leadership, local: LocalContext, refusalNow: ClientGate['refusalNow']) {
    this.#watchers = watchers
    this.#leadership = leadership
    this.#local = local
    this.#refusalNow = refusalNow
  }

  get isOpen(): boolean {
    return this.#open !== null
  }

  /** Commands that wait for EXEC; -1 outside of MULTI. */
  get queued(): number {
    return this.#open?.length ?? -1
  }

  /** Bytes that are kept for it. */
  get held(): number {
    return (this.#open?.held ?? 0) + this.#watchedBytes + this.#watchedKeys * WATCHED_KEY_BYTES
  }

  /** How many keys are watched. */
  get watching(): number {
    return this.#watched.size
  }

  /** Keys that were set aside for a WATCH under way. */
  get setAside(): number {
    return this.#watchedKeys - this.#watched.size
  }

  multi(): Reply {
    if (this.#open !== null) return failure('ERR MULTI calls can not be nested')
    this.#open = new Transaction()
    return ok
  }

  /** A command inside of MULTI. */
  queue(row: CommandRow, { words, bytes }: ClientCommand): Reply {
    return this.#open?.add(row, words, bytes) ?? queued
  }

  /** A command was refused; inside of MULTI, EXEC will be too. */
  refuse(): void {
    this.#open?.refuse()
  }

  discard(): Reply {
    if (this.#open === null) return failure('ERR DISCARD without MULTI')
    return this.reset()
  }

  /** EXEC itself was refused. */
  abort(refusal: ErrorReply): ErrorReply {
    this.reset()
    return failure(`EXECABORT Transaction discarded because of: ${refusal.text.replace(/^ERR /, '')}`)
  }

  /** Its answer, or what is to be written for it. */
  exec(command: ClientCommand): Reply | Execution {
    const transaction = this.#open
    if (transaction === null) return failure('ERR EXEC without MULTI')
    const watched = [...this.#watched].map(([key, version]) => ({ key, version }))
    const isChanged = this.#isChanged
    command.alongBytes = this.held
    this.reset()
    if (!this.#local.client.session.mayAll) transaction.leaveOut(this.#refusalNow)
    const needsLeader = transaction.hasData || watched.length > 0
    // Also when they were refused with MOVED: cluster clients then send the whole transaction to the leader.
    if (transaction.isRefused) return failure('EXECABORT Transaction discarded because of previous errors.')
    if (needsLeader && !this.#leadership.canServe) return elsewhere(this.#leadership, 0)
    if (transaction.grows && this.#local.server.isMemoryFull) return this.abort(outOfMemory)
    if (isChanged) return nullArray
    if (!needsLeader) return transaction.answers([], this.#local)
    const travels = !this.#leadership.isLeader
    if (travels && transaction.answerBytes(this.#local.server.data) > FORWARDED_ANSWER_BYTES_MAX) {
      return this.abort(answerTooLarge)
    }
    const entry = transaction.encode(watched)
    if (entry.length <= ENTRY_BYTES_MAX) return new Execution(command, entry, transaction, this.#local)
    const bytes = `${entry.length} bytes with its watched keys, but one Raft entry holds at most ${ENTRY_BYTES_MAX}`
    return failure(`ERR transaction is too large: ${bytes}`)
  }

  /** Its answer, or what is to be read for it. */
  watch(command: ClientCommand): ErrorReply | WatchRead {
    if (this.#open !== null) return failure('ERR WATCH inside MULTI is not allowed')
    if (!this.#leadership.canServe) return elsewhere(this.#leadership, command.slot)
    const keys = command.keys ?? []
    const bytes = keys.reduce((sum, key) => sum + watchedBytes(key), 0)
    if (this.#watchedKeys + keys.length > WATCHED_KEYS_MAX || this.#watchedBytes + bytes > WATCHED_BYTES_MAX) {
      const bounds = `a client watches at most ${WATCHED_KEYS_MAX} keys with ${WATCHED_BYTES_MAX} bytes`
      return failure(`ERR too much to watch: ${bounds}, since its EXEC is one Raft entry`)
    }
    this.#watchedKeys += keys.length
    this.#watchedBytes += bytes
    return new WatchRead(command, this)
  }

  /** A WATCH of these keys came to nothing: what was set aside for them is free again. */
  watchFailed(keys: readonly string[]): void {
    this.#watchedKeys -= keys.length
    for (const key of keys) this.#watchedBytes -= watchedBytes(key)
  }

  watchKey(key: string, version: number): void {
    if (this.#isClosed) return
    if (this.#watched.has(key)) {
      this.watchFailed([key])
      return
    }
    this.#watched.set(key, version)
    this.#watchers.add(key, this)
  }

  keyChanged(): void {
    this.#isChanged = true
  }

  unwatch(): Reply {
    for (const key of this.#watched.keys()) this.#watchers.remove(key, this)
    this.#watched.clear()
    this.#watchedKeys = 0
    this.#watchedBytes = 0
    this.#isChanged = false
    return ok
  }

  /** No transaction, and no watched key. */
  reset(): Reply {
    this.#open = null
    return this.unwatch()
  }

  /** The client is gone: a WATCH that is still under way must not leave it among the watchers. */
  close(): void {
    this.#isClosed = true
    this.reset()
  }
}

/** EXEC on its way through the log. */
export class Execution implements Proposal {
  readonly entry: Uint8Array
  readonly #command: ClientCommand
  readonly #transaction: Transaction
  readonly #local: LocalContext

  constructor(command: ClientCommand, entry: Uint8Array, transaction: Transaction, local: LocalContext) {
    this.entry = entry
    this.#command = command
    this.#transaction = transaction
    this.#local = local
  }

  get growthMax(): number {
    return this.#transaction.growthMax
  }

  /** `reply` is no array when a watched key had changed. */
  applied(reply: Reply, index: number): void {
    this.#command.owner.wrote(index)
    const isDone = Array.isArray(reply)
    this.#command.settle(isDone ? this.#transaction.answers(reply as readonly Reply[], this.#local) : reply)
  }

  failed(error: unknown): void {
    this.#command.failed(error)
  }
}

/** What a watched key takes here beside its bytes, in the maps on both sides. */
const WATCHED_KEY_BYTES = 300

/** What a watched key takes in the entry of EXEC (entry-codec.ts). */
const watchedBytes = (key: string): number => 12 + key.length

/** WATCH on its way, as a read. */
export class WatchRead implements Read {
  readonly consistency = 'linearizable'
  readonly #command: ClientCommand
  readonly #transactions: ClientTransactions

  constructor(command: ClientCommand, transactions: ClientTransactions) {
    this.#command = command
    this.#transactions = transactions
  }

  get owner(): object {
    return this.#command.owner
  }

  get keys(): readonly string[] | null {
    return this.#command.keys
  }

  get work(): number {
    return this.#command.work
  }

  execute(data: DataSet): void {
    for (const key of this.#command.keys ?? []) this.#transactions.watchKey(key, data.version(key))
    this.#command.settle(ok)
  }

  failed(error: unknown): void {
    this.#transactions.watchFailed(this.#command.keys ?? [])
    this.#command.failed(error)
  }
}
