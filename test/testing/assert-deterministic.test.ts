/** A machine that is not deterministic is reported with its entry, both sides and the seed; one that is, is not. */

import type { ApplyContext, Entry } from 'balsa-raft'
import { RaftError } from 'balsa-raft'
import { assertDeterministic } from 'balsa-raft/testing'
import type { StateMachineFault } from 'balsa-raft/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { Bank, deposits, faultOf, stateOf } from './machines.js'

const test = suite('assertDeterministic')

const SEED = 7

type Apply = ConstructorParameters<typeof Bank>[0]

const check = (apply: Apply, options: Parameters<typeof assertDeterministic<object, Bank>>[2] = {}) =>
  assertDeterministic(() => new Bank(apply), deposits, { seed: SEED, ...options })

const faultIn = (apply: Apply, options: Parameters<typeof check>[1] = {}): Promise<StateMachineFault> =>
  faultOf(check(apply, options))

test('a machine that is deterministic passes, synchronous or not, and the report says what was done', async () => {
  const report = await check(undefined, { stateOf, cuts: 12 })
  assert.is(report.seed, SEED)
  assert.is(report.commands, 40)
  assert.is(report.cuts, 12)
  assert.ok(report.batches > 40 + 1 + 10, `${report.batches} batches`)
  await check(async (bank, batch) => {
    await Promise.resolve()
    return bank.addAll(batch)
  })
})

test('the first way to cut is one by one, the second all at once', async () => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const batches = async (cuts: number): Promise<number> => (await check(undefined, { seed, cuts })).batches
    assert.equal([await batches(1), await batches(2)], [40, 41])
  }
})

test('the seed alone draws the log and the cuts', async () => {
  const seen = async (seed: number): Promise<string> => {
    const calls: unknown[] = []
    const apply: Apply = (bank, batch, context) => {
      calls.push(
        batch.map(({ index, term, time }) => [index, term, time]),
        context,
      )
      return bank.addAll(batch)
    }
    await check(apply, { seed })
    return JSON.stringify(calls)
  }
  assert.is(await seen(1), await seen(1))
  assert.is.not(await seen(1), await seen(2))
})

test('the log is as a server shows it: indexes leave gaps, terms and times never go back, context covers the batch', async () => {
  let gaps = 0
  let ahead = 0
  let sizes = 0
  const check1 = (batch: readonly Entry<unknown>[], { appliedIndex }: ApplyContext): void => {
    for (const [n, entry] of batch.entries()) {
      const before = batch[n - 1]
      if (before === undefined) continue
      assert.ok(before.index < entry.index && before.term <= entry.term && before.time <= entry.time)
      if (before.index + 1 < entry.index) gaps += 1
    }
    const last = batch.at(-1)
    if (last === undefined) throw new Error('an empty batch')
    assert.ok(appliedIndex >= last.index)
    if (appliedIndex > last.index) ahead += 1
    if (batch.length > 1) sizes += 1
  }
  await check((bank, batch, context) => {
    check1(batch, context)
    return bank.addAll(batch)
  })
  assert.ok(gaps > 0 && ahead > 0 && sizes > 0, `${gaps} gaps, ${ahead} contexts ahead, ${sizes} batches`)
})

test('an answer that depends on chance is reported with the entry, both answers and the seed', async () => {
  let made = 0
  const apply: Apply = (bank, batch) => {
    made += 1
    const answers = bank.addAll(batch)
    return batch.map((entry, n) => (entry.command.amount === 26 && made % 2 === 0 ? Math.random() : answers[n]))
  }
  const fault = await faultIn(apply)
  assert.is(fault.kind, 'results-differ')
  assert.is(fault.seed, SEED)
  assert.is(fault.first, fault.index)
  assert.is(fault.results?.length, 2)
  assert.match(fault.message, new RegExp(`^entry ${fault.index}: two machines answered .* Math.random .*seed ${SEED}`))
  assert.match(fault.message, /assert-deterministic\.test\./)
  assert.is((await faultIn(apply)).index, fault.index, 'the seed finds it again')
})

test('a state that depends on the clock is found though both machines run in the same millisecond', async () => {
  const apply: Apply = (bank, batch) => {
    if (batch.some(({ command }) => command.amount === 26)) bank.note = new Date().getFullYear()
    return bank.addAll(batch)
  }
  const fault = await faultIn(apply, { stateOf })
  assert.is(fault.kind, 'states-differ')
  assert.is(fault.first, fault.index)
  assert.is.not(fault.hashes?.[0], fault.hashes?.[1])
  assert.match(fault.message, `${fault.hashes?.[0]} and ${fault.hashes?.[1]}`)
  assert.match(fault.message, 'Date.now')
  await check(apply)
})

