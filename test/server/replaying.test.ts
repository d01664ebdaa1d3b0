/**
 * What is replayed, and what is new: a state machine is told so of each batch, and whoever listens hears of each range
 * that was applied.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { ApplyContext, Entry, RaftEvents } from 'balsa-raft'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { systemClock } from '#balsa/clock.js'
import { blockOf } from '#balsa/testing/conformance/blocks.js'
import { LoneServer } from '../support/lone-server.js'
import { appendEntries, preVote } from '../support/messages.js'
import { openSingle } from '../support/single-raft.js'
import type { AnyMachine, AnyRaft } from '../support/single-raft.js'
import { TestCluster } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

type Applied = RaftEvents['applied']

interface Context {
  closes: (() => Promise<void>)[]
}

const test = suite<Context>('replay')

test.before.each((context) => {
  context.closes = []
})
test.after.each(async ({ closes }) => {
  for (const close of closes.toReversed()) await close()
})

/** Notes of each command whether it was replayed, and whether somebody waits for it; answers with its index. */
class NotingMachine {
  readonly notes: [command: unknown, replaying: boolean, isAwaited: boolean][] = []
  /** Of each batch. */
  readonly batches: boolean[] = []
  gate: Promise<void> | null = null

  apply(
    batch: readonly Entry<unknown>[],
    { replaying, isAwaited }: ApplyContext,
  ): readonly number[] | Promise<readonly number[]> {
    const note = (): readonly number[] => {
      this.batches.push(replaying)
      for (const { index, command } of batch) this.notes.push([command, replaying, isAwaited(index)])
      return batch.map(({ index }) => index)
    }
    return this.gate?.then(note) ?? note()
  }
}

async function three({ closes }: Context): Promise<TestCluster> {
  const network = new MemoryNetwork({ clock: systemClock() })
  const sites = [1, 2, 3].map((n) => ({ id: `s${n}`, dir: `/s${n}`, address: `a${n}` }))
  const transportOf = ({ address }: { readonly address: string }) => network.transport(address)
  const cluster = new TestCluster({ sites, storage: memoryStore(), transportOf })
  closes.push(() => cluster.closeAll())
  await cluster.openAll()
  return cluster
}

async function single({ closes }: Context, machine: AnyMachine, storage = memoryStore()): Promise<AnyRaft> {
  const raft = await openSingle(machine, storage)
  closes.push(() => raft.close())
  return raft
}

test('what is in the log at the start is replayed; what is proposed from then on is not', async (context) => {
  const storage = memoryStore()
  const first = new NotingMachine()
  const before = await single(context, first, storage)
  await before.ready()
  await before.applyAll(['a', 'b'])
  assert.equal(first.notes, [
    ['a', false, true],
    ['b', false, true],
  ])
  await before.close()

  const machine = new NotingMachine()
  const raft = await single(context, machine, storage)
  await raft.ready()
  assert.equal(machine.notes, [
    ['a', true, false],
    ['b', true, false],
  ])
  await raft.apply('c')
  assert.equal(machine.notes.at(-1), ['c', false, true])
})

test('what a new leader proposes is not replayed, also where it is committed with all that was before', async ({
  closes,
}) => {
  const machine = new NotingMachine()
  const lone = await LoneServer.open(undefined, { stateMachine: machine })
  closes.push(() => lone.close())
  await lone.lead()
  const answers = Promise.all([lone.raft.apply({ add: 1 }), lone.raft.apply({ add: 2 })])
  await lone.turns()
  assert.equal(machine.notes, [])
  await lone.acknowledge()
  await answers
  assert.equal(machine.notes, [
    [{ add: 1 }, false, true],
    [{ add: 2 }, false, true],
  ])
})

for (const committed of [4, 5]) {
  test(`what comes together is cut where the replay ends: at ${committed}, committed when its leader was believed`, async ({
    closes,
  }) => {
    const codec = { encode: () => new Uint8Array(1), decode: () => ({ add: 1 }) }
    const lone = await LoneServer.open(undefined, { codec })
    closes.push(() => lone.close())
    const told: [first: number, last: number, replaying: boolean][] = []
    lone.raft.on('applied', ({ first, last, replaying }) => told.push([first, last, replaying]))
    await lone.connect()
    const { handlers } = lone.transport
    handlers.onRequest('s2', 1, appendEntries(2, '1/1', [blockOf(2, 2, [8, 8])], committed))
    await lone.turns()
    assert.is(told.at(-1)?.[1], 3)
    handlers.onRequest('s2', 1, appendEntries(2, '3/2', [blockOf(4, 2, [8, 8, 8, 8])], 7))
    await lone.turns()
    assert.equal(told.slice(-2), [
      [4, committed, true],
      [committed + 1, 7, false],
    ])
  })
}

