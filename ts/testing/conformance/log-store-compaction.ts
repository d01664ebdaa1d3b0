/** What every LogStore does with `compact`: part of the cases of log-store.ts. */

import { deepStrictEqual, ok, strictEqual } from 'node:assert'

import { verifyBlock } from '../../format/block.js'
import type { LogStore, StoredState } from '../../storage/log-store.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, Configuration, SnapshotMeta, StoreOperation } from '../../types.js'
import { append, blockOf, bytes, entriesOf, hardState, T0 } from './blocks.js'
import { configurationBlock, joint, nextTurn, plain, rejects, runs, withoutIdentity } from './store-bench.js'
import type { Behaviour, Bench, Opened } from './store-bench.js'

/** Rounds of appending and compacting in one store. */
const ROUNDS = 60
/** Turns of the event loop that pass, at most, between a submit and the crash. */
const TURNS_MAX = 8

/** Of servers and of the configuration, as a later version writes them. */
const extended: Configuration = {
  voters: [
    { id: 'a', address: 'a.example:7000', extensions: [{ name: 'meta', isRequired: false, value: bytes(9) }] },
    { id: 'b', address: 'b.example:7000' },
  ],
  outgoing: [{ id: 'a', address: 'a.example:7000' }],
  nonvoters: [{ id: 'c', address: 'c.example:7000', promote: false }],
  extensions: [
    { name: 'epoch', isRequired: false, value: bytes(3) },
    { name: 'zone', isRequired: false, value: bytes(0) },
  ],
}

/** A log of 1 .. 12: configurations at 1 and 5; term 1 from 1, 2 from 5, 4 from 10. */
const LOG: readonly Block[] = [
  configurationBlock(1, 1, plain),
  blockOf(2, 1, [10, 20, 30]),
  configurationBlock(5, 2, joint),
  blockOf(6, 2, [1, 2, 3, 4]),
  blockOf(10, 4, [50, 60, 70]),
]
const LOG_TERMS = [0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 4, 4, 4]
const LAST = 12

interface Compaction {
  readonly first: number
  readonly index: number
  readonly keepSuffix: boolean
  /** Of the entry at `index`; by default as LOG says. */
  readonly term?: number
  readonly prevTerm?: number
}

