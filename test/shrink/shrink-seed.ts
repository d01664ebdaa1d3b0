/**
 * From a world that fails to what a person reads: a smaller world, a scenario for the cores alone, and a timeline, written to
 * a folder, ready to become a regression. Where the cores alone do not fail, it says so, and the smaller world is the result.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plan } from '#balsa/testing/plan.js'
import { failureKind, shrinkWorld } from '#balsa/testing/shrink.js'
import type { FailingWorld } from '#balsa/testing/shrink.js'
import { simulate } from '#balsa/testing/simulate.js'
import { drawPlan } from '#balsa/testing/swarm.js'
import { CoreRecorder } from './core-recorder.js'
import { renderScenario } from './render.js'
import { shrinkScenario, toViolation } from './scenario.js'
import type { Scenario } from './scenario.js'
import { timelineOf } from './timeline.js'
import { WorldStory } from './world-story.js'

export interface ShrinkSeedOptions {
  readonly seed: number
  readonly steps: number
  /** Instead of the seed's own. */
  readonly plan: Plan | null
  /** Is made when it is not there. */
  readonly folder: string
  /** Until then it gets smaller, on the clock of this machine. */
  readonly seconds: number
  readonly say: (line: string) => void
}

/** What a failing world did once more, watched closely. */
interface Replay {
  readonly story: readonly string[]
  /** Null when the cores alone hold. */
  readonly scenario: Scenario | null
}

/** Other worlds of the same plan that are tried, until one fails in its cores alone too. */
const OTHER_SEEDS = 40

export async function shrinkSeed(options: ShrinkSeedOptions): Promise<void> {
  const { seed, steps, say } = options
  const plan = options.plan ?? drawPlan(seed)
  const { failure } = await simulate({ seed, plan, steps, stacks: true })
  if (failure === null) throw new Error(`seed ${seed} does not fail within ${steps} core steps`)
  say(`seed ${seed} fails: ${failure.message}`)
  const begin = performance.now()
  const within = (share: number) => (): boolean => performance.now() - begin > options.seconds * 1000 * share
  const original = { plan, steps, failure }
  const world = await shrinkWorld(original, { isOver: within(0.5) })
  say(`the smallest world has ${world.plan.servers} servers and ${world.steps} core steps: ${world.failure.message}`)
  const { story, scenario } = await violatedCores(world, original, within(0.6))
  mkdirSync(options.folder, { recursive: true })
  const write = (name: string, text: string): string => {
    const path = join(options.folder, name)
    writeFileSync(path, text)
    return path
  }
  const planFile = write('plan.json', `${JSON.stringify({ steps: world.steps, plan: world.plan }, null, 2)}\n`)
  say(`${planFile}: the smallest world; npm run sim -- --plan ${planFile} runs it`)
  const title = `Seed ${seed}: ${failure.message}`
  if (scenario === null) {
    const timeline = write('timeline.md', timelineOf(title, story, world.failure.message))
    say(`${timeline}: how it ends`)
    say(
      'no scenario: cores that are given the same do not fail by themselves. It lies in the shell or the doubles, or it',
    )
    say('needs what transcripts cannot say (wiped disks, room in a store); the world is the regression')
    return
  }
  const shrunk = shrinkScenario(scenario, within(1))
  const rendered = renderScenario(shrunk, `Seed ${seed} of the simulator: ${failure.message}.`)
  const file = write('scenario.txt', rendered.text)
  say(`${file}: ${rendered.text.split('\n').length - 1} lines, for the cores alone: ${shrunk.violation}`)
  say(`${write('timeline.md', timelineOf(title, rendered.story, shrunk.violation))}: the same as a diagram`)
  say(
    `keep it: cp ${file} test/core/transcripts/NAME.txt; when the core is mended, BALSA_REWRITE=1 npm test -- transcripts`,
  )
  say('writes down what servers do instead, to be read like code')
}

/** The first of some worlds whose cores fail without everything around them: the smallest, its like, and the one it came from. */
async function violatedCores(world: FailingWorld, original: FailingWorld, isOver: () => boolean): Promise<Replay> {
  const first = await replay(world)
  if (first.scenario !== null) return first
  for (let at = 1; at <= OTHER_SEEDS && !isOver(); at += 1) {
    const { scenario } = await replay({ ...world, plan: { ...world.plan, seed: (world.plan.seed + at) % 2 ** 32 } })
    if (scenario !== null) return { story: first.story, scenario }
  }
  const { scenario } = await replay(original)
  return { story: first.story, scenario }
}

async function replay({ plan, steps, failure }: FailingWorld): Promise<Replay> {
  const recorder = new CoreRecorder()
  const story = new WorldStory()
  const watched = { observers: [recorder, story], actors: [recorder] }
  const result = await simulate({ seed: plan.seed, plan, steps, stacks: true, ...watched })
  if (result.failure === null || failureKind(result.failure) !== failureKind(failure))
    return { story: [], scenario: null }
  const cluster = { turn: 0, command: `cluster servers=${plan.servers}` }
  return { story: story.lines, scenario: toViolation([cluster, ...recorder.steps]) }
}