test('what a follower missed is replayed; what is committed once it is ready is not, and it never goes back', async (context) => {
  const cluster = await three(context)
  const [away = ''] = cluster.followers(await cluster.leader()).map(({ status }) => status.id)
  await cluster.close(away)
  const missed = 20
  for (let add = 1; add <= missed; add += 1) await cluster.askLeader((leader) => leader.apply({ add }))

  const events: Applied[] = []
  const raft = await cluster.open(away)
  raft.on('applied', (event) => events.push(event))
  await raft.ready({ timeoutMs: 20_000 })
  const commandsOf = (replaying: boolean): number =>
    events.filter((event) => event.replaying === replaying).reduce((sum, { entries }) => sum + entries.length, 0)
  assert.equal([commandsOf(true), commandsOf(false)], [missed, 0])
  await cluster.askLeader((leader) => leader.apply({ add: 1 }))
  await until('it has the last one', () => commandsOf(false) > 0)
  const firstLive = events.findIndex(({ replaying }) => !replaying)
  assert.not(events.slice(firstLive).some(({ replaying }) => replaying))
})

test('whoever listens hears of every range, in order, with commands and answers, on every server', async (context) => {
  const cluster = await three(context)
  const heard = new Map<string, Applied[]>()
  const begun = new Map<string, number>()
  for (const [id, raft] of cluster.servers) {
    const events: Applied[] = []
    heard.set(id, events)
    begun.set(id, raft.status.appliedIndex)
    raft.on('applied', (event) => events.push(event))
  }
  await cluster.askLeader((leader) => leader.barrier())
  const total = await cluster.askLeader((leader) => leader.applyAll([{ add: 1 }, { add: 2 }, { add: 3 }]))
  assert.equal(total, [1, 3, 6])
  for (const [id, events] of heard) {
    await until(`${id} has told all`, () => events.flatMap(({ entries }) => entries).length === 3)
    let last = begun.get(id) ?? 0
    for (const event of events) {
      assert.is(event.first, last + 1)
      last = event.last
      assert.is(event.entries.length, event.results.length)
    }
    assert.equal(
      events.flatMap(({ entries }) => entries.map(({ command }) => command)),
      [{ add: 1 }, { add: 2 }, { add: 3 }],
    )
    assert.equal(
      events.flatMap(({ results }) => results),
      [1, 3, 6],
    )
  }
})

for (const isSlow of [false, true]) {
  const kind = isSlow ? 'answers later' : 'answers at once'
  test(`a listener may close the server of a machine that ${kind}, and hears nothing more`, async (context) => {
    const machine = new NotingMachine()
    const raft = await single(context, machine)
    await raft.ready()
    if (isSlow) machine.gate = Promise.resolve()
    const heard: Applied[] = []
    const closings: Promise<void>[] = []
    raft.on('applied', (event) => {
      heard.push(event)
      assert.is(raft.status.appliedIndex, event.last)
      closings.push(raft.close())
    })
    const answers = await Promise.allSettled([raft.apply('a'), raft.apply('b')])
    assert.equal(
      answers.map(({ status }) => status),
      ['fulfilled', 'fulfilled'],
    )
    await Promise.all(closings)
    assert.is(await raft.closed, null)
    assert.is(heard.length, 1)
  })
}

test('once a listener has closed its server, nothing that came with it is answered', async () => {
  const machine = new NotingMachine()
  const lone = await LoneServer.open(undefined, { stateMachine: machine })
  await lone.lead()
  let open = (): void => {}
  machine.gate = new Promise((resolve) => (open = resolve))
  const answer = lone.raft.apply({ add: 1 })
  await lone.turns()
  await lone.acknowledge()
  const closings: Promise<void>[] = []
  lone.raft.on('applied', () => closings.push(lone.close()))
  const said = lone.transport.responses.length
  open()
  // What the machine has answered is left for the turn before what comes from s3.
  for (let step = 0; step < 32; step += 1) await Promise.resolve()
  lone.transport.handlers.onRequest('s3', 1, preVote(3, '9/2'))
  await lone.turns()
  assert.type(await answer, 'number')
  assert.is(closings.length, 1)
  assert.is(lone.transport.responses.length, said)
  await Promise.all(closings)
})

test('a listener that throws is told to the log, and disturbs nobody', async (context) => {
  const lines: unknown[] = []
  const quiet = (): void => {}
  const error = (event: string, fields: unknown): void => void lines.push([event, fields])
  const logger = { debug: quiet, info: quiet, warn: quiet, error }
  const raft = await openSingle(new NotingMachine(), memoryStore(), { logger })
  context.closes.push(() => raft.close())
  await raft.ready()
  raft.on('applied', () => {
    throw new Error('oh')
  })
  assert.is(await raft.apply('a'), raft.status.appliedIndex)
  assert.equal(lines, [['listener.threw', { event: 'applied', error: 'Error: oh' }]])
})

test.run()
