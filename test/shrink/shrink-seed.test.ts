/**
 * From a seed to a scenario, end to end. The core is sound, so the bug is made up: an observer, and a watch over the
 * cluster of cores, that hold a certain situation to be a violation.
 */

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Plan } from '#balsa/testing/simulator/plan.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import { Violation } from '#balsa/testing/invariants/violation.js'
import type { WorldObserver } from '#balsa/testing/simulator/world-observer.js'
import { replayTranscript } from '../support/transcript.js'
import { shrinkSeed } from './shrink-seed.js'

/** A leader that is cut off and believes that it still leads, again and again: entries of its are replaced. */
const plan: Plan = {
  ...{ seed: 5, servers: 3, electionTimeoutMs: 170, heartbeatMs: 56, turnMs: 0.5, applyMs: 0 },
  network: { delayMs: 0.4, jitterMs: 0.07, keepAliveMs: 1400 },
  chaos: { loss: 0, duplication: 0.01, reordering: 0, replay: 0, flip: 0 },
  snapshots: false,
  stateBytes: 0,
  losesQuorumAt: null,
  disk: { writeMs: 1.4, readMs: 0.05, capacityBytes: 2 ** 23 },
  clients: {
    ...{
      count: 2,
      thinkMs: 7,
      refusedMs: 11,
      keys: 1,
      anywhere: 0,
      leases: 0,
      paddingMax: 0,
      deadlines: 0,
      signals: 0,
      sessions: 0,
      outside: 0,
      deadlineMs: 100,
    },
    weights: { write: 1, writes: 0, read: 0, barrier: 0 },
  },
  ...{ faultEveryMs: 70, spellMs: 200, restartMs: 40, faults: { 'stale-leader': 0.6, crash: 0.1 } },
}
const STEPS = 2000
/** Of the worlds before it some need a few commands more than a person reads at once. */
const SEEDS_MIN = 4
const SEEDS_MAX = 50

const test = suite<{ folder: string }>('shrink')

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'balsa-shrink-'))
})

test.after.each(({ folder }) => {
  rmSync(folder, { recursive: true })
})

/** Conflict truncation (5.3), taken for a bug. */
const noTruncation = (): readonly WorldObserver[] => [
  {
    decided: ({ id }, _core, { ticket }) => {
      const truncates = ticket?.operations.some(({ type }) => type === 'truncateSuffix') === true
      if (truncates) throw new Violation(12, `${id} truncates`)
    },
  },
]

/** Only after many steps, so that there is something to shrink. Which one it is changes with every fault. */
async function firstSeedThatTruncates(): Promise<number> {
  for (let seed = SEEDS_MIN; seed <= SEEDS_MAX; seed += 1) {
    const found = await simulate({ seed, steps: STEPS, plan: { ...plan, seed }, observers: noTruncation() })
    if (found.failure !== null && found.steps >= STEPS / 2) return seed
  }
  throw new Error(`no follower truncates in the worlds ${SEEDS_MIN}..${SEEDS_MAX}`)
}

test('a situation in a world of thousands of steps becomes a scenario that a person reads at once', async ({
  folder,
}) => {
  const seed = await firstSeedThatTruncates()
  await shrinkSeed({
    ...{ seed, steps: STEPS, plan: { ...plan, seed }, folder, seconds: 120, say: () => {} },
    observers: noTruncation,
    watch: (printed) => {
      const line = printed.find((printedLine) => printedLine.includes('truncate from'))
      if (line !== undefined) throw new Error(`${line.slice(0, 2)} truncates`)
    },
  })
  assert.equal(readdirSync(folder).sort(), ['plan.json', 'scenario.txt', 'timeline.md'])
  const scenario = readFileSync(join(folder, 'scenario.txt'), 'utf8')
  assert.ok(scenario.split('\n').length - 1 <= 40, scenario)
  assert.match(scenario, 'truncate from')
  // What leads to it is said in few commands that do much: two elections, of which the second follows a crash.
  assert.ok((scenario.match(/^quiet /gm) ?? []).length <= 20, scenario)
  // It is a golden transcript already, since nothing is broken.
  assert.fixture(replayTranscript(scenario), scenario)
  const timeline = readFileSync(join(folder, 'timeline.md'), 'utf8')
  assert.match(timeline, 'sequenceDiagram')
  assert.match(timeline, /s\d->>s\d: AppendEntries/)
  assert.match(timeline, /broken: s\d truncates/)
  assert.ok(timeline.split('\n').length <= 70)
  const smallest = JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8')) as { plan: Plan; steps: number }
  const { failure } = await simulate({ seed: smallest.plan.seed, ...smallest, observers: noTruncation() })
  assert.match(failure?.message ?? '', /invariant 12: s\d truncates/)
  assert.ok(smallest.steps < STEPS / 2, `${smallest.steps} steps`)
  assert.is(Object.keys(smallest.plan.faults).length, 1)
})

test('what cores do not do by themselves is a world and its story, and said to be so', async ({ folder }) => {
  const said: string[] = []
  const neverAnswers = (): readonly WorldObserver[] => [
    {
      returned: ({ kind }, { status }) => {
        if (kind === 'write' && status === 'ok') throw new Violation(14, 'a write is answered')
      },
    },
  ]
  const options = { seed: plan.seed, steps: STEPS, plan, folder, seconds: 120, observers: neverAnswers }
  await shrinkSeed({ ...options, say: (line) => said.push(line) })
  assert.equal(readdirSync(folder).sort(), ['plan.json', 'timeline.md'])
  assert.match(said.join('\n'), 'no scenario')
  assert.match(readFileSync(join(folder, 'timeline.md'), 'utf8'), 'broken: invariant 14: a write is answered')
})

test('a world that holds is not shrunk', async ({ folder }) => {
  const options = { seed: plan.seed, steps: 200, plan, folder, seconds: 1, say: () => {} }
  const error = await shrinkSeed(options).then(
    () => null,
    (reason: unknown) => reason,
  )
  assert.match(String(error), 'seed 5 does not fail within 200 core steps')
})

test.run()
