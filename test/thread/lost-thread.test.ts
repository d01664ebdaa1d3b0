/** A worker thread that ends by itself: every call settles, the fault is told, and the folder is free. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore, msgpackCodec, nativeStore, Raft } from 'balsa-raft'
import type { StoreFactory } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { freeAddresses } from '../../support/free-addresses.js'
import { refusal } from '../support/failure.js'
import { ending } from './ending-transport.js'

const test = suite('a worker thread that ends by itself')

async function ends(storage: StoreFactory, how: 'exit' | 'throw'): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-lost-thread-'))
  const [listen = ''] = await freeAddresses(1)
  const list: number[] = []
  const lines: string[] = []
  const note = (event: string): void => void lines.push(event)
  /** From the second command on nothing is answered. */
  let isHolding = true
  const options = {
    ...{ id: 's1', dir, bootstrap: [{ id: 's1', address: listen }], codec: msgpackCodec<number>(), storage },
    stateMachine: {
      apply: (batch: readonly { readonly command: number }[]) =>
        isHolding && batch.some(({ command }) => command > 1)
          ? new Promise<number[]>(() => {})
          : batch.map(({ command }) => list.push(command)),
      query: () => list,
    },
    thread: 'worker' as const,
  }
  try {
    const logger = { debug: () => {}, info: () => {}, warn: note, error: note }
    const raft = await Raft.open({ ...options, logger, transport: ending({ listen, how }) })
    await raft.ready()
    await raft.apply(1)
    const faults: string[] = []
    raft.on('fault', ({ error }) => faults.push(error.code))
    const underWay = [raft.apply(2), raft.submit(3)].map((call) => refusal(call, 'ERR_RAFT_THREAD_LOST'))
    const reads = Promise.allSettled([raft.read(undefined), raft.query(undefined)])
    assert.ok(raft.status.appliedIndex > 0)
    const peer = { id: 's2', address: '127.0.0.1:1' }
    underWay.push(refusal(raft.addNonvoter(peer), 'ERR_RAFT_THREAD_LOST'))
    for (const error of await Promise.all(underWay)) assert.is(error.outcome, 'unknown')
    for (const end of await reads) {
      if (end.status === 'rejected') assert.is((end.reason as { outcome: string }).outcome, 'not-applied')
    }
    const fault = await raft.closed
    assert.is(fault?.code, 'ERR_RAFT_THREAD_LOST')
    assert.match(fault?.message ?? '', how === 'exit' ? 'exited with code 3' : 'on purpose')
    assert.equal(faults, ['ERR_RAFT_THREAD_LOST'])
    assert.equal(
      lines.filter((line) => line === 'raft.thread-lost'),
      ['raft.thread-lost'],
    )
    assert.equal([raft.status.role, raft.status.fault?.code], ['follower', 'ERR_RAFT_THREAD_LOST'])
    await refusal(raft.apply(4), 'ERR_RAFT_THREAD_LOST')
    await raft.close()
    list.length = 0
    isHolding = false
    const again = await Raft.open({ ...options, logger: false, transport: tcp({ listen }), thread: 'main' })
    await again.ready()
    assert.is(list[0], 1)
    await again.close()
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

test('by an exit: what was durable is there when the folder is opened again', () => ends(nativeStore(), 'exit'))

test('by a throw, over the store without an addon', () => ends(fileStore(), 'throw'))

test.run()
