/**
 * A snapshot of the data set of `apps/kv` while it changes: the state machine in this process, as fast as it applies,
 * and the snapshot written to a file, as the library takes it. Beside it, the same load without one.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import { logIndex, termOf } from '#balsa/types.js'
import { DataSet } from 'balsa-kv/data-set/data-set.js'
import { encodeCommand } from 'balsa-kv/replication/entry-codec.js'
import { KvStateMachine } from 'balsa-kv/replication/kv-state-machine.js'
import { machineClock } from 'balsa-kv/server/clock.js'
import type { Settings } from '../settings.js'
import type { OpenSuite, Sample, Suite } from '../suite.js'

const KEYS = 1_000_000
const VALUE_BYTES = 100
/** Entries that are applied together, and then the event loop goes on. */
const BATCH = 256

export const kvSnapshot: Suite = {
  name: 'kv-snapshot',
  purpose: 'a snapshot of a million keys of apps/kv under writes: pauses, and what is left for the writes',
  minutes: 1,
  rounds: 5,
  seconds: 3,
  metrics: [
    { key: 'longestTurn', head: 'longest turn ms', digits: 1 },
    { key: 'longestBefore', head: 'the same without', digits: 1 },
    { key: 'perSecond', head: 'entries/s', digits: 0 },
    { key: 'share', head: 'of without', digits: 2 },
    { key: 'seconds', head: 'snapshot s', digits: 1 },
    { key: 'keptMiB', head: 'kept MiB', digits: 0 },
  ],
  judged: { key: 'longestTurn', better: 'less' },
  open,
}

const NOTES = [
  'longest turn: from one turn of the event loop to the next, with a batch of 256 SETs of keys drawn at random in each',
  'without: right before the snapshot, for the length of a measurement, which is shorter than a snapshot; kept: the most that was set aside',
]

async function open(settings: Settings): Promise<OpenSuite> {
  const folder = mkdtempSync(join(settings.dir, 'kv-snapshot-'))
  const load = new Load()
  await load.fill()
  return {
    cases: [
      {
        contender: 'balsa-kv',
        at: { keys: KEYS, bytes: VALUE_BYTES },
        measure: () => measure(load, join(folder, 'snapshot'), settings.seconds * 1000),
      },
    ],
    skipped: [],
    notes: NOTES,
    close: () => Promise.resolve(rmSync(folder, { recursive: true, force: true })),
  }
}

async function measure(load: Load, file: string, milliseconds: number): Promise<Sample> {
  await load.run(() => load.elapsed >= milliseconds / 3)
  const before = await load.run(() => load.elapsed >= milliseconds)
  let isWritten = false
  const writing = write(load.machine, file).finally(() => (isWritten = true))
  const during = await load.run(() => isWritten)
  await writing
  return {
    longestTurn: during.longestTurn,
    longestBefore: before.longestTurn,
    perSecond: during.perSecond,
    share: during.perSecond / before.perSecond,
    seconds: during.milliseconds / 1000,
    keptMiB: during.keptMost / 2 ** 20,
  }
}

async function write(machine: KvStateMachine, path: string): Promise<void> {
  const source = machine.snapshot()
  const file = await openFile(path, 'w')
  try {
    for await (const piece of source) await file.writeFile(piece)
    await file.datasync()
  } finally {
    await file.close()
  }
}

interface Loaded {
  readonly milliseconds: number
  readonly perSecond: number
  readonly longestTurn: number
  readonly keptMost: number
}

/** Writes to keys that are there, a batch in each turn. */
class Load {
  readonly #data = new DataSet()
  readonly machine = new KvStateMachine(this.#data, machineClock)
  #index = 0
  #startedAt = 0

  get elapsed(): number {
    return performance.now() - this.#startedAt
  }

  async fill(): Promise<void> {
    for (let key = 0; key < KEYS; key += BATCH) {
      await this.#apply(Array.from({ length: Math.min(BATCH, KEYS - key) }, (_, n) => this.#set(key + n)))
    }
  }

  async run(isOver: () => boolean): Promise<Loaded> {
    this.#startedAt = performance.now()
    let entries = 0
    let longestTurn = 0
    let keptMost = 0
    for (let turnAt = this.#startedAt; !isOver();) {
      await this.#apply(this.#draw())
      entries += BATCH
      keptMost = Math.max(keptMost, this.#data.keptBytes)
      await new Promise<void>((resolve) => void setImmediate(resolve))
      const now = performance.now()
      longestTurn = Math.max(longestTurn, now - turnAt)
      turnAt = now
    }
    const milliseconds = this.elapsed
    return { milliseconds, perSecond: (entries * 1000) / milliseconds, longestTurn, keptMost }
  }

  #draw(): readonly Uint8Array[] {
    return Array.from({ length: BATCH }, () => this.#set(Math.floor(Math.random() * KEYS)))
  }

  #set(key: number): Uint8Array {
    return encodeCommand(['set', `key:${key}`, `${key}`.padEnd(VALUE_BYTES, 'v')])
  }

  async #apply(commands: readonly Uint8Array[]): Promise<void> {
    const time = 1_000_000
    const batch = commands.map((command) => {
      return { index: logIndex((this.#index += 1)), term: termOf(1), time, command }
    })
    await this.machine.apply(batch, { appliedIndex: logIndex(this.#index), isAwaited: () => true, replaying: false })
  }
}
