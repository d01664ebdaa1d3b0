/**
 * The memory store against a model that could not be simpler: a list of entries that is copied whole at each ticket.
 * Random tickets, completions, crashes, failures and reopens; after each step both hold the same.
 */

import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { MemoryDisk, MemoryLogStore } from '#balsa/storage/memory/memory-log-store.js'
import type { StoredState } from '#balsa/storage/log-store.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { HardState, SnapshotMeta, StoreOperation } from '#balsa/types.js'

import { check } from '../format/seed.js'
import { append, blockOf, entriesOf, hardState } from '#balsa/testing/conformance/blocks.js'

const test = suite('memory store and model')

/** Everything a store holds, as plain values; never changed, only replaced. */
interface Model {
  readonly firstIndex: number
  readonly prevTerm: number
  readonly snapshot: SnapshotMeta | null
  /** From firstIndex on. */
  readonly entries: readonly { readonly term: number; readonly entry: object }[]
  readonly hardState: HardState
  readonly facts: readonly (readonly [string, string])[]
}

interface SubmitStep {
  readonly type: 'submit'
  /** Where in the log to cut, as a part of its length; null keeps it whole. */
  readonly cutAt: number | null
  readonly blocks: readonly (readonly number[])[]
  readonly termGrows: number
  /** Where the snapshot lies, as a part of the log, and where first, as a part of what it covers. */
  readonly compactAt: { readonly snapshot: number; readonly first: number; readonly keepsSuffix: boolean } | null
  readonly fact: { readonly key: string; readonly length: number | null } | null
}

type Step =
  | SubmitStep
  | { readonly type: 'completeOne' }
  | { readonly type: 'completeAll' }
  | { readonly type: 'crash' }
  | { readonly type: 'close' }
  | { readonly type: 'failTicket'; readonly k: number; readonly fate: 'lost' | 'kept' }
  | { readonly type: 'read'; readonly from: number; readonly to: number; readonly maxBytes: number }

/** Not a double: most of those that are drawn lie close to 0. */
const fraction = fc.nat(999).map((n) => n / 1000)
const submitStep: fc.Arbitrary<SubmitStep> = fc.record({
  type: fc.constant('submit'),
  cutAt: fc.option(fraction, { freq: 2 }),
  blocks: fc.array(fc.array(fc.nat(60), { minLength: 1, maxLength: 6 }), { maxLength: 3 }),
  termGrows: fc.nat(2),
  compactAt: fc.option(
    fc.record({
      snapshot: fraction,
      first: fraction,
      keepsSuffix: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.boolean()),
    }),
    { freq: 2 },
  ),
  fact: fc.option(fc.record({ key: fc.constantFrom('a', 'b', 'c'), length: fc.option(fc.nat(30)) })),
})
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: submitStep },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('completeOne' as const) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('completeAll' as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('crash' as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('close' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('failTicket' as const),
      k: fc.integer({ min: 1, max: 4 }),
      fate: fc.constantFrom('lost' as const, 'kept' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('read' as const),
      from: fraction,
      to: fraction,
      maxBytes: fc.integer({ min: 1, max: 800 }),
    }),
  },
)

test('whatever is submitted, completed, lost or reopened, the store holds what the model holds', async () => {
  await check(
    fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
      const pair = new Pair()
      await pair.open()
      for (const one of steps) await pair.run(one)
      await pair.run({ type: 'crash' })
    }),
    250,
  )
})

