/** The referee over a Raft that is written from figure 2, under random schedules: whole, and with one rule left out. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { drawSeed, randomFrom } from '../support/seed.js'
import type { Omission } from './reference-raft.js'
import { ReferenceRaft } from './reference-raft.js'
import { judgeTrace } from './referee.js'
import type { RuleName } from './rules.js'
import type { ClusterEvent, Trace, TraceEvent } from './trace-format.js'
import { serverOf } from './trace-format.js'

const STEPS = 1500
const RUNS = 10
const RUNS_MAX = 100

const omissions: Readonly<Record<Omission, readonly RuleName[]>> = {
  'one vote': ['one vote per term', 'election safety'],
  'up-to-date check': ['vote for up-to-date logs'],
  'majority of votes': ['election majority'],
  'own term only': ['commit only the own term'],
  'conflict check': ['truncate only at a conflict'],
  'commit clamp': ['follower commit clamp'],
  'durable term': ['term durable before it leaves', 'state is stable'],
}

test('no rule is broken by Raft as figure 2 has it, in whatever order', () => {
  const seed = drawSeed()
  for (let run = 0; run < RUNS; run += 1) {
    const raft = new ReferenceRaft(randomFrom(seed + run))
    raft.run(STEPS)
    assert.equal(judgeTrace(raft.trace).violations, [], `BALSA_SEED=${seed + run}`)
    assert.equal(judgeTrace(byServer(raft.trace)).violations, [], `by server, BALSA_SEED=${seed + run}`)
  }
})

for (const [omission, rules] of Object.entries(omissions)) {
  test(`a Raft without its rule of the ${omission} is found out, by the name of the rule`, () => {
    for (let run = 0; run < RUNS_MAX; run += 1) {
      const raft = new ReferenceRaft(randomFrom(run), omission as Omission)
      raft.run(STEPS)
      const [first] = judgeTrace(raft.trace).violations
      if (first === undefined) continue
      assert.ok(rules.includes(first.rule), `${first.rule}: ${first.detail}`)
      return
    }
    assert.unreachable(`not found in ${RUNS_MAX} runs`)
  })
}

/** The same trace as if each server had written its own. */
function byServer(trace: Trace): Trace {
  const [cluster, ...events] = trace
  const own = new Map<string, TraceEvent[]>()
  for (const event of events) {
    const id = event.event === 'cluster' ? '' : serverOf(event)
    own.set(id, [...(own.get(id) ?? []), event])
  }
  return [{ ...(cluster as ClusterEvent), order: 'perServer' }, ...[...own.values()].flat()]
}

test.run()
