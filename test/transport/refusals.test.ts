/** Why one side refuses the other reaches the server on each side, and of whom nobody knows who it is, nothing does. */

import { createServer } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from '#balsa/errors.js'
import { heartbeat, Site } from '#balsa/testing/conformance/site.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { tcp } from '#balsa/transport/tcp/index.js'
import type { Transport } from '#balsa/transport/transport.js'
import type { Identity, ServerId } from '#balsa/types.js'

import { until } from '../support/until.js'
import { MachineClock } from './machine-clock.js'

/** Sites on one kind of transport, all of which are closed in the end. */
class World {
  readonly clock = new MachineClock()
  readonly #network = new MemoryNetwork({ clock: this.clock })
  readonly isTcp: boolean
  readonly #sites: Site[] = []

  constructor(isTcp: boolean) {
    this.isTcp = isTcp
  }

  async start(id: ServerId, identity: Partial<Identity> = {}): Promise<{ readonly site: Site; readonly at: string }> {
    const transport: Transport = this.isTcp
      ? tcp({ listen: '127.0.0.1:0', backoffMinMs: 5, backoffMaxMs: 20 })
      : this.#network.transport(id)
    const site = new Site(id, transport)
    this.#sites.push(site)
    return { site, at: await site.start(this.clock, identity) }
  }

  /** An address at which nobody is. */
  async nowhere(): Promise<string> {
    if (!this.isTcp) return 'nowhere'
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    await new Promise((resolve) => server.close(resolve))
    return `127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`
  }

  async close(): Promise<void> {
    for (const site of this.#sites) await site.transport.close()
    assert.is(this.clock.pending.size, 0, 'timers are left')
  }
}

const cases: readonly (readonly [string, (world: World) => Promise<void>])[] = [
  [
    'an address behind which another server stands is told where it was dialled, and only there',
    async (world) => {
      const a = await world.start('a')
      const c = await world.start('c')
      a.site.transport.setPeers([{ id: 'b', address: c.at }])
      await until('it is told twice', () => a.site.refusals.length > 1)
      const [told] = a.site.refusals
      assert.equal([told?.peer, told?.code, told?.by, told?.dialledBy], ['b', 'WRONG_SERVER', 'peer', 'self'])
      assert.match(told?.reason ?? '', 'server a looks for b, but this is c')
      assert.equal(c.site.refusals, [], 'a has done nothing to c')
      assert.equal(c.site.calls, 0)
    },
  ],

  [
    'a peer of another cluster is told on both sides',
    async (world) => {
      const a = await world.start('a')
      const b = await world.start('b', { clusterId: 'd1'.repeat(16) })
      a.site.transport.setPeers([{ id: 'b', address: b.at }])
      await until('both know', () => a.site.refusals.length > 0 && b.site.refusals.length > 0)
      assert.equal(
        [a.site, b.site].map(({ refusals: [told] }) => [told?.peer, told?.code, told?.by, told?.dialledBy]),
        [
          ['b', 'ERR_RAFT_CLUSTER_MISMATCH', 'peer', 'self'],
          ['a', 'ERR_RAFT_CLUSTER_MISMATCH', 'self', 'peer'],
        ],
      )
      assert.is(a.site.refusals[0]?.reason, b.site.refusals[0]?.reason)
    },
  ],

  [
    'a server that is refused is told by whom and why; its own no is told to the other side alone',
    async (world) => {
      const a = await world.start('a')
      const b = await world.start('b')
      b.site.onAdmit = () => Promise.reject(new RaftError('ERR_RAFT_PEER_REPLACED', 'a has another store'))
      a.site.transport.setPeers([{ id: 'b', address: b.at }])
      b.site.transport.setPeers([{ id: 'a', address: a.at }])
      const isTold = (dialledBy: string): boolean => a.site.refusals.some((told) => told.dialledBy === dialledBy)
      await until('both directions are refused', () => isTold('self') && isTold('peer'))
      for (const { peer, code, reason, by } of a.site.refusals) {
        assert.equal([peer, code, reason, by], ['b', 'ERR_RAFT_PEER_REPLACED', 'a has another store', 'peer'])
      }
      assert.equal(b.site.refusals, [])
    },
  ],

  [
    'what ends an open link is told on both sides; a server that closes refuses nobody',
    async (world) => {
      const a = await world.start('a')
      const b = await world.start('b')
      a.site.transport.setPeers([{ id: 'b', address: b.at }])
      const session = await a.site.up('b')
      a.site.ask('b', session, heartbeat(1))
      await until('it has come', () => b.site.requests.length === 1)
      b.site.transport.reject(b.site.requests[0]?.link ?? 0, 'that block is damaged')
      await a.site.down('b', session)
      const said = { code: 'REJECTED', reason: 'that block is damaged' }
      assert.equal(a.site.refusals, [{ peer: 'b', ...said, by: 'peer', dialledBy: 'self' }])
      assert.equal(b.site.refusals, [{ peer: 'a', ...said, by: 'self', dialledBy: 'peer' }])
      const next = await a.site.up('b', session)
      await b.site.transport.close()
      await a.site.down('b', next)
      assert.is(a.site.refusals.length, 1)
    },
  ],

  [
    'who is expelled knows why, and the server that does it is not told what it has said itself',
    async (world) => {
      const a = await world.start('a')
      const b = await world.start('b')
      a.site.transport.setPeers([{ id: 'b', address: b.at }])
      b.site.transport.setPeers([{ id: 'a', address: a.at }])
      await Promise.all([a.site.up('b'), b.site.up('a')])
      b.site.transport.expel?.('a', new RaftError('ERR_RAFT_PEER_REPLACED', 'a has lost entries'))
      await until('a knows', () => a.site.refusals.length > 0)
      for (const told of a.site.refusals) assert.equal([told.by, told.reason], ['peer', 'a has lost entries'])
      assert.equal(b.site.refusals, [])
    },
  ],

  [
    'a dial that comes to nothing is told each time, and is no refusal',
    async (world) => {
      const a = await world.start('a')
      a.site.transport.setPeers([{ id: 'b', address: await world.nowhere() }])
      await until('it has failed twice', () => a.site.failedDials.length > 1)
      assert.match(a.site.failedDials[0]?.reason ?? '', world.isTcp ? 'ECONNREFUSED' : 'nobody listens there')
      assert.is(a.site.failedDials[0]?.peer, 'b')
      assert.equal(a.site.refusals, [])
    },
  ],
]

const test = suite('refusals')
for (const isTcp of [true, false]) {
  for (const [title, run] of cases) {
    test(`${isTcp ? 'tcp' : 'memory'}: ${title}`, async () => {
      const world = new World(isTcp)
      try {
        await run(world)
      } finally {
        await world.close()
      }
    })
  }
}
test.run()
