/**
 * A disk that fails or is full under a file store: poisoned, with nothing retried; or stalled, and the same tickets go
 * through.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { RaftError } from '#balsa/errors.js'
import { FileLogStore } from '#balsa/storage/file/file-log-store.js'

import { append, blockOf } from '#balsa/testing/conformance/blocks.js'
import { refusal } from '../support/failure.js'
import { DIR, heldBy, LOG, submitAll, Waker, withFile } from './file-harness.js'
import { ModelDisk } from './model-disk.js'
import type { Call, Fate } from './model-disk.js'

const test = suite('file store: a failing disk')

const tickets = Array.from({ length: 9 }, (_, n) => [append(blockOf(1 + n, 1, [40]))])

for (const [call, error, afterBytes] of [
  ['write', 'EIO', 0],
  ['write', 'EIO', 33],
  ['datasync', 'EIO', 0],
  ['datasync', 'ENOSPC', 0],
] as const) {
  test(`D1 ${error} from ${call} after ${afterBytes} bytes poisons the store: nothing more is written, all that was reported is there`, async () => {
    for (let nth = 1; nth <= 3; nth += 1) {
      const disk = new ModelDisk()
      const reported = await withFile(disk, async (store, _, waker) => {
        disk.fateOf = failing(call, nth, { error, afterBytes })
        const durable = await submitAll(store, tickets, waker)
        const { fault, credit, stalled } = store.poll()
        assert.is(fault?.code, 'ERR_RAFT_STORE_POISONED')
        assert.is(fault?.outcome, 'unknown')
        assert.match(fault?.message ?? '', LOG)
        assert.match(fault?.message ?? '', error)
        assert.equal([credit, stalled], [0, false])
        assert.throws(() => store.submit([append(blockOf(99, 1, [1]))]), 'refuses to go on')
        const { calls } = disk
        await store.close()
        assert.is(disk.calls, calls, 'something was written after the fault')
        return durable
      })
      assert.ok(reported < tickets.length)
      await withFile(disk, async (store, state) => {
        assert.ok(state.lastIndex >= reported, `${state.lastIndex} of ${reported}`)
        assert.match(await heldBy(store, state), 'entries')
      })
    }
  })
}

test('D5 a full disk is reported as stalled, and the same tickets go through in order when there is room', async () => {
  for (const error of ['ENOSPC', 'EDQUOT', 'EFBIG']) {
    const disk = new ModelDisk()
    await withFile(disk, async (store, _, waker) => {
      let isFull = true
      let writes = 0
      const seen: boolean[] = []
      // The first write takes a part, as a disk that fills up does.
      disk.fateOf = (call) => {
        if (call !== 'write' || !isFull) return 'done'
        writes += 1
        return { error, afterBytes: writes === 1 ? 33 : 0 }
      }
      disk.onPause = async () => {
        seen.push(store.poll().stalled)
        assert.is(store.poll().durable, 0)
        isFull = disk.pauses < 3
      }
      assert.is(await submitAll(store, tickets, waker), tickets.length)
      assert.equal(seen, [true, true, true])
      assert.equal([store.poll().stalled, store.poll().fault], [false, null])
    })
    await withFile(disk, async (_, state) => assert.is(state.lastIndex, tickets.length))
  }
})

test('a store that closes while the disk is full ends with ERR_RAFT_STORE_FULL, and what was queued is not there', async () => {
  const disk = new ModelDisk()
  const store = new FileLogStore(DIR, disk)
  const waker = new Waker()
  await store.open(() => waker.wake())
  disk.fateOf = (call) => (call === 'write' ? { error: 'ENOSPC' } : 'done')
  store.submit(tickets[0] ?? [])
  await waker.next()
  assert.is(store.poll().stalled, true)
  await store.close()
  assert.is(store.poll().fault?.code, 'ERR_RAFT_STORE_FULL')
  assert.is(store.poll().durable, 0)
  disk.fateOf = () => 'done'
  await withFile(disk, async (_, state) => assert.is(state.lastIndex, 0))
})

test('an open that meets a full or failing disk says so, releases the directory, and succeeds later', async () => {
  for (const [error, code] of [
    ['ENOSPC', 'ERR_RAFT_STORE_FULL'],
    ['EIO', 'ERR_RAFT_DIR_UNUSABLE'],
  ] as const) {
    const disk = new ModelDisk()
    let refused = 0
    for (let nth = 1; nth <= 8; nth += 1) {
      const from = disk.calls
      disk.fateOf = (_, number) => (number === from + nth ? { error } : 'done')
      const reason: unknown = await withFile(disk, async () => null).catch((thrown: unknown) => thrown)
      if (reason !== null) refused += 1
      assert.ok(reason === null || (reason instanceof RaftError && reason.code === code), String(reason))
      disk.fateOf = () => 'done'
    }
    assert.ok(refused >= 6, `${refused} opens were refused`)
    await withFile(disk, async (_, state) => assert.is(state.lastIndex, 0))
  }
})

for (const lost of ['log', 'LOCK', 'segment-00000001']) {
  test(`a store whose ${lost} is deleted under it is poisoned: idle, in the middle of a write, and on a full disk`, async () => {
    for (const when of ['idle', 'writing', 'full'] as const) {
      const disk = new ModelDisk()
      const store = new FileLogStore(DIR, disk)
      const waker = new Waker()
      await store.open(() => waker.wake())
      store.submit(tickets[0] ?? [])
      while (store.poll().durable < 1) await waker.next()
      const lose = (): void => {
        disk.deleteFile(`${DIR}/${lost}`)
        disk.letLook()
      }
      if (when === 'full') {
        disk.fateOf = (call) => (call === 'write' ? { error: 'ENOSPC' } : 'done')
        disk.onPause = async () => lose()
        store.submit(tickets[1] ?? [])
      } else {
        if (when === 'writing') store.submit(tickets[1] ?? [])
        lose()
      }
      while (store.poll().fault === null) await waker.next()
      const { fault, credit } = store.poll()
      assert.is(fault?.code, 'ERR_RAFT_STORE_POISONED', when)
      assert.match(fault?.message ?? '', `${DIR} was deleted, moved or replaced`)
      assert.is(credit, 0)
      assert.throws(() => store.submit(tickets[2] ?? []), 'deleted, moved or replaced')
      const { calls } = disk
      await store.close()
      // A write that has begun is flushed, and counts for nothing.
      if (when !== 'writing') assert.is(disk.calls, calls, 'something was written after the fault')
      assert.is(store.poll().durable, 1)
    }
  })
}

test('a look at files that are there, or that cannot be looked at, poisons nothing', async () => {
  const disk = new ModelDisk()
  await withFile(disk, async (store, _, waker) => {
    disk.letLook()
    const { fileAt } = disk
    disk.fileAt = async () => {
      throw Object.assign(new Error('EACCES'), { code: 'EACCES' })
    }
    disk.letLook()
    assert.is(await submitAll(store, tickets, waker), tickets.length)
    disk.fileAt = fileAt
    assert.is(store.poll().fault, null)
  })
})

test('an error of the system while the file is read at open is not taken for the end of the log', async () => {
  const disk = new ModelDisk()
  await withFile(disk, (store, _, waker) => submitAll(store, tickets, waker))
  const { openFile } = disk
  disk.openFile = async (path) => {
    const file = await openFile.call(disk, path)
    if (file === null || path !== LOG) return file
    const read = async (): Promise<number> => {
      throw Object.assign(new Error('EIO: as the test says'), { code: 'EIO' })
    }
    return { ...file, read }
  }
  const error = await refusal(withFile(disk, heldBy), 'ERR_RAFT_DIR_UNUSABLE')
  assert.match(error.message, 'EIO: as the test says')
  disk.openFile = openFile
  await withFile(disk, async (_, state) => assert.is(state.lastIndex, tickets.length))
})

function failing(which: Call, nth: number, fate: Fate): (call: Call) => Fate {
  let seen = 0
  let isOver = false
  return (call) => {
    if (call !== which || isOver) return 'done'
    seen += 1
    // A write that took a part fails on the rest.
    if (seen < nth) return 'done'
    isOver = seen > nth || typeof fate === 'string' || (fate.afterBytes ?? 0) === 0
    return seen > nth && typeof fate !== 'string' ? { error: fate.error } : fate
  }
}

test.run()
