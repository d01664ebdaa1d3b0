/** The state machines of the examples: the same on every server, whole after a snapshot, and true to what they say. */

import { Readable } from 'node:stream'
import { suite } from 'uvu'
import type { Test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Codec, StateMachine } from 'balsa-raft'
import { stateMachineConformance } from 'balsa-raft/testing'
import * as settings from '../../examples/configuration-store/machine.js'
import * as jobs from '../../examples/job-queue/machine.js'
import * as locks from '../../examples/lock-service/machine.js'
import type { LogIndex, SnapshotMeta, Term } from '#balsa/types.js'
import { registerCases } from '../support/register-cases.js'
import { below, drawSeed, pick, randomFrom } from '../support/seed.js'
import type { Random } from '../support/seed.js'

const { makeSettings } = settings
const { makeQueue } = jobs
const { makeLocks } = locks

const COMMANDS = 300

/** A machine that is given one command at a time. */
class Alone<Command, Result, Query, Answer> {
  readonly #machine: StateMachine<Command, Result, Query, Answer>
  #index = 0

  constructor(machine: StateMachine<Command, Result, Query, Answer>) {
    this.#machine = machine
  }

  async apply(command: Command, time = 0): Promise<Result | undefined> {
    this.#index += 1
    const index = this.#index as LogIndex
    const context = { isAwaited: () => true, replaying: false, appliedIndex: index }
    const [result] = await this.#machine.apply([{ index, term: 1 as Term, time, command }], context)
    return result
  }

  async query(query: Query): Promise<Answer | undefined> {
    return this.#machine.query?.(query)
  }
}

