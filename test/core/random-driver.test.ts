/**
 * The core under random faults. Every run is decided by its seed and is checked after every step
 * (ts/testing/invariants).
 *
 * `BALSA_SEED=n` replays one seed and prints its story; `BALSA_SEEDS=n` runs that many; `BALSA_FIRST_SEED=n` says from
 * where.
 */

import { test } from 'uvu'
import { assert as assertFact } from '#balsa/errors.js'
import { RandomRun } from '../support/random-run.js'

const SEEDS = Number(process.env['BALSA_SEEDS'] ?? 250)
const FIRST_SEED = Number(process.env['BALSA_FIRST_SEED'] ?? 1)
const ONE_SEED = process.env['BALSA_SEED']
const STORY_LINES = Number(process.env['BALSA_STORY_LINES'] ?? 80)

/** A batch of runs that misses one of these has tested less than it claims. */
const MUST_REACH = [
  'busy',
  'commit without own disk',
  'conflict truncation',
  'crash with unwritten tickets',
  'fetch below the tail',
  'leader with an uncommitted tail',
  'read that waited for the first commit of its term',
  'replayed request',
  'replayed response',
  'sent again from further back',
  'step-down because of a higher term',
  'step-down because of a stalled disk',
  'step-down with an uncommitted tail',
  'step-down without a quorum',
  'store failure',
  'term adopted from a refused pre-vote',
  'term grew while an older one was not durable',
  'write of entries that a later ticket removes',
]

test('no random order of messages, crashes and disk writes breaks an invariant or keeps the cluster from recovering', () => {
  const total = new Map<string, number>()
  let steps = 0
  const [first, count] = ONE_SEED === undefined ? [FIRST_SEED, SEEDS] : [Number(ONE_SEED), 1]
  for (let seed = first; seed < first + count; seed += 1) {
    const result = runSeed(seed, ONE_SEED !== undefined)
    steps += result.steps
    for (const [what, times] of result.reached) total.set(what, (total.get(what) ?? 0) + times)
  }
  console.log(`random driver: seeds ${first}..${first + count - 1}, ${steps} steps, ${describe(total)}`)
  if (ONE_SEED !== undefined || SEEDS < 100) return
  const missed = MUST_REACH.filter((what) => !total.has(what))
  assertFact(missed.length === 0, `random driver: never reached: ${missed.join(', ')}`)
})

test('the same seed gives the same story, line by line', () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const [first, second] = [storyOf(seed), storyOf(seed)]
    assertFact(first.length > 0 && first === second, `random driver: seed ${seed} told two stories`)
  }
})

function storyOf(seed: number): string {
  const run = new RandomRun(seed)
  run.cluster.trace = []
  run.run()
  return run.cluster.trace.join('\n')
}

/** A failed run is run again with its story written down. */
function runSeed(seed: number, tell: boolean): ReturnType<RandomRun['run']> {
  const run = new RandomRun(seed)
  if (tell) run.cluster.trace = []
  try {
    const result = run.run()
    if (tell) console.log(run.cluster.trace?.slice(-STORY_LINES).join('\n'))
    return result
  } catch (error) {
    if (!tell) {
      console.error(`random driver: seed ${seed} failed; BALSA_SEED=${seed} replays it alone`)
      return runSeed(seed, true)
    }
    console.error(run.cluster.trace?.slice(-STORY_LINES).join('\n'))
    throw error
  }
}

function describe(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, times]) => `${what} ${times}`)
    .join(', ')
}

test.run()
