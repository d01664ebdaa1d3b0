/**
 * From a world that fails to what a person reads: a smaller world, a scenario for the cores alone, and a timeline,
 * written to a folder, ready to become a regression. Where the cores alone do not fail, it says so, and the smaller
 * world is the result.
 */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plan } from '#balsa/testing/simulator/plan.js'
import { failureKind, shrinkWorld } from '#balsa/testing/simulator/shrink.js'
import type { FailingWorld } from '#balsa/testing/simulator/shrink.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import type { SimulateResult } from '#balsa/testing/simulator/simulate.js'
import { drawPlan } from '#balsa/testing/simulator/swarm.js'
import type { Actor } from '#balsa/testing/simulator/world.js'
import type { WorldObserver } from '#balsa/testing/simulator/world-observer.js'
import { aligned } from './aligned.js'
import { CoreRecorder } from './core-recorder.js'
import { renderScenario } from './render.js'
import { shrinkScenario, toViolation } from './scenario.js'
import type { Scenario, Watch } from './scenario.js'
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
  /** More that must hold in the world, and in a cluster of cores. */
  readonly observers?: () => readonly WorldObserver[]
  readonly watch?: Watch
  readonly say: (line: string) => void
}

/** What a failing world did once more, watched closely. */
interface Replay {
  readonly story: readonly string[]
  /** Null when the cores alone hold. */
  readonly scenario: Scenario | null
}

/** Other worlds of the same plan that are tried, until one fails in its cores alone too. */
const OTHER_SEEDS = 12

export async function shrinkSeed(options: ShrinkSeedOptions): Promise<void> {
  const { seed, steps, say } = options
  const lab = new Lab(options)
  const plan = options.plan ?? drawPlan(seed)
  const { failure } = await lab.runFirst(plan, steps)
  if (failure === null) throw new Error(`seed ${seed} does not fail within ${steps} core steps`)
  say(`seed ${seed} fails: ${failure.message}`)
  const begin = performance.now()
  const within = (share: number) => (): boolean => performance.now() - begin > options.seconds * 1000 * share
  const original = { plan, steps, failure }
  const world = await shrinkWorld(original, { isOver: within(0.5), run: (smaller, most) => lab.run(smaller, most, []) })
  say(`the smallest world has ${world.plan.servers} servers and ${world.steps} core steps: ${world.failure.message}`)
  const { story, scenario } = await lab.violatedCores(world, original, within(0.6))
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
    // What an earlier attempt found there is another failure's.
    rmSync(join(options.folder, 'scenario.txt'), { force: true })
    say(`${write('timeline.md', timelineOf(title, story, world.failure.message))}: how it ends`)
    say(
      'no scenario: cores that are given the same do not fail by themselves. It lies in the shell or the doubles, or it',
    )
    say('needs what transcripts cannot say (wiped disks, room in a store); the world is the regression')
    return
  }
  const shrunk = shrinkScenario(scenario, lab.watch, within(1))
  const rendered = renderScenario(shrunk, `Seed ${seed} of the simulator: ${failure.message}.`)
  const file = write('scenario.txt', rendered.text)
  say(`${file}: ${rendered.text.split('\n').length - 1} lines, for the cores alone: ${shrunk.violation}`)
  say(`${write('timeline.md', timelineOf(title, rendered.story, shrunk.violation))}: the same as a diagram`)
  say(
    `keep it: cp ${file} test/core/transcripts/NAME.txt; when the core is mended, BALSA_REWRITE=1 npm test -- transcripts`,
  )
  say('writes down what servers do instead, to be read like code')
}

/** Runs worlds and their cores, with everything that must hold in them. */
class Lab {
  readonly watch: Watch
  readonly #observers: () => readonly WorldObserver[]
  /** Where to look for the failure: a second phase costs as much as the first. */
  #isInSecondPhase = true

  constructor({ watch, observers }: ShrinkSeedOptions) {
    this.watch = watch ?? (() => {})
    this.#observers = observers ?? (() => [])
  }

  /** Finds out in which phase it fails. */
  async runFirst(plan: Plan, steps: number): Promise<SimulateResult> {
    let isHealed = false
    const result = await this.run(plan, steps, [{ healed: () => void (isHealed = true) }])
    this.#isInSecondPhase = isHealed
    return result
  }

  run(plan: Plan, steps: number, watching: readonly (WorldObserver & Partial<Actor>)[]): Promise<SimulateResult> {
    const actors = watching.filter((observer): observer is WorldObserver & Actor => observer.start !== undefined)
    // Who only tells goes first, or it would miss the end.
    const observers = [...watching, ...this.#observers(), ...(this.#isInSecondPhase ? [] : [new EndOfFirstPhase()])]
    return simulate({ seed: plan.seed, plan, steps, observers, actors })
  }

  /**
   * The first of some worlds whose cores fail without everything around them: the smallest, its like, where it came
   * from.
   */
  async violatedCores(world: FailingWorld, original: FailingWorld, isOver: () => boolean): Promise<Replay> {
    const first = await this.#replay(world)
    if (first.scenario !== null) return first
    for (let at = 1; at <= OTHER_SEEDS && !isOver(); at += 1) {
      const { scenario } = await this.#replay({ ...world, plan: withSeed(world.plan, world.plan.seed + at) })
      if (scenario !== null) return { story: first.story, scenario }
    }
    const { scenario } = await this.#replay(original)
    return { story: first.story, scenario }
  }

  async #replay({ plan, steps, failure }: FailingWorld): Promise<Replay> {
    const recorder = new CoreRecorder()
    const story = new WorldStory()
    const result = await this.run(plan, steps, [recorder, story])
    const isSame = result.failure !== null && failureKind(result.failure) === failureKind(failure)
    if (!isSame) return { story: [], scenario: null }
    const cluster = { turn: 0, command: `cluster servers=${plan.servers}`, text: null }
    const recorded = [cluster, ...recorder.steps]
    const scenario = toViolation(aligned(recorded), this.watch) ?? toViolation(recorded, this.watch)
    return { story: story.lines, scenario }
  }
}

/** A world that held until here is not the one that is looked for. */
class EndOfFirstPhase implements WorldObserver {
  healed(): void {
    throw new Error('the first phase is over')
  }
}

function withSeed(plan: Plan, seed: number): Plan {
  return { ...plan, seed: seed % 2 ** 32 }
}
