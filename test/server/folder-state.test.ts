/** What is told of a folder that no server runs from, and a folder that is made a member's before its server starts. */

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore, msgpackCodec, nativeStore, Raft } from 'balsa-raft'
import type { FolderState, StoreFactory } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { refusal } from '../support/failure.js'
import { SumMachine } from '../support/raft-cluster.js'
import type { Command, TestRaft } from '../support/raft-cluster.js'

const ALONE = [{ id: 's1', address: 's1:1' }]
const DATA_FILES = { lmdb: 'data.mdb', journal: 'data.mdb', file: 'segment-00000001' }

for (const storage of [nativeStore({ mode: 'lmdb' }), nativeStore({ mode: 'journal' }), fileStore(), memoryStore()]) {
  const test = suite(`state of folders of the ${storage.name} store`)

  test('a folder that was never used has no state, and is left as it is', async () => {
    await inFolder(async (at) => {
      assert.is(await Raft.hasState(at('nowhere'), { storage }), null)
      await mkdir(at('empty'))
      assert.is(await Raft.hasState(at('empty'), { storage }), null)
      assert.equal(await readdir(at('.')), ['empty'])
      assert.equal(await readdir(at('empty')), [])
    })
  })

  test('a folder that was used tells its server, its cluster and its log, and nothing in it changes', async () => {
    await inFolder(async (at) => {
      const server = await open(at('s1'), { storage })
      await server.ready()
      await server.apply({ add: 1 })
      const { clusterId, lastIndex, term } = server.status
      const error = await refusal(Raft.hasState(at('s1'), { storage }), 'ERR_RAFT_DIR_LOCKED')
      assert.ok(error.message.length > 0)
      await server.close()
      const before = await contentsOf(at('s1'), storage)
      const state = await Raft.hasState(at('s1'), { storage })
      const { configuration, configurationIndex, ...rest } = state as FolderState
      assert.equal(rest, {
        ...{
          id: 's1',
          clusterId,
          recoveries: [],
          format: storage.name,
          firstIndex: 1,
          lastIndex,
          lastTerm: term,
          term,
        },
        ...{ commitIndex: lastIndex, snapshotIndex: null },
      })
      assert.equal([configuration.voters, configurationIndex], [ALONE, 1])
      assert.equal(await Raft.hasState(at('s1'), { storage }), state)
      assert.equal(await contentsOf(at('s1'), storage), before)
    })
  })

  test('a folder is made a member before its server starts, once, whatever is said again', async () => {
    await inFolder(async (at) => {
      const options = { id: 's1', dir: at('s1'), bootstrap: ALONE, storage }
      const made = await Raft.bootstrap(options)
      assert.is(made.isNew, true)
      const state = await Raft.hasState(at('s1'), { storage })
      assert.equal([state?.id, state?.clusterId, state?.lastIndex, state?.term], ['s1', made.clusterId, 1, 1])
      assert.equal(await Raft.bootstrap(options), { ...made, isNew: false })
      const other = { ...options, bootstrap: [...ALONE, { id: 's2', address: 's2:1' }] }
      await refusal(Raft.bootstrap(other), 'ERR_RAFT_CLUSTER_MISMATCH')
      const [, second] = other.bootstrap
      const asAnother = { ...options, id: 's2', bootstrap: [...ALONE, ...(second === undefined ? [] : [second])] }
      await refusal(Raft.bootstrap({ ...asAnother }), 'ERR_RAFT_CLUSTER_MISMATCH')
      const server = await open(at('s1'), { storage })
      await server.ready()
      assert.is(await server.apply({ add: 3 }), 3)
      await server.close()
    })
  })

  test('what is wrong with the options of the calls that open a folder is said by name', async () => {
    const options = { id: 's1', dir: 'nowhere', bootstrap: ALONE, storage }
    const bad: readonly (readonly [Promise<unknown>, string])[] = [
      [Raft.bootstrap({ ...options, id: 's9' }), 'bootstrap does not name this server, s9'],
      [Raft.bootstrap({ ...options, recoveries: ['x'] }), 'recoveries must be the list'],
      [Raft.bootstrap({ ...options, bootstap: [] } as never), 'bootstap is unknown'],
      [Raft.hasState(''), 'dir must be'],
      [Raft.hasState('nowhere', { storage: {} as never }), 'storage must be'],
      [Raft.hasState('nowhere', { dir: 'x' } as never), 'dir is unknown'],
      [Raft.hasState('nowhere', { storage: withoutInspect(storage) }), 'has no function inspect'],
      [Raft.recover('nowhere', [], { storage }), 'servers must be a list'],
      [Raft.recover('nowhere', [...ALONE, ...ALONE], { storage }), 'servers names server s1 twice'],
      [Raft.recover('nowhere', ALONE, { storage, force: true } as never), 'force is unknown'],
      [Raft.recover('nowhere', ALONE, { storage, mayLoseData: 1 as never }), 'mayLoseData must be true or false'],
    ]
    for (const [call, what] of bad) assert.match((await refusal(call, 'ERR_RAFT_OPTIONS')).message, what)
  })

  test.run()
}

