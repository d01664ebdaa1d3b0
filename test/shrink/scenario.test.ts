/** How a scenario becomes short, on one whose answer is known. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { kindOf, linesOf, shrinkScenario, toViolation } from './scenario.js'
import type { Watch } from './scenario.js'

const electionStepByStep = [
  'cluster servers=5',
  'timeout s1',
  'deliver first s1>s2 PreVote',
  'deliver first s1>s3 PreVote',
  'deliver first s2>s1 PreVoteResult',
  'deliver first s3>s1 PreVoteResult',
  'persist s1 1',
  'read s4',
  'deliver first s1>s2 RequestVote',
  'persist s2 1',
  'deliver first s1>s3 RequestVote',
  'crash s5',
  'persist s3 1',
  'deliver first s2>s1 RequestVoteResult',
  'deliver first s3>s1 RequestVoteResult',
  'propose s1 3',
  'timeout s1',
].map((command) => ({ turn: 0, command }))

/** Taken for a violation: a leader takes a proposal. */
const watch: Watch = (printed) => {
  const line = printed.find((said) => said.includes('proposal: 3 at'))
  if (line !== undefined) throw new Error(`${line.slice(0, 2)} takes a proposal`)
}

test('an election in small steps becomes a timeout and a command that does the rest, among fewer servers', () => {
  const scenario = toViolation(electionStepByStep, watch)
  assert.is(scenario?.violation, 's1 takes a proposal')
  assert.is(scenario?.steps.length, 16)
  if (scenario === null) return
  const { steps } = shrinkScenario(scenario, watch, () => false)
  assert.equal(linesOf(steps), ['cluster servers=3', 'timeout s1', 'settle', 'propose s1 3'])
})

test('steps under which everything holds are no scenario', () => {
  assert.is(
    toViolation(electionStepByStep, () => {}),
    null,
  )
})

test('two violations are of one kind when they differ in servers and numbers alone', () => {
  assert.is(
    kindOf('s1 commits 7 of term 2, durable only on s2, s3'),
    kindOf('s4 commits 9 of term 3, durable only on s1'),
  )
  assert.is.not(kindOf('s1 commits 7 of term 2'), kindOf('s1 truncates from 7'))
})

test.run()
