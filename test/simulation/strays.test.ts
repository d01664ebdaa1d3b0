/** Messages that keep no order, long after the chaos that made them: what is counted must know of them. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SimNetwork } from '#balsa/testing/simulator/doubles/sim-network.js'
import { EventQueue } from '#balsa/testing/simulator/event-queue.js'
import { SeededRandom } from '#balsa/testing/simulator/random.js'
import type { MemoryConnection } from '#balsa/transport/memory/memory-transport.js'

const [A, B] = ['a:1', 'b:1']

/** Two servers with a connection that is up, of which only what the network looks at is there. */
function connected(): { readonly network: SimNetwork; readonly queue: EventQueue; send: (run: () => void) => void } {
  const queue = new EventQueue()
  const network = new SimNetwork({
    ...{ queue, random: new SeededRandom(1), promised: () => {} },
    plan: { delayMs: 1, jitterMs: 0, keepAliveMs: 1e6 },
    receivers: new Map([A, B].map((address) => [address, { arrive: (run: () => void) => run() }])),
  })
  const connection = { dialler: { address: A }, peer: { address: B }, isUpAtDialler: true, isUpAtAcceptor: true }
  const send = (run: () => void): void => {
    network.carry(A, B, connection as unknown as MemoryConnection, 10, run)
  }
  return { network, queue, send }
}

test('a message that comes again, twice or late is known to be on its way until it is there, also on a slow path', () => {
  for (const fault of ['replay', 'duplication', 'reordering'] as const) {
    const { network, queue, send } = connected()
    const arrived: number[] = []
    network.slowPath(A, B, 100)
    network.chaos[fault] = 1
    send(() => arrived.push(queue.now))
    send(() => arrived.push(queue.now))
    network.chaos[fault] = 0
    network.mendPath(A, B)
    while (queue.now < 100) {
      assert.ok(network.hasStrays, `${fault}, after ${queue.now} ms`)
      queue.next()?.happen()
    }
    while (network.hasStrays) queue.next()?.happen()
    assert.equal(arrived, { replay: [100, 100, 100], duplication: [100, 100, 100, 100], reordering: [100, 100] }[fault])
  }
})

test('what keeps its order is no stray, however long it takes', () => {
  const { network, queue, send } = connected()
  const arrived: number[] = []
  network.slowPath(A, B, 100)
  for (let count = 0; count < 3; count += 1) send(() => arrived.push(queue.now))
  network.mendPath(A, B)
  while (queue.now <= 100) {
    assert.not(network.hasStrays)
    queue.next()?.happen()
  }
  assert.equal(arrived, [100, 100, 100])
})

test('what is on its way when measuring begins counts with all that it takes, what has come before does not', () => {
  const { network, queue, send } = connected()
  network.slowPath(A, B, 100)
  send(() => {})
  network.mendPath(A, B)
  queue.after(90, () => network.measureWay(A, B))
  while (queue.now < 90) queue.next()?.happen()
  assert.is(network.longestWayMs(A, B), 100)
  while (queue.now < 100) queue.next()?.happen()
  network.measureWay(A, B)
  assert.is(network.longestWayMs(A, B), 0)
  send(() => {})
  assert.is(network.longestWayMs(A, B), 1)
})

test.run()