function open(dir: string, { storage }: { readonly storage: StoreFactory }): Promise<TestRaft> {
  const network = new MemoryNetwork({ clock: systemClock() })
  return Raft.open({
    ...{ id: 's1', dir, bootstrap: ALONE, storage, transport: network.transport('s1:1') },
    ...{ stateMachine: new SumMachine(), logger: false, codec: msgpackCodec<Command>() },
  })
}

function withoutInspect(storage: StoreFactory): StoreFactory {
  return { ...storage, create: (dir) => Object.assign(storage.create(dir), { inspect: undefined }) }
}

/** What the files hold, but for those that say who has them open. */
async function contentsOf(dir: string, storage: StoreFactory): Promise<readonly unknown[]> {
  if (storage.name === 'memory') return []
  const names = (await readdir(dir)).filter((name) => name !== 'LOCK' && name !== 'lock.mdb' && name !== 'snapshots')
  return Promise.all(names.toSorted().map(async (name) => [name, (await readFile(join(dir, name))).toString('base64')]))
}

async function inFolder(run: (at: (name: string) => string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'balsa-state-'))
  try {
    await run((name) => join(folder, name))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const untold = suite('folders that cannot be told')

for (const storage of [nativeStore({ mode: 'lmdb' }), nativeStore({ mode: 'journal' }), fileStore()]) {
  untold(
    `${storage.name}: a folder that is damaged, or of another format, is refused as an open refuses it`,
    async () => {
      await inFolder(async (at) => {
        await Raft.bootstrap({ id: 's1', dir: at('s1'), bootstrap: ALONE, storage })
        const other = storage.name === 'file' ? nativeStore() : fileStore()
        await refusal(Raft.hasState(at('s1'), { storage: other }), 'ERR_RAFT_STORE_FORMAT')
        await writeFile(join(at('s1'), DATA_FILES[storage.name as keyof typeof DATA_FILES]), 'x')
        await refusal(Raft.hasState(at('s1'), { storage }), 'ERR_RAFT_STORE_CORRUPT')
        // Whoever failed has let go of the lock.
        await refusal(open(at('s1'), { storage }), 'ERR_RAFT_STORE_CORRUPT')
      })
    },
  )

  untold(
    `${storage.name}: a folder that holds snapshots and no log is told as one that lost its log, and nobody is sent to begin anew`,
    async () => {
      await inFolder(async (at) => {
        await mkdir(join(at('s1'), 'snapshots'), { recursive: true })
        for (const call of [open, Raft.hasState]) {
          const { message } = await refusal(call(at('s1'), { storage }), 'ERR_RAFT_DIR_UNUSABLE')
          for (const text of [at('s1'), 'snapshots', 'no log', 'Do not start this server in an empty directory']) {
            assert.match(message, text)
          }
          assert.not.match(message, 'Choose an empty directory')
        }
      })
    },
  )
}

untold.run()
