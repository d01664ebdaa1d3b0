/** Whether a server is alive and ready, and how that is told over HTTP. */

import { createServer } from 'node:http'
import type { Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Health, RaftOptions } from 'balsa-raft'
import { healthHandler, PROMETHEUS_CONTENT_TYPE } from 'balsa-raft/observe'
import type { HealthSource } from 'balsa-raft/observe'
import { entryBlock } from '#balsa/format/block.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'
import type { Answer, Command } from '../support/raft-cluster.js'
import { appendEntries } from '../support/messages.js'

interface Context {
  closes: (() => Promise<unknown>)[]
}

const test = suite<Context>('health')

test.before.each((context) => {
  context.closes = []
})
test.after.each(async ({ closes }) => {
  for (const close of closes.toReversed()) await close()
})

async function lone(
  context: Context,
  extra: Partial<RaftOptions<Command, number, 'total', Answer>> = {},
): Promise<LoneServer> {
  const server = await LoneServer.open(undefined, extra)
  context.closes.push(() => server.close())
  await server.turns()
  return server
}

const TIMEOUT_MS = 1000
const NOTHING = new Uint8Array(0)
const noop = (index: number): Block => entryBlock('noop', logIndex(index), termOf(2), index, NOTHING)

/** s2 leads term 2, has committed its first entry, and says so. */
async function follow(server: LoneServer): Promise<void> {
  server.transport.handlers.onRequest('s2', 1, appendEntries(2, '1/1', [noop(2)], 2))
  await server.turns()
}

/** s2 says that it leads on, and that so much is committed; entries behind `last` come along. */
async function heartbeat(server: LoneServer, last: number, commitIndex = last, blocks: Block[] = []): Promise<void> {
  server.transport.handlers.onRequest('s2', 1, appendEntries(2, `${last}/2`, blocks, commitIndex))
  await server.turns()
}

const reasonOf = ({ raft }: LoneServer): string | null => raft.health.reason

/** Moves the clock in steps of a heartbeat, of which each is heard. */
async function pass(server: LoneServer, milliseconds: number, beat: () => Promise<void>): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 100) {
    server.clock.advance(100)
    await beat()
  }
}

test('nobody is ready before a leader is known and has committed in its own term', async (context) => {
  const server = await lone(context)
  assert.is(reasonOf(server), 'no leader is known')
  server.transport.handlers.onRequest('s2', 1, appendEntries(2, '1/1', [noop(2)], 1))
  await server.turns()
  assert.match(String(reasonOf(server)), /^what was committed when the leader became known is not applied/)
  assert.is(server.raft.health.stalenessMs, null)
  await heartbeat(server, 2)
  assert.equal(server.raft.health, { isAlive: true, isReady: true, reason: null, fault: null, stalenessMs: 0 })
  await server.raft.ready()
})

test('a follower to which nothing new happens stays ready, as long as it hears its leader', async (context) => {
  const server = await lone(context)
  await follow(server)
  await pass(server, 10 * TIMEOUT_MS, () => heartbeat(server, 2))
  assert.is(reasonOf(server), null)
})

test('a follower that is cut off is not ready after two election timeouts, also one that asks nobody', async (context) => {
  const server = await lone(context, { electionPriority: 0 })
  await follow(server)
  server.clock.advance(2 * TIMEOUT_MS)
  await server.turns()
  assert.is(reasonOf(server), null)
  server.clock.advance(1)
  assert.is(server.raft.status.leader?.id, 's2')
  assert.is(reasonOf(server), 'local state is current as of 2001 ms ago, and 2000 ms are the most')
  await heartbeat(server, 2)
  assert.is(reasonOf(server), null)
})

test('a follower that calls for an election knows no leader', async (context) => {
  const server = await lone(context)
  await follow(server)
  server.clock.advance(1500)
  await server.turns()
  assert.is(server.raft.status.role, 'preCandidate')
  assert.is(reasonOf(server), 'no leader is known')
})

