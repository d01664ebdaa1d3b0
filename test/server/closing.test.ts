/**
 * Closing is total: whatever fails on the way, everything that was opened is given back, every promise settles, and
 * nothing else is touched.
 */

import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore, nativeStore, Raft } from 'balsa-raft'
import type { LogStore, StoreFactory, RaftError } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import type { TransportHandlers } from '#balsa/transport/transport.js'
import type { Identity } from '#balsa/types.js'
import { failure } from '../support/failure.js'
import { LoneServer, optionsOf, StageTransport } from '../support/lone-server.js'
import { testUnless } from '../support/skip.js'

interface Context {
  dir: string
  closes: (() => Promise<void>)[]
}

const test = suite<Context>('closing')

test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'balsa-closing-'))
  context.closes = []
})
test.after.each(async (context) => {
  for (const close of context.closes) await close()
  rmSync(context.dir, { recursive: true, force: true })
})

/** Overrides calls of every store that a factory makes. */
function changing(storage: StoreFactory, change: (store: LogStore) => Partial<LogStore>): StoreFactory {
  return {
    name: storage.name,
    create: (dir) => {
      const store = storage.create(dir)
      const changed = change(store)
      return new Proxy(store, {
        get: (target, name) => {
          const value: unknown = Reflect.get(changed, name) ?? Reflect.get(target, name, target)
          return typeof value === 'function' ? (value.bind(target) as unknown) : value
        },
      })
    },
  }
}

const refuses = (message: string) => (): Promise<never> => Promise.reject(new Error(message))

interface Refused {
  readonly start?: () => Promise<never>
  readonly close?: () => Promise<void>
}

class RefusingTransport extends StageTransport {
  readonly #refused: Refused

  constructor(refused: Refused) {
    super()
    this.#refused = refused
  }

  override start(self: Identity, handlers: TransportHandlers): Promise<string> {
    return this.#refused.start?.() ?? super.start(self, handlers)
  }

  override close(): Promise<void> {
    return this.#refused.close?.() ?? super.close()
  }
}

/** A folder that was given back can be opened again. */
async function isFree(storage: StoreFactory, dir = '/s1'): Promise<void> {
  const raft = await Raft.open({ ...optionsOf(storage, new StageTransport()), dir })
  await raft.close()
}

test('a leader that closes leads no more by its status, from the call on', async () => {
  const lone = await LoneServer.open()
  await lone.lead()
  assert.is(lone.raft.status.leader?.id, 's1')
  const { term, lastIndex } = lone.raft.status
  const closing = lone.close()
  for (const wait of [null, closing]) {
    await wait
    const { status } = lone.raft
    assert.equal([status.role, status.leader], ['follower', null])
    assert.equal([status.term, status.lastIndex], [term, lastIndex])
  }
})

test('a close that meets a store which poisons itself ends, gives the folder back, and says why', async () => {
  const storage = memoryStore()
  const raft = await Raft.open(optionsOf(storage, new StageTransport()))
  const server = storage.disk('/s1')
  server.failTicket(1, 'lost')
  await raft.close()
  assert.is((await raft.closed)?.code, 'ERR_RAFT_STORE_POISONED')
  await isFree(storage)
})

test('a close that finds the store poisoned ends, gives the folder back, and tells the fault', async () => {
  const storage = memoryStore()
  const inner = { store: null as LogStore | null }
  const factory = changing(storage, (store) => {
    inner.store = store
    return {}
  })
  const raft = await Raft.open(optionsOf(factory, new StageTransport()))
  storage.disk('/s1').failTicket(1, 'lost')
  inner.store?.submit([{ type: 'put', key: 'x', value: new Uint8Array(1) }])
  // The store knows before the server has had a turn.
  for (let tick = 0; tick < 10; tick += 1) await Promise.resolve()
  assert.is(inner.store?.poll().fault?.code, 'ERR_RAFT_STORE_POISONED')
  await raft.close()
  assert.is((await raft.closed)?.code, 'ERR_RAFT_STORE_POISONED')
  await isFree(storage)
})

test('a transport that does not close, or does not end doing so, keeps neither the folder nor the caller', async () => {
  for (const close of [refuses('no'), () => new Promise<void>(() => {})]) {
    const storage = memoryStore()
    const clock = systemClock()
    const hurried = { ...clock, setTimer: (_delayMs: number, run: () => void) => clock.setTimer(1, run) }
    const options = { ...optionsOf(storage, new RefusingTransport({ close })), clock: hurried }
    const raft = await Raft.open(options)
    await raft.close()
    assert.is(await raft.closed, null)
    await isFree(storage)
  }
})