/** The store and the model, side by side. */
class Pair {
  readonly #disk = new MemoryDisk({ completion: 'manual' })
  #store = new MemoryLogStore(this.#disk)
  #boots = 0
  #durable: Model = {
    firstIndex: 1,
    prevTerm: 0,
    snapshot: null,
    entries: [],
    hardState: hardState(0, null, 0),
    facts: [],
  }
  /** What the store will hold after each pending ticket, oldest first. */
  #pending: Model[] = []
  #durableTicket = 0
  #failing: { k: number; readonly fate: 'lost' | 'kept' } | null = null
  #isPoisoned = false

  async open(): Promise<void> {
    this.#store = new MemoryLogStore(this.#disk)
    const state = await this.#store.open(() => {})
    this.#boots += 1
    this.#durableTicket = 0
    this.#isPoisoned = false
    this.#pending = []
    assert.is(state.bootCounter, this.#boots)
    assert.equal(modelOf(state), withoutEntries(this.#durable))
  }

  async run(one: Step): Promise<void> {
    switch (one.type) {
      case 'submit':
        if (!this.#isPoisoned) this.#submit(one)
        break
      case 'completeOne':
        assert.is(this.#disk.completeOne(), this.#complete(1) > 0)
        break
      case 'completeAll':
        assert.is(this.#disk.completeAll(), this.#complete(Infinity))
        break
      case 'crash':
        this.#disk.crash()
        await this.open()
        break
      case 'close':
        await this.#close()
        break
      case 'failTicket':
        this.#failing = { k: one.k, fate: one.fate }
        this.#disk.failTicket(one.k, one.fate)
        break
      case 'read':
        await this.#read(one)
        break
    }
    this.#compare()
  }

  #submit(drawn: SubmitStep): void {
    let model = this.#pending.at(-1) ?? this.#durable
    const operations: StoreOperation[] = []
    const { length } = model.entries
    const uncovered = lastOf(model) - Math.max(model.snapshot?.index ?? 0, model.firstIndex - 1)
    if (drawn.cutAt !== null && length > 0 && uncovered > 0) {
      const from = lastOf(model) + 1 - Math.ceil((1 - drawn.cutAt) * uncovered)
      operations.push({ type: 'truncateSuffix', from: logIndex(from) })
      model = { ...model, entries: model.entries.slice(0, from - model.firstIndex) }
    }
    const term = Math.max(1, lastTermOf(model) + drawn.termGrows, model.hardState.term)
    for (const lengths of drawn.blocks) {
      const block = blockOf(lastOf(model) + 1, term, lengths)
      operations.push(append(block))
      model = { ...model, entries: [...model.entries, ...entriesOf([block]).map((entry) => ({ term, entry }))] }
    }
    if (drawn.compactAt !== null) {
      const [operation, behind] = compacted(model, drawn.compactAt, term)
      operations.push(operation)
      model = behind
    }
    const votedFor = `server-${term % 3}`
    operations.push({ type: 'hardState', hardState: hardState(term, votedFor, lastOf(model)) })
    model = { ...model, hardState: hardState(term, votedFor, lastOf(model)) }
    if (drawn.fact !== null) {
      const { key, length: size } = drawn.fact
      const value = new Uint8Array(size ?? 0).fill(term)
      operations.push(size === null ? { type: 'delete', key } : { type: 'put', key, value })
      const others = model.facts.filter(([known]) => known !== key)
      const facts = size === null ? others : [...others, [key, hexOf(value)] as const]
      model = { ...model, facts: facts.toSorted(([a], [b]) => (a < b ? -1 : 1)) }
    }
    this.#store.submit(operations)
    this.#pending.push(model)
  }

  #complete(most: number): number {
    let done = 0
    while (done < most && this.#pending.length > 0 && !this.#isPoisoned) {
      const [next] = this.#pending
      if (next === undefined) break
      if (this.#failing !== null) this.#failing.k -= 1
      if (this.#failing?.k === 0) {
        if (this.#failing.fate === 'kept') this.#durable = next
        this.#failing = null
        this.#isPoisoned = true
        break
      }
      this.#durable = next
      this.#pending.shift()
      this.#durableTicket += 1
      done += 1
    }
    return done
  }

  async #close(): Promise<void> {
    const closed = this.#store.close()
    assert.is(this.#disk.completeAll(), this.#complete(Infinity))
    await closed
    await this.open()
  }

  async #read(drawn: { readonly from: number; readonly to: number; readonly maxBytes: number }): Promise<void> {
    const { entries, firstIndex } = this.#durable
    const last = lastOf(this.#durable)
    if (last === 0) return
    const lo = 1 + Math.floor(drawn.from * last)
    const hi = lo + 1 + Math.floor(drawn.to * (last - lo))
    const blocks = await this.#store.read(logIndex(lo), logIndex(hi), drawn.maxBytes)
    const found = entriesOf(blocks)
    const isKept = lo >= firstIndex
    const expected = isKept ? entries.slice(lo - firstIndex, hi - firstIndex).map(({ entry }) => entry) : []
    assert.is(found.length >= 1, isKept)
    assert.equal(found, expected.slice(0, found.length))
    const total = blocks.reduce((sum, { data }) => sum + data.byteLength, 0)
    assert.ok(total <= drawn.maxBytes || found.length === 1)
  }

  #compare(): void {
    const { durable, fault } = this.#store.poll()
    assert.is(durable, this.#durableTicket)
    assert.is(fault !== null, this.#isPoisoned)
    const { blocks, firstIndex, lastIndex } = this.#disk.durable
    assert.is(lastIndex, lastOf(this.#durable))
    assert.is(firstIndex, this.#durable.firstIndex)
    const { firstIndex: first, lastIndex: last, usedBytes } = this.#store.stats()
    assert.equal([first, last], [firstIndex, lastIndex])
    assert.is(
      usedBytes,
      blocks.reduce((sum, { data }) => sum + data.byteLength, 0),
    )
    assert.equal(
      entriesOf(blocks),
      this.#durable.entries.map(({ entry }) => entry),
    )
    assert.equal(this.#disk.durable.hardState, this.#durable.hardState)
  }
}

function modelOf(state: StoredState): object {
  const facts = [...state.facts].map(([key, value]) => [key, hexOf(value)] as const)
  return {
    firstIndex: state.firstIndex,
    prevTerm: state.prevTerm,
    snapshot: state.snapshot,
    lastIndex: state.lastIndex,
    termRuns: state.termRuns,
    hardState: state.hardState,
    facts: facts.toSorted(([a], [b]) => (a < b ? -1 : 1)),
  }
}

function withoutEntries(model: Model): object {
  const { firstIndex, prevTerm, snapshot, hardState: hard, facts } = model
  const termRuns = []
  let term = 0
  for (const [n, one] of model.entries.entries()) {
    if (one.term !== term) termRuns.push({ first: firstIndex + n, term: one.term })
    term = one.term
  }
  return { firstIndex, prevTerm, snapshot, lastIndex: lastOf(model), termRuns, hardState: hard, facts }
}

function lastOf({ firstIndex, entries }: Model): number {
  return firstIndex - 1 + entries.length
}

function lastTermOf({ prevTerm, entries }: Model): number {
  return entries.at(-1)?.term ?? prevTerm
}

/** A compaction that the rules allow, and what it leaves; without a suffix its snapshot may lie behind the log. */
function compacted(
  model: Model,
  drawn: { readonly snapshot: number; readonly first: number; readonly keepsSuffix: boolean },
  term: number,
): [StoreOperation, Model] {
  const { firstIndex, entries } = model
  const floor = Math.max(model.snapshot?.index ?? 0, firstIndex - 1)
  const ceiling = lastOf(model) + (drawn.keepsSuffix ? 0 : 3)
  const index = floor + Math.floor(drawn.snapshot * (ceiling - floor + 1))
  const termAt = (at: number): number =>
    at === firstIndex - 1 ? model.prevTerm : (entries[at - firstIndex]?.term ?? 0)
  const first = drawn.keepsSuffix ? firstIndex + Math.floor(drawn.first * (index + 2 - firstIndex)) : index + 1
  const snapshotTerm = drawn.keepsSuffix ? termAt(index) : term
  const prevTerm = drawn.keepsSuffix ? termAt(first - 1) : term
  const snapshot: SnapshotMeta = {
    id: index.toString(16).padStart(32, '0'),
    index: logIndex(index),
    term: termOf(snapshotTerm),
    time: index,
    configuration: { voters: [{ id: 'a', address: 'a:1' }], outgoing: null, nonvoters: [] },
    configurationIndex: logIndex(index),
    clusterName: 'model',
  }
  const operation = {
    type: 'compact',
    first: logIndex(first),
    prevTerm: termOf(prevTerm),
    snapshot,
    keepSuffix: drawn.keepsSuffix,
  } as const
  const kept = drawn.keepsSuffix ? entries.slice(first - firstIndex) : []
  return [operation, { ...model, firstIndex: first, prevTerm, snapshot, entries: kept }]
}

function hexOf(data: Uint8Array): string {
  return Buffer.from(data).toString('hex')
}

test.run()
