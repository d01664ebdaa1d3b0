/**
 * A leader knows what each peer has acknowledged to it in this term. A boot that comes with less has lost something: it
 * is refused before it is pinned, and before a vote or an answer of it counts.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError } from 'balsa-raft'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import type { Transport } from '#balsa/transport/transport.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Introduction } from '#balsa/types.js'
import { LoneServer } from '../support/lone-server.js'

interface Context {
  server: LoneServer
}

const test = suite<Context>('the log end in the handshake')
/** Its first boot is the one that a lone server meets. */
const nonceOf = (boot: number): string => (boot === 1 ? 'b0'.repeat(16) : String(boot).padStart(32, '0'))

/** s2, or whoever is said, in that boot of one store. */
function s2(clusterId: string, boot: number, part: Partial<Introduction>): Introduction {
  const boots = [1, 2, 3].filter((earlier) => earlier < boot)
  return introductionOf(part.serverId ?? 's2', {
    ...{ clusterId, bootCounter: boot, bootNonce: nonceOf(boot) },
    boots: boots.map((bootCounter) => ({ bootCounter, bootNonce: nonceOf(bootCounter) })),
    ...part,
  })
}

async function admit({ transport, raft, turns }: LoneServer, boot: number, part: Partial<Introduction>) {
  const outcome = transport.handlers.admit(s2(raft.status.clusterId, boot, part)).then(
    () => 'admitted',
    (error: unknown) => (error as RaftError).message,
  )
  await turns()
  return outcome
}

/** s1 leads term 2; s2, in its boot 1, has acknowledged 5 entries of it. */
test.before.each(async (context) => {
  context.server = await LoneServer.open()
  const { server } = context
  assert.is(await admit(server, 1, {}), 'admitted')
  await server.lead()
  const applied = [1, 2, 3].map((add) => server.raft.apply({ add }))
  await server.turns()
  await server.acknowledge()
  await Promise.all(applied)
  assert.is(server.raft.status.peers[0]?.matchIndex, 5)
})
test.after.each(({ server }) => server.close())

test('a boot that comes with less than was acknowledged is refused, told of, and not pinned', async ({ server }) => {
  const { handlers } = server.transport
  assert.match(await admit(server, 2, { term: termOf(2), lastIndex: logIndex(4) }), 'had acknowledged all up to 5')
  assert.match(server.raft.status.peers[0]?.refusal?.reason ?? '', 'its log ends at 4')
  assert.is(handlers.introduce('s2').knownBoot, 1)
  assert.is(await admit(server, 2, { term: termOf(2), lastIndex: logIndex(5) }), 'admitted')
  assert.is(handlers.introduce('s2').knownBoot, 2)
})

test('connections of the boot before one that is pinned end, and none does for the boot that is known', async (context) => {
  const { server } = context
  const expelled: string[] = []
  const expel: Transport['expel'] = (peer, { code, message }, stays) => {
    expelled.push(`${peer} ${code} but for boot ${stays?.bootCounter}: ${message}`)
  }
  Object.assign(server.transport, { expel })
  assert.is(await admit(server, 1, {}), 'admitted')
  assert.equal(expelled, [])
  assert.is(await admit(server, 2, { term: termOf(2), lastIndex: logIndex(5) }), 'admitted')
  assert.is(expelled.length, 1)
  assert.match(expelled[0] ?? '', /^s2 ERR_RAFT_PEER_REPLACED but for boot 2: server s2 runs in boot 2 now/)
  assert.is(server.raft.status.peers[0]?.refusal, null)
})

test('a boot that is back in an earlier term is refused, however long its log is', async ({ server }) => {
  assert.match(await admit(server, 2, { term: termOf(1), lastIndex: logIndex(99) }), 'it is back in term 1')
})

test('a boot of a later term may have lost them to a later leader', async ({ server }) => {
  assert.is(await admit(server, 2, { term: termOf(3), lastIndex: logIndex(1) }), 'admitted')
})

test('what the boot that has acknowledged said before it did so accuses nobody', async ({ server }) => {
  assert.is(await admit(server, 1, { term: termOf(1), lastIndex: logIndex(1) }), 'admitted')
})

test('a peer that has acknowledged nothing may have an empty log, and who does not lead knows nothing', async (context) => {
  const { server } = context
  const s3 = s2(server.raft.status.clusterId, 2, { serverId: 's3', lastIndex: logIndex(0) })
  const admitted = server.transport.handlers.admit(s3)
  await server.turns()
  await admitted
  for (let step = 0; step < 40; step += 1) {
    server.clock.advance(50)
    await server.turns()
  }
  assert.is.not(server.raft.status.role, 'leader')
  assert.is(await admit(server, 2, { term: termOf(2), lastIndex: logIndex(4) }), 'admitted')
})

test('what a server says of itself is where its log ends on its disk, and the term that it is in', async (context) => {
  const { server } = context
  const disk = server.storage.disk('/s1')
  disk.stall()
  const applied = server.raft.apply({ add: 4 })
  await server.turns()
  const { term, lastIndex } = server.transport.handlers.introduce('s2')
  assert.equal([term, lastIndex, server.raft.status.lastIndex], [2, 5, 6])
  disk.resume()
  await server.turns()
  assert.is(server.transport.handlers.introduce('s2').lastIndex, 6)
  await server.acknowledge()
  await applied
})

test.run()
