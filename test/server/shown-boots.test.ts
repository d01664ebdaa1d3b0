/**
 * What a server shows of its earlier boots: whoever has pinned one of them must see it, also a leader of which this
 * server has not heard yet that it is a member.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import { termOf } from '#balsa/types.js'
import { LoneServer } from '../support/lone-server.js'

/** More than a peer is shown that asks for none. */
const STARTS = 20

const test = suite('the boots that are shown')

test('a server that waits to be added shows the one that a leader it does not know has pinned', async () => {
  const storage = memoryStore()
  const open = (): Promise<LoneServer> => LoneServer.open(() => storage, { id: 's4', join: true })
  for (let start = 1; start < STARTS; start += 1) await (await open()).close()
  const server = await open()
  try {
    const { handlers } = server.transport
    const shown = (): readonly number[] => handlers.introduce('s5').boots.map(({ bootCounter }) => bootCounter)
    assert.not.ok(shown().includes(1))
    const { clusterId } = server.raft.status
    await handlers.admit(introductionOf('s5', { clusterId, term: termOf(7), knownBoot: 1 }))
    assert.ok(shown().includes(1), shown().join(' '))
  } finally {
    await server.close()
  }
})

test.run()
