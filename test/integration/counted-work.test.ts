/**
 * What a batch costs, counted and not timed: three servers in one process over the real store and real sockets, with a
 * thin layer around store and transport that counts per turn. `poll` is the first thing that every turn does.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { nativeStore } from 'balsa-raft/storage'
import type { Clock, LogStore, StoreFactory } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import type { TcpTransport } from 'balsa-raft/transport/tcp'
import { systemClock } from '#balsa/clock.js'
import { freeAddresses } from '../../support/free-addresses.js'
import { TestCluster } from '../support/raft-cluster.js'
import type { TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const IN_FLIGHT = 256
const ROUNDS = 40
const PEERS = 2
const IDLE_TURNS = 20
const BURST = 1024
/** Together just below the 16 MiB that may wait in one server: much more than is ever under way to a peer. */
const BURST_FILLERS = [0, 16_000]
const BURST_MS_MAX = 30_000

/** The most of anything that happened in one turn of one server. */
interface Counts {
  turns: number
  submitsInTurn: number
  submitsInTurnMax: number
  flushesInTurn: number
  flushesInTurnMax: number
  writesAtTurnStart: number
  writesInTurnMax: number
}

const NOTHING: Counts = {
  turns: 0,
  submitsInTurn: 0,
  submitsInTurnMax: 0,
  flushesInTurn: 0,
  flushesInTurnMax: 0,
  writesAtTurnStart: 0,
  writesInTurnMax: 0,
}

const test = suite<{
  dir: string
  cluster: TestCluster
  counts: Map<string, Counts>
  transports: Map<string, TcpTransport>
  clock: StoppableClock
}>('the work of a batch')

test.before(async (context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'balsa-counted-'))
  context.counts = new Map()
  context.transports = new Map()
  context.clock = new StoppableClock()
  const addresses = await freeAddresses(3)
  const sites = addresses.map((address, at) => ({ id: `s${at + 1}`, dir: join(context.dir, `s${at + 1}`), address }))
  context.cluster = new TestCluster({
    sites,
    storage: counting(context),
    clock: context.clock,
    // Far from any election: its messages are not what is counted here.
    extra: { electionTimeoutMs: 3000 },
    transportOf: ({ dir, address }) => countingFlushes(context, dir, tcp({ listen: address })),
  })
  await context.cluster.openAll()
})

test.after(async ({ cluster, dir }) => {
  await cluster.closeAll()
  rmSync(dir, { recursive: true })
})

test('a turn makes at most one native submit and one write per peer, and a group commit one wake', async (context) => {
  const leader = await context.cluster.leader()
  for (const counts of context.counts.values())
    Object.assign(counts, NOTHING, { writesAtTurnStart: counts.writesAtTurnStart })
  await load(leader)
  for (const [dir, counts] of context.counts) {
    assert.ok(counts.turns > ROUNDS, `${dir}: ${counts.turns} turns`)
    assert.is(counts.submitsInTurnMax, 1, `${dir}: submits in one turn`)
    assert.is(counts.flushesInTurnMax, 1, `${dir}: flushes of the transport in one turn`)
    const leads = dir.endsWith(leader.status.id)
    assert.is(counts.writesInTurnMax, leads ? PEERS : 1, `${dir}: socket writes in one turn`)
  }
  for (const [id, server] of context.cluster.servers) {
    const { groupCommits, wakes } = server.status.store
    assert.ok(wakes <= groupCommits, `${id}: ${wakes} wakes for ${groupCommits} group commits`)
  }
})

test('at 256 in flight an entry costs each server fewer than 0.1 device flushes', async ({ cluster }) => {
  const leader = await cluster.leader()
  const before = new Map([...cluster.servers].map(([id, { status }]) => [id, status.store.flushes]))
  const entries = await load(leader)
  for (const [id, { status }] of cluster.servers) {
    const flushes = status.store.flushes - (before.get(id) ?? 0)
    assert.ok(flushes > 0, `${id} flushed nothing`)
    assert.ok(flushes / entries < 0.1, `${id}: ${flushes} flushes for ${entries} entries`)
  }
})

test('an idle cluster goes on with its heartbeats and writes nothing', async ({ cluster, counts }) => {
  const leader = await cluster.leader()
  const { appliedIndex } = leader.status
  const caughtUp = (server: TestRaft): boolean => server.status.appliedIndex >= appliedIndex
  await until('all servers have caught up', () => [...cluster.servers.values()].every(caughtUp))
  const commits = [...cluster.servers.values()].map(({ status }) => status.store.groupCommits)
  const turns = [...counts.values()].map((each) => each.turns)
  const beats = (): boolean => [...counts.values()].every((each, at) => each.turns > (turns[at] ?? 0) + IDLE_TURNS)
  await until(`every server has made ${IDLE_TURNS} turns`, beats)
  assert.equal(
    [...cluster.servers.values()].map(({ status }) => status.store.groupCommits),
    commits,
  )
})

