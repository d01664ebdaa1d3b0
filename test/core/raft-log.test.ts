/**
 * The log against a model that keeps every entry and every block: random appends, truncations, settlements and trims.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftLog } from '#balsa/core/raft-log.js'
import { RaftCore } from '#balsa/core/index.js'
import type { Configuration, LogIndex, SnapshotMeta, Term } from '#balsa/types.js'
import { logIndex, termOf } from '#balsa/types.js'
import { SETTINGS, votersOnly } from '#balsa/testing/stage/stage.js'
import { ENTRY_BYTES, entriesOf, makeBlock, stageBlockMaker } from '#balsa/testing/stage/blocks.js'
import { appendEntries, endingAt, matched, snapshotAt } from '../support/messages.js'
import { below, drawSeed, randomFrom, randomInt } from '../support/seed.js'
import type { Random } from '../support/seed.js'

const STEPS = 500
const RUNS = 6
const BASE = votersOnly(['s1', 's2', 's3'])

interface ModelEntry {
  readonly term: number
  readonly payload: number
}

interface ModelBlock {
  readonly first: number
  readonly last: number
  readonly configuration: Configuration | null
}

/** A log, and what should be in it. */
class Subject {
  readonly log: RaftLog
  /** The entry of index i at i - 1. The first ones were on the disk when the log was opened. */
  readonly entries: ModelEntry[]
  /** Everything appended and not truncated, whether or not the log has forgotten its bytes. */
  blocks: ModelBlock[] = []
  /** In force where the blocks begin. */
  base = BASE
  readonly #random: Random
  #payload = 0

  constructor(random: Random) {
    this.#random = random
    this.entries = [1, 1, 2].map((term) => ({ term, payload: 0 }))
    const termRuns = [
      { first: logIndex(1), term: termOf(1) },
      { first: logIndex(3), term: termOf(2) },
    ]
    const configurations = [{ index: logIndex(1), configuration: BASE }]
    const start = {
      firstIndex: logIndex(1),
      prevTerm: termOf(0),
      snapshot: null,
      appliedIndex: logIndex(0),
      lastIndex: logIndex(3),
      commitIndex: logIndex(0),
      termRuns,
      configurations,
    }
    this.log = new RaftLog(start, stageBlockMaker)
  }

