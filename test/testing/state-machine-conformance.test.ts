/**
 * The conformance cases of state machines: right machines pass all of them, and each wrong one fails those that are
 * about it.
 */

import { msgpackCodec } from 'balsa-raft'
import type { ApplyContext, Entry } from 'balsa-raft'
import { encodeCommand, encodeTransaction, timeEntry } from 'balsa-kv/replication/entry-codec.js'
import { DataSet } from 'balsa-kv/data-set/data-set.js'
import { KvStateMachine } from 'balsa-kv/replication/kv-state-machine.js'
import { StateMachineFault, stateMachineConformance } from 'balsa-raft/testing'
import type { ConformanceCase, StateMachineConformanceOptions } from 'balsa-raft/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { registerCases } from '../support/register-cases.js'
import { Bank, deposits, stateOf } from './machines.js'
import type { Deposit } from './machines.js'

const codec = msgpackCodec<Deposit>()
const copyOf = (bank: Bank): Bank => {
  const copy = new Bank()
  for (const [account, balance] of bank.balances) copy.balances.set(account, balance)
  return copy
}

const bankTest = suite('a bank as a state machine')
const all = { make: () => new Bank(), commands: deposits, stateOf, codec, roundTrip: copyOf, seed: 11 }
registerCases(bankTest, stateMachineConformance(all))
bankTest.run()

let looks = 0
const hurried = { now: () => (looks += 100), defer: (callback: () => void) => void setImmediate(callback) }
for (const [how, pace] of [
  ['at once', null],
  ['in slices', hurried],
] as const) {
  const kvTest = suite(`the state machine of the key-value server, ${how}`)
  registerCases(
    kvTest,
    stateMachineConformance({
      make: () => {
        const data = new DataSet()
        return Object.assign(new KvStateMachine(data, pace), { data })
      },
      commands: kvCommands(),
      stateOf: ({ data }) => everythingIn(data),
      codec: { encode: (command) => command, decode: (bytes) => bytes },
      seed: 12,
    }),
  )
  kvTest.run()
}

const test = suite('conformance of state machines')

const CHANCE = 'apply asks no clock and no source of chance'
const FORM = 'apply answers with an array of one result per entry, or a promise of it, whatever the batch'
const SEEN = 'the commands change what stateOf answers'
const SAME_ANSWERS = 'two machines that apply the same entries answer the same'
const SAME_STATE = 'two machines that have applied the same entries hold the same state'
const CUT_ANSWERS = 'batches cut anywhere give the same answers, in the order of the entries'
const CUT_STATE = 'batches cut anywhere give the same state'
const CUTS = [CUT_ANSWERS, CUT_STATE]
const DONE = 'what apply does is done when its answer is there'
const AWAITED =
  'what is held, and what is answered to those who wait, does not depend on who waits, nor on what is replayed'
const ROUND_TRIP = 'a machine made from what another holds goes on as that one does'
const CODEC = 'a command comes back from the codec as it was'

type Options = Partial<StateMachineConformanceOptions<Deposit, Bank>>
type Apply = ConstructorParameters<typeof Bank>[0]

const wrong: readonly (readonly [string, Options, readonly string[]])[] = [
  [
    'asks Math.random and forgets it',
    machine((bank, batch) => {
      Math.random()
      return bank.addAll(batch)
    }),
    [CHANCE],
  ],
  [
    'answers by chance',
    machine((bank, batch) => bank.addAll(batch).map(() => Math.random())),
    [CHANCE, SAME_ANSWERS, SAME_STATE, CUT_ANSWERS, CUT_STATE, AWAITED, ROUND_TRIP],
  ],
  [
    'keeps the year',
    machine((bank, batch) => {
      bank.note = new Date().getFullYear()
      return bank.addAll(batch)
    }),
    [CHANCE, SAME_STATE, CUT_STATE, ROUND_TRIP],
  ],
  [
    'answers the last result only',
    machine((bank, batch) => bank.addAll(batch).slice(-1)),
    [FORM, CUT_ANSWERS, CUT_STATE, DONE],
  ],
  ['answers backwards', machine((bank, batch) => bank.addAll(batch).toReversed()), [CUT_ANSWERS, CUT_STATE]],
  [
    'counts batches',
    machine((bank, batch) => {
      bank.note += 1
      return bank.addAll(batch)
    }),
    [CUT_STATE],
  ],
  [
    'answers with how far it is',
    answering((_, { appliedIndex }) => appliedIndex),
    [SAME_ANSWERS, SAME_STATE, ...CUTS, AWAITED, ROUND_TRIP],
  ],
  [
    'does only what somebody waits for',
    machine((bank, batch, { isAwaited }) =>
      batch.map(({ index, command }) => (isAwaited(index) ? bank.add(command) : null)),
    ),
    [AWAITED],
  ],
  [
    'counts what it replays',
    machine((bank, batch, { replaying }) => {
      if (replaying) bank.note += batch.length
      return bank.addAll(batch)
    }),
    [AWAITED],
  ],
  ['answers with the size of its batch', answering((batch) => batch.length), CUTS],
  ['dates entries by the last of their batch', answering((batch) => batch.at(-1)?.time), CUTS],
  ['dates entries by the first of their batch', answering((batch) => batch[0]?.time), CUTS],
  [
    'keeps how many entries came with one',
    machine((bank, batch) => {
      bank.note = batch.length
      return bank.addAll(batch)
    }),
    [CUT_STATE],
  ],
  [
    'goes on after it has answered',
    machine((bank, batch) => {
      setImmediate(() => (bank.note += 1))
      return bank.addAll(batch)
    }),
    [DONE],
  ],
  ['shows nothing of its state', { stateOf: () => 1 }, [SEEN]],
  ['forgets half of what it was made from', { roundTrip: () => new Bank() }, [ROUND_TRIP]],
  ['has a codec that forgets the account', { codec: { ...codec, encode: forgetful } }, [CODEC]],
]

