/**
 * The store of snapshots under a random user and a random disk: snapshots are made and received beside each other, cut
 * off, damaged, resumed, removed; calls fail, processes die, the power fails. What was told stays what it was; what was
 * not is whole or not there.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { RaftError } from '#balsa/errors.js'
import { CHUNK_HEAD_BYTES, encodeSnapshotHeader } from '#balsa/format/snapshot.js'
import { FileSnapshotStore } from '#balsa/snapshot/file-snapshot-store.js'
import type { SnapshotIntake, SnapshotSink } from '#balsa/snapshot/snapshot-store.js'
import { bytes } from '#balsa/testing/conformance/blocks.js'
import { cut, headerOf, joined, snapshotBytes } from '#balsa/testing/conformance/snapshots.js'

import { keepSome, ModelDisk } from '../storage/model-disk.js'
import { below, drawSeed, pick, randomFrom } from '../support/seed.js'
import type { Random } from '../support/seed.js'

const test = suite('snapshots: random users and disks')

const seed = drawSeed()
console.log(`random tests: BALSA_SEED=${seed}`)

const RUNS = 100
const STEPS = 60
/** Snapshots 1 .. this; each can be made again, always with the same bytes. */
const KINDS = 5
/** Of those that are received. */
const CHUNK_BYTES = 400

test('N4 N13 N15 whatever happens, what was told is there and right, and nothing is there by halves', async () => {
  const reached = new Map<string, number>()
  for (let run = 0; run < RUNS; run += 1) {
    const user = new User(randomFrom(seed + run), reached)
    try {
      await user.open()
      for (let step = 0; step < STEPS; step += 1) await user.step()
      await user.restart(false)
    } catch (error) {
      throw new Error(`run ${run}, BALSA_SEED=${seed}: ${user.done.slice(-12).join(' ')}`, { cause: error })
    }
  }
  for (const what of ['finished', 'resumed', 'damaged', 'failed', 'power', 'removed', 'found unsure'])
    assert.ok((reached.get(what) ?? 0) > 0, `${what} was never reached`)
})

class User {
  readonly done: string[] = []
  readonly #random: Random
  readonly #reached: Map<string, number>
  readonly #disk = new ModelDisk()
  #store = new FileSnapshotStore('/model', this.#disk)
  /** By number: told as whole, and not given up since. */
  #told = new Set<number>()
  /** Finished in vain, or removed: there or not. */
  readonly #unsure = new Set<number>()
  readonly #sinks = new Map<number, { readonly sink: SnapshotSink; readonly left: Uint8Array[] }>()
  readonly #intakes = new Map<number, SnapshotIntake>()

  constructor(random: Random, reached: Map<string, number>) {
    this.#random = random
    this.#reached = reached
  }

