/**
 * The file store when the power fails at each call that changes something, with whatever part of the unflushed bytes
 * and names the disk chooses to keep: it holds a whole number of tickets, at least those it reported.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import type { FileLogStore } from '#balsa/storage/file/file-log-store.js'
import { SEGMENT_BYTES } from '#balsa/storage/file/segments.js'
import type { StoredState } from '#balsa/storage/log-store.js'

import { below, drawSeed, randomFrom } from '../support/seed.js'
import { drawTickets, heldAfterEach, heldBy, SMALL_SEGMENT, submitAll, withFile } from './file-harness.js'
import type { Tickets, Waker } from './file-harness.js'
import { keepSome, ModelDisk } from './model-disk.js'

const test = suite('file store: failures of the power')

const seed = drawSeed()
console.log(`random tests: BALSA_SEED=${seed}`)

const TICKETS = 14
/** The calls that make a store and open it. */
const CALLS_TO_MAKE = 21
/** How often the disk draws what it keeps, besides nothing and everything: more often where names are at stake. */
const DRAWS = 2
const DRAWS_TO_MAKE = 16

type WithStore = <T>(
  disk: ModelDisk,
  use: (store: FileLogStore, state: StoredState, waker: Waker) => Promise<T>,
) => Promise<T>

for (const segmentBytes of [SEGMENT_BYTES, SMALL_SEGMENT]) {
  const withStore: WithStore = (disk, use) => withFile(disk, use, segmentBytes)

  test(`C11 D2 D8 after a failure of the power at any call, the store holds whole tickets, and all that were reported, in segments of ${segmentBytes} bytes`, async () => {
    const random = randomFrom(seed)
    const tickets = drawTickets(random, TICKETS)
    const held = await heldAfterEach(tickets)
    let dies = true
    for (let call = 1; dies; call += 1) {
      const draws = Array.from({ length: call <= CALLS_TO_MAKE ? DRAWS_TO_MAKE : DRAWS }, () => keepSome(random))
      for (const [at, keep] of [() => false, () => true, ...draws].entries()) {
        const disk = new ModelDisk()
        disk.fateOf = (_, number) => (number === call ? 'dead' : 'done')
        const before = await drive(withStore, disk, tickets)
        dies = disk.calls >= call
        const where = `power failed at call ${call}, keeper ${at}, BALSA_SEED=${seed}`
        disk.restart(keep)
        if (below(random, 2) === 0) await failInOpen(withStore, disk, 1 + below(random, 6), keep)
        await checkAndGoOn(withStore, disk, tickets, held, before, where)
      }
    }
  })

  test(`what a killed process left in the cache alone is durable before it is reported, in segments of ${segmentBytes} bytes`, async () => {
    const tickets = drawTickets(randomFrom(seed + 1), TICKETS)
    const held = await heldAfterEach(tickets)
    let dies = true
    for (let call = 1; dies; call += 1) {
      const disk = new ModelDisk()
      disk.fateOf = (_, number) => (number === call ? 'dead' : 'done')
      const before = await drive(withStore, disk, tickets)
      dies = disk.calls >= call
      disk.killProcess()
      const [found, known] = await withStore(disk, async (store, state) => [await heldBy(store, state), state])
      disk.restart(() => false)
      await withStore(disk, async (store, state) => {
        const after = await heldBy(store, state)
        assert.is(after, found, `process killed at call ${call}, BALSA_SEED=${seed}`)
        assert.ok(held.indexOf(after, before.reported) <= before.submitted)
        assert.is(state.incarnation, known.incarnation)
        assert.is(state.bootCounter, known.bootCounter + 1)
      })
    }
  })

  test(`a failure of the power while the store opens again after a kill loses nothing that was reported, in segments of ${segmentBytes} bytes`, async () => {
    const tickets = drawTickets(randomFrom(seed + 3), TICKETS)
    const held = await heldAfterEach(tickets)
    const random = randomFrom(seed + 4)
    // The first flushes the mark of an open; the next are those of the first tickets.
    for (let call = CALLS_TO_MAKE; call <= CALLS_TO_MAKE + 6; call += 1) {
      for (let trial = 0; trial < 24; trial += 1) {
        const disk = new ModelDisk()
        disk.fateOf = (_, number) => (number === call ? 'dead' : 'done')
        const before = await drive(withStore, disk, tickets)
        disk.killProcess()
        await failInOpen(withStore, disk, 1 + (trial % 6), keepSome(random))
        await checkAndGoOn(
          withStore,
          disk,
          tickets,
          held,
          before,
          `killed at call ${call}, trial ${trial}, BALSA_SEED=${seed}`,
        )
      }
    }
  })

  test(`D11 a batch whose flush failed is durable, or gone, once the store was opened again, in segments of ${segmentBytes} bytes`, async () => {
    const tickets = drawTickets(randomFrom(seed + 2), TICKETS)
    for (let failing = 1; failing <= 6; failing += 1) {
      const disk = new ModelDisk()
      await withStore(disk, async (store, _, waker) => {
        let flushes = 0
        disk.fateOf = (call) => (call === 'datasync' && (flushes += 1) === failing ? { error: 'EIO' } : 'done')
        await submitAll(store, tickets, waker)
        assert.is(store.poll().fault?.code, 'ERR_RAFT_STORE_POISONED')
      })
      const found = await withStore(disk, heldBy)
      disk.restart(() => false)
      assert.is(await withStore(disk, heldBy), found, `flush ${failing} failed, BALSA_SEED=${seed}`)
    }
  })
}

interface Driven {
  readonly submitted: number
  readonly reported: number
  readonly boot: number
}

/** Half of the tickets, a close, an open, the other half; ends at the first failure. */
async function drive(withStore: WithStore, disk: ModelDisk, tickets: Tickets): Promise<Driven> {
  const half = tickets.length / 2
  let driven: Driven = { submitted: 0, reported: 0, boot: 0 }
  for (const from of [0, half]) {
    if (driven.reported < from) break
    try {
      await withStore(disk, async (store, state, waker) => {
        driven = { ...driven, boot: state.bootCounter }
        const reported = await submitAll(store, tickets.slice(from, from + half), waker)
        driven = { ...driven, submitted: from + half, reported: from + reported }
      })
    } catch {
      break
    }
  }
  return driven
}

async function failInOpen(withStore: WithStore, disk: ModelDisk, call: number, keep: () => boolean): Promise<void> {
  disk.fateOf = (_, number) => (number === call ? 'dead' : 'done')
  await withStore(disk, async () => {}).catch(() => {})
  disk.restart(keep)
}

async function checkAndGoOn(
  withStore: WithStore,
  disk: ModelDisk,
  tickets: Tickets,
  held: readonly string[],
  before: Driven,
  where: string,
): Promise<void> {
  const next = await withStore(disk, async (store, state, waker) => {
    const found = held.indexOf(await heldBy(store, state), before.reported)
    assert.ok(found >= 0, `not what the tickets from ${before.reported} on leave: ${where}`)
    assert.ok(found <= before.submitted, `${found} tickets, ${before.submitted} were submitted: ${where}`)
    assert.ok(state.bootCounter > before.boot, `boot ${state.bootCounter} after ${before.boot}: ${where}`)
    const rest = tickets.slice(found)
    if (rest.length > 0) assert.is(await submitAll(store, rest, waker), rest.length, where)
    return state.bootCounter + 1
  })
  await withStore(disk, async (store, state) => {
    assert.is(await heldBy(store, state), held.at(-1), where)
    assert.is(state.bootCounter, next)
  })
}

test.run()
