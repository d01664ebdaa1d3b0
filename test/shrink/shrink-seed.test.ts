/**
 * From a seed to a scenario, end to end. The core is sound, so the bug is made up: an observer, and a watch over the cluster of
 * cores, that hold a certain situation to be a violation.
 */

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Observer } from '#balsa/testing/observer.js'
import { simulate } from '#balsa/testing/simulate.js'
import { Violation } from '#balsa/testing/violation.js'
import { replayTranscript } from '../support/transcript.js'
import { shrinkSeed } from './shrink-seed.js'

const SEED = 2
const STEPS = 3000

const test = suite<{ folder: string }>('shrink')

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'balsa-shrink-'))
})

test.after.each(({ folder }) => {
  rmSync(folder, { recursive: true })
})

/** Conflict truncation (5.3), taken for a bug. */
const noTruncation = (): readonly Observer[] => [
  {
    decided: ({ id }, _core, { ticket }) => {
      const truncates = ticket?.operations.some(({ type }) => type === 'truncateSuffix') === true
      if (truncates) throw new Violation(12, `${id} truncates`)
    },
  },
]

test('a situation in a world of thousands of steps becomes a scenario that a person reads at once', async ({
  folder,
}) => {
  await shrinkSeed({
    ...{ seed: SEED, steps: STEPS, plan: null, folder, seconds: 60, say: () => {} },
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
  // It is a golden transcript already, since nothing is broken.
  assert.fixture(replayTranscript(scenario), scenario)
  const timeline = readFileSync(join(folder, 'timeline.md'), 'utf8')
  assert.match(timeline, 'sequenceDiagram')
  assert.match(timeline, /s\d->>s\d: AppendEntries/)
  assert.match(timeline, /broken: s\d truncates/)
  assert.ok(timeline.split('\n').length <= 70)
  const { plan, steps } = JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8'))
  const { failure } = await simulate({ seed: plan.seed, plan, steps, observers: noTruncation() })
  assert.match(failure?.message ?? '', /invariant 12: s\d truncates/)
  assert.ok(steps < STEPS / 2, `${steps} steps`)
})

test('what cores do not do by themselves is a world and its story, and said to be so', async ({ folder }) => {
  const said: string[] = []
  const neverAnswers = (): readonly Observer[] => [
    {
      returned: ({ kind }, { status }) => {
        if (kind === 'write' && status === 'ok') throw new Violation(14, 'a write is answered')
      },
    },
  ]
  const options = { seed: SEED, steps: STEPS, plan: null, folder, seconds: 60, observers: neverAnswers }
  await shrinkSeed({ ...options, say: (line) => said.push(line) })
  assert.equal(readdirSync(folder).sort(), ['plan.json', 'timeline.md'])
  assert.match(said.join('\n'), 'no scenario')
  assert.match(readFileSync(join(folder, 'timeline.md'), 'utf8'), 'broken: invariant 14: a write is answered')
})

test('a world that holds is not shrunk', async ({ folder }) => {
  const options = { seed: SEED, steps: 200, plan: null, folder, seconds: 1, say: () => {} }
  const error = await shrinkSeed(options).then(
    () => null,
    (reason: unknown) => reason,
  )
  assert.match(String(error), 'seed 2 does not fail within 200 core steps')
})

test.run()