test('a state that depends on a replay is found, by the state or by what it leads to; answers that nobody waits for do not count', async () => {
  const forgetful: Apply = (bank, batch, { replaying }) => {
    if (replaying && batch.some(({ command }) => command.amount === 26)) bank.note = 1
    return bank.addAll(batch).map((answer) => (bank.note === 0 ? answer : -1))
  }
  const byState = await faultIn(forgetful, { stateOf })
  assert.is(byState.kind, 'states-differ')
  assert.match(byState.message, 'one replayed it, and nobody waited for an answer there')
  const byAnswer = await faultIn(forgetful)
  assert.is(byAnswer.kind, 'results-differ')
  assert.ok(byAnswer.index > byState.index)
  const sparing: Apply = (bank, batch, { replaying, isAwaited }) => {
    const answers = bank.addAll(batch)
    return batch.map(({ index }, n) => (replaying || !isAwaited(index) ? null : answers[n]))
  }
  await check(sparing, { stateOf })
})

test('a clock that changes nothing is nobody’s business', async () => {
  await check((bank, batch) => {
    performance.now()
    return bank.addAll(batch)
  })
})

test('a variable outside of the machine is found', async () => {
  let total = 0
  const fault = await faultIn((_, batch) => batch.map(({ command }) => (total += command.amount)))
  assert.is(fault.kind, 'results-differ')
  assert.match(fault.message, 'no variable outside of the machine')
})

test('what is said of the batch and used for the entry is found by cutting, and not without', async () => {
  const apply: Apply = (bank, batch, { appliedIndex }) => {
    for (const { command, index } of batch) if (appliedIndex - index > 10) bank.note += command.amount
    return bank.addAll(batch)
  }
  const fault = await faultIn(apply, { stateOf })
  assert.is(fault.kind, 'states-differ')
  assert.ok(fault.first < fault.index)
  assert.match(fault.message, `entries ${fault.first} .. ${fault.index}`)
  assert.match(fault.message, 'context speaks of the batch')
  await check(apply, { stateOf, cuts: 1 })
})

test('what lasts an hour by the clock of the batch, and not of the entry, is found', async () => {
  const HOUR = 3_600_000
  const sessions = (timeOf: (batch: readonly Entry<unknown>[], at: number) => number): Apply => {
    return (bank, batch) =>
      batch.map(({ command }, at) => {
        const now = timeOf(batch, at)
        const isNew = now - bank.note > HOUR
        bank.note = now
        return isNew ? bank.add(command) : 0
      })
  }
  await check(sessions((batch, at) => batch[at]?.time ?? 0))
  for (const place of [0, -1]) {
    const fault = await faultIn(sessions((batch) => batch.at(place)?.time ?? 0))
    assert.is(fault.kind, 'results-differ')
  }
})

test('answers that are references into the state are found: they change while the batch goes on', async () => {
  const totals = { sum: 0 }
  const fault = await faultIn((bank, batch) => {
    bank.addAll(batch)
    return batch.map(({ command }) => Object.assign(totals, { sum: command.amount }))
  })
  assert.is(fault.kind, 'results-differ')
})

test('answers of a batch in another order than its entries are called so', async () => {
  for (const isLate of [false, true]) {
    const fault = await faultIn((bank, batch) => {
      const answers = bank.addAll(batch).toReversed()
      return isLate ? new Promise((resolve) => setImmediate(() => resolve(answers))) : answers
    })
    assert.is(fault.kind, 'out-of-order')
    assert.match(fault.message, 'the answer of another entry')
  }
})

test('a throw and a rejection are reported with the entry and the cause', async () => {
  const cause = new TypeError('no such account')
  for (const fail of [
    () => {
      throw cause
    },
    () => Promise.reject(cause),
  ]) {
    const fault = await faultIn((bank, batch) => (bank.balances.size === 5 ? fail() : bank.addAll(batch)))
    assert.is(fault.kind, 'threw')
    assert.is(fault.cause, cause)
    assert.is(fault.first, fault.index)
    assert.match(fault.message, 'apply threw: TypeError: no such account')
  }
  const odd = await faultIn(() => Promise.reject(Object.create(null) as Error))
  assert.match(odd.message, 'apply threw: {}')
})

