/**
 * The memory in which a command waits is given back exactly once, however its call ends: a second time would give it to
 * another command while it is still read, and no time would make it garbage.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Codec } from 'balsa-raft'
import type { Payload } from '#balsa/format/block.js'
import { PayloadSlabs } from '#balsa/format/payload.js'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'
import type { Command } from '../support/raft-cluster.js'

const MIB = 1024 * 1024

interface Context {
  readonly server: LoneServer
  /** By payload, in the order in which they were made: how often it was released. */
  readonly releases: number[]
  copy: PayloadSlabs['copy']
}

const test = suite<Context>('the memory of commands that wait')

/** As many bytes as a command says; throws for a command of a negative number. */
const codec: Codec<Command> = {
  encode(command) {
    const bytes = 'add' in command ? command.add : 0
    if (bytes < 0) throw new Error('not this one')
    return new Uint8Array(bytes)
  },
  decode: (bytes) => ({ add: bytes.length }),
}

test.before.each(async (context) => {
  const releases: number[] = []
  const { copy } = PayloadSlabs.prototype
  PayloadSlabs.prototype.copy = function (bytes): Payload {
    const payload = copy.call(this, bytes)
    const { slab } = payload
    const at = releases.push(0) - 1
    const release = (): void => {
      releases[at] = (releases[at] ?? 0) + 1
      slab.release()
    }
    return { ...payload, slab: { bytes: slab.bytes, view: slab.view, release } }
  }
  const server = await LoneServer.open(undefined, { codec })
  Object.assign(context, { releases, copy, server })
  await server.lead()
  await server.acknowledge()
})
test.after.each(async ({ server, copy }) => {
  PayloadSlabs.prototype.copy = copy
  server.storage.disk('/s1').resume()
  await server.close()
})

test('of what is sealed into a block', async ({ server, releases }) => {
  const calls = [server.raft.apply({ add: 8 }), server.raft.applyAll([{ add: 1 }, { add: 5000 }, { add: 0 }])]
  assert.equal(releases, [0, 0, 0, 0])
  await server.turns()
  assert.equal(releases, [1, 1, 1, 1])
  await server.acknowledge()
  await Promise.all(calls)
  assert.equal(server.machine.applied.length, 4)
  assert.equal(releases, [1, 1, 1, 1])
})

test('of a call whose caller gives up, whether it waits or was never taken', async ({ server, releases }) => {
  const controller = new AbortController()
  // A ticket is under way, on a disk that hangs: what is proposed now waits.
  server.storage.disk('/s1').stall()
  const first = server.raft.apply({ add: 1 })
  await server.turns()
  const timed = failure(server.raft.applyAll([{ add: 1 }, { add: 2 }], { timeoutMs: 20 }))
  const aborted = failure(server.raft.apply({ add: 3 }, { signal: controller.signal }))
  assert.equal(releases, [1, 0, 0, 0])
  controller.abort()
  server.clock.advance(30)
  await server.turns()
  await Promise.all([timed, aborted])
  assert.equal(releases, [1, 1, 1, 1])
  await failure(server.raft.apply({ add: 4 }, { signal: controller.signal }))
  assert.equal(releases, [1, 1, 1, 1, 1])
  server.storage.disk('/s1').resume()
  await server.turns()
  await server.acknowledge()
  await first
  assert.equal(releases, [1, 1, 1, 1, 1])
})

test('of a list of which a part is in the log when its caller gives up', async ({ server, releases }) => {
  server.storage.disk('/s1').stall()
  // Two are too many bytes for one turn; two tickets are under way, and the third command waits.
  const large = { add: 700_000 }
  const list = failure(server.raft.applyAll([large, large, large], { timeoutMs: 20 }))
  await server.turns()
  assert.is(server.server.counters.accepted, 2)
  assert.equal(releases, [1, 1, 0])
  server.clock.advance(30)
  await server.turns()
  assert.is((await list).outcome, 'unknown')
  assert.equal(releases, [1, 1, 1])
})

test('of a list that is refused for what it holds', async ({ server, releases }) => {
  const bad = await failure(server.raft.applyAll([{ add: 1 }, { add: 2 }, { add: -1 }]))
  assert.is(bad.code, 'ERR_RAFT_ENCODE')
  assert.equal(releases, [1, 1])
  const heavy = await failure(server.raft.applyAll(Array.from({ length: 20 }, () => ({ add: MIB }))))
  assert.is(heavy.code, 'ERR_RAFT_TOO_LARGE')
  assert.equal(
    releases,
    Array.from({ length: 19 }, () => 1),
  )
})

test('of what waits when there is no room, and when the server closes', async ({ server, releases }) => {
  const outcomes = Array.from({ length: 17 }, () => failure(server.raft.apply({ add: MIB })))
  assert.equal(releases, [...new Array<number>(16).fill(0), 1], 'the last one has no room')
  await server.close()
  for (const outcome of outcomes) await outcome
  assert.equal(releases, new Array(17).fill(1))
})

test.run()