test('a server that halts settles `closed` though its transport does not end', async (context) => {
  const storage = memoryStore()
  const clock = systemClock()
  const hurried = { ...clock, setTimer: (_delayMs: number, run: () => void) => clock.setTimer(1, run) }
  const transport = new RefusingTransport({ close: () => new Promise<void>(() => {}) })
  const raft = await Raft.open({ ...optionsOf(storage, transport), clock: hurried })
  context.closes.push(() => raft.close())
  storage.disk('/s1').failTicket(1, 'lost')
  transport.handlers.onRequest('s2', 1, {
    ...{ type: 'RequestVote', term: 5, lastIndex: 1, lastTerm: 1 },
  } as never)
  assert.is((await raft.closed)?.code, 'ERR_RAFT_STORE_POISONED')
})

test('a store that does not close is told as such, and `closed` settles all the same', async () => {
  const storage = changing(memoryStore(), () => ({ close: refuses('the disk says no') }))
  const raft = await Raft.open(optionsOf(storage, new StageTransport()))
  const closing = raft.close()
  const error = await failure(closing)
  assert.match(error.message, 'the disk says no')
  assert.match(error.message, '/s1')
  assert.is(raft.close(), closing, 'twice is once')
  assert.is(await raft.closed, error)
})

test('a store that never ends closing is given up, in words that say what stays locked', async () => {
  const clock = systemClock()
  const hurried = { ...clock, setTimer: (_delayMs: number, run: () => void) => clock.setTimer(1, run) }
  const storage = changing(memoryStore(), () => ({ close: () => new Promise<void>(() => {}) }))
  const raft = await Raft.open({ ...optionsOf(storage, new StageTransport()), clock: hurried })
  const error = await failure(raft.close())
  assert.is(error.code, 'ERR_RAFT_DIR_LOCKED')
  assert.match(error.message, '/s1')
  assert.is(await raft.closed, error)
})

test('a close from a listener, twice, or in the middle of a turn leaves nothing armed', async () => {
  const server = await LoneServer.open()
  const { raft, clock, transport } = server
  const closings: Promise<void>[] = []
  raft.on('role', () => void closings.push(raft.close()))
  raft.on('role', () => {
    throw new Error('a listener of the test')
  })
  await server.turns()
  clock.advance(300)
  await server.turns()
  assert.is(closings.length, 1)
  await Promise.all([...closings, raft.close()])
  assert.is(await raft.closed, null)
  assert.is(clock.pending, 0, 'no timer')
  assert.equal(transport.requests, [])
  assert.equal(server.occupied, {})
})

test('one transport serves one server: a second open is refused by name, and the first runs on', async (context) => {
  const network = new MemoryNetwork({ clock: systemClock() })
  for (const transport of [tcp({ listen: '127.0.0.1:0' }), network.transport('s1:1'), new StageTransport()]) {
    const alone = { bootstrap: [{ id: 's1', address: 's1:1' }] }
    const storage = memoryStore()
    const options = { ...optionsOf(storage, transport), ...alone }
    const raft = await Raft.open(options)
    context.closes.push(() => raft.close())
    const second = failure(Raft.open({ ...options, dir: '/other' }))
    const third = failure(Raft.open(options))
    for (const error of [await second, await third]) {
      assert.is(error.code, 'ERR_RAFT_OPTIONS')
      assert.match(error.message, /transport already serves server s1: make one for each/)
    }
    assert.is(storage.disk('/other').bootCounter, 0, 'its folder was not touched')
    await raft.ready({ timeoutMs: 20_000 })
    assert.is(await raft.apply({ add: 1 }), 1)
  }
})

test('the same options open once what was in the way is gone', async (context) => {
  const { dir } = context
  const taken = createServer()
  const port = await new Promise<number>((resolve) => {
    taken.listen(0, '127.0.0.1', () => {
      const address = taken.address()
      resolve(typeof address === 'object' && address !== null ? address.port : 0)
    })
  })
  const options = { ...optionsOf(fileStore(), tcp({ listen: `127.0.0.1:${port}` })), dir }
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning)
  process.on('warning', onWarning)
  // More often than Node lets one emitter have listeners of a kind.
  for (let time = 0; time < 12; time += 1) assert.is((await failure(Raft.open(options))).code, 'ERR_RAFT_LISTEN')
  process.off('warning', onWarning)
  assert.equal(warnings, [])
  await new Promise((resolve) => taken.close(resolve))
  const raft = await Raft.open(options)
  await raft.close()
  const again = await failure(Raft.open(options))
  assert.is(again.code, 'ERR_RAFT_OPTIONS')
  assert.match(again.message, /was closed: make one for each/)
})