  async open(): Promise<void> {
    this.#store = new FileSnapshotStore('/model', this.#disk)
    const { whole, flawed } = await this.#store.open()
    assert.equal(flawed, [])
    const found = new Set(whole.map(({ header }) => header.term as number))
    for (const n of this.#told) assert.ok(found.has(n), `snapshot ${n} was told and is not there`)
    for (const n of found) {
      assert.ok(this.#told.has(n) || this.#unsure.has(n), `snapshot ${n} is there and was never finished`)
      if (!this.#told.has(n)) this.#reach('found unsure')
      await this.#checkData(n)
    }
    this.#told = found
    this.#unsure.clear()
  }

  /** The power fails, or the process dies; then another one opens what is there. */
  async restart(isPower: boolean): Promise<void> {
    if (isPower) this.#disk.restart(keepSome(this.#random))
    else this.#disk.killProcess()
    this.#reach(isPower ? 'power' : 'killed')
    for (const { sink } of this.#sinks.values()) await sink.abort()
    this.#sinks.clear()
    this.#intakes.clear()
    await this.open()
  }

  async step(): Promise<void> {
    const n = 1 + below(this.#random, KINDS)
    const what = below(this.#random, 20)
    this.done.push(`${what}:${n}`)
    if (what < 7) await this.#make(n)
    else if (what < 13) await this.#receive(n)
    else if (what < 15) await this.#give(n)
    else if (what < 16) await this.#remove(n)
    else if (what < 17) await this.restart(below(this.#random, 2) === 0)
    else if (what < 19) this.#failOne()
    else if (this.#told.has(n)) await this.#checkData(n)
  }

  /** Begins it, goes on with it, or finishes it. */
  async #make(n: number): Promise<void> {
    if (this.#intakes.has(n)) return
    const under = this.#sinks.get(n)
    await this.#attempt(n, async () => {
      if (under === undefined) {
        const sink = await this.#store.create(headerOf(n))
        this.#sinks.set(n, { sink, left: [...cut(dataOf(n), [1 + below(this.#random, 900)])] })
        return
      }
      const next = under.left.shift()
      if (next !== undefined) return under.sink.write(next)
      await under.sink.finish()
      this.#finish(n)
    })
  }

  /** Begins it or takes it over, and hands it some bytes, of which one may be damaged; or finishes it. */
  async #receive(n: number): Promise<void> {
    if (this.#sinks.has(n)) return
    const file = fileOf(n)
    await this.#attempt(n, async () => {
      let intake = this.#intakes.get(n)
      if (intake === undefined || below(this.#random, 4) === 0) {
        intake = await this.#store.receive(headerOf(n), file.length)
        if (intake.received > 0) this.#reach('resumed')
        this.#intakes.set(n, intake)
      }
      const { received } = intake
      const piece = file.slice(received, received + 1 + below(this.#random, 1200))
      if (piece.length === 0) {
        await intake.finish()
        return this.#finish(n)
      }
      const at = below(this.#random, piece.length)
      if (below(this.#random, 5) === 0) piece[at] = (piece[at] ?? 0) ^ (1 << below(this.#random, 8))
      if ((await intake.write(piece)) === 'ok') return
      this.#reach('damaged')
      assert.ok(boundariesOf(n).includes(intake.received), `${intake.received} is in the middle of a chunk`)
    })
  }

  /** Suspends or aborts what is under way. */
  async #give(n: number): Promise<void> {
    const intake = this.#intakes.get(n)
    if (below(this.#random, 2) === 0) await intake?.suspend()
    else await intake?.abort()
    this.#intakes.delete(n)
    await this.#sinks.get(n)?.sink.abort()
    this.#sinks.delete(n)
  }

  /** All but two of them. */
  async #remove(n: number): Promise<void> {
    const kept = new Set([n, 1 + below(this.#random, KINDS)])
    for (const other of this.#told) if (!kept.has(other)) this.#unsure.add(other)
    this.#told = new Set([...this.#told].filter((other) => kept.has(other)))
    const gone = Array.from({ length: KINDS }, (_, at) => at + 1).filter((one) => !kept.has(one))
    await this.#attempt(0, () => this.#store.remove(gone.map((one) => headerOf(one).id)))
    this.#reach('removed')
  }

  /** The next call of the disk, or one soon after it, fails; or the power fails there. */
  #failOne(): void {
    const call = this.#disk.calls + 1 + below(this.#random, 4)
    const fate = pick(this.#random, ['ENOSPC', 'EIO', 'dead'])
    this.#disk.fateOf = (_, number) => {
      if (number !== call) return 'done'
      return fate === 'dead' ? 'dead' : { error: fate, afterBytes: below(this.#random, 30) }
    }
  }

  /** What fails is told by its code, ends what was under way, and may have given a name to what was being finished. */
  async #attempt(n: number, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      assert.ok(error instanceof RaftError && error.code === 'ERR_RAFT_SNAPSHOT_FAILED', String(error))
      this.#reach('failed')
      this.#sinks.delete(n)
      this.#intakes.delete(n)
      if (n > 0 && !this.#told.has(n)) this.#unsure.add(n)
      const isDead = this.#disk.fateOf('write', 0) === 'dead'
      if (isDead) await this.restart(true)
    }
  }

  #finish(n: number): void {
    this.#reach('finished')
    this.#told.add(n)
    this.#unsure.delete(n)
    this.#sinks.delete(n)
    this.#intakes.delete(n)
  }

  async #checkData(n: number): Promise<void> {
    const chunks: Uint8Array[] = []
    for await (const chunk of this.#store.read(headerOf(n).id)) chunks.push(chunk)
    assert.equal(Buffer.from(joined(chunks)), Buffer.from(dataOf(n)))
  }

  #reach(what: string): void {
    this.#reached.set(what, (this.#reached.get(what) ?? 0) + 1)
  }
}

function dataOf(n: number): Uint8Array {
  return bytes(n * 700, n)
}

function fileOf(n: number): Uint8Array {
  return snapshotBytes(headerOf(n), cut(dataOf(n), [CHUNK_BYTES]))
}

/** Where its parts begin. */
function boundariesOf(n: number): readonly number[] {
  const headerBytes = encodeSnapshotHeader(headerOf(n)).length
  const ends = cut(dataOf(n), [CHUNK_BYTES]).map(({ byteOffset, length }) => byteOffset + length)
  return [0, headerBytes, ...ends.map((end, at) => headerBytes + end + (at + 1) * CHUNK_HEAD_BYTES)]
}

test.run()