const textOf = async <Command, Result, Query, Answer>(
  machine: StateMachine<Command, Result, Query, Answer>,
): Promise<string> => {
  const pieces: Uint8Array[] = []
  for await (const piece of (await machine.snapshot?.()) ?? []) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

/** One that is made from the snapshot of another. */
async function copyOf<Command, Result, Query, Answer>(
  machine: StateMachine<Command, Result, Query, Answer>,
  make: () => StateMachine<Command, Result, Query, Answer>,
): Promise<StateMachine<Command, Result, Query, Answer>> {
  const copy = make()
  await copy.restore?.(Readable.from([Buffer.from(await textOf(machine))]), {} as SnapshotMeta)
  return copy
}

/** What every machine must do, its snapshots included. */
function registerConformance<Command, Result, Query, Answer>(
  test: Test<object>,
  make: () => StateMachine<Command, Result, Query, Answer>,
  codec: Codec<Command>,
  draw: (random: Random) => Command,
): void {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const commands = Array.from({ length: COMMANDS }, () => draw(random))
  const roundTrip = (machine: StateMachine<Command, Result, Query, Answer>) => copyOf(machine, make)
  registerCases(test, stateMachineConformance({ make, commands, codec, stateOf: textOf, roundTrip, seed }))
}

const lockTest = suite('the locks of the example')

registerConformance(lockTest, makeLocks, locks.codec, (random): locks.Command => ({
  type: random() < 0.6 ? 'acquire' : 'release',
  name: pick(random, ['a', 'b', 'c']),
  token: pick(random, [0, 1 + below(random, COMMANDS)]),
}))

const acquire = (name: string, token = 0): locks.Command => ({ type: 'acquire', name, token })
const release = (name: string, token: number): locks.Command => ({ type: 'release', name, token })

lockTest("a lock is its holder's until the lease ends, and the next one has a higher token", async () => {
  const machine = new Alone(makeLocks())
  assert.equal(await machine.apply(acquire('a')), { token: 1, until: locks.LEASE_MS })
  assert.is(await machine.apply(acquire('a'), locks.LEASE_MS - 1), null)
  assert.equal(await machine.apply(acquire('a', 1), locks.LEASE_MS - 1), { token: 1, until: 2 * locks.LEASE_MS - 1 })
  assert.is(await machine.apply(acquire('a'), locks.LEASE_MS), null)
  assert.equal(await machine.apply(acquire('a'), 2 * locks.LEASE_MS - 1), { token: 5, until: 3 * locks.LEASE_MS - 1 })
})

lockTest('whoever has lost a lock is told so, and does not get it back by its old token', async () => {
  const machine = new Alone(makeLocks())
  await machine.apply(acquire('a'))
  assert.is(await machine.apply(acquire('a', 1), locks.LEASE_MS), null)
  assert.is(await machine.query('a'), null)
})

lockTest('a lock ends in its time, though one that was acquired before it was acquired again', async () => {
  const machine = new Alone(makeLocks())
  await machine.apply(acquire('a'), 0)
  await machine.apply(acquire('b'), 1)
  await machine.apply(acquire('a', 1), 2)
  assert.is((await machine.apply(acquire('b'), locks.LEASE_MS + 1))?.token, 4)
})

lockTest('only the token of now releases a lock', async () => {
  const machine = new Alone(makeLocks())
  await machine.apply(acquire('a'))
  await machine.apply(release('a', 1))
  await machine.apply(acquire('a'))
  await machine.apply(release('a', 1))
  assert.is(await machine.apply(acquire('a')), null)
  await machine.apply(release('a', 3))
  assert.is((await machine.apply(acquire('a')))?.token, 7)
})

lockTest.run()

const jobTest = suite('the jobs of the example')

registerConformance(jobTest, makeQueue, jobs.codec, (random): jobs.Command => {
  const type = pick(random, ['add', 'take', 'finish'] as const)
  if (type === 'add') return { type, payload: 'text' }
  return type === 'take' ? { type } : { type, id: below(random, COMMANDS), lease: below(random, COMMANDS) }
})

const add: jobs.Command = { type: 'add', payload: 'text' }
const take: jobs.Command = { type: 'take' }
const finish = (id: number, lease: number): jobs.Command => ({ type: 'finish', id, lease })

jobTest('a job has one lease at a time, waits again when that ends, and is finished by the last one', async () => {
  const machine = new Alone(makeQueue())
  assert.is((await machine.apply(add))?.id, 1)
  assert.equal(await machine.apply(take), { id: 1, payload: 'text', lease: 2, until: jobs.LEASE_MS })
  assert.is(await machine.apply(take, jobs.LEASE_MS - 1), null)
  assert.equal(await machine.apply(take, jobs.LEASE_MS), { id: 1, payload: 'text', lease: 4, until: 2 * jobs.LEASE_MS })
  assert.is(await machine.apply(finish(1, 2), jobs.LEASE_MS), null)
  assert.is((await machine.apply(finish(1, 4), jobs.LEASE_MS))?.id, 1)
  assert.is(await machine.apply(take, 9 * jobs.LEASE_MS), null)
})

jobTest('jobs are taken in the order in which they were added', async () => {
  const machine = new Alone(makeQueue())
  for (const command of [add, add]) await machine.apply(command)
  assert.is((await machine.apply(take))?.id, 1)
  assert.is((await machine.apply(take))?.id, 2)
  assert.equal(await machine.query(), { waiting: 0, taken: 2 })
})

jobTest.run()

const settingTest = suite('the settings of the example')

registerConformance(settingTest, makeSettings, settings.codec, (random) => ({
  key: pick(random, ['a', 'b']),
  value: String(below(random, 9)),
  from: pick(random, [0, below(random, COMMANDS)]),
}))

const write = (value: string, from: number): settings.Command => ({ key: 'k', value, from })

settingTest('a write on top of another version is refused, and one on top of the last is an event', async () => {
  const machine = new Alone(makeSettings())
  const first = { ...write('a', 0), version: 1 }
  assert.equal(await machine.apply(write('a', 0)), first)
  assert.is(await machine.apply(write('b', 0)), null)
  const second = { ...write('c', 1), version: 3 }
  assert.equal(await machine.apply(write('c', 1)), second)
  assert.equal(await machine.query({ since: 0 }), [first, second])
  assert.equal(await machine.query({ since: 1 }), [second])
  assert.equal(await machine.query({ since: 3 }), [])
  assert.equal(await machine.query({ key: 'k' }), [second])
  assert.equal(await machine.query({ key: 'other' }), [])
  assert.equal(await machine.query('all'), [second])
})

settingTest('a watcher that is further behind than events are kept is told so', async () => {
  const original = makeSettings()
  const machine = new Alone(original)
  for (let version = 1; version <= 20_000; version += 1) await machine.apply(write(`w${version}`, version - 1))
  assert.is(await machine.query({ since: 9_999 }), null)
  const [next] = (await machine.query({ since: 10_000 })) ?? []
  assert.is(next?.version, 10_001)
  const copy = await copyOf(original, makeSettings)
  assert.is(await copy.query?.({ since: 9_999 }), null)
})

settingTest.run()
