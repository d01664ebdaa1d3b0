/**
 * Found by the simulator: a call with several commands of which some were accepted, and committed, before leadership
 * was lost. Its outcome is unknown; "not-applied" would invite a retry that applies some of them twice.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { leaderOf } from '#balsa/testing/simulator/faults/fault.js'
import type { Plan } from '#balsa/testing/simulator/plan.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import type { World } from '#balsa/testing/simulator/world.js'
import type { Operation, Returned } from '#balsa/testing/simulator/world-observer.js'

const COMMANDS = 6
const ELECTION_TIMEOUT_MS = 300

const plan: Plan = {
  ...{ seed: 2, servers: 3, electionTimeoutMs: ELECTION_TIMEOUT_MS, heartbeatMs: 50, turnMs: 0.1, applyMs: 0 },
  network: { delayMs: 1, jitterMs: 0.1, keepAliveMs: 1000 },
  chaos: { loss: 0, duplication: 0, reordering: 0, replay: 0, flip: 0 },
  snapshots: false,
  stateBytes: 0,
  losesQuorumAt: null,
  disk: { writeMs: 1, readMs: 1, capacityBytes: 2 ** 24 },
  clients: {
    ...{
      count: 0,
      thinkMs: 10,
      refusedMs: 10,
      keys: 1,
      anywhere: 0,
      leases: 0,
      paddingMax: 0,
      deadlines: 0,
      deadlineMs: 1,
      signals: 0,
      sessions: 0,
      outside: 0,
    },
    weights: { write: 1, writes: 0, read: 0, barrier: 0 },
  },
  ...{ faultEveryMs: 1e9, spellMs: 1000, restartMs: 100, faults: {} },
}

test('a call of which a part was committed never ends as not-applied', async () => {
  const returned: Returned[] = []
  const result = await simulate({
    ...{ seed: 2, steps: 3000, plan },
    observers: [{ returned: (_: Operation, outcome: Returned) => void returned.push(outcome) }],
    actors: [{ start: hangAndAsk }],
  })
  assert.is(result.failure, null)
  assert.is(returned.length, 1)
  assert.is(returned[0]?.status, 'unknown')
  assert.is(returned[0]?.code, 'ERR_RAFT_LEADERSHIP_LOST')
})

/**
 * The first leader's disk hangs with room for two commands; followers commit those, and it must step down with the
 * rest.
 */
function hangAndAsk(world: World): void {
  world.queue.after(10, () => {
    const leader = leaderOf(world)
    if (leader?.core === null || leader === null || leader.core.log.commitIndex < 2) {
      hangAndAsk(world)
      return
    }
    leader.sim.hang(10 * ELECTION_TIMEOUT_MS)
    leader.sim.creditMax = 20
    world.visitor().visit(leader, 'writes', COMMANDS)
    world.queue.after(5, () => (leader.sim.creditMax = 0))
  })
}

test.run()
