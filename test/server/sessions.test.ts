/**
 * Commands of a session are applied once, however often they are sent and on whichever server, and whatever the server
 * has been through meanwhile: a restart, a snapshot, another leader.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { LoneServer } from '../support/lone-server.js'

const test = suite('sessions')

async function leading(extra: Parameters<typeof LoneServer.open>[1] = {}): Promise<LoneServer> {
  const alone = { bootstrap: [{ id: 's1', address: 's1:1' }] }
  const server = await LoneServer.open((storage) => storage, { ...alone, ...extra })
  await server.turns()
  return server
}

test('a command that is sent again is applied once, and has the answer of the first time', async () => {
  const server = await leading()
  const { raft, machine } = server
  const session = await raft.openSession()
  const { token } = session
  assert.is(await session.apply({ add: 5 }), 5)
  assert.is(await raft.apply({ add: 1 }), 6)
  assert.is(await raft.resumeSession(token).apply({ add: 5 }), 5)
  assert.is(machine.applied.length, 2)
  assert.equal({ ...session.token }, { id: session.id, sequence: 2 })
  await server.close()
})

test.run()
