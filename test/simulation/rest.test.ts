/**
 * Found by the simulator: what clients have asked of a leader that is broken for good is under way on the server that
 * sent it there until two election timeouts after another one leads. A world is at rest only then.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { ClientPlan, Plan } from '#balsa/testing/simulator/plan.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'

const test = suite('the rest of a world')

/** Nothing goes wrong but what the second phase leaves broken. */
const planOf = (seed: number, more: Partial<ClientPlan>): Plan => ({
  ...{ seed, servers: 3, electionTimeoutMs: 300, heartbeatMs: 50, turnMs: 0.1, applyMs: 0 },
  network: { delayMs: 1, jitterMs: 0.1, keepAliveMs: 100_000 },
  chaos: { loss: 0, duplication: 0, reordering: 0, replay: 0, flip: 0 },
  ...{ snapshots: false, stateBytes: 0, losesQuorumAt: null },
  disk: { writeMs: 1, readMs: 1, capacityBytes: 2 ** 24 },
  clients: {
    ...{ count: 1, thinkMs: 5, refusedMs: 10, keys: 1, anywhere: 0, leases: 0, paddingMax: 0 },
    ...{ deadlines: 0, deadlineMs: 1, signals: 0, sessions: 0, outside: 0 },
    weights: { write: 1, writes: 0, read: 0, barrier: 0 },
    ...more,
  },
  ...{ faultEveryMs: 1e9, spellMs: 1000, restartMs: 100, faults: {} },
})

test('is not judged before clients with sessions have their answers', async () => {
  for (const seed of [17, 26, 33]) {
    const { failure, recovery } = await simulate({ seed, steps: 400, plan: planOf(seed, { sessions: 24 }) })
    assert.is(failure, null, `seed ${seed}: ${failure?.message}`)
    assert.ok(recovery?.wasPossible)
  }
})

test('is not judged before servers have done what clients outside have asked, and given up', async () => {
  for (const seed of [66, 98, 135]) {
    const { failure, recovery } = await simulate({ seed, steps: 400, plan: planOf(seed, { outside: 2 }) })
    assert.is(failure, null, `seed ${seed}: ${failure?.message}`)
    assert.ok(recovery?.wasPossible)
  }
})

test.run()
