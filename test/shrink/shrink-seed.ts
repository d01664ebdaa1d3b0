/**
 * From a world that fails to what a person reads: a smaller world, a scenario for the cores alone, and a timeline. Written
 * to a folder, ready to become a regression.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plan } from '#balsa/testing/plan.js'
import { failureKind, shrinkWorld } from '#balsa/testing/shrink.js'
import type { FailingWorld } from '#balsa/testing/shrink.js'
import { simulate } from '#balsa/testing/simulate.js'
import { drawPlan } from '#balsa/testing/swarm.js'
import { CoreRecorder } from './core-recorder.js'
import { shrinkScenario, toViolation } from './scenario.js'
import type { Step } from './scenario.js'

export interface ShrinkSeedOptions {
  readonly seed: number
  readonly steps: number
  /** Instead of the seed's own. */
  readonly plan: Plan | null
  readonly folder: string
  readonly seconds: number
  readonly say: (line: string) => void
}

export async function shrinkSeed(options: ShrinkSeedOptions): Promise<void> {
  const { seed, steps, folder, say } = options
  const plan = options.plan ?? drawPlan(seed)
  const { failure } = await simulate({ seed, plan, steps, stacks: true })
  if (failure === null) throw new Error(`seed ${seed} does not fail within ${steps} core steps`)
  say(`seed ${seed} fails: ${failure.message}`)
  const begin = performance.now()
  const within = (share: number) => (): boolean => performance.now() - begin > options.seconds * 1000 * share
  const world = await shrinkWorld({ plan, steps, failure }, { isOver: within(0.5) })
  say(`the smallest world: ${world.plan.servers} servers, ${world.steps} core steps: ${world.failure.message}`)
  mkdirSync(folder, { recursive: true })
  const write = (name: string, text: string): void => {
    writeFileSync(join(folder, name), text)
    say(`written: ${join(folder, name)}`)
  }
  write('plan.json', `${JSON.stringify({ steps: world.steps, plan: world.plan }, null, 2)}\n`)
  const recorded = await record(world)
  const violated = toViolation([{ turn: 0, command: `cluster servers=${world.plan.servers}` }, ...recorded])
  if (violated === null) {
    say(
      'the cores alone do not show it: it lies in the shell, the doubles or the clients, or needs what a scenario cannot say',
    )
    return
  }
  say(`the cores alone, after ${violated.steps.length} steps: ${violated.violation}`)
  const scenario = shrinkScenario(violated, within(1))
  for (const { turn, command } of scenario.steps) say(`${turn} ${command}`)
  say(scenario.violation)
}

async function record(world: FailingWorld): Promise<readonly Step[]> {
  const recorder = new CoreRecorder()
  const { plan, steps } = world
  const { failure } = await simulate({
    seed: plan.seed,
    plan,
    steps,
    observers: [recorder],
    actors: [recorder],
    stacks: true,
  })
  if (failure === null || failureKind(failure) !== failureKind(world.failure)) {
    throw new Error(`the same world failed otherwise when it was run again: ${failure?.message}`)
  }
  return recorder.steps
}
