/** Tickets for file stores, what a store must hold after each of them, and drivers that submit them. */

import { FileLogStore } from '#balsa/storage/file/file-log-store.js'
import type { LogStore, StoredState } from '#balsa/storage/log-store.js'
import { MemoryDisk, MemoryLogStore } from '#balsa/storage/memory/memory-log-store.js'
import { segmentName } from '#balsa/storage/file/segments.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, HardState, SnapshotMeta, StoreOperation } from '#balsa/types.js'
import * as assert from 'uvu/assert'

import { append, blockOf, entriesOf, hardState } from '#balsa/testing/conformance/blocks.js'
import { below, pick } from '../support/seed.js'
import type { Random } from '../support/seed.js'
import type { ModelDisk } from './model-disk.js'

export const DIR = '/model/store'
export const HEADER = `${DIR}/log`
export const LOG = segmentPath(1)
/** Of so few bytes that each ticket or two begins another one. */
export const SMALL_SEGMENT = 600

export type Tickets = readonly (readonly StoreOperation[])[]

export function segmentPath(number: number): string {
  return `${DIR}/${segmentName(number)}`
}

/** A compaction to a first index, behind a snapshot. */
export function compact(
  first: number,
  prevTerm: number,
  snapshot: { readonly index: number; readonly term: number },
  keepSuffix = true,
): StoreOperation {
  return {
    type: 'compact',
    first: logIndex(first),
    prevTerm: termOf(prevTerm),
    snapshot: metaOf(snapshot.index, snapshot.term),
    keepSuffix,
  }
}

export function metaOf(index: number, term: number): SnapshotMeta {
  const extensions = [{ name: 'zone', isRequired: false, value: Uint8Array.of(index & 255) }]
  return {
    id: index.toString(16).padStart(32, '0'),
    index: logIndex(index),
    term: termOf(term),
    time: 1000 + index,
    configuration: { voters: [{ id: 'a', address: 'a:1', extensions }], outgoing: null, nonvoters: [] },
    configurationIndex: logIndex(1),
    clusterName: 'files',
  }
}

/**
 * Tickets of every kind: entries, truncations and compactions inside and at the edge of blocks, snapshots that replace
 * the log, terms, votes, facts.
 */
export function drawTickets(random: Random, count: number): Tickets {
  const tickets: StoreOperation[][] = []
  /** Of the entries from `first` on. */
  let terms: number[] = []
  let first = 1
  let prevTerm = 0
  let covered = 0
  let term = 1
  const last = (): number => first + terms.length - 1
  const termAt = (index: number): number => (index < first ? prevTerm : (terms[index - first] ?? 0))
  while (tickets.length < count) {
    const ticket: StoreOperation[] = []
    if (last() > covered && below(random, 4) === 0) {
      const from = Math.max(covered, first - 1) + 1 + below(random, last() - Math.max(covered, first - 1))
      ticket.push({ type: 'truncateSuffix', from: logIndex(from) })
      terms.length = from - first
      term += 1
    }
    for (let blocks = below(random, 3); blocks > 0; blocks -= 1) {
      const lengths = Array.from({ length: 1 + below(random, 4) }, () => below(random, 90))
      ticket.push(append(blockOf(last() + 1, term, lengths)))
      terms.push(...lengths.map(() => term))
    }
    if (last() > 0 && below(random, 3) === 0) {
      covered = Math.max(covered, first - 1) + below(random, last() - Math.max(covered, first - 1) + 1)
      const next = first + below(random, covered + 2 - first)
      ticket.push(compact(next, termAt(next - 1), { index: covered, term: termAt(covered) }))
      prevTerm = termAt(next - 1)
      terms = terms.slice(next - first)
      first = next
    } else if (below(random, 8) === 0) {
      covered = Math.max(covered, last() - 2 + below(random, 6), 1)
      ticket.push(compact(covered + 1, term, { index: covered, term }, false))
      prevTerm = term
      terms = []
      first = covered + 1
    }
    ticket.push({ type: 'hardState', hardState: hardState(term, `server-${term % 3}`, last()) })
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
    held.push(textOf(disk.durable.blocks, disk.durable))
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
  const held = textOf(await readAll(store, state, 300), state)
  assert.is(textOf(await readAll(store, state, 1 << 20), state), held, 'a read in small steps gives something else')
  return held
}

async function readAll(
  store: LogStore,
  { firstIndex, lastIndex }: StoredState,
  maxBytes: number,
): Promise<readonly Block[]> {
  const blocks: Block[] = []
  for (let next: number = firstIndex; next <= lastIndex;) {
    const read = await store.read(logIndex(next), logIndex(lastIndex + 1), maxBytes)
    assert.ok(read.length > 0, `nothing is read from ${next} of ${firstIndex} .. ${lastIndex}`)
    blocks.push(...read)
    next = (blocks.at(-1)?.last ?? next) + 1
  }
  return blocks
}

export async function withFile<T>(
  disk: ModelDisk,
  use: (store: FileLogStore, state: StoredState, waker: Waker) => Promise<T>,
  segmentBytes?: number,
): Promise<T> {
  const store = new FileLogStore(DIR, disk, segmentBytes)
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

type Held = Pick<StoredState, 'firstIndex' | 'prevTerm' | 'lastIndex' | 'snapshot' | 'hardState' | 'facts'>

function textOf(blocks: readonly Block[], held: Held): string {
  const { firstIndex, prevTerm, lastIndex } = held
  const snapshot =
    held.snapshot === null ? null : Object.entries(held.snapshot).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const facts = [...held.facts].map(([key, value]) => `${key}=${Buffer.from(value).toString('hex')}`).toSorted()
  const { term, votedFor, commitIndex } = held.hardState
  const hard: HardState = { term, votedFor, commitIndex }
  return JSON.stringify({ firstIndex, prevTerm, lastIndex, snapshot, entries: entriesOf(blocks), hard, facts })
}
