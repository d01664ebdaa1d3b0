/** Memory that is counted is memory that is held: small blocks leave the slab in which they came. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { RaftLog } from '#balsa/core/raft-log.js'
import { decodeBlock, sliceBlock } from '#balsa/format/block.js'
import { incarnationsOf, withIncarnations } from '#balsa/format/incarnations.js'
import { ownBlocks } from '#balsa/format/own-blocks.js'
import { blockOf, entriesOf } from '#balsa/testing/conformance/blocks.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'
import { votersOnly } from '#balsa/testing/stage/stage.js'
import { LoneServer } from '../support/lone-server.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries } from '../support/messages.js'

const SLAB_BYTES = 256 * 1024

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const test = suite('kept blocks')

test('a follower that is sent one small entry for each slab holds no more memory than it counts', async () => {
  const lone = await LoneServer.open()
  const { handlers } = lone.transport
  const heldBefore = await held()
  let counted = 0
  for (let index = 2; index <= 300; index += 1) {
    const [block] = received([blockOf(index, 2, [100])])
    counted += block?.data.byteLength ?? 0
    const prev = index === 2 ? '1/1' : (`${index - 1}/2` as const)
    handlers.onRequest('s2', 1, appendEntries(2, prev, block === undefined ? [] : [block]))
    await lone.turns()
  }
  assert.is(lone.raft.status.durableIndex, 300)
  const grown = (await held()) - heldBefore
  // The store in memory has its own copy of each block; the slab of the newest one may still be filled.
  assert.ok(grown < 4 * counted + 2 * SLAB_BYTES, `${grown} bytes are held for ${counted}`)
  assert.is(lone.machine.applied.length, 0)
  await lone.close()
})

test('blocks that fill their memory stay where they are; others are copied, all of one memory together', () => {
  const large = received([blockOf(1, 1, [40_000]), blockOf(2, 1, [40_000])])
  assert.is(ownBlocks(large), large)
  const small = received([blockOf(3, 1, [100]), blockOf(4, 1, [200, 7])])
  const mixed = [...large, ...small]
  const owned = ownBlocks(mixed)
  assert.is(owned[0], large[0])
  assert.is(owned[1], large[1])
  assert.equal(entriesOf(owned), entriesOf(mixed))
  const [third, fourth] = owned.slice(2)
  assert.is(third?.data.buffer, fourth?.data.buffer)
  assert.is(third?.data.buffer.byteLength, bytesOf(small))
  assert.equal(ownBlocks([]), [])
})

test('a slab that many small blocks fill, one message after the other, is not left; one that few were in is', () => {
  const log = emptyLog()
  const many = received(Array.from({ length: 12 }, (_, at) => blockOf(2 + at, 2, [18_000])))
  const few = received([blockOf(14, 2, [18_000]), blockOf(15, 2, [300])])
  const next = received([blockOf(16, 2, [70_000])])
  for (const block of [...many, ...few, ...next]) log.append(block)
  const kept = log.blocks(logIndex(2), log.lastIndex, 1 << 20)
  assert.equal(entriesOf(kept), entriesOf([...many, ...few, ...next]))
  for (const [at, block] of many.entries()) assert.is(kept[at], block)
  const memories = new Set(kept.slice(12, 14).map(({ data }) => data.buffer))
  assert.equal(
    [...memories].map(({ byteLength }) => byteLength),
    [bytesOf(few)],
  )
})

test('what a truncation leaves of one memory is not held with all of it', () => {
  for (const from of [4, 5, 6]) {
    const log = emptyLog()
    const before = received([blockOf(2, 1, [70_000])])
    const blocks = received([blockOf(3, 1, [10]), blockOf(4, 1, [20, 30]), blockOf(6, 1, [90_000])])
    for (const block of [...before, ...blocks]) log.append(block)
    log.truncateSuffix(logIndex(from))
    const left = log.blocks(logIndex(2), log.lastIndex, 1 << 20)
    const expected = entriesOf([...before, ...blocks]).slice(0, from - 2)
    assert.equal(entriesOf(left), expected)
    assert.is(left[0], before[0])
    const memories = new Set(left.slice(1).map(({ data }) => data.buffer))
    const memory = [...memories].reduce((sum, { byteLength }) => sum + byteLength, 0)
    assert.ok(memory <= 4 * bytesOf(left.slice(1)), `${memory} bytes are held for ${bytesOf(left.slice(1))}`)
    assert.is(log.tailBytes, bytesOf(left))
  }
})

/** A log with its first entry, and nothing in memory. */
function emptyLog(): RaftLog {
  const configurations = [{ index: logIndex(1), configuration: votersOnly(['s1']) }]
  const termRuns = [{ first: logIndex(1), term: termOf(1) }]
  const bounds = {
    prevTerm: termOf(0),
    snapshot: null,
    appliedIndex: logIndex(0),
    firstIndex: logIndex(1),
    lastIndex: logIndex(1),
    commitIndex: logIndex(1),
  }
  const one = (): Block => makeBlock(1, 1, [0])
  const maker = {
    noop: one,
    configuration: one,
    metaOf: () => null,
    incarnationsOf,
    withIncarnations,
    slice: sliceBlock,
    keep: ownBlocks,
  }
  return new RaftLog({ ...bounds, termRuns, configurations }, maker)
}

/** The blocks as one message of a slab of their own, with whatever else came in it. */
function received(blocks: readonly Block[]): readonly Block[] {
  const slab = new Uint8Array(SLAB_BYTES)
  let at = 1000
  return blocks.map(({ data }) => {
    slab.set(data, at)
    at += data.byteLength
    return decodeBlock(slab.subarray(at - data.byteLength, at))
  })
}

function bytesOf(blocks: readonly Block[]): number {
  return blocks.reduce((sum, { data }) => sum + data.byteLength, 0)
}

/** Memory outside of the heap, once everything that nobody holds is gone. */
async function held(): Promise<number> {
  for (let pass = 0; pass < 3; pass += 1) {
    collect()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().arrayBuffers
}

test.run()
