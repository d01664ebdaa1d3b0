/**
 * One server and what goes wrong around its core: timers, batches, options, identities (scenarios E15, D*, H*, M17).
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Raft, RaftError } from 'balsa-raft'
import type { LogStore, StoreFactory } from 'balsa-raft'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { FailedTicketFate } from '#balsa/storage/memory/memory-log-store.js'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import type { Introduction } from '#balsa/types.js'
import { failure } from '../support/failure.js'
import { ELECTION_MS, LoneServer, optionsOf, StageTransport } from '../support/lone-server.js'
import { appendEntries, requestVote, vote } from '../support/messages.js'
import { ManualClock } from '../transport/manual-clock.js'

interface Context {
  closes: (() => Promise<void>)[]
}

const test = suite<Context>('scenarios of one server')

test.before.each((context) => {
  context.closes = []
})
test.after.each(async (context) => {
  for (const close of context.closes) await close()
})

async function stage(context: Context, wrap?: (storage: StoreFactory) => StoreFactory): Promise<LoneServer> {
  const server = await LoneServer.open(wrap)
  context.closes.push(() => server.close())
  return server
}

/** A store whose every call of one method is noticed first. */
function noticing(method: keyof LogStore, storage: StoreFactory, notice: () => void): StoreFactory {
  return {
    name: storage.name,
    create: (dir) => {
      const store = storage.create(dir)
      return new Proxy(store, {
        get: (target, name) => {
          if (name === method) notice()
          const value: unknown = Reflect.get(target, name, target)
          return typeof value === 'function' ? (value.bind(target) as unknown) : value
        },
      })
    },
  }
}

test('E15 what arrived while the event loop was blocked is read before the election timer may expire', async (context) => {
  const { raft, transport, clock, turns } = await stage(context)
  const heartbeat = (): void => transport.handlers.onRequest('s2', 1, appendEntries(2, '1/1', []))
  heartbeat()
  await turns()
  assert.is(raft.status.leader?.id, 's2')
  const roles: string[] = []
  raft.on('role', ({ role }) => roles.push(role))
  // After a pause libuv fires the timer first, and only then reads what arrived.
  clock.advance(ELECTION_MS)
  heartbeat()
  await turns()
  assert.equal(roles, [])
  clock.advance(ELECTION_MS)
  await turns()
  assert.equal(roles, ['preCandidate'], 'without a heartbeat it does expire')
})

test('A6 a listener hears of each term of a leader, once, though the leader stays the same', async (context) => {
  const { raft, transport, turns } = await stage(context)
  const heard: string[] = []
  raft.on('leader', ({ leader, term }) => heard.push(`${leader?.id ?? 'nobody'} of ${term}`))
  for (const term of [2, 2, 3, 3, 7]) {
    transport.handlers.onRequest('s2', 1, appendEntries(term, '1/1', []))
    await turns()
  }
  assert.equal(heard, ['s2 of 2', 's2 of 3', 's2 of 7'])
})

test('H2-1 a higher term that arrives while a batch is sealed does not get into the batch', async (context) => {
  let onSeal = (): void => {}
  const server = await stage(context, (storage) => noticing('seal', storage, () => onSeal()))
  await server.lead()
  onSeal = () => server.transport.handlers.onRequest('s3', 1, appendEntries(9, '1/1', []))
  const error = await failure(server.raft.apply({ add: 1 }))
  onSeal = () => {}
  assert.is(`${error.code} ${error.outcome}`, 'ERR_RAFT_LEADERSHIP_LOST unknown')
  await server.turns()
  assert.equal([server.raft.status.term, server.raft.status.leader?.id], [9, 's3'])
  const blocks = server.storage.disk('/s1').durable.blocks.map(({ first, term }) => `${first}/${term}`)
  assert.equal(blocks, ['1/1', '2/2', '3/2'])
})

test('D6 a vote that finds no room on the disk is not told, until there is room', async (context) => {
  const { transport, storage, turns } = await stage(context)
  await turns()
  // A close waits for what is pending.
  context.closes.unshift(async () => storage.disk('/s1').resume())
  storage.disk('/s1').stall()
  transport.handlers.onRequest('s2', 1, requestVote(2, '1/1'))
  await turns()
  assert.equal(transport.responses, [])
  storage.disk('/s1').resume()
  await turns()
  assert.equal(
    transport.responses.map(({ message }) => message),
    [vote(2, true)],
  )
})

test('a store that refuses a write halts the server in that turn, before it says that anything is wrong', async (context) => {
  let refusal: RaftError | null = null
  const refuse = (): void => {
    if (refusal !== null) throw refusal
  }
  const server = await stage(context, (storage) => noticing('submit', storage, refuse))
  await server.lead()
  const { transport, raft, turns } = server
  refusal = new RaftError('ERR_RAFT_STORE_POISONED', 'the disk is gone')
  const error = await failure(raft.apply({ add: 1 }))
  refusal = null
  assert.is(`${error.code} ${error.outcome}`, 'ERR_RAFT_STORE_POISONED unknown')
  const { length } = transport.responses
  transport.handlers.onRequest('s2', 1, requestVote(9, '9/9'))
  await turns()
  assert.is(transport.responses.length, length)
})

