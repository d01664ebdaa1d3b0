/**
 * A call that has ended leaves nothing in any room of the server, whatever ended it, and its end costs the same however
 * many others wait.
 */

import { execFile } from 'node:child_process'
import { getEventListeners } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError } from 'balsa-raft'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'
import { requestVote } from '../support/messages.js'

interface Context {
  closes: (() => Promise<void>)[]
}

const test = suite<Context>('the rooms of a server')

test.before.each((context) => {
  context.closes = []
})
test.after.each(async (context) => {
  for (const close of context.closes) await close()
})

async function stage(context: Context): Promise<LoneServer> {
  const server = await LoneServer.open()
  context.closes.push(() => server.close())
  await server.turns()
  return server
}

const CALLS = 200
const codesOf = async (calls: readonly Promise<unknown>[]): Promise<readonly string[]> => {
  const errors = await Promise.all(calls.map(failure))
  return [...new Set(errors.map(({ code, outcome }: RaftError) => `${code} ${outcome}`))]
}

/** Calls with a timeout, and as many that one signal ends. */
async function endAll(server: LoneServer, call: (options: object) => Promise<unknown>): Promise<readonly string[]> {
  const controller = new AbortController()
  const calls: Promise<unknown>[] = []
  for (let count = 0; count < CALLS; count += 1) {
    calls.push(call({ timeoutMs: 20 }), call({ signal: controller.signal }))
  }
  const codes = codesOf(calls)
  await server.turns()
  controller.abort()
  server.clock.advance(30)
  await server.turns()
  return codes
}

test('ready of a server that knows no leader leaves nothing when its wait ends', async (context) => {
  const server = await stage(context)
  const codes = await endAll(server, (options) => server.raft.ready(options))
  assert.equal([...codes], ['ERR_RAFT_TIMEOUT not-applied', 'ERR_RAFT_ABORTED not-applied'])
  assert.equal(server.occupied, {})
})

test('reads that no quorum confirms leave nothing when their wait ends', async (context) => {
  const server = await stage(context)
  await server.lead()
  await server.acknowledge()
  const codes = await endAll(server, (options) => server.raft.readIndex(options))
  assert.equal([...codes], ['ERR_RAFT_TIMEOUT not-applied', 'ERR_RAFT_ABORTED not-applied'])
  assert.equal(server.occupied, {})
})

test('reads that wait for a state machine leave nothing when their wait ends, turn after turn', async (context) => {
  const server = await stage(context)
  await server.lead()
  await server.acknowledge()
  let release = (): void => {}
  server.machine.gate = new Promise((resolve) => (release = resolve))
  const write = server.raft.apply({ add: 1 })
  await server.turns()
  await server.acknowledge()
  for (let turn = 0; turn < 20; turn += 1) {
    const read = failure(server.raft.readIndex({ timeoutMs: 10 }))
    await server.turns()
    await server.acknowledge()
    server.clock.advance(20)
    assert.is((await read).code, 'ERR_RAFT_TIMEOUT')
  }
  assert.equal(server.occupied, { accepted: 1, applying: 1 })
  release()
  assert.is(await write, 1)
  assert.equal(server.occupied, {})
})

/** Young objects have so much room that nothing is collected while the child counts. */
const HEAP = ['--expose-gc', '--no-opt', '--min-semi-space-size=256', '--max-semi-space-size=256']

