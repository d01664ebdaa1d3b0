/**
 * A user's state machine in simulated worlds: what is right passes, what is wrong is told with its place, and nothing
 * hangs.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { StateMachine } from '#balsa/machine/state-machine.js'
import type { MachineUnderTest } from '#balsa/testing/machine-under-test.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import type { SimulateResult } from '#balsa/testing/simulator/simulate.js'

const SEEDS = [1, 2, 3]

type Machine = StateMachine<number, unknown, never, unknown>

const tests = suite('a state machine in simulated worlds')

tests('that is deterministic passes, and so does one that answers with promises', async () => {
  const counter = (): Machine => {
    let total = 0
    return { apply: (batch) => batch.map(({ command }) => (total += command)) }
  }
  const later = (): Machine => {
    const { apply } = counter()
    return {
      apply: async (batch, context) => {
        await Promise.resolve()
        return apply(batch, context)
      },
    }
  }
  for (const create of [counter, later]) {
    for (const { failure, answered, seed } of await runs(create)) {
      assert.is(failure, null, `seed ${seed}`)
      assert.ok(answered > 0, `seed ${seed}: no call was answered`)
    }
  }
})

tests('that answers differently on two servers is told with the index and both hashes', async () => {
  let calls = 0
  const failed = await firstFailure(() => ({ apply: (batch) => batch.map(() => (calls += 1)) }))
  assert.match(failed, /^invariant 8: s\d: the state machine's hash at \d+ is -?\d+, elsewhere it was -?\d+$/)
})

tests('that throws is told with the entries and the error', async () => {
  const create = (): Machine => {
    let seen = 0
    return {
      apply: (batch) =>
        batch.map(() => {
          seen += 1
          if (seen === 10) throw new RangeError('ten is too many')
          return seen
        }),
    }
  }
  assert.match(await firstFailure(create), /^invariant 8: s\d: .*entries \d+ \.\. \d+.*RangeError: ten is too many/)
})

tests('that answers too little, or never, is a failure and not a hang', async () => {
  assert.match(await firstFailure(() => ({ apply: () => [] })), /0 results for/)
  assert.match(await firstFailure(() => ({ apply: () => new Promise(() => {}) })), /^invariant 21: /)
})

async function runs(create: () => Machine): Promise<readonly SimulateResult[]> {
  const machine: MachineUnderTest<number> = {
    create,
    codec: { encode: (command) => Uint8Array.of(command), decode: ([command]) => command ?? 0 },
    command: (random) => Math.floor(random() * 256),
  }
  const results: SimulateResult[] = []
  for (const seed of SEEDS) results.push(await simulate({ seed, steps: 1000, machine }))
  return results
}

async function firstFailure(create: () => Machine): Promise<string> {
  const failed = (await runs(create)).find(({ failure }) => failure !== null)
  return failed?.failure?.message ?? 'none'
}

tests.run()
