/**
 * What a server hands to a socket by reference stays as it is until it has left, however slow the peers are: blocks
 * that are sealed from memory which is used again, heads of many messages in one slab.
 */

import { msgpackCodec } from 'balsa-raft'
import type { Codec } from 'balsa-raft'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { tcpSettings } from '#balsa/transport/tcp/options.js'
import { TcpTransport } from '#balsa/transport/tcp/tcp-transport.js'
import { below, drawSeed, randomFrom } from '../support/seed.js'
import { type Command, type Site, TestCluster } from '../support/raft-cluster.js'
import { ScriptedNetwork } from '../transport/scripted-network.js'

const sites: readonly Site[] = [7101, 7102, 7103].map((port, at) => {
  return { id: `s${at + 1}`, dir: `/s${at + 1}`, address: `127.0.0.1:${port}` }
})

/** Of several KiB each, so that much is under way at a time. */
const codec: Codec<Command> = {
  encode: (command) => Buffer.concat([new Uint8Array(4000), msgpackCodec<Command>().encode(command)]),
  decode: (bytes) => msgpackCodec<Command>().decode(bytes.subarray(4000)),
}

/** Servers on a network that moves a few bytes at a time, while `run` is under way. */
async function onSlowSockets(random: () => number, run: (cluster: TestCluster) => Promise<void>): Promise<void> {
  const network = new ScriptedNetwork(true)
  // One follower is far behind: what is sent to it waits while all else goes on.
  network.chunk = (port) => below(random, port === 7103 ? 50 : 60_000)
  const transportOf = ({ address }: Site): TcpTransport =>
    new TcpTransport({ ...tcpSettings({ listen: address }), sockets: network })
  const cluster = new TestCluster({
    sites,
    storage: memoryStore(),
    transportOf,
    extra: { codec, electionTimeoutMs: 10_000, heartbeatMs: 100 },
  })
  const progress = { isOver: false }
  const moved = network.moveUntil(() => network.flaws.length > 0 || progress.isOver)
  // What was changed on its way may never be answered.
  const isFlawed = moved.then(() => assert.equal(network.flaws, []))
  try {
    await cluster.openAll()
    await Promise.race([run(cluster), isFlawed])
  } finally {
    network.chunk = () => Infinity
    void cluster.closeAll().then(() => (progress.isOver = true))
    await network.moveUntil(() => progress.isOver)
  }
  await isFlawed
}

test('nothing that a socket still holds is written to again, whatever waits, is sealed or is used again', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  await onSlowSockets(random, async (cluster) => {
    const leader = await cluster.leader()
    const calls: Promise<unknown>[] = []
    let total = 0
    for (let turn = 0; turn < 150; turn++) {
      const list = Array.from({ length: 1 + below(random, 100) }, () => ({ add: below(random, 1e9) }))
      for (const { add } of list) total += add
      const call = leader.applyAll(list)
      call.catch(() => {})
      calls.push(call)
      // Often several wait in one turn, and never more than may.
      if (random() < 0.3 || calls.length > 20) await calls.shift()
    }
    await Promise.all(calls)
    assert.is((await leader.read('total')).total, total, `BALSA_SEED=${seed}`)
  })
})

test.run()
