/** Three servers, each in a worker thread, their state machines all in this one. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, Raft } from 'balsa-raft'
import type { Entry, StateMachine } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { freeAddresses } from '../../support/free-addresses.js'
import { refusal } from '../support/failure.js'
import { until } from '../support/until.js'

const ELECTION_TIMEOUT_MS = 400
const LATE = { timeoutMs: 30_000 }

class Numbers implements StateMachine<number, number, null, readonly number[]> {
  list: number[] = []
  readonly configurations: number[] = []
  restores = 0

  apply(batch: readonly Entry<number>[]): readonly number[] {
    return batch.map(({ command }) => this.list.push(command))
  }

  validate(command: number): void {
    if (command < 0) throw new RangeError('below zero')
  }

  configured(_: unknown, index: number): void {
    this.configurations.push(index)
  }

  query(): readonly number[] {
    return this.list
  }

  snapshot(): readonly Uint8Array[] {
    return this.list.map((number) => Uint8Array.of(number))
  }

  async restore(source: AsyncIterable<Uint8Array>): Promise<void> {
    this.list = []
    for await (const piece of source) this.list.push(...piece)
    this.restores += 1
  }

  hash(): Uint8Array {
    return Uint8Array.of(this.list.length & 255, ...this.list.slice(-8))
  }
}

type NumbersRaft = Raft<number, number, null, readonly number[]>

interface Context {
  folder: string
  addresses: readonly string[]
  machines: Map<string, Numbers>
  rafts: Map<string, NumbersRaft>
}

const test = suite<Context>('servers in worker threads')

function idOf(at: number): string {
  return `s${at + 1}`
}

async function open({ folder, addresses, machines, rafts }: Context, at: number, joins = false): Promise<NumbersRaft> {
  const [id, machine] = [idOf(at), new Numbers()]
  const raft = await Raft.open<number, number, null, readonly number[]>({
    ...{ id, dir: join(folder, id), transport: tcp({ listen: addresses[at] ?? '' }), stateMachine: machine },
    ...{ codec: msgpackCodec<number>(), logger: false, thread: 'worker', snapshots: { trailingEntries: 1 } },
    ...{ heartbeatMs: 50, electionTimeoutMs: ELECTION_TIMEOUT_MS, join: joins },
    bootstrap: addresses.slice(0, 3).map((address, place) => ({ id: idOf(place), address })),
  })
  machines.set(id, machine)
  rafts.set(id, raft)
  return raft
}

test.before(async (context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'balsa-threads-'))
  context.addresses = await freeAddresses(4)
  context.machines = new Map()
  context.rafts = new Map()
  await Promise.all([0, 1, 2].map((at) => open(context, at)))
})
test.after(async ({ rafts, folder }) => {
  await Promise.all([...rafts.values()].map((raft) => raft.close({ transferLeadership: false })))
  rmSync(folder, { recursive: true, force: true })
})

function firstOf(rafts: ReadonlyMap<string, NumbersRaft>): NumbersRaft {
  const [first] = rafts.values()
  if (first === undefined) throw new Error('there is no server')
  return first
}

/** The leader, and another. */
async function roles({ rafts }: Context): Promise<readonly [NumbersRaft, NumbersRaft]> {
  const { id } = await firstOf(rafts).waitForLeader(LATE)
  const other = [...rafts].find(([each]) => each !== id)?.[1]
  const leader = rafts.get(id)
  if (leader === undefined || other === undefined) throw new Error(`there is no ${id}`)
  return [leader, other]
}

test('a follower has the leader apply, reads behind it, and goes on with a session', async (context) => {
  const [leader, follower] = await roles(context)
  assert.equal(await Promise.all([1, 2, 3].map((number) => follower.submit(number, LATE))), [1, 2, 3])
  assert.equal(await follower.query(null, LATE), [1, 2, 3])
  await refusal(follower.submit(-1, LATE), 'ERR_RAFT_INVALID')
  await refusal(follower.apply(4), 'ERR_RAFT_NOT_LEADER')
  const session = await follower.openSession(LATE)
  const { token } = session
  assert.is(await session.apply(4, LATE), 4)
  assert.is(await leader.resumeSession(token).apply(4, LATE), 4)
  assert.equal(await leader.read(null), [1, 2, 3, 4])
  await session.close(LATE)
})

test('a thread of state machines that is blocked costs nobody the leadership', async (context) => {
  const [leader] = await roles(context)
  const { term, id } = leader.status
  const underWay = Array.from({ length: 50 }, () => leader.apply(9))
  await new Promise(setImmediate)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ELECTION_TIMEOUT_MS * 4)
  assert.is((await Promise.all(underWay)).length, 50)
  for (const { status } of context.rafts.values()) assert.equal([status.term, status.leader?.id], [term, id])
})

test('a server that is added is given a snapshot, and hears of the configurations in their place', async (context) => {
  const [leader] = await roles(context)
  await leader.snapshot(LATE)
  const added = await open(context, 3, true)
  await leader.addVoter({ id: 's4', address: context.addresses[3] ?? '' }, LATE)
  await until('it is where the leader is', () => added.status.appliedIndex >= leader.status.commitIndex)
  const [mine, theirs] = ['s4', leader.status.id].map((id) => context.machines.get(id))
  assert.equal(mine?.list, theirs?.list)
  assert.is(mine?.restores, 1)
  assert.ok(theirs !== undefined && theirs.configurations.length >= 2)
  assert.equal(mine?.configurations, theirs?.configurations.slice(-(mine?.configurations.length ?? 0)))
})

test('leadership is handed over, and what is asked of whoever led before says where to go', async (context) => {
  const [leader] = await roles(context)
  const to = await leader.transferLeadership(LATE)
  const error = await refusal(leader.apply(1), 'ERR_RAFT_NOT_LEADER')
  assert.is(error.leader?.id, to)
  assert.ok((await leader.submit(5, LATE)) > 0)
  await context.rafts.get(to)?.close({ drainMs: 10_000 })
  context.rafts.delete(to)
  assert.ok((await leader.submit(6, LATE)) > 0)
})

test.run()
