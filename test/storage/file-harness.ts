/** Tickets for file stores, what a store must hold after each of them, and drivers that submit them. */

import { RaftError } from '#balsa/errors.js'
import type { RaftErrorCode } from '#balsa/errors.js'
import { FileLogStore } from '#balsa/storage/file/file-log-store.js'
import type { LogStore, StoredState } from '#balsa/storage/log-store.js'
import { MemoryDisk, MemoryLogStore } from '#balsa/storage/memory/memory-log-store.js'
import { logIndex } from '#balsa/types.js'
import type { Block, HardState, StoreOperation } from '#balsa/types.js'
import * as assert from 'uvu/assert'

import { append, blockOf, entriesOf, hardState } from '#balsa/testing/conformance/blocks.js'
import { below, pick } from '../support/seed.js'
import type { Random } from '../support/seed.js'
import type { ModelDisk } from './model-disk.js'

export const DIR = '/model/store'
export const LOG = `${DIR}/log`

export type Tickets = readonly (readonly StoreOperation[])[]

/** Tickets of every kind: entries, truncations inside and at the edge of blocks, terms, votes, facts. */
export function drawTickets(random: Random, count: number): Tickets {
  const tickets: StoreOperation[][] = []
  let last = 0
  let term = 1
  while (tickets.length < count) {
    const ticket: StoreOperation[] = []
    if (last > 0 && below(random, 4) === 0) {
      const from = 1 + below(random, last)
      ticket.push({ type: 'truncateSuffix', from: logIndex(from) })
      last = from - 1
      term += 1
    }
    for (let blocks = below(random, 3); blocks > 0; blocks -= 1) {
      const lengths = Array.from({ length: 1 + below(random, 4) }, () => below(random, 90))
      ticket.push(append(blockOf(last + 1, term, lengths)))
      last += lengths.length
    }
    ticket.push({ type: 'hardState', hardState: hardState(term, `server-${term % 3}`, last) })
    const key = pick(random, ['a', 'b', 'c'])
    if (below(random, 3) === 0) ticket.push({ type: 'put', key, value: new Uint8Array(below(random, 40)).fill(term) })
    if (below(random, 6) === 0) ticket.push({ type: 'delete', key })
    tickets.push(ticket)
  }
  return tickets
}

/** What a store holds after the first 0, 1, 2 ... tickets, by the word of the memory store. */
export async function heldAfterEach(tickets: Tickets): Promise<readonly string[]> {
  const disk = new MemoryDisk({ completion: 'manual' })
  const store = new MemoryLogStore(disk)
  await store.open(() => {})
  const held: string[] = []
  const note = (): void => {
    const { blocks, hardState: state, facts } = disk.durable
    held.push(textOf(blocks, state, facts))
  }
  note()
  for (const ticket of tickets) {
    store.submit(ticket)
    disk.completeOne()
    note()
  }
  return held
}

/** The same words for a store that was opened; read in small steps and in large ones. */
export async function heldBy(store: LogStore, state: StoredState): Promise<string> {
  const { hardState: hard, facts } = state
  const held = textOf(await readAll(store, state, 300), hard, facts)
  assert.is(
    textOf(await readAll(store, state, 1 << 20), hard, facts),
    held,
    'a read in small steps gives something else',
  )
  return held
}

async function readAll(store: LogStore, { lastIndex }: StoredState, maxBytes: number): Promise<readonly Block[]> {
  const blocks: Block[] = []
  for (let next = 1; next <= lastIndex;) {
    const read = await store.read(logIndex(next), logIndex(lastIndex + 1), maxBytes)
    blocks.push(...read)
    next = (blocks.at(-1)?.last ?? next) + 1
  }
  return blocks
}

export async function withFile<T>(
  disk: ModelDisk,
  use: (store: FileLogStore, state: StoredState, waker: Waker) => Promise<T>,
): Promise<T> {
  const store = new FileLogStore(DIR, disk)
  const waker = new Waker()
  const state = await store.open(() => waker.wake())
  try {
    return await use(store, state, waker)
  } finally {
    await store.close()
  }
}

/** Submits them, two or three at a time; answers when all are durable or the store is poisoned. */
export async function submitAll(store: LogStore, tickets: Tickets, waker: Waker): Promise<number> {
  let submitted = 0
  for (;;) {
    const { durable, fault } = store.poll()
    if (fault !== null || durable === tickets.length) return durable
    for (; submitted < Math.min(durable + 3, tickets.length); submitted += 1) store.submit(tickets[submitted] ?? [])
    await waker.next()
  }
}

export class Waker {
  #due = false
  #resolve: () => void = () => {}

  wake(): void {
    this.#due = true
    this.#resolve()
  }

  async next(): Promise<void> {
    if (!this.#due) await new Promise<void>((resolve) => (this.#resolve = resolve))
    this.#due = false
  }
}

export async function refusal(promise: Promise<unknown>, code: RaftErrorCode): Promise<RaftError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof RaftError, `not a RaftError: ${String(error)}`)
  assert.is(error.code, code, error.message)
  return error
}

function textOf(blocks: readonly Block[], state: HardState, facts: ReadonlyMap<string, Uint8Array>): string {
  const sorted = [...facts].map(([key, value]) => `${key}=${Buffer.from(value).toString('hex')}`).toSorted()
  const { term, votedFor, commitIndex } = state
  return JSON.stringify({ entries: entriesOf(blocks), hardState: { term, votedFor, commitIndex }, facts: sorted })
}
