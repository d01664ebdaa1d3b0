/** What stands between a peer and a server, as the server tells it: status, event and log. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftEvents } from 'balsa-raft'
import type { ConnectionRefusal } from '#balsa/transport/refusal.js'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import { LoneServer } from '../support/lone-server.js'
import { heartbeat } from '#balsa/testing/conformance/site.js'

interface Context {
  server: LoneServer
  events: RaftEvents['refused'][]
  lines: string[]
}

const test = suite<Context>('what stands between a peer and a server')

test.before.each(async (context) => {
  const lines: string[] = []
  const silent = (): void => {}
  const warn = (event: string, fields?: Readonly<Record<string, unknown>>): void => {
    if (event === 'peer.refused') lines.push(`${String(fields?.['peer'])} ${String(fields?.['code'])}`)
  }
  context.lines = lines
  context.server = await LoneServer.open(undefined, { logger: { debug: silent, info: silent, warn, error: silent } })
  context.events = []
  context.server.raft.on('refused', (event) => context.events.push(event))
})
test.after.each(({ server }) => server.close())

const refusal = (part: Partial<ConnectionRefusal> = {}): ConnectionRefusal => {
  return { code: 'PROTOCOL', reason: 'speaks 3 .. 9', by: 'self', dialledBy: 'self', ...part }
}

const peerOf = ({ raft }: LoneServer, id: string) => raft.status.peers.find((peer) => peer.id === id)

test('what only the transport knows is in the status, counted, and an event once, until a session is up', async (context) => {
  const { server, events, lines } = context
  const { handlers } = server.transport
  for (let n = 0; n < 3; n++) handlers.onRefused?.('s2', refusal())
  const { code, reason, by, since, count } = peerOf(server, 's2')?.refusal ?? {}
  assert.equal([code, reason, by, since, count], ['PROTOCOL', 'speaks 3 .. 9', 'self', server.clock.wallNow(), 3])
  assert.equal(events, [{ id: 's2', code: 'PROTOCOL', reason: 'speaks 3 .. 9', by: 'self' }])
  assert.equal(lines, ['s2 PROTOCOL'])
  assert.is(peerOf(server, 's3')?.refusal, null)
  await server.connect(['s2'])
  assert.is(peerOf(server, 's2')?.refusal, null)
  handlers.onRefused?.('s2', refusal())
  assert.equal([events.length, lines.length], [2, 2], 'after all was well it is news')
})

test('a peer that is let in and refuses this server in turn is told of once, and kept', async (context) => {
  const { server, events, lines } = context
  const { handlers } = server.transport
  const introduction = introductionOf('s2', { clusterId: server.raft.status.clusterId })
  for (let n = 0; n < 3; n++) {
    const admitted = handlers.admit(introduction)
    await server.turns()
    await admitted
    for (const dialledBy of ['self', 'peer'] as const) {
      handlers.onRefused?.('s2', refusal({ code: 'ERR_RAFT_PEER_REPLACED', reason: 'wiped', by: 'peer', dialledBy }))
    }
  }
  assert.is(peerOf(server, 's2')?.refusal?.by, 'peer')
  assert.is(peerOf(server, 's2')?.refusal?.count, 6)
  assert.equal([events.length, lines], [1, ['s2 ERR_RAFT_PEER_REPLACED']])
})

test('what ended a link is forgotten when the next one brings a request, and no news when it comes again', (context) => {
  const { server, events } = context
  const { handlers } = server.transport
  for (let link = 1; link < 4; link++) {
    handlers.onRefused?.('s2', refusal({ code: 'MALFORMED', dialledBy: 'peer' }))
    assert.is(peerOf(server, 's2')?.refusal?.code, 'MALFORMED')
    handlers.onRequest('s2', link, heartbeat(1))
    assert.is(peerOf(server, 's2')?.refusal, null)
  }
  assert.is(events.length, 1)
  handlers.onRefused?.('s2', refusal({ code: 'WRONG_SERVER' }))
  handlers.onRequest('s2', 4, heartbeat(1))
  assert.is(
    peerOf(server, 's2')?.refusal?.code,
    'WRONG_SERVER',
    'that it dials this server says nothing of the way there',
  )
})

test('two reasons that alternate are one event each', (context) => {
  const { handlers } = context.server.transport
  for (let n = 0; n < 10; n++) for (const reason of ['a', 'b']) handlers.onRefused?.('s2', refusal({ reason }))
  assert.equal(
    context.events.map(({ reason }) => reason),
    ['a', 'b'],
  )
})

test('of whoever is no other member nothing is kept', (context) => {
  const { server, events, lines } = context
  for (const id of ['s1', 's9', '']) server.transport.handlers.onRefused?.(id, refusal())
  assert.equal([events, lines], [[], []])
  assert.equal(
    server.raft.status.peers.map(({ refusal: held }) => held),
    [null, null],
  )
})

test('a peer that is down has a reason, its last, and none while it is up', async ({ server }) => {
  const { handlers } = server.transport
  assert.is(peerOf(server, 's2')?.downReason, null, 'nothing is known yet')
  handlers.onDialFailed?.('s2', 'ECONNREFUSED')
  assert.is(peerOf(server, 's2')?.downReason, 'ECONNREFUSED')
  await server.connect(['s2'])
  assert.is(peerOf(server, 's2')?.downReason, null)
  handlers.onPeerDown('s2', 1, 'ECONNRESET')
  assert.is(peerOf(server, 's2')?.downReason, 'ECONNRESET')
  assert.is(peerOf(server, 's3')?.downReason, null)
})

test.run()