test('a promise that never settles is reported with its entry', async () => {
  const apply: Apply = (bank, batch) => (bank.balances.size === 5 ? new Promise(() => {}) : bank.addAll(batch))
  const fault = await faultIn(apply, { deadlineMs: 20 })
  assert.is(fault.kind, 'never-settled')
  assert.match(fault.message, `entry ${fault.index}: the promise of apply is pending after 20 ms`)
  const never = assertDeterministic(() => new Promise<Bank>(() => {}), deposits, { deadlineMs: 20 })
  assert.match(await messageOf(never), 'make has not settled after 20 ms')
  const noState = check(undefined, { deadlineMs: 20, stateOf: () => new Promise(() => {}) })
  assert.match(await messageOf(noState), 'stateOf has not settled after 20 ms')
})

test('too few answers, too many, and what is no array are reported with their number', async () => {
  const tooMany = await faultIn((bank, batch) => [...bank.addAll(batch), 1])
  assert.is(tooMany.kind, 'wrong-length')
  assert.match(tooMany.message, 'answered 2 results for 1 entries')
  const tooFew = await faultIn((bank, batch) => bank.addAll(batch).slice(0, 1))
  assert.is(tooFew.kind, 'wrong-length')
  assert.match(tooFew.message, 'answered 1 results for 40 entries')
  const none = await faultIn((bank, batch) => bank.addAll(batch)[0] as never)
  assert.is(none.kind, 'not-an-array')
})

test('each machine has commands of its own: what one does to them the other does not see', async () => {
  interface Box {
    value: number
  }
  const make = () => ({
    apply: (batch: readonly Entry<Box>[]) => batch.map(({ command }) => (command.value += 1)),
  })
  const boxes = [{ value: 1 }, { value: 2 }]
  await assertDeterministic(make, boxes, { seed: SEED })
  const codec = {
    encode: ({ value }: Box) => Uint8Array.of(value),
    decode: (bytes: Uint8Array): Box => ({ value: bytes[0] ?? 0 }),
  }
  await assertDeterministic(make, boxes, { seed: SEED, codec })
  assert.equal(boxes, [{ value: 1 }, { value: 2 }])
})

test('with a codec commands may be of any kind: each machine gets what the codec decodes', async () => {
  const codec = {
    encode: (command: () => number) => Uint8Array.of(command()),
    decode:
      ([value = 0]: Uint8Array): (() => number) =>
      () =>
        value,
  }
  const make = () => ({ apply: (batch: readonly Entry<() => number>[]) => batch.map(({ command }) => command()) })
  await assertDeterministic(make, [() => 1, () => 2], { codec })
})

test('equality of answers is what the user says it is', async () => {
  const apply: Apply = (bank, batch) => {
    const noise = Math.random() / 1e9
    return bank.addAll(batch).map((balance) => balance + noise)
  }
  assert.is((await faultIn(apply)).kind, 'results-differ')
  await check(apply, { equal: (a, b) => Math.abs(Number(a) - Number(b)) < 1e-6 })
})

test('an option out of range is named with its bound', async () => {
  for (const [options, message] of [
    [{ seed: 2 ** 32 }, 'option seed is 4294967296: it must be a whole number in 0 .. 4294967295'],
    [{ seed: 0.5 }, 'option seed is 0.5'],
    [{ cuts: 0 }, 'option cuts is 0: it must be a whole number in 1 .. 1000'],
    [{ deadlineMs: -1 }, 'option deadlineMs is -1'],
  ] as const) {
    assert.match(await optionsMessage(check(undefined, options)), message)
  }
  assert.match(await optionsMessage(assertDeterministic(() => new Bank(), [])), 'there are 0 commands')
  const functions = assertDeterministic(() => ({ apply: () => [] }), [() => {}])
  assert.match(await optionsMessage(functions), 'command 0 cannot be copied by structuredClone: pass the codec')
})

async function optionsMessage(promise: Promise<unknown>): Promise<string> {
  const error = await promise.catch((reason: unknown) => reason)
  if (!(error instanceof RaftError)) throw new Error(`no RaftError but ${String(error)}`)
  assert.is(error.code, 'ERR_RAFT_OPTIONS')
  return error.message
}

async function messageOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.catch((reason: unknown) => reason)
  return error instanceof Error ? error.message : `no error but ${String(error)}`
}

test.run()