export const compactions: readonly Behaviour[] = [
  {
    name: 'C14 a compaction keeps what is behind first: below the snapshot, at it or right behind it, inside a block, or where it was',
    async run(bench) {
      await (await bench.open()).put(LOG.map(append))
      for (const [first, index] of [
        [1, 3],
        [1, 4],
        [3, 4],
        [5, 4],
        [5, 8],
        [6, 8],
        [8, 8],
        [9, 8],
        [9, LAST],
        [LAST, LAST],
        [LAST + 1, LAST],
      ] as const) {
        const step = { first, index, keepSuffix: true }
        await bench.current().put([compact(step)])
        await checkHeld(bench, step, entriesOf(LOG), `first ${first} with a snapshot at ${index}`)
      }
      const next = blockOf(LAST + 1, 4, [5, 6])
      await bench.current().put([append(next)])
      const step = { first: LAST + 1, index: LAST, keepSuffix: true }
      await checkHeld(bench, step, [...entriesOf(LOG), ...entriesOf([next])], 'entries behind an empty log')
    },
  },
  {
    name: 'a snapshot that keeps nothing replaces the log, shorter or longer than it, and the log goes on right behind it',
    async run(bench) {
      await (await bench.open()).put([...LOG.map(append), { type: 'put', key: 'k', value: bytes(5) }])
      for (const [index, term] of [
        [3, 7],
        [40, 9],
        [40, 9],
      ] as const) {
        await bench.current().put([compact({ first: index + 1, index, term, prevTerm: term, keepSuffix: false })])
        const { store, state } = await bench.reopen()
        deepStrictEqual([state.firstIndex, state.lastIndex, state.prevTerm], [index + 1, index, term])
        deepStrictEqual([state.termRuns, state.configurations, [...state.facts.keys()]], [[], [], ['k']])
        deepStrictEqual(state.snapshot, metaOf(index, term))
        const { firstIndex, lastIndex } = store.stats()
        deepStrictEqual([firstIndex, lastIndex], [index + 1, index])
        const next = blockOf(index + 1, term, [4, 4])
        await bench.current().put([append(next)])
        deepStrictEqual(entriesOf(await readAll(bench.current().store)), entriesOf([next]))
        const again = await bench.reopen()
        deepStrictEqual(again.state.termRuns, runs([index + 1, term]))
        deepStrictEqual(entriesOf(await readAll(again.store)), entriesOf([next]))
      }
    },
  },
  {
    name: 'a snapshot of the same entry takes the place of another one, also where nothing is kept behind it',
    async run(bench) {
      await (await bench.open()).put(LOG.map(append))
      for (const { step, ids } of [
        { step: { first: 6, index: 8, keepSuffix: true }, ids: ['1a', '2b'] },
        { step: { first: 8, index: 8, keepSuffix: true }, ids: ['3c'] },
        { step: { first: LAST + 1, index: LAST, keepSuffix: true }, ids: ['4d', '5e'] },
      ]) {
        for (const id of ids) {
          const snapshot = { ...metaOf(step.index, LOG_TERMS[step.index] ?? 0), id: id.padStart(32, '0') }
          await bench.current().put([{ ...compact(step), snapshot }])
          const { state, store } = await bench.reopen()
          deepStrictEqual([state.firstIndex, state.lastIndex, state.snapshot], [step.first, LAST, snapshot], id)
          const read = step.first > LAST ? [] : await readAll(store)
          deepStrictEqual(entriesOf(read), entriesOf(LOG).slice(step.first - 1), id)
        }
      }
    },
  },
  {
    name: 'one ticket takes effect whole with a compaction in it: what stands before it, and what stands behind it',
    async run(bench) {
      await (await bench.open()).put(LOG.map(append))
      const next = blockOf(31, 8, [1, 1])
      await bench
        .current()
        .put([
          compact({ first: 31, index: 30, term: 8, prevTerm: 8, keepSuffix: false }),
          append(next),
          { type: 'hardState', hardState: hardState(8, 'b', 30) },
          { type: 'put', key: 'k', value: bytes(3) },
        ])
      deepStrictEqual(entriesOf(await readAll(bench.current().store)), entriesOf([next]))
      const { state, put } = await bench.reopen()
      deepStrictEqual([state.firstIndex, state.lastIndex, state.prevTerm], [31, 32, 8])
      deepStrictEqual(state.hardState, hardState(8, 'b', 30))
      deepStrictEqual([...state.facts.keys()], ['k'])
      const later = blockOf(32, 9, [2, 2])
      await put([
        { type: 'truncateSuffix', from: logIndex(32) },
        append(later),
        compact({ first: 32, index: 33, term: 9, prevTerm: 8, keepSuffix: true }),
        { type: 'hardState', hardState: hardState(9, null, 33) },
      ])
      const { state: last, store } = await bench.reopen()
      deepStrictEqual([last.firstIndex, last.lastIndex, last.prevTerm], [32, 33, 8])
      deepStrictEqual([last.termRuns, last.hardState], [runs([32, 9]), hardState(9, null, 33)])
      deepStrictEqual(entriesOf(await readAll(store)), entriesOf([later]))
    },
  },
  {
    name: 'a truncation behind a compaction may go down to first; what follows there is of that term or a later one',
    async run(bench) {
      await (await bench.open()).put(LOG.map(append))
      await bench.current().put([compact({ first: 8, index: 8, keepSuffix: true })])
      await bench.current().put([{ type: 'truncateSuffix', from: logIndex(9) }])
      await checkHeld(bench, { first: 8, index: 8, keepSuffix: true }, entriesOf(LOG).slice(0, 8), 'cut from 9')
      const { store } = bench.current()
      await bench.current().put([{ type: 'truncateSuffix', from: logIndex(8) }])
      deepStrictEqual(await store.read(logIndex(8), logIndex(9), 1000), [])
      const { state } = await bench.reopen()
      deepStrictEqual([state.firstIndex, state.lastIndex, state.prevTerm], [8, 7, 2])
      deepStrictEqual([state.termRuns, state.configurations], [[], []])
      await refused(bench, [append(blockOf(8, 1, [1]))], 'a term below that of the entry before first')
      const next = blockOf(8, 3, [4, 4])
      await bench.current().put([append(next)])
      deepStrictEqual(entriesOf(await readAll((await bench.reopen()).store)), entriesOf([next]))
    },
  },
  {
    name: 'what breaks the rules of a compaction is refused as a defect, and a reopen shows the log of before',
    async run(bench) {
      await (await bench.open()).put(LOG.map(append))
      await bench.current().put([compact({ first: 6, index: 8, keepSuffix: true })])
      for (const [step, what] of [
        [{ first: 5, index: 9, keepSuffix: true }, 'first goes back'],
        [{ first: 11, index: 9, keepSuffix: true }, 'first lies beyond what the snapshot covers'],
        [{ first: 6, index: 7, keepSuffix: true }, 'the snapshot goes back'],
        [{ first: 6, index: 13, term: 4, keepSuffix: true }, 'it keeps a log that ends before the snapshot'],
        [{ first: 6, index: 9, keepSuffix: false }, 'it keeps nothing, and first is not right behind the snapshot'],
      ] as const) {
        await refused(bench, [compact(step)], what)
      }
      await refused(bench, [{ type: 'truncateSuffix', from: logIndex(5) }], 'a truncation below first')
      await checkHeld(bench, { first: 6, index: 8, keepSuffix: true }, entriesOf(LOG), 'after all that was refused')
    },
  },
  {
    name: 'C14 a read that began before a compaction gives the right entries or none; one below first gives no block',
    async run(bench) {
      const { store, until, put } = await bench.open()
      await put(LOG.map(append))
      const asked = LOG_TERMS.slice(1).map((_, at) => at + 1)
      const reads = asked.map((lo) => store.read(logIndex(lo), logIndex(LAST + 1), 1 << 20))
      const ticket = store.submit([compact({ first: 8, index: 8, keepSuffix: true })])
      for (const [at, read] of (await Promise.all(reads)).entries()) {
        if (read.length > 0) deepStrictEqual(entriesOf(read), entriesOf(LOG).slice(at), `read from ${at + 1}`)
      }
      await until(ticket)
      for (const lo of asked) {
        const read = await store.read(logIndex(lo), logIndex(LAST + 1), 1 << 20)
        deepStrictEqual(entriesOf(read), lo < 8 ? [] : entriesOf(LOG).slice(lo - 1), `read from ${lo}`)
      }
      await put([compact({ first: 10, index: 9, term: 6, prevTerm: 6, keepSuffix: false })])
      // Entries 10 to 12 were durable once, and are not kept.
      for (const lo of asked) deepStrictEqual(await store.read(logIndex(lo), logIndex(lo + 1), 1 << 20), [])
    },
  },
  {
    name: 'submit copies the snapshot that a compaction names: what the caller does to it afterwards changes nothing',
    async run(bench) {
      const { store, until, put } = await bench.open()
      await put(LOG.map(append))
      const value = bytes(20)
      const configuration = { ...plain, extensions: [{ name: 'zone', isRequired: false, value }] }
      const snapshot: SnapshotMeta = { ...metaOf(8, 2), configuration }
      const kept = { ...configuration, extensions: [{ name: 'zone', isRequired: false, value: value.slice() }] }
      const operation = {
        type: 'compact',
        first: logIndex(9),
        prevTerm: termOf(2),
        snapshot,
        keepSuffix: true,
      } as const
      const ticket = store.submit([operation])
      value.fill(0xee)
      await until(ticket)
      const { state } = await bench.reopen()
      deepStrictEqual(state.snapshot, { ...snapshot, configuration: kept })
    },
  },
  {
    name: 'appending and compacting may go on for ever, also across reopens',
    async run(bench) {
      await bench.open()
      const entries: object[] = []
      for (let round = 1; round <= ROUNDS; round += 1) {
        const { put, store } = bench.current()
        const block = blockOf(entries.length + 1, round, [round, 300, 5])
        entries.push(...entriesOf([block]))
        const { length } = entries
        const first = Math.max(1, length - 4)
        const prevTerm = first === 1 ? 0 : Math.ceil((first - 1) / 3)
        const step = { first, index: length - 1, term: round, prevTerm, keepSuffix: true }
        await put([append(block), compact(step), { type: 'put', key: `k${round % 5}`, value: bytes(round) }])
        strictEqual(store.stats().firstIndex, first)
        deepStrictEqual(entriesOf(await readAll(store)), entries.slice(first - 1))
        if (round % 10 !== 0) continue
        const { state } = await bench.reopen()
        deepStrictEqual([state.firstIndex, state.lastIndex, state.prevTerm], [first, length, prevTerm])
        strictEqual(state.facts.size, 5)
        deepStrictEqual(entriesOf(await readAll(bench.current().store)), entries.slice(first - 1))
      }
    },
  },
  {
    name: 'D1 a compaction whose write failed is there whole or not at all after a reopen; until then reads go on',
    needs: 'failNextWrite',
    async run(bench) {
      const { store, put, until } = await bench.open()
      await put(LOG.map(append))
      bench.failNextWrite()
      await rejects(until(store.submit([compact({ first: 8, index: 8, keepSuffix: true })])), 'ERR_RAFT_STORE_POISONED')
      strictEqual(store.stats().firstIndex, 1)
      deepStrictEqual(entriesOf(await readAll(store)), entriesOf(LOG))
      const { state, store: again } = await bench.reopen()
      const { firstIndex } = state
      ok(firstIndex === (state.snapshot === null ? 1 : 8), `first index ${firstIndex}`)
      deepStrictEqual(entriesOf(await readAll(again)), entriesOf(LOG).slice(firstIndex - 1))
    },
  },
  {
    name: 'D8 a crash at any moment of a compaction leaves the log of before or that behind the snapshot, never a mix',
    needs: 'crash',
    async run(bench) {
      await (await bench.open()).put([...LOG.map(append), { type: 'hardState', hardState: hardState(4, 'a', 3) }])
      let before = await reopened(bench)
      for (let turns = 0; turns <= TURNS_MAX; turns += 1) {
        const { store } = bench.current()
        const index = before.lastIndex + 10
        const next = blockOf(index + 1, 4 + turns, [7])
        store.submit([
          compact({ first: index + 1, index, term: 4 + turns, prevTerm: 4 + turns, keepSuffix: false }),
          append(next),
          { type: 'hardState', hardState: hardState(4 + turns, 'a', index) },
        ])
        for (let turn = 0; turn < turns; turn += 1) await nextTurn()
        bench.crash()
        await bench.open()
        const found = await reopened(bench)
        if (found.snapshot?.index === index) {
          deepStrictEqual([found.firstIndex, found.lastIndex, found.prevTerm], [index + 1, index + 1, 4 + turns])
          deepStrictEqual(found.hardState, hardState(4 + turns, 'a', index))
          deepStrictEqual(entriesOf(await readAll(bench.current().store)), entriesOf([next]))
        } else {
          deepStrictEqual(ageless(found), ageless(before), `after ${turns} turns`)
        }
        before = found
      }
    },
  },
]