for (const [what, options, expected] of wrong) {
  test(`a machine that ${what} fails the cases about that`, async () => {
    const failed = await failures(stateMachineConformance({ ...all, ...options }))
    const names = failed.map(({ name }) => name)
    for (const name of expected) assert.ok(names.includes(name), `did not fail: ${name}\nfailed: ${names.join('\n')}`)
    for (const name of names) assert.ok(expected.includes(name), `failed too: ${name}`)
  })
}

test('a codec that uses its memory again is no worse than another: a server copies what it answers', async () => {
  const reusing = { encode: (command: Deposit) => overwriting(codec.encode(command)), decode: codec.decode }
  assert.equal(await failures(stateMachineConformance({ ...all, codec: reusing })), [])
})

test('a promise that never settles fails within the deadline, by the entry', async () => {
  const options = machine((bank, batch) => (bank.balances.size === 3 ? new Promise(() => {}) : bank.addAll(batch)))
  const [first] = await failures(stateMachineConformance({ ...all, ...options, deadlineMs: 100 }))
  assert.instance(first?.error, StateMachineFault)
  assert.match(String(first?.error), /entry \d+: the promise of apply is pending after 50 ms \(seed 11\)/)
})

test('what cannot be asked is skipped with its reason, and refuses to run', async () => {
  const cases = stateMachineConformance({ make: () => new Bank(), commands: deposits })
  const skipped = cases.filter((one) => one.skipped !== null)
  assert.equal(
    skipped.map((one) => one.skipped),
    [
      'no codec was given',
      'no stateOf was given',
      'no stateOf was given',
      'no stateOf was given',
      'no stateOf was given',
      'no roundTrip was given',
    ],
  )
  for (const { run, name } of skipped) {
    const said = await run().catch((error: unknown) => String(error))
    assert.match(String(said), `skipped: ${name}`)
  }
  assert.equal(await failures(cases), [])
})

function machine(apply: Apply): Options {
  return {
    make: () => new Bank(apply),
    roundTrip: (bank) => Object.assign(new Bank(apply), { balances: new Map(bank.balances), note: bank.note }),
  }
}

/** Does what it should, and answers every entry with one thing that is of its batch. */
function answering(answer: (batch: readonly Entry<Deposit>[], context: ApplyContext) => unknown): Options {
  return machine((bank, batch, context) => {
    bank.addAll(batch)
    return batch.map(() => answer(batch, context))
  })
}

async function failures(cases: readonly ConformanceCase[]): Promise<readonly { name: string; error: unknown }[]> {
  const failed: { name: string; error: unknown }[] = []
  for (const { name, skipped, run } of cases) {
    if (skipped === null) await run().catch((error: unknown) => failed.push({ name, error }))
  }
  return failed
}

function forgetful({ amount }: Deposit): Uint8Array {
  return codec.encode({ account: '', amount })
}

const memory = new Uint8Array(256)

function overwriting(bytes: Uint8Array): Uint8Array {
  memory.set(bytes)
  return memory.subarray(0, bytes.length)
}

function kvCommands(): readonly Uint8Array[] {
  const command = (...words: readonly string[]): Uint8Array => encodeCommand(words)
  return Array.from({ length: 12 }, (_, n) => [
    command('set', `k${n % 5}`, String(n), 'px', '300'),
    command('incr', 'count'),
    encodeTransaction(
      [{ key: `k${n % 5}`, version: n }],
      [
        ['get', `k${n % 5}`],
        ['incr', 'count'],
      ],
    ),
    command('get', `k${(n + 1) % 5}`),
    timeEntry,
  ]).flat()
}

function everythingIn(data: DataSet): unknown {
  const items: unknown[] = []
  for (let cursor = 0, isFirst = true; isFirst || cursor !== 0; isFirst = false) {
    cursor = data.scan(cursor, 1000, ({ key, value, deadline }) =>
      items.push([key, value, deadline, data.version(key)]),
    )
  }
  return { items, time: data.time, index: data.index }
}

test.run()
