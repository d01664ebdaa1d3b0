/** The native store after its process died: everything that was reported durable is there, and nothing in between is missing. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { verifyBlock } from '#balsa/format/block.js'
import { logIndex } from '#balsa/types.js'

import { Child, inDirectory, withStore } from './lmdb-harness.js'

const test = suite('native store: crashes of the process')

const ROUNDS = 4

test('kill -9 during appends loses nothing that was reported durable, in round after round', async () => {
  await inDirectory(async (dir) => {
    let last = 0
    for (let round = 1; round <= ROUNDS; round += 1) {
      const child = new Child(['append', dir, '0', String(2 ** round)])
      await child.line('some appends', (line) => (line.durable ?? 0) >= last + 40)
      child.process.kill('SIGKILL')
      assert.is(await child.end(), 'SIGKILL')
      const { durable } = child
      last = await withStore(dir, async (store, state) => {
        assert.ok(state.lastIndex >= durable, `${state.lastIndex} is below ${durable}, which was reported durable`)
        assert.is(state.hardState.commitIndex, state.lastIndex, 'a ticket is there in part')
        assert.is(state.bootCounter, 2 * round)
        let next = 1
        while (next <= state.lastIndex) {
          for (const block of await store.read(logIndex(next), logIndex(state.lastIndex + 1), 10_000)) {
            assert.is(block.first, next)
            assert.ok(verifyBlock(block.data))
            next = block.last + 1
          }
        }
        return state.lastIndex
      })
    }
  })
})

test('D9 a process that holds the directory is named to the second one, and a killed one frees it', async () => {
  await inDirectory(async (dir) => {
    const holder = new Child(['hold', dir])
    await holder.line('the store is open', (line) => line.opened !== undefined)
    const error: unknown = await withStore(dir, async () => null).catch((reason: unknown) => reason)
    assert.ok(error instanceof Error && 'code' in error)
    assert.is(error.code, 'ERR_RAFT_DIR_LOCKED')
    assert.match(error.message, `process ${holder.process.pid} `)
    holder.process.kill('SIGKILL')
    await holder.end()
    await withStore(dir, async (_, state) => assert.is(state.bootCounter, 2))
  })
})

test('an open store keeps its process alive until it is closed', async () => {
  await inDirectory(async (dir) => {
    const child = new Child(['leave', dir])
    await child.line('the store is open', (line) => line.opened !== undefined)
    const closing = new Child(['append', dir + '/other', '3'])
    await closing.line('closed', (line) => line.closed === true)
    assert.is(await closing.end(), '0', 'a closed store lets its process end')
    assert.is(child.process.exitCode, null)
    child.process.kill('SIGKILL')
    await child.end()
  })
})

test.run()