test('a follower whose disk stands still is not ready once others have gone on, and until then is', async (context) => {
  const server = await lone(context)
  await follow(server)
  const disk = server.storage.disk('/s1')
  disk.stall()
  await pass(server, 3 * TIMEOUT_MS, () => heartbeat(server, 2))
  assert.is(reasonOf(server), null)
  await heartbeat(server, 2, 3, [noop(3)])
  await pass(server, 2 * TIMEOUT_MS + 100, () => heartbeat(server, 3))
  assert.match(String(reasonOf(server)), /^local state is current as of 2100 ms ago/)
  disk.resume()
  await server.turns()
  await heartbeat(server, 3)
  assert.is(reasonOf(server), null)
})

test('a state machine that does not come on makes a follower stale, though it hears its leader', async (context) => {
  const server = await lone(context)
  await follow(server)
  await heartbeat(server, 2, 9)
  await pass(server, 2 * TIMEOUT_MS + 100, () => heartbeat(server, 2, 9))
  assert.match(String(reasonOf(server)), /^local state is current as of/)
})

test('a follower that is always a little behind what is committed is current', async (context) => {
  const server = await lone(context)
  await follow(server)
  for (let index = 3; index < 40; index += 1) {
    server.clock.advance(100)
    await heartbeat(server, index - 1, index, [])
    await heartbeat(server, index - 1, index + 1, [noop(index)])
  }
  assert.is(reasonOf(server), null)
})

test('a leader is ready while a quorum is in contact', async (context) => {
  const server = await lone(context)
  await server.lead()
  assert.not(server.raft.health.isReady)
  await server.acknowledge()
  assert.ok(server.raft.health.isReady)
  server.clock.advance(2 * TIMEOUT_MS + 1)
  assert.not(server.raft.health.isReady)
})

test('a server alone is ready however long it had nothing to do', async (context) => {
  const server = await lone(context, { bootstrap: [{ id: 's1', address: 's1:1' }] })
  await server.raft.ready()
  server.clock.advance(1e6)
  assert.equal(server.raft.health, { isAlive: true, isReady: true, reason: null, fault: null, stalenessMs: 0 })
})

test('a server that is no member is not ready', async (context) => {
  const server = await lone(context, { bootstrap: [{ id: 's2', address: 's2:1' }], join: true })
  assert.is(reasonOf(server), 'this server is no member of the cluster')
})

interface Told {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: Readonly<Record<string, unknown>>
}

async function serve(
  context: Context,
  source: HealthSource,
): Promise<(path: string, method?: string) => Promise<Told>> {
  const http: HttpServer = createServer(healthHandler(source))
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  context.closes.push(() => {
    http.closeAllConnections()
    return new Promise((resolve) => http.close(resolve))
  })
  const { port } = http.address() as AddressInfo
  return async (path, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.startsWith('application/json') === true
    const json = isJson && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : {}
    return { status: response.status, headers: response.headers, text, json }
  }
}

test('a follower that is ready says so, and where the leader is', async (context) => {
  const server = await lone(context)
  const ask = await serve(context, server.raft)
  assert.equal([(await ask('/livez')).status, (await ask('/readyz')).status], [200, 503])
  assert.is((await ask('/readyz')).json['reason'], 'no leader is known')
  assert.is((await ask('/leader')).json['leader'], null)
  await follow(server)
  assert.equal((await ask('/readyz')).json, { ready: true, reason: null, stalenessMs: 0 })
  const { status, json } = await ask('/leader?whatever')
  assert.is(status, 503)
  assert.equal(json, { isLeader: false, term: 2, leader: { id: 's2', address: 's2:1' }, reason: null })
})

test('the leader answers 200 as such, and the status with its indexes and peers', async (context) => {
  const server = await lone(context)
  const ask = await serve(context, server.raft)
  await server.lead()
  await server.acknowledge()
  assert.equal((await ask('/leader')).json['isLeader'], true)
  assert.is((await ask('/leader')).status, 200)
  const { status, json, headers } = await ask('/v1/status')
  assert.is(status, 200)
  assert.is(headers.get('cache-control'), 'no-store')
  assert.equal([json['id'], json['role'], json['term'], json['commitIndex']], ['s1', 'leader', 2, 2])
  assert.equal(json['voters'], ['s1', 's2', 's3'])
  assert.is((json['peers'] as readonly { matchIndex: number }[])[0]?.matchIndex, 2)
})

