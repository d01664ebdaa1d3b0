/**
 * The store of snapshots when the power fails at each call that changes something, with whatever part of the unflushed
 * bytes and names the disk chooses to keep: a snapshot is there whole or not at all, and there once it was told.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { FileSnapshotStore } from '#balsa/snapshot/file-snapshot-store.js'
import type { FoundSnapshots } from '#balsa/snapshot/snapshot-store.js'
import { bytes } from '#balsa/testing/conformance/blocks.js'
import { headerOf, snapshotBytes } from '#balsa/testing/conformance/snapshots.js'

import { keepSome, ModelDisk } from '../storage/model-disk.js'
import { drawSeed, randomFrom } from '../support/seed.js'

const test = suite('snapshots: failures of the power')

const seed = drawSeed()
console.log(`random tests: BALSA_SEED=${seed}`)

const DIR = '/model/server'
/** How often the disk draws what it keeps, besides nothing and everything. */
const DRAWS = 6

/** Snapshots 1, 2, ... in the order in which they are told; the last is received, in the second half after a cut. */
const work: readonly ((store: FileSnapshotStore) => Promise<void>)[] = [
  (store) => makeOne(store, 1),
  (store) => makeOne(store, 2),
  (store) => store.remove([headerOf(1).id]),
  async (store) => {
    const file = snapshotBytes(headerOf(3), [bytes(300, 3), bytes(200, 3)])
    const first = await store.receive(headerOf(3), file.length)
    await first.write(file.subarray(0, 400))
    await first.suspend()
    const second = await store.receive(headerOf(3), file.length)
    await second.write(file.subarray(second.received))
    await second.finish()
  },
]

test('N13 D8 H1-24 after a failure of the power at any call each snapshot is whole or not there, and there once told', async () => {
  const random = randomFrom(seed)
  let dies = true
  for (let call = 1; dies; call += 1) {
    const draws = Array.from({ length: DRAWS }, () => keepSome(random))
    for (const [at, keep] of [() => false, () => true, ...draws].entries()) {
      const disk = new ModelDisk()
      disk.fateOf = (_, number) => (number === call ? 'dead' : 'done')
      const done = await drive(disk)
      dies = disk.calls >= call
      disk.restart(keep)
      await checkFound(disk, done, `power failed at call ${call}, keeper ${at}, BALSA_SEED=${seed}`)
    }
  }
})

test('D8 what a killed process left under its name is durable before open tells of it', async () => {
  let dies = true
  for (let call = 1; dies; call += 1) {
    const disk = new ModelDisk()
    disk.fateOf = (_, number) => (number === call ? 'dead' : 'done')
    await drive(disk)
    dies = disk.calls >= call
    disk.killProcess()
    const found = await openOnce(disk)
    disk.restart(() => false)
    const later = await openOnce(disk)
    assert.equal(later, found, `process killed at call ${call}`)
  }
})

/** How many steps were told. */
async function drive(disk: ModelDisk): Promise<number> {
  const store = new FileSnapshotStore(DIR, disk)
  let done = 0
  try {
    await store.open()
    for (const step of work) {
      await step(store)
      done += 1
    }
  } catch {
    // What was not told is judged by what is found.
  }
  await store.close()
  return done
}

async function checkFound(disk: ModelDisk, done: number, where: string): Promise<void> {
  const store = new FileSnapshotStore(DIR, disk)
  const { whole, flawed } = await store.open()
  assert.equal(flawed, [], where)
  const found = new Set(whole.map(({ header }) => header.index / 10))
  for (const { header } of whole) await store.verify(header.id)
  // The third step removes the first snapshot, and its removal is not flushed.
  const told = [done === 1 || done === 2 ? [1] : [], done >= 2 ? [2] : [], done >= 4 ? [3] : []].flat()
  for (const n of told) assert.ok(found.has(n), `snapshot ${n} was told and is not there: ${where}`)
  const begun = done >= 3 ? 3 : done + 1
  for (const n of found) assert.ok(n <= begun, `snapshot ${n} is there after ${done} steps: ${where}`)
  await makeOne(store, 4)
  await store.verify(headerOf(4).id)
  await store.close()
  assert.is((await openOnce(disk)).whole[0]?.header.index, 40, where)
}

async function openOnce(disk: ModelDisk): Promise<FoundSnapshots> {
  const store = new FileSnapshotStore(DIR, disk)
  const found = await store.open()
  await store.close()
  return found
}

async function makeOne(store: FileSnapshotStore, n: number): Promise<void> {
  const sink = await store.create(headerOf(n))
  await sink.write(bytes(700, n))
  await sink.finish()
}

test.run()
