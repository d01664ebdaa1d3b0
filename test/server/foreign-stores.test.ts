/**
 * A store that users bring, or whose disk fails in a way that nobody foresaw: what it throws is an error with a code
 * and words, and ends this server alone, never the process.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Raft } from 'balsa-raft'
import type { LogStore, StoreFactory } from 'balsa-raft'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { failure } from '../support/failure.js'
import { LoneServer, optionsOf, StageTransport } from '../support/lone-server.js'
import { ManualClock } from '../transport/manual-clock.js'

interface Context {
  /** What nobody awaited: any of it ends a process. */
  stray: unknown[]
  note: (error: unknown) => void
}

const test = suite<Context>('stores that users bring')

test.before.each((context) => {
  context.stray = []
  context.note = (error) => void context.stray.push(error)
  process.on('uncaughtException', context.note)
  process.on('unhandledRejection', context.note)
})
test.after.each(async (context) => {
  await nextTurn()
  await nextTurn()
  process.off('uncaughtException', context.note)
  process.off('unhandledRejection', context.note)
  assert.equal(context.stray.map(String), [])
})

/** Calls of every store of a factory, changed once `from` says so. */
function failing(storage: StoreFactory, changes: Partial<LogStore>, isFailing: () => boolean): StoreFactory {
  return {
    name: storage.name,
    create: (dir) =>
      new Proxy(storage.create(dir), {
        get: (store, name) => {
          const change: unknown = isFailing() ? Reflect.get(changes, name) : undefined
          const value: unknown = change ?? Reflect.get(store, name, store)
          return typeof value === 'function' ? (value.bind(store) as unknown) : value
        },
      }),
  }
}

/** As node:fs makes it. */
const broken = (): Error => Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })

const throws = (): never => {
  throw broken()
}
const rejects = (): Promise<never> => Promise.reject(broken())

test('an error of the system from a write halts the server, and says what it was', async () => {
  let isFailing = false
  const lone = await LoneServer.open((storage) => failing(storage, { submit: throws }, () => isFailing))
  await lone.lead()
  isFailing = true
  const error = await failure(Promise.race([lone.raft.apply({ add: 1 }), lone.turns().then(() => lone.raft.closed)]))
  assert.is(error.code, 'ERR_RAFT_STORE_POISONED', error.message)
  assert.is(error.outcome, 'unknown')
  assert.match(error.message, /^the store failed to write: Error: EIO: i\/o error\. /)
  await lone.close()
})

test('a fault that is no error of the library is told as one', async () => {
  let isFailing = false
  const lone = await LoneServer.open((storage) => {
    const progress = { durable: 0, credit: 0, fault: broken() as never, stalled: false, full: null }
    return failing(storage, { poll: () => progress }, () => isFailing)
  })
  isFailing = true
  lone.raft.ready().catch(() => {})
  const fault = await lone.raft.closed
  assert.is(fault?.code, 'ERR_RAFT_STORE_POISONED', fault?.message)
  await lone.close()
})

test('an error of the system while a replay reads halts the server, and the process goes on', async () => {
  const storage = memoryStore()
  const first = await Raft.open({
    ...optionsOf(storage, new StageTransport()),
    bootstrap: [{ id: 's1', address: 's1:1' }],
  })
  await first.ready()
  await first.apply({ add: 1 })
  await first.close()
  let isFailing = false
  const options = optionsOf(
    failing(storage, { read: rejects }, () => isFailing),
    new StageTransport(),
  )
  const raft = await Raft.open({ ...options, bootstrap: [{ id: 's1', address: 's1:1' }] })
  isFailing = true
  const fault = await raft.closed
  assert.is(fault?.code, 'ERR_RAFT_STORE_POISONED', fault?.message)
  assert.match(fault?.message ?? '', /^the store failed to read the entries from \d+: Error: EIO: i\/o error\. /)
  await raft.close()
})

test('a store that takes long to open is told of once, and no more when it has opened', async () => {
  const clock = new ManualClock()
  const warnings: string[] = []
  const quiet = (): void => {}
  const warn = (event: string, fields: object = {}): void => void warnings.push(`${event} ${JSON.stringify(fields)}`)
  let answer: () => void = quiet
  const slow: Partial<LogStore> = {
    async open(this: LogStore, onWake) {
      await new Promise<void>((resolve) => (answer = resolve))
      return memory.open(onWake)
    },
  }
  const memory = memoryStore().create('/s1')
  const storage = failing({ name: 'slow', create: () => memory }, slow, () => true)
  const logger = { debug: quiet, info: quiet, warn, error: quiet }
  const opening = Raft.open({ ...optionsOf(storage, new StageTransport()), clock, logger })
  clock.advance(9999)
  assert.equal(warnings, [])
  clock.advance(60_000)
  assert.is(warnings.length, 1)
  assert.match(
    warnings[0] ?? '',
    /^store\.warning .*has not opened within 10000 ms: its disk is slow, or does not answer/,
  )
  answer()
  await (await opening).close()
  assert.is(clock.pending, 0)
})

test('what a store or a transport throws at the start is an error of the library, however it is thrown', async () => {
  const storage = memoryStore()
  await (await Raft.open(optionsOf(storage, new StageTransport()))).close()
  const unreadable = failing(storage, { read: rejects }, () => true)
  const inRead = await failure(Raft.open(optionsOf(unreadable, new StageTransport())))
  assert.is(inRead.code, 'ERR_RAFT_STORE_POISONED', inRead.message)
  const unopened = failing(storage, { open: throws }, () => true)
  const inOpen = await failure(Raft.open(optionsOf(unopened, new StageTransport())))
  assert.is(inOpen.code, 'ERR_RAFT_DIR_UNUSABLE', inOpen.message)
  const deaf = Object.assign(new StageTransport(), { start: throws })
  const inStart = await failure(Raft.open(optionsOf(storage, deaf)))
  assert.is(inStart.code, 'ERR_RAFT_LISTEN', inStart.message)
})

test.run()