test('metrics come as the text of Prometheus', async (context) => {
  const server = await lone(context)
  const ask = await serve(context, server.raft)
  const { status, text, headers } = await ask('/metrics')
  assert.is(status, 200)
  assert.is(headers.get('content-type'), PROMETHEUS_CONTENT_TYPE)
  assert.match(text, /^balsa_ready\{server="s1"\} 0$/m)
})

test('HEAD has the head alone, other methods are told which are allowed, other paths which there are', async (context) => {
  const server = await lone(context)
  const ask = await serve(context, server.raft)
  const head = await ask('/livez', 'HEAD')
  assert.equal([head.status, head.text], [200, ''])
  assert.is(head.headers.get('content-length'), String((await ask('/livez')).text.length))
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const { status, headers } = await ask('/readyz', method)
    assert.equal([status, headers.get('allow')], [405, 'GET, HEAD'])
  }
  for (const path of ['/', '/livez/', '/Livez', '/constructor', '/v1', '//livez']) {
    const { status, json } = await ask(path)
    assert.is(status, 404, path)
    assert.equal(json['paths'], ['/livez', '/readyz', '/leader', '/metrics', '/v1/status'])
  }
  assert.is((await ask('/nowhere', 'POST')).status, 404)
  const codes: number[] = []
  const response = { writeHead: (code: number) => void codes.push(code), end() {} }
  // A framework may hand on what is left of a path.
  healthHandler(server.raft)({ url: 'constructor', method: 'GET' } as never, response as never)
  assert.equal(codes, [404])
})

test('a server that has closed answers every path, and 503 where it was asked whether all is well', async (context) => {
  const server = await lone(context)
  await server.lead()
  const ask = await serve(context, server.raft)
  await server.close()
  for (const path of ['/livez', '/readyz', '/leader']) {
    const { status, json } = await ask(path)
    assert.is(status, 503, path)
    assert.is(json['reason'], 'this server is closing, or closed')
  }
  assert.equal([(await ask('/metrics')).status, (await ask('/v1/status')).status], [200, 200])
})

test('a server that has halted says by which code, and nothing of what a user has thrown', async (context) => {
  const server = await lone(context)
  await server.lead()
  await server.acknowledge()
  const ask = await serve(context, server.raft)
  const failed = failure(server.raft.apply({ fail: 'a word of a user' }))
  await server.turns()
  await server.acknowledge()
  assert.is((await failed).code, 'ERR_RAFT_APPLY_FAILED')
  for (const path of ['/livez', '/readyz', '/leader', '/v1/status', '/metrics']) {
    const { status, text } = await ask(path)
    assert.is(status, path === '/v1/status' || path === '/metrics' ? 200 : 503, path)
    assert.not.match(text, /word of a user/)
  }
  assert.equal((await ask('/livez')).json['fault'], 'ERR_RAFT_APPLY_FAILED')
  assert.match((await ask('/metrics')).text, /^balsa_halted\{server="s1"\} 1$/m)
})

test('the body of the status is bounded, however many members there are and whatever they say', async (context) => {
  const { raft } = await lone(context)
  const { status } = raft
  const peers = Array.from({ length: 500 }, (_, at) => ({
    ...{ id: `p${at}`, address: 'a'.repeat(255), connected: false, matchIndex: logIndex(0), refusal: null },
    downReason: 'r'.repeat(10_000),
  }))
  const health: Health = raft.health
  const crowd = { health, status: { ...status, peers, configuration: { voters: peers, nonvoters: peers } } }
  const ask = await serve(context, { ...crowd, metrics: () => raft.metrics() })
  const { json, text } = await ask('/v1/status')
  assert.ok(text.length < 64 * 1024, `${text.length}`)
  assert.is(json['membersOmitted'], 436)
})

test.run()