test('a memory transport opens again when its address is free, and once it was closed says so', async () => {
  const network = new MemoryNetwork({ clock: systemClock() })
  const first = await Raft.open(optionsOf(memoryStore(), network.transport('s1:1')))
  const options = optionsOf(memoryStore(), network.transport('s1:1'))
  for (let time = 0; time < 2; time += 1) assert.is((await failure(Raft.open(options))).code, 'ERR_RAFT_LISTEN')
  await first.close()
  await (await Raft.open(options)).close()
  assert.match((await failure(Raft.open(options))).message, /was closed: make one for each/)
})

const refusals: readonly (readonly [string, RaftError['code'], (dir: string) => object])[] = [
  [
    'a transport that does not start',
    'ERR_RAFT_LISTEN',
    () => ({ transport: new RefusingTransport({ start: refuses('no') }) }),
  ],
  [
    'a transport that neither starts nor closes',
    'ERR_RAFT_LISTEN',
    () => ({ transport: new RefusingTransport({ start: refuses('no'), close: refuses('never') }) }),
  ],
  ['a folder that is a file', 'ERR_RAFT_DIR_UNUSABLE', (dir) => ({ dir: join(dir, 'file') })],
  ['a folder below a file', 'ERR_RAFT_DIR_UNUSABLE', (dir) => ({ dir: join(dir, 'file', 'below') })],
  ['a name with a zero', 'ERR_RAFT_DIR_UNUSABLE', (dir) => ({ dir: join(dir, 'a\0b') })],
  ['another cluster', 'ERR_RAFT_CLUSTER_MISMATCH', () => ({ cluster: 'another' })],
]

for (const [name, code, wrong] of refusals) {
  for (const [storeName, storage] of [
    ['file', fileStore()],
    ['native', nativeStore()],
  ] as const) {
    testUnless(
      test,
      process.platform === 'linux' ? null : 'reads /proc',
      `an open that is refused for ${name} leaves nothing of the ${storeName} store open`,
      async ({ dir }: Context) => {
        writeFileSync(join(dir, 'file'), '')
        const good = { ...optionsOf(storage, new StageTransport()), dir: join(dir, 's1') }
        await (await Raft.open(good)).close()
        const error = await failure(Raft.open({ ...good, transport: new StageTransport(), ...wrong(dir) }))
        assert.is(error.code, code, error.message)
        assert.equal(openBelow(dir), [])
        await (await Raft.open({ ...good, transport: new StageTransport() })).close()
      },
    )
  }
}

/** Files of this process below a folder. */
function openBelow(dir: string): readonly string[] {
  return readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      const path = readlinkSync(join('/proc/self/fd', name))
      return path.startsWith(dir) ? [path] : []
    } catch {
      return []
    }
  })
}

test('a factory that throws, or makes no store, and a store that cannot open, are refused by name', async () => {
  const good = optionsOf(memoryStore(), new StageTransport())
  const broken: readonly (readonly [string, StoreFactory, RegExp])[] = [
    [
      'throws',
      {
        name: 'mine',
        create: () => {
          throw new Error('out of ink')
        },
      },
      /storage.*mine.*out of ink/,
    ],
    ['makes nothing', { name: 'mine', create: () => undefined as never }, /storage.*mine.*store/],
    [
      'makes a promise',
      { name: 'mine', create: async () => memoryStore().create('/x') } as never,
      /storage.*mine.*store/,
    ],
  ]
  for (const [name, storage, message] of broken) {
    const error = await failure(Raft.open({ ...good, storage }))
    assert.is(error.code, 'ERR_RAFT_OPTIONS', name)
    assert.match(error.message, message, name)
  }
  const storage = changing(memoryStore(), () => ({ open: refuses('out of paper') }))
  const error = await failure(Raft.open({ ...good, storage }))
  assert.is(error.code, 'ERR_RAFT_DIR_UNUSABLE')
  assert.match(error.message, /\/s1.*out of paper/)
})

test.run()