test('a burst of 1024 commands comes to its end while no time passes', async ({ cluster, clock }) => {
  const leader = await cluster.leader()
  clock.stop()
  try {
    for (const bytes of BURST_FILLERS) {
      const command = { add: 1, filler: 'x'.repeat(bytes) }
      const ends = { answers: 0, failures: new Set<unknown>() }
      for (let left = BURST; left > 0; left -= 1) {
        leader.apply(command).then(
          () => (ends.answers += 1),
          (error: unknown) => ends.failures.add(error),
        )
      }
      // A command that waits for a heartbeat, or for a timeout of anything, waits for ever.
      const ended = (): boolean => ends.answers === BURST || ends.failures.size > 0
      await until(`all ${BURST} commands with a filler of ${bytes} bytes are answered`, ended, BURST_MS_MAX)
      assert.equal([...ends.failures], [])
    }
  } finally {
    clock.go()
  }
})

/** The machine's clock, that a test can stop: then it is no later than before, and no timer fires. */
class StoppableClock implements Clock {
  readonly #clock = systemClock()
  readonly #held = new Set<() => void>()
  #stoppedAt: number | null = null
  #missed = 0

  now(): number {
    return (this.#stoppedAt ?? this.#clock.now()) - this.#missed
  }

  wallNow(): number {
    return this.#clock.wallNow()
  }

  defer(callback: () => void): void {
    this.#clock.defer(callback)
  }

  setTimer(delayMs: number, callback: () => void): () => void {
    const fire = (): void => {
      if (this.#stoppedAt === null) callback()
      else this.#held.add(callback)
    }
    const cancel = this.#clock.setTimer(delayMs, fire)
    return () => {
      cancel()
      this.#held.delete(callback)
    }
  }

  stop(): void {
    this.#stoppedAt = this.#clock.now()
  }

  go(): void {
    this.#missed += this.#clock.now() - (this.#stoppedAt ?? this.#clock.now())
    this.#stoppedAt = null
    const held = [...this.#held]
    this.#held.clear()
    for (const callback of held) callback()
  }
}

/** Each of 256 callers waits for its answer before it sends the next command. Returns how many commands there were. */
async function load(leader: TestRaft): Promise<number> {
  const caller = async (): Promise<void> => {
    for (let round = 0; round < ROUNDS; round += 1) await leader.apply({ add: 1 })
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller))
  return IN_FLIGHT * ROUNDS
}

function countsOf(context: { counts: Map<string, Counts> }, dir: string): Counts {
  const known = context.counts.get(dir)
  if (known !== undefined) return known
  const counts = { ...NOTHING }
  context.counts.set(dir, counts)
  return counts
}

function counting(context: { counts: Map<string, Counts>; transports: Map<string, TcpTransport> }): StoreFactory {
  const inner = nativeStore()
  const create = (dir: string): LogStore => {
    const store = inner.create(dir)
    const counts = countsOf(context, dir)
    const poll = store.poll.bind(store)
    const submit = store.submit.bind(store)
    store.poll = () => {
      const writes = context.transports.get(dir)?.stats().writes ?? 0
      counts.turns += 1
      counts.submitsInTurn = 0
      counts.flushesInTurn = 0
      counts.writesInTurnMax = Math.max(counts.writesInTurnMax, writes - counts.writesAtTurnStart)
      counts.writesAtTurnStart = writes
      return poll()
    }
    store.submit = (operations) => {
      counts.submitsInTurn += 1
      counts.submitsInTurnMax = Math.max(counts.submitsInTurnMax, counts.submitsInTurn)
      return submit(operations)
    }
    return store
  }
  return { name: inner.name, create }
}

function countingFlushes(
  context: { counts: Map<string, Counts>; transports: Map<string, TcpTransport> },
  dir: string,
  transport: TcpTransport,
): TcpTransport {
  const counts = countsOf(context, dir)
  const flush = transport.flush.bind(transport)
  transport.flush = () => {
    counts.flushesInTurn += 1
    counts.flushesInTurnMax = Math.max(counts.flushesInTurnMax, counts.flushesInTurn)
    flush()
  }
  context.transports.set(dir, transport)
  return transport
}

test.run()