function compact(step: Compaction): Extract<StoreOperation, { readonly type: 'compact' }> {
  const { first, index, keepSuffix } = step
  return {
    type: 'compact',
    first: logIndex(first),
    prevTerm: termOf(step.prevTerm ?? LOG_TERMS[first - 1] ?? 0),
    snapshot: metaOf(index, step.term ?? LOG_TERMS[index] ?? 0),
    keepSuffix,
  }
}

function metaOf(index: number, term: number): SnapshotMeta {
  return {
    id: index.toString(16).padStart(32, 'f0'),
    index: logIndex(index),
    term: termOf(term),
    time: T0 + index,
    configuration: extended,
    configurationIndex: logIndex(Math.max(1, index - 2)),
    clusterName: 'conformance',
  }
}

/** What the store holds now, and once it was opened again: the entries from `first` on, of 1 and all that follow. */
async function checkHeld(bench: Bench, step: Compaction, entries: readonly object[], where: string): Promise<void> {
  const last = entries.length
  const { first, index } = step
  const checkReads = async ({ store }: Opened): Promise<void> => {
    const { firstIndex, lastIndex } = store.stats()
    deepStrictEqual([firstIndex, lastIndex], [first, last], where)
    for (let lo = 1; lo <= last; lo += 1) {
      for (const hi of [lo + 1, last + 1]) {
        const read = await store.read(logIndex(lo), logIndex(hi), 1 << 20)
        ok(read.every((block) => verifyBlock(block.data)))
        deepStrictEqual(entriesOf(read), lo < first ? [] : entries.slice(lo - 1, hi - 1), `${where}: read ${lo}`)
      }
    }
  }
  await checkReads(bench.current())
  const { state } = await bench.reopen()
  await checkReads(bench.current())
  const { firstIndex, lastIndex, prevTerm, snapshot, termRuns, configurations } = state
  deepStrictEqual([firstIndex, lastIndex, prevTerm], [first, last, LOG_TERMS[first - 1]], where)
  deepStrictEqual(snapshot, metaOf(index, LOG_TERMS[index] ?? 0), where)
  const kept = [1, 5, 10].map((begin, n) => ({ begin, end: [5, 10, last + 1][n] ?? 0, term: [1, 2, 4][n] ?? 0 }))
  const expected = kept.filter(({ begin, end }) => end > first && begin <= last)
  deepStrictEqual(termRuns, runs(...expected.map(({ begin, term }) => [Math.max(begin, first), term] as const)), where)
  const all = [
    { index: 1, configuration: plain },
    { index: 5, configuration: joint },
  ]
  deepStrictEqual(
    configurations,
    all.filter((one) => one.index >= first),
    where,
  )
}

/** Refused at submit, or by a fault: the store decides. What it holds is the same afterwards. */
async function refused(bench: Bench, operations: readonly StoreOperation[], what: string): Promise<void> {
  const before = await reopened(bench)
  const outcome = await (async () => bench.current().put(operations))().then(
    () => 'taken',
    () => 'refused',
  )
  strictEqual(outcome, 'refused', what)
  deepStrictEqual(ageless(await reopened(bench)), ageless(before), what)
}

async function reopened(bench: Bench): Promise<StoredState> {
  return (await bench.reopen()).state
}

function ageless(state: StoredState): object {
  return { ...withoutIdentity(state), bootCounter: 0 }
}

async function readAll(store: LogStore): Promise<readonly Block[]> {
  const { firstIndex, lastIndex } = store.stats()
  return store.read(logIndex(firstIndex), logIndex(lastIndex + 1), 1 << 20)
}