  step(): void {
    const dice = below(this.#random, 22)
    if (dice === 20) this.#compact()
    else if (dice === 21) this.#install()
    else if (dice < 12) this.#append()
    else if (dice < 16) this.#settle()
    else if (dice < 19) this.#trim()
    else this.#truncate()
  }

  #append(): void {
    const term = this.log.lastTerm + Math.max(0, below(this.#random, 12) - 9)
    const first = this.log.lastIndex + 1
    const payloads = Array.from({ length: randomInt(this.#random, 1, 5) }, () => (this.#payload += 1))
    const changes = below(this.#random, 8) === 0
    const configuration = changes ? votersOnly([`s${first}`]) : null
    const block = { ...makeBlock(first, term, changes ? payloads.slice(0, 1) : payloads), configuration }
    this.log.append(block)
    for (const entry of entriesOf(block)) this.entries.push(entry)
    this.blocks.push({ first, last: block.last, configuration })
  }

  #settle(): void {
    const { log } = this
    log.durableTo(logIndex(randomInt(this.#random, log.durableIndex, log.lastIndex + 1)))
    log.commitTo(logIndex(randomInt(this.#random, log.commitIndex, log.lastIndex + 1)))
    const applicable = Math.min(log.commitIndex, log.durableIndex)
    if (applicable > log.appliedIndex)
      log.appliedTo(logIndex(randomInt(this.#random, log.appliedIndex + 1, applicable + 1)))
  }

  #trim(): void {
    const { log } = this
    const bytesMax = below(this.#random, 40) * ENTRY_BYTES
    const before = log.tailFirst
    const upTo = logIndex(randomInt(this.#random, 0, log.lastIndex + 2))
    log.trimTail(bytesMax, upTo)
    const kept = this.#bytesOf((block) => block.last >= log.tailFirst)
    const oldest = this.blocks.find(({ last }) => last >= log.tailFirst)
    const settled = Math.min(log.appliedIndex, log.durableIndex, upTo)
    assert.ok(
      kept <= bytesMax || (oldest?.last ?? 0) > settled,
      'a tail above its bound begins with what is not settled',
    )
    if (log.tailFirst === before) return
    const gone = this.blocks.filter(({ last }) => last >= before && last < log.tailFirst)
    assert.ok(
      gone.every(({ last }) => last <= settled),
      'what is to be written or applied, and what reaches beyond, stays',
    )
    const last = gone.at(-1)
    assert.ok(kept + ENTRY_BYTES * ((last?.last ?? 0) - (last?.first ?? 0) + 1) > bytesMax, 'and so does what fits')
  }

  #truncate(): void {
    const { log } = this
    const lowest = Math.max(log.settledIndex + 1, log.lastIndex - 6)
    if (lowest > log.lastIndex) return
    const from = randomInt(this.#random, lowest, log.lastIndex + 1)
    const durable = Math.min(log.durableIndex, from - 1)
    log.truncateSuffix(logIndex(from))
    this.entries.length = from - 1
    this.blocks = this.blocks.flatMap((block) =>
      block.first >= from ? [] : [{ ...block, last: Math.min(block.last, from - 1) }],
    )
    assert.is(log.durableIndex, durable)
  }

  /** A snapshot of its own: what it covers is applied, and some of that is kept. */
  #compact(): void {
    const { log } = this
    if (log.restoreDue !== null || log.appliedIndex === 0) return
    const covered = Math.max(log.snapshot?.index ?? 1, log.appliedIndex - below(this.#random, 4))
    if (covered > log.appliedIndex) return
    const first = randomInt(this.#random, log.firstIndex, covered + 2)
    log.compact(logIndex(first), this.#snapshot(covered, this.entries[covered - 1]?.term ?? 0))
    this.#forget(first)
  }

  /** One of another server, whose log may be longer than this one, or another one. */
  #install(): void {
    const { log, entries } = this
    if (below(this.#random, 3) > 0) return
    const { commitIndex } = log
    const index = commitIndex + 1 + below(this.#random, 6)
    const here = entries[index - 1]?.term
    const term = here ?? log.lastTerm
    const agrees = here !== undefined && below(this.#random, 2) === 0
    const snapshot = this.#snapshot(index, agrees ? term : term + 1)
    assert.is(log.install(snapshot), agrees)
    if (!agrees) {
      const committed = entries.slice(0, commitIndex)
      while (committed.length < index) committed.push({ term: snapshot.term, payload: 0 })
      entries.splice(0, entries.length, ...committed)
      this.blocks = []
    }
    this.#forget(index + 1)
    assert.is(log.commitIndex, index)
    assert.is(log.restoreDue, snapshot)
    // Its ticket is written, and the state machine has it.
    log.durableTo(logIndex(Math.max(log.durableIndex, index)))
    log.restoredTo(logIndex(index))
    assert.is(log.restoreDue, null)
  }

  #snapshot(index: number, term: number): SnapshotMeta {
    const newest = this.blocks.filter(({ first, configuration }) => configuration !== null && first <= index).at(-1)
    if (newest !== undefined && newest.configuration !== null) this.base = newest.configuration
    return snapshotAt(index, term, this.base)
  }

  #forget(first: number): void {
    this.blocks = this.blocks.filter((block) => block.last >= first)
    assert.is(this.log.firstIndex, first)
  }

  check(): void {
    const { log, entries } = this
    assert.is(log.lastIndex, entries.length)
    assert.is(log.lastTerm, entries.at(-1)?.term)
    assert.ok(log.tailFirst >= log.firstIndex)
    for (let index = 0; index <= entries.length + 1; index += 1) {
      const isKept = index === 0 || index >= log.firstIndex - 1
      const term = index === 0 ? 0 : isKept ? (entries[index - 1]?.term ?? null) : null
      assert.is(log.termAt(logIndex(index)), term, `the term of ${index}`)
    }
    const newest = this.blocks.filter(({ configuration }) => configuration !== null).at(-1)
    assert.equal(log.configuration, newest?.configuration ?? this.base)
    this.#checkComparisons()
    this.#checkTail()
  }

  #checkComparisons(): void {
    const { log, entries } = this
    const term = randomInt(this.#random, 0, log.lastTerm + 2) as Term
    const index = logIndex(below(this.#random, entries.length + 3))
    const newer = term > log.lastTerm || (term === log.lastTerm && index >= entries.length)
    assert.is(log.isUpToDate(index, term), newer)
    const agreed = Math.min(index, entries.length, log.firstIndex - 1)
    const atMost = Math.max(entries.findLastIndex((entry, at) => entry.term <= term && at < index) + 1, agreed)
    assert.is(log.lastIndexWithTermAtMost(term, index), atMost, `the last entry up to ${index} of term ${term} or less`)
    const first = logIndex(randomInt(this.#random, 1, entries.length + 3))
    const last = logIndex(first + below(this.#random, 4))
    const other = entries.findIndex(
      (entry, at) => at >= Math.max(first, log.firstIndex) - 1 && at < last && entry.term !== term,
    )
    assert.is(log.firstConflict(first, last, term), other === -1 ? null : other + 1, `${first}-${last} of term ${term}`)
  }

  #checkTail(): void {
    const { log, entries } = this
    assert.is(
      log.tailBytes,
      this.#bytesOf((block) => block.last >= log.tailFirst),
    )
    const index = randomInt(this.#random, 0, entries.length + 1)
    assert.is(
      log.bytesAbove(logIndex(index)),
      this.#bytesOf(({ last }) => last >= log.tailFirst && last > index),
    )
    assert.is(log.lastBlock?.last ?? log.tailFirst - 1, entries.length)
    if (log.tailFirst > log.lastIndex) return
    const from = logIndex(randomInt(this.#random, log.tailFirst, log.lastIndex + 1))
    const last = logIndex(randomInt(this.#random, from, log.lastIndex + 1))
    this.#checkBlocks(from, last, below(this.#random, 12) * ENTRY_BYTES)
  }

  #checkBlocks(from: LogIndex, last: LogIndex, bytesMax: number): void {
    const found = this.log.blocks(from, last, bytesMax)
    const end = found.at(-1)?.last ?? 0
    assert.is(found[0]?.first, from)
    const got = found.flatMap(entriesOf).map(({ term, payload }) => ({ term, payload }))
    assert.equal(
      got,
      this.entries.slice(from - 1, end).map(({ term, payload }) => ({ term, payload })),
    )
    // Bounded by whole blocks: that of the first one counts although it may be cut.
    const first = this.blocks.findIndex((block) => block.last >= from)
    const count = found.length
    assert.ok(count === 1 || this.#spanBytes(first, count) <= bytesMax, `${count} blocks within ${bytesMax} bytes`)
    assert.ok(end >= last || this.#spanBytes(first, count + 1) > bytesMax, 'no block is left out that fits')
    assert.ok((this.blocks[first + count - 1]?.first ?? 0) <= last, 'and none is beyond the end')
  }

  #spanBytes(first: number, count: number): number {
    const span = this.blocks.slice(first, first + count)
    return span.reduce((bytes, block) => bytes + ENTRY_BYTES * (block.last - block.first + 1), 0)
  }

  #bytesOf(counts: (block: ModelBlock) => boolean): number {
    return this.blocks.filter(counts).reduce((bytes, { first, last }) => bytes + ENTRY_BYTES * (last - first + 1), 0)
  }
}

test('a log is what was appended and not truncated, and its tail is the newest part of it', () => {
  const seed = drawSeed()
  for (let run = 0; run < RUNS; run += 1) {
    const random = randomFrom(seed + run)
    const subject = new Subject(random)
    let step = 0
    try {
      for (; step < STEPS; step += 1) {
        subject.step()
        subject.check()
      }
    } catch (error) {
      console.error(`raft log: run ${run}, step ${step}: BALSA_SEED=${seed} npm test -- raft-log`)
      throw error
    }
  }
})

test('C14: a log that begins later names no term for what it no longer has, and agrees with every leader there', () => {
  const core = new RaftCore({
    id: 's2',
    store: { incarnation: 's2', hasJoined: false },
    settings: SETTINGS,
    hardState: { term: termOf(2), votedFor: null, commitIndex: logIndex(4) },
    log: {
      firstIndex: logIndex(5),
      prevTerm: termOf(2),
      snapshot: snapshotAt(4, 2),
      appliedIndex: logIndex(0),
      lastIndex: logIndex(6),
      commitIndex: logIndex(4),
      termRuns: [{ first: logIndex(5), term: termOf(2) }],
      configurations: [],
    },
    maker: stageBlockMaker,
    random: () => 0,
    now: 0,
  })
  core.step({ type: 'request', from: 's1', link: 0, message: appendEntries(2, '3/1', []) })
  assert.equal(
    core.takeReady().messages.map(({ message }) => message),
    [endingAt(6, matched(2, 3))],
  )
  const terms = [0, 3, 4, 5, 7].map((index) => core.log.termAt(logIndex(index)))
  assert.equal(terms, [0, null, 2, 2, null], 'before the first entry one term is known')
})

test.run()
