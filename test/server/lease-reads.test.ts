/** `consistency: 'lease'` as callers see it: whom a read asks, and when it asks after all (docs/reads.md). */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { setTimeout as later } from 'node:timers/promises'
import { systemClock } from '#balsa/clock.js'
import { bootNow } from '#balsa/storage/native/boot-clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'
import { SumMachine, TestCluster } from '../support/raft-cluster.js'
import { until } from '../support/until.js'
import type { Transport } from 'balsa-raft'
import type { ManualClock } from '../transport/manual-clock.js'

const LEASE_MS = 500
const BY_LEASE = { consistency: 'lease' } as const

/** Something happens between the question and the answer. */
class BusyMachine extends SumMachine {
  meanwhile: () => void | Promise<void> = () => {}

  override query(): never {
    const meanwhile = this.meanwhile()
    const answer = super.query()
    return (meanwhile === undefined ? answer : meanwhile.then(() => answer)) as never
  }
}

interface Site {
  readonly clock: ManualClock
  readonly machine: BusyMachine
  readonly lone: LoneServer
  close(): Promise<void>
}

const test = suite<{ sites: Site[] }>('lease reads')

test.before.each((context) => void (context.sites = []))
test.after.each(async ({ sites }) => {
  for (const site of sites) await site.close()
})

/** s1 leads with a lease that has just begun. */
async function leased({ sites }: { sites: Site[] }): Promise<Site> {
  const machine = new BusyMachine()
  const lone = await LoneServer.open(undefined, { stateMachine: machine })
  const { clock } = lone
  const site = { clock, machine, lone, close: () => lone.close() }
  sites.push(site)
  await lone.lead()
  await lone.acknowledge()
  const set = lone.raft.setLease(LEASE_MS)
  await lone.turns()
  await beat(site)
  await set
  await beat(site)
  return site
}

/** A heartbeat, and what s2 answers. */
async function beat({ clock, lone }: Site): Promise<void> {
  clock.advance(100)
  await lone.turns()
  await lone.acknowledge()
}

const sentBy = ({ lone }: Site): number => lone.transport.requests.length

test('a leader that holds a lease asks nobody, by read and by query', async (context) => {
  const site = await leased(context)
  const sent = sentBy(site)
  assert.equal(await site.lone.raft.read('total', BY_LEASE), { total: 0, count: 0 })
  assert.equal(await site.lone.raft.query('total', BY_LEASE), { total: 0, count: 0 })
  await site.lone.turns()
  assert.is(sentBy(site), sent)
  assert.is(site.lone.raft.configuration().configuration.leaseMs, LEASE_MS)
})

/** Whether a read that was asked now asks the others, and is answered when they have answered. */
async function asksOthers(site: Site, how: 'read' | 'query' = 'read'): Promise<boolean> {
  const sent = sentBy(site)
  const answer = site.lone.raft[how]('total', BY_LEASE)
  await site.lone.turns()
  const hasAsked = sentBy(site) > sent
  await site.lone.acknowledge()
  assert.equal(await answer, { total: 0, count: 0 })
  return hasAsked
}

test('R5 a leader that has slept asks the others, as one without a lease does', async (context) => {
  const site = await leased(context)
  assert.not.ok(await asksOthers(site))
  site.clock.sleptMs += LEASE_MS
  assert.ok(await asksOthers(site))
  await beat(site)
  assert.not.ok(await asksOthers(site), 'what was answered since counts')
  site.clock.sleptMs += LEASE_MS
  assert.ok(await asksOthers(site, 'query'))
})

test('R5 an answer that was ready when the lease had ended is not given, but asked for again', async (context) => {
  const site = await leased(context)
  site.machine.meanwhile = () => void (site.clock.sleptMs += LEASE_MS)
  assert.ok(await asksOthers(site))
  await beat(site)
  let asked = 0
  site.machine.meanwhile = async () => {
    asked += 1
    if (asked === 1) site.clock.sleptMs += LEASE_MS
  }
  assert.ok(await asksOthers(site, 'query'), 'also one that was promised')
  assert.is(asked, 2)
})

test('R6 a read by lease looks at the lease of now, between two turns too', async (context) => {
  const site = await leased(context)
  const turns = sentBy(site)
  // No timer fires: the event loop was away.
  site.clock.sleptMs += LEASE_MS
  const answer = site.lone.raft.read('total', BY_LEASE)
  assert.is(sentBy(site), turns)
  await site.lone.turns()
  await site.lone.acknowledge()
  await answer
  assert.ok(sentBy(site) > turns)
})

