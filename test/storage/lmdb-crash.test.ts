/**
 * The native store after its process died: everything that was reported durable is there, and nothing in between is
 * missing.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { killDuringAppends } from './kill-during-appends.js'
import { inDirectory, MODES } from './lmdb-harness.js'
import { KEPT } from './small-segments.js'

const test = suite('native store: crashes of the process')

for (const { name, child, withStore } of MODES) {
  test(`kill -9 during appends loses nothing that was reported durable, in round after round (${name})`, async () => {
    await inDirectory((dir) => killDuringAppends(dir, { child, withStore }))
  })

  test(`kill -9 during compactions leaves no part of one (${name})`, async () => {
    const firstOf = (lastIndex: number): number => Math.max(1, lastIndex + 1 - KEPT)
    await inDirectory((dir) => killDuringAppends(dir, { child, withStore, mode: 'compact', firstOf }))
  })

  test(`D9 a process that holds the directory is named to the second one, and a killed one frees it (${name})`, async () => {
    await inDirectory(async (dir) => {
      const holder = child(['hold', dir])
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

  test(`an open store keeps its process alive until it is closed (${name})`, async () => {
    await inDirectory(async (dir) => {
      const holder = child(['leave', dir])
      await holder.line('the store is open', (line) => line.opened !== undefined)
      const closing = child(['append', dir + '/other', '3'])
      await closing.line('closed', (line) => line.closed === true)
      assert.is(await closing.end(), '0', 'a closed store lets its process end')
      assert.is(holder.process.exitCode, null)
      holder.process.kill('SIGKILL')
      await holder.end()
    })
  })
}

test.run()
