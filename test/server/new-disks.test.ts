/** An id that comes back with another disk votes in nothing that was before it was added, in nobody's eyes (M16). */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore } from 'balsa-raft'
import { MemoryNetwork } from 'balsa-raft/transport/memory'
import { systemClock } from '#balsa/clock.js'
import { failure } from '../support/failure.js'
import { ELECTION_MS, FIRST_ELECTION_MS, LoneServer } from '../support/lone-server.js'
import { preVoteResult } from '../support/messages.js'
import { TestCluster } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const asks = (lone: LoneServer, type: string): boolean =>
  lone.transport.requests.some(({ message }) => message.type === type)

test('the only voter of the beginning, back with an empty folder, leads nothing until it is added', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'balsa-new-disks-'))
  const network = new MemoryNetwork({ clock: systemClock() })
  const sites = ['s1', 's2', 's3'].map((id) => ({ id, dir: join(folder, id), address: `${id}:1` }))
  const cluster = new TestCluster({
    ...{ sites, storage: fileStore(), transportOf: ({ address }) => network.transport(address) },
    extra: { heartbeatMs: 20, electionTimeoutMs: 200, bootstrap: [{ id: 's1', address: 's1:1' }] },
  })
  try {
    const first = await cluster.open('s1')
    for (const id of ['s2', 's3']) {
      await cluster.open(id, { join: true })
      await first.addVoter({ id, address: `${id}:1` })
    }
    await first.removeServer('s1')
    await cluster.close('s1')
    rmSync(join(folder, 's1'), { recursive: true })
    const again = await cluster.open('s1', { bootstrap: [], join: ['s2:1'] })
    const { code } = (await failure(again.ready({ timeoutMs: 1000 }))) as { code: string }
    assert.equal([code, again.status.role, again.status.term], ['ERR_RAFT_TIMEOUT', 'follower', 1])
    assert.is(again.status.join?.waitsFor, 'operator')
    const leader = [...cluster.servers.values()].find(({ status }) => status.role === 'leader')
    await leader?.addVoter({ id: 's1', address: 's1:1' })
    assert.is(again.status.join, null)
    await leader?.transferLeadership({ to: 's1' })
    await until('it leads', () => again.status.role === 'leader')
    await again.apply({ add: 1 })
  } finally {
    await cluster.closeAll()
    rmSync(folder, { recursive: true, force: true })
  }
})

test('a server says to one that was added that it was, and to one of the first members nothing of it', async () => {
  const lone = await LoneServer.open()
  await lone.lead()
  await lone.acknowledge()
  const adding = lone.raft.addNonvoter({ id: 's4', address: 's4:1' })
  await lone.turns()
  await lone.acknowledge()
  await adding
  const { handlers } = lone.transport
  const says = ['s2', 's4'].map((id) => handlers.introduce(id).targetWasAdded)
  assert.equal([...says, handlers.introduce('s2').hasJoined], [undefined, true, undefined])
  await lone.close()
})

test('one that begins as a first member and is told that it was added calls for no election, and says so from then on', async () => {
  const lone = await LoneServer.open()
  await lone.connect(['s2', 's3'], { targetWasAdded: true })
  for (let step = 0; step < 40; step += 1) {
    lone.clock.advance(ELECTION_MS / 10)
    await lone.turns()
  }
  assert.is(asks(lone, 'PreVote'), false)
  assert.is(lone.transport.handlers.introduce('s2').hasJoined, true)
  await lone.close()
})

test('a grant of a store that has joined does not count where its id is one of the first members', async () => {
  for (const hasJoined of [false, true]) {
    const lone = await LoneServer.open()
    await lone.connect(['s2'], { hasJoined })
    await lone.connect(['s3'])
    lone.clock.advance(FIRST_ELECTION_MS)
    await lone.turns()
    lone.transport.handlers.onResponse('s2', 1, preVoteResult(1, true))
    await lone.turns()
    assert.is(asks(lone, 'RequestVote'), !hasJoined)
    await lone.close()
  }
})

test.run()
