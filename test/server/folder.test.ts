/** Whose folder it is: another server's and a copied one are refused by name, over every store that has folders. */

import { cp, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { fileStore, msgpackCodec, nativeStore, Raft } from 'balsa-raft'
import type { Logger, StoreFactory } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { logIndex, STORED_MAX, termOf } from '#balsa/types.js'
import type { StoreOperation } from '#balsa/types.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { refusal } from '../support/failure.js'
import { SumMachine } from '../support/raft-cluster.js'
import type { Command, TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const BOOTSTRAP = ['s1', 's2'].map((id) => ({ id, address: `${id}:1` }))
const SILENT: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const DATA_FILES = { lmdb: 'data.mdb', journal: 'data.mdb', file: 'log' }

interface Opening {
  readonly id: string
  readonly dir: string
  readonly acceptCopiedFolder?: boolean
  readonly acceptPeerBoot?: readonly string[]
  readonly logger?: Logger
}

for (const storage of [nativeStore({ mode: 'lmdb' }), nativeStore({ mode: 'journal' }), fileStore()]) {
  const test = suite(`folders of the ${storage.name} store`)
  const dataFile = DATA_FILES[storage.name as keyof typeof DATA_FILES]

  test('the folder of another server is refused with both names, and stays usable for its own', async () => {
    await inFolder(async (at) => {
      await openAndClose(storage, { id: 's1', dir: at('s1') })
      const error = await refusal(open(storage, { id: 's2', dir: at('s1') }), 'ERR_RAFT_WRONG_FOLDER')
      for (const text of [at('s1'), 'belongs to server s1', 'this is server s2']) assert.match(error.message, text)
      await openAndClose(storage, { id: 's1', dir: at('s1') })
    })
  })

  test('two swapped folders are both refused', async () => {
    await inFolder(async (at) => {
      for (const id of ['s1', 's2']) await openAndClose(storage, { id, dir: at(id) })
      await rename(at('s1'), at('aside'))
      await rename(at('s2'), at('s1'))
      await rename(at('aside'), at('s2'))
      for (const id of ['s1', 's2']) await refusal(open(storage, { id, dir: at(id) }), 'ERR_RAFT_WRONG_FOLDER')
    })
  })

  test('D10 a copied folder is refused; the error names it, what is at stake, and what to do', async () => {
    await inFolder(async (at) => {
      await openAndClose(storage, { id: 's1', dir: at('s1') })
      await cp(at('s1'), at('copy'), { recursive: true, preserveTimestamps: true })
      const error = await refusal(open(storage, { id: 's1', dir: at('copy') }), 'ERR_RAFT_COPIED_FOLDER')
      for (const text of [at('copy'), 'is a copy, or was restored', 'is forgotten', 'acceptCopiedFolder', 'README']) {
        assert.match(error.message, text)
      }
      await refusal(open(storage, { id: 's1', dir: at('copy') }), 'ERR_RAFT_COPIED_FOLDER')
      await openAndClose(storage, { id: 's1', dir: at('s1') })
    })
  })

  test('D10 a copy taken while the server ran, and put back later, is refused', async () => {
    await inFolder(async (at) => {
      const server = await open(storage, { id: 's1', dir: at('s1') })
      await cp(at('s1'), at('backup'), { recursive: true })
      await server.close()
      await openAndClose(storage, { id: 's1', dir: at('s1') })
      await rm(at('s1'), { recursive: true })
      await cp(at('backup'), at('s1'), { recursive: true })
      await refusal(open(storage, { id: 's1', dir: at('s1') }), 'ERR_RAFT_COPIED_FOLDER')
    })
  })

  test('D10 a data file that was put in the place of the old one is refused', async () => {
    await inFolder(async (at) => {
      await openAndClose(storage, { id: 's1', dir: at('s1') })
      await cp(at(`s1/${dataFile}`), at('restored'))
      await rename(at('restored'), at(`s1/${dataFile}`))
      await refusal(open(storage, { id: 's1', dir: at('s1') }), 'ERR_RAFT_COPIED_FOLDER')
    })
  })

  test('D10 an operator takes a copy once, with a warning, and it is the folder from then on', async () => {
    await inFolder(async (at) => {
      await openAndClose(storage, { id: 's1', dir: at('s1') })
      await cp(at('s1'), at('copy'), { recursive: true })
      const warned: string[] = []
      const logger = { ...SILENT, warn: (event: string) => void warned.push(event) }
      await openAndClose(storage, { id: 's1', dir: at('copy'), acceptCopiedFolder: true, logger })
      assert.ok(warned.includes('folder.copied'), warned.join(', '))
      await openAndClose(storage, { id: 's1', dir: at('copy') })
      warned.length = 0
      await openAndClose(storage, { id: 's1', dir: at('copy'), acceptCopiedFolder: true, logger })
      assert.not.ok(warned.includes('folder.copied'), 'what is no copy is not taken for one')
      await refusal(open(storage, { id: 's2', dir: at('copy'), acceptCopiedFolder: true }), 'ERR_RAFT_WRONG_FOLDER')
    })
  })

  test('a folder that is moved within its filesystem, renamed or reached by another path is the same', async () => {
    await inFolder(async (at) => {
      await openAndClose(storage, { id: 's1', dir: at('s1') })
      await rename(at('s1'), at('moved'))
      await openAndClose(storage, { id: 's1', dir: at('moved') })
      await openAndClose(storage, { id: 's1', dir: join(at('.'), 'x', '..', 'moved') })
    })
  })

  test('a folder without these facts, as older versions made it, gets them at its next start', async () => {
    await inFolder(async (at) => {
      await openAndClose(storage, { id: 's1', dir: at('s1') })
      await forgetFacts(storage, at('s1'))
      await openAndClose(storage, { id: 's1', dir: at('s1') })
      await refusal(open(storage, { id: 's2', dir: at('s1') }), 'ERR_RAFT_WRONG_FOLDER')
      await cp(at('s1'), at('copy'), { recursive: true })
      await refusal(open(storage, { id: 's1', dir: at('copy') }), 'ERR_RAFT_COPIED_FOLDER')
    })
  })

  test('a server whose folder is deleted halts within seconds, with an error that names the folder', async () => {
    await inFolder(async (at) => {
      const server = await open(storage, { id: 's1', dir: at('s1') })
      await rm(at('s1'), { recursive: true })
      const fault = await server.closed
      assert.is(fault?.code, 'ERR_RAFT_STORE_POISONED')
      assert.match(fault?.message ?? '', at('s1'))
      assert.match(fault?.message ?? '', 'deleted, moved or replaced')
      await refusal(server.apply({ add: 1 }), 'ERR_RAFT_STORE_POISONED')
      await server.close()
    })
  })

  test.run()
}

const memory = suite('folders of the memory store')

memory('a store that the filesystem knows nothing of still knows its server', async () => {
  const storage = memoryStore()
  await openAndClose(storage, { id: 's1', dir: 'one' })
  await openAndClose(storage, { id: 's1', dir: 'one' })
  await refusal(open(storage, { id: 's2', dir: 'one' }), 'ERR_RAFT_WRONG_FOLDER')
})

memory(
  'a store with a number that nothing could follow is refused by name, not opened to end with an assertion',
  async () => {
    for (const term of [2 ** 53 - 1, STORED_MAX + 1]) {
      const storage = memoryStore()
      await openAndClose(storage, { id: 's1', dir: 'one' })
      await submit(storage, 'one', [
        { type: 'hardState', hardState: { term: termOf(term), votedFor: null, commitIndex: logIndex(1) } },
      ])
      const error = await refusal(open(storage, { id: 's1', dir: 'one' }), 'ERR_RAFT_STORE_CORRUPT')
      for (const text of ['the folder one', `the term ${term}`, 'in an empty directory'])
        assert.match(error.message, text)
    }
  },
)

memory('a peer whose boot is to be accepted must be a member', async () => {
  const opening = { id: 's1', dir: 'one', acceptPeerBoot: ['s9'] }
  const error = await refusal(open(memoryStore(), opening), 'ERR_RAFT_OPTIONS')
  assert.match(error.message, 'acceptPeerBoot names s9')
})

function open(storage: StoreFactory, { id, dir, ...more }: Opening): Promise<TestRaft> {
  const network = new MemoryNetwork({ clock: systemClock() })
  return Raft.open({
    ...{ id, dir, bootstrap: BOOTSTRAP, storage, transport: network.transport(`${id}:1`) },
    stateMachine: new SumMachine(),
    logger: false,
    codec: msgpackCodec<Command>(),
    ...more,
  })
}

async function openAndClose(storage: StoreFactory, opening: Opening): Promise<void> {
  await (await open(storage, opening)).close()
}

function forgetFacts(storage: StoreFactory, dir: string): Promise<void> {
  return submit(
    storage,
    dir,
    ['serverId', 'fingerprint'].map((key) => ({ type: 'delete', key }) as const),
  )
}

async function submit(storage: StoreFactory, dir: string, operations: readonly StoreOperation[]): Promise<void> {
  const store = storage.create(dir)
  await store.open(() => {})
  const ticket = store.submit(operations)
  await until('it is durable', () => store.poll().durable >= ticket)
  await store.close()
}

async function inFolder(run: (at: (name: string) => string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'balsa-folder-'))
  try {
    await run((name) => join(folder, name))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

memory.run()