test('a peer is admitted when its store is pinned on the disk and no sooner, and of two that claim one id the first one is', async (context) => {
  const { transport, raft, storage, turns } = await stage(context)
  await turns()
  const disk = storage.disk('/s1')
  context.closes.unshift(async () => disk.resume())
  disk.stall()
  const { clusterId } = raft.status
  const identity = introductionOf('s2', { clusterId, incarnation: 'a'.repeat(32) })
  const outcomes: string[] = []
  const admit = (name: string, other: Partial<Introduction>): void => {
    transport.handlers.admit({ ...identity, ...other }).then(
      () => outcomes.push(`${name} is admitted`),
      (error: unknown) => outcomes.push(`${name} gets ${(error as RaftError).code}`),
    )
  }
  admit('the first', {})
  await turns()
  admit('another store', { incarnation: 'b'.repeat(32) })
  await turns()
  assert.equal(outcomes, [])
  disk.resume()
  await turns()
  await turns()
  assert.equal(outcomes, ['the first is admitted', 'another store gets ERR_RAFT_PEER_REPLACED'])
})

test('D10 M17 H1-13 another cluster, a stranger, another store and a store that went back in time are not admitted', async (context) => {
  const { transport, raft, turns } = await stage(context)
  const { clusterId } = raft.status
  const good = introductionOf('s2', { clusterId, incarnation: 'a'.repeat(32), bootCounter: 5 })
  const admit = (changes: Partial<Introduction>): Promise<RaftError> =>
    failure(transport.handlers.admit({ ...good, ...changes }))
  const admitted = transport.handlers.admit(good)
  await turns()
  await admitted
  assert.is((await admit({ clusterId: '0'.repeat(32) })).code, 'ERR_RAFT_CLUSTER_MISMATCH')
  assert.is((await admit({ serverId: 's9' })).code, 'ERR_RAFT_CLUSTER_MISMATCH')
  assert.is((await admit({ serverId: 's1' })).code, 'ERR_RAFT_CLUSTER_MISMATCH')
  assert.is((await admit({ incarnation: 'b'.repeat(32) })).code, 'ERR_RAFT_PEER_REPLACED')
  const backup = await admit({ bootCounter: 4 })
  assert.is(backup.code, 'ERR_RAFT_PEER_REPLACED')
  assert.match(backup.message, 'went back from boot 5 to boot 4')
})

test('H2-8 options are copied and never written to: frozen ones serve twice, changed ones change nothing', async (context) => {
  const transport = new StageTransport()
  const options = optionsOf(memoryStore(), transport)
  for (const server of options.bootstrap ?? []) Object.freeze(server)
  Object.freeze(options.bootstrap)
  Object.freeze(options)
  for (let time = 0; time < 2; time += 1) await (await Raft.open(options)).close()
  const bootstrap = [...(options.bootstrap ?? [])]
  const changed = { ...options, bootstrap, storage: memoryStore(), transport: new StageTransport() }
  const raft = await Raft.open(changed)
  context.closes.push(() => raft.close({ transferLeadership: false }))
  bootstrap.splice(1)
  changed.id = 's2'
  assert.is(raft.status.id, 's1')
  assert.is(raft.status.configuration.voters.length, 3)
})

for (const fate of ['lost', 'kept'] satisfies readonly FailedTicketFate[]) {
  test(`H2-12 a bootstrap whose write failed and was ${fate} is done over, or found done`, async (context) => {
    const storage = memoryStore()
    storage.disk('/s1').failTicket(1, fate)
    const error = await failure(Raft.open(optionsOf(storage, new StageTransport())))
    assert.is(error.code, 'ERR_RAFT_STORE_POISONED')
    const { hardState, lastIndex, facts } = storage.disk('/s1').durable
    const done = fate === 'kept'
    assert.equal([hardState.term, lastIndex, facts.has('clusterId')], done ? [1, 1, true] : [0, 0, false])
    const raft = await Raft.open(optionsOf(storage, new StageTransport()))
    context.closes.push(() => raft.close({ transferLeadership: false }))
    assert.equal([raft.status.lastIndex, raft.status.term, raft.status.configuration.voters.length], [1, 1, 3])
  })
}

test('H1-6 two servers that start together do not draw the same timeouts', async () => {
  const drawn: number[] = []
  for (let count = 0; count < 2; count += 1) {
    const storage = memoryStore()
    const before = new StageTransport()
    const young = await Raft.open(optionsOf(storage, before))
    before.handlers.onRequest('s2', 1, requestVote(2, '1/1'))
    await nextTurn()
    await young.close()
    // From the second boot on the first timeout is drawn like every other: here one of 600,000 values.
    const clock = new ManualClock()
    const old = await Raft.open({ ...optionsOf(storage, new StageTransport()), clock, electionTimeoutMs: 600_000 })
    await nextTurn()
    drawn.push(...clock.delays())
    await old.close()
  }
  assert.is(drawn.length, 2)
  assert.is.not(drawn[0], drawn[1])
})

test.run()