test('waiting calls that end together cost the same for each, be they few or many', async () => {
  const script = fileURLToPath(new URL('ended-calls/cli.js', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [...HEAP, script, '250', '2000'], { timeout: 60_000 })
  const counted = JSON.parse(stdout) as Record<string, Readonly<{ few: number; many: number }>>
  assert.equal(Object.keys(counted), ['apply', 'readIndex', 'ready'])
  for (const [call, { few, many }] of Object.entries(counted)) {
    assert.ok(few > 500, `${call}: ${few} bytes for each of few: nothing was counted`)
    assert.ok(many < 2 * few, `${call}: ${few} bytes of heap for each of few calls that end, ${many} for each of many`)
  }
})

test('of a call that ends while a part of it waits, that part is never appended, and the bytes are counted exactly', async (context) => {
  const server = await stage(context)
  await server.lead()
  const { raft } = server
  const disk = server.storage.disk('/s1')
  disk.stall()
  context.closes.unshift(async () => disk.resume())
  const large = { add: 1, pad: new Uint8Array(700_000) }
  const list = failure(raft.applyAll([large, large, large], { timeoutMs: 20 }))
  const behind = failure(raft.apply({ add: 2 }))
  await server.turns()
  assert.equal([server.server.counters.accepted, server.server.counters.waiting], [2, 2])
  server.clock.advance(30)
  await server.turns()
  assert.is((await list).outcome, 'unknown')
  const { waiting, waitingBytes } = server.server.counters
  assert.is(waiting, 1)
  assert.ok(waitingBytes < 100, `${waitingBytes} bytes for one small command`)
  disk.resume()
  await server.turns()
  assert.is(raft.status.lastIndex, 5, 'the first entry, that of the term, two of the list, and the one behind it')
  await raft.close({ transferLeadership: false })
  assert.is((await behind).outcome, 'unknown')
})

test('one signal may end any number of calls: it has one listener while any of them waits, and then none', async (context) => {
  const server = await stage(context)
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning)
  process.on('warning', onWarning)
  context.closes.push(async () => void process.off('warning', onWarning))
  const { signal } = new AbortController()
  const listeners = (): number => getEventListeners(signal, 'abort').length
  const calls = Array.from({ length: 50 }, () => failure(server.raft.ready({ signal, timeoutMs: 20 })))
  await server.turns()
  assert.is(listeners(), 1)
  server.clock.advance(30)
  await server.turns()
  await Promise.all(calls)
  assert.is(listeners(), 0)
  assert.equal(warnings, [])
  assert.equal(server.occupied, {})
})

test('a peer that asks again and again while its store cannot be written down is kept once', async (context) => {
  const server = await stage(context)
  const disk = server.storage.disk('/s1')
  disk.stall()
  context.closes.unshift(async () => disk.resume())
  server.transport.handlers.onRequest('s2', 1, requestVote(2, '1/1'))
  await server.turns()
  const { clusterId } = server.raft.status
  const peer = introductionOf('s2', { clusterId, incarnation: 'a'.repeat(32) })
  const admitted = Array.from({ length: 100 }, () => server.transport.handlers.admit(peer))
  await server.turns()
  for (let count = 0; count < 100; count += 1) admitted.push(server.transport.handlers.admit(peer))
  assert.is(server.occupied['admissions'] ?? 0, 1)
  // Whoever claims to be it with ever new stores is refused before long.
  const claims = Array.from({ length: 1000 }, (_, at) =>
    server.transport.handlers.admit({ ...peer, incarnation: at.toString(16).padStart(32, '0') }),
  )
  const refused = claims.map((claim) => failure(claim))
  await server.turns()
  assert.ok((server.occupied['admissions'] ?? 0) <= 64, `${server.occupied['admissions'] ?? 0} admissions wait`)
  disk.resume()
  await server.turns()
  await server.turns()
  await Promise.all(admitted)
  const codes = new Set((await Promise.all(refused)).map(({ code }) => code))
  assert.equal([...codes].sort(), ['ERR_RAFT_OVERLOADED', 'ERR_RAFT_PEER_REPLACED'])
  assert.equal(server.occupied, {})
})

test('health probes of a server without a leader keep nothing of the heap', async (context) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const server = await stage(context)
  const probe = async (count: number): Promise<void> => {
    const calls = Array.from({ length: count }, () => server.raft.ready({ timeoutMs: 10 }).catch(() => {}))
    server.clock.advance(20)
    await server.turns()
    await Promise.all(calls)
  }
  await probe(1000)
  collect()
  const before = process.memoryUsage().heapUsed
  for (let round = 0; round < 20; round += 1) await probe(1000)
  collect()
  const grown = process.memoryUsage().heapUsed - before
  assert.ok(grown < 20_000 * 20, `${grown} bytes are left of 20000 probes`)
})

test.run()