test('what is committed and not applied here keeps a lease from being read by', async (context) => {
  const site = await leased(context)
  let open = (): void => {}
  site.machine.gate = new Promise((resolve) => (open = resolve))
  const applied = site.lone.raft.apply({ add: 7 })
  await site.lone.turns()
  await site.lone.acknowledge()
  const read = site.lone.raft.read('total', BY_LEASE)
  await site.lone.turns()
  await site.lone.acknowledge()
  open()
  assert.is(await applied, 7)
  assert.equal(await read, { total: 7, count: 1 })
})

test('without a clock that counts sleep a read by lease is a linearizable one', async (context) => {
  const site = await leased(context)
  site.clock.sleptMs = Infinity
  await beat(site)
  assert.ok(await asksOthers(site))
})

test('how long a lease may last is refused in words where it makes no sense', async (context) => {
  const { lone } = await leased(context)
  const table: readonly (readonly [unknown, RegExp])[] = [
    [199, /^option leaseMs is 199; must be/],
    [1001, /^option leaseMs is 1001; must be/],
    [200.5, /^option leaseMs is 200.5; must be a whole number, or 0 for no leases/],
    ['500', /^option leaseMs is .*500/],
    [LEASE_MS, /leases last 500 ms already/],
  ]
  for (const [leaseMs, words] of table) {
    const error = await failure(lone.raft.setLease(leaseMs as number))
    assert.is(error.code, leaseMs === LEASE_MS ? 'ERR_RAFT_CHANGE_REFUSED' : 'ERR_RAFT_OPTIONS')
    assert.match(error.message, words)
  }
})

/** Three servers over a network in memory; nobody is elected a second time, whatever else this machine does. */
class CountedCluster {
  /** AppendEntries that were sent. */
  requests = 0
  readonly cluster: TestCluster

  constructor(heartbeatMs: number) {
    const network = new MemoryNetwork({ clock: systemClock() })
    this.cluster = new TestCluster({
      sites: ['s1', 's2', 's3'].map((id) => ({ id, dir: `/${id}`, address: id })),
      storage: memoryStore(),
      transportOf: ({ address }) => this.#counting(network.transport(address)),
      extra: { heartbeatMs, electionTimeoutMs: 100_000 },
    })
  }

  #counting(transport: Transport): Transport {
    const send = transport.send.bind(transport)
    transport.send = (to, session, message) => {
      if (message.type === 'AppendEntries') this.requests += 1
      send(to, session, message)
    }
    return transport
  }
}

test('a follower that reads by lease costs its leader no message, once it knows of all that is committed', async () => {
  // No heartbeat is due while this goes on.
  const counted = new CountedCluster(30_000)
  const { cluster } = counted
  await Promise.all(['s1', 's2', 's3'].map((id) => cluster.open(id)))
  const leader = await cluster.leader()
  await leader.setLease(90_000)
  await leader.apply({ add: 3 })
  const followers = cluster.followers(leader)
  const hasAll = ({ matchIndex }: { readonly matchIndex: number }): boolean => matchIndex === leader.status.lastIndex
  await until('both have everything', () => leader.status.peers.every(hasAll))
  const costOf = async (consistency: 'lease' | 'linearizable', times: number): Promise<number> => {
    const before = counted.requests
    for (let left = times; left > 0; left -= 1) {
      for (const raft of followers) assert.is((await raft.query('total', { consistency })).total, 3)
    }
    return counted.requests - before
  }
  assert.is(await costOf('lease', 1), followers.length, 'by one round, with which both hear of the commit')
  assert.is(await costOf('lease', 50), 0)
  assert.is(await costOf('linearizable', 1), 2 * followers.length)
  await leader.setLease(0)
  assert.is(await costOf('lease', 1), 2 * followers.length)
  await cluster.closeAll()
})

test('in a cluster leases are turned on and off, survive a transfer, and followers ask the leader', async () => {
  const { cluster } = new CountedCluster(100)
  await cluster.openAll()
  const leader = await cluster.leader()
  await leader.setLease(LEASE_MS)
  await leader.apply({ add: 3 })
  for (const raft of cluster.servers.values()) assert.is((await raft.query('total', BY_LEASE)).total, 3)
  const next = cluster.server(await leader.transferLeadership())
  await next.apply({ add: 4 })
  assert.is((await next.read('total', BY_LEASE)).total, 7)
  assert.is((await failure(leader.read('total', BY_LEASE))).code, 'ERR_RAFT_NOT_LEADER')
  assert.is((await next.setLease(0)).configuration.leaseMs, undefined)
  assert.is((await next.read('total', BY_LEASE)).total, 7)
  await cluster.closeAll()
})

test('the clock of the addon goes on', async () => {
  const before = bootNow()
  assert.ok(Number.isFinite(before) && before > 0)
  await later(1)
  assert.ok(bootNow() > before)
})

test.run()
