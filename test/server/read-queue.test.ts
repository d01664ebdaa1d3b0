/** Reads wait for the state machine, each for its own index. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import { PendingCall } from '#balsa/server/calls/pending-call.js'
import { ReadQueue } from '#balsa/server/calls/read-queue.js'
import { logIndex } from '#balsa/types.js'
import type { LogIndex } from '#balsa/types.js'

/** A read that puts its outcome into `outcomes`. */
function ask(queue: ReadQueue, name: string, outcomes: string[]): number {
  const read = new PendingCall<LogIndex>()
  read.promise.then(
    (index) => outcomes.push(`${name} at ${index}`),
    (error: unknown) => outcomes.push(`${name}: ${(error as RaftError).code}`),
  )
  queue.add(read)
  const id = queue.nextRequest()
  assert.is.not(id, null)
  return id ?? 0
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a read that was confirmed at a higher index waits for it, and is not forgotten with those before it', async () => {
  const queue = new ReadQueue()
  const outcomes: string[] = []
  queue.confirmed(ask(queue, 'first', outcomes), logIndex(3))
  queue.confirmed(ask(queue, 'second', outcomes), logIndex(5))
  queue.applied(logIndex(2))
  await settled()
  assert.equal(outcomes, [])
  queue.applied(logIndex(4))
  await settled()
  assert.equal(outcomes, ['first at 3'])
  queue.applied(logIndex(5))
  await settled()
  assert.equal(outcomes, ['first at 3', 'second at 5'])
})

test('a failure ends every read, asked, confirmed or neither, once', async () => {
  const queue = new ReadQueue()
  const outcomes: string[] = []
  queue.confirmed(ask(queue, 'confirmed', outcomes), logIndex(3))
  const asked = ask(queue, 'asked', outcomes)
  queue.failAll(new RaftError('ERR_RAFT_CLOSED', 'closed'))
  queue.failed(asked, new RaftError('ERR_RAFT_NO_LEADER', 'late'))
  queue.applied(logIndex(9))
  await settled()
  assert.equal(outcomes.sort(), ['asked: ERR_RAFT_CLOSED', 'confirmed: ERR_RAFT_CLOSED'])
})

test('reads that share a call end with their round, one that comes after the request with the next, and all are counted', async () => {
  const queue = new ReadQueue()
  const outcomes: string[] = []
  const share = (name: string): unknown =>
    queue.share()?.then(
      (index) => outcomes.push(`${name} at ${index}`),
      (error: unknown) => outcomes.push(`${name}: ${(error as RaftError).code}`),
    )
  const { fresh } = queue
  share('first')
  share('second')
  assert.ok(queue.hasFresh)
  const asked = ask(queue, 'alone', outcomes)
  assert.is(queue.count, 3)
  assert.is.not(queue.fresh, fresh, 'who joins now comes behind the request')
  share('late')
  queue.confirmed(asked, logIndex(3))
  queue.applied(logIndex(3))
  await settled()
  assert.equal(outcomes, ['first at 3', 'second at 3', 'alone at 3'])
  assert.is(queue.count, 1)
  queue.failAll(new RaftError('ERR_RAFT_CLOSED', 'closed'))
  await settled()
  assert.is(outcomes.at(-1), 'late: ERR_RAFT_CLOSED')
  assert.is(queue.count, 0)
})

test('so many reads wait and no more, shared or not', () => {
  const queue = new ReadQueue()
  for (let at = 0; at < 65_535; at += 1) assert.is.not(queue.share(), null)
  assert.is(queue.add(new PendingCall()), null)
  assert.is(queue.share(), null)
  assert.is(queue.add(new PendingCall())?.code, 'ERR_RAFT_OVERLOADED')
})

test.run()
