/**
 * A cluster without the addon: three servers over file stores and TCP elect, apply, are restarted, and still have
 * everything.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { fileStore } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'

import { freeAddresses } from '../../support/free-addresses.js'
import { TestCluster } from '../support/raft-cluster.js'
import type { Answer, TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const test = suite('a cluster over file stores')

test('three servers elect and apply; a lone restart catches up, and a restart of all keeps every entry', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'balsa-cluster-'))
  const addresses = await freeAddresses(3)
  const sites = addresses.map((address, n) => ({ id: `s${n + 1}`, dir: join(folder, `s${n + 1}`), address }))
  const cluster = new TestCluster({
    sites,
    storage: fileStore(),
    transportOf: ({ address }) => tcp({ listen: address }),
  })
  try {
    await cluster.openAll()
    let total = 0
    const add = async (n: number): Promise<void> => {
      total += n
      await cluster.askLeader(async (leader) => {
        // Asked again after an election: it may be there already.
        const { total: before } = await leader.read('total', { timeoutMs: 20_000 })
        if (before < total) assert.is(await leader.apply({ add: n }, { timeoutMs: 20_000 }), total)
      })
    }
    for (let n = 1; n <= 50; n += 1) await add(n)
    assert.is(total, 1275)

    const [follower] = cluster.followers(await cluster.leader()).map(({ status }) => status.id)
    assert.ok(follower !== undefined)
    await cluster.close(follower)
    for (let n = 1; n <= 50; n += 1) await add(n)
    await cluster.open(follower)
    await until('the follower has caught up', () => cluster.machine(follower).query().total === total)
    await until('the leader was told where the log of each peer ends', async () => {
      const { status } = await cluster.leader()
      return status.peers.every(({ lastIndex }) => lastIndex === status.lastIndex)
    })

    await cluster.closeAll()
    await cluster.openAll()
    const read = (leader: TestRaft): Promise<Answer> => leader.read('total', { consistency: 'linearizable' })
    assert.equal(await cluster.askLeader(read), { total: 2550, count: 100 })
    for (const { id } of sites) {
      await until(`${id} has everything again`, () => cluster.machine(id).query().total === total)
    }
  } finally {
    await cluster.closeAll()
    await rm(folder, { recursive: true, force: true })
  }
})

test.run()
