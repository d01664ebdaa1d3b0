/** Runs one seed from its plan to its end, both phases, with everything watching; and says what came of it. */

import { AssertionFailure } from '../errors.js'
import { ClientInvariants } from './client-invariants.js'
import { ElectionInvariants } from './election-invariants.js'
import { recover } from './liveness.js'
import type { Recovery } from './liveness.js'
import { LogInvariants } from './log-invariants.js'
import { Nemesis } from './nemesis.js'
import type { Observer } from './observer.js'
import type { Plan } from './plan.js'
import { Reached } from './reached.js'
import { RunHash } from './run-hash.js'
import { Supervisor } from './supervisor.js'
import { drawPlan } from './swarm.js'
import { Trace } from './trace.js'
import { Truth } from './truth.js'
import { Violation } from './violation.js'
import { WorkInvariants } from './work-invariants.js'
import { World } from './world.js'

export interface SimulateOptions {
  /** 0 .. 2^32 - 1. */
  readonly seed: number
  /** Core steps of the first phase, 100 .. 10^8; default 10000. */
  readonly steps?: number
  /** More to watch with. */
  readonly observers?: readonly Observer[]
  /** Is given the run as JSON lines. */
  readonly trace?: (line: string) => void
  /** Whether errors carry their stacks: slower, so only for the replay of a failure. Default: with `trace`. */
  readonly stacks?: boolean
  /** Instead of the seed's own. */
  readonly plan?: Plan
}

export interface SimulateResult {
  readonly seed: number
  readonly hash: string
  readonly steps: number
  /** Simulated. */
  readonly ms: number
  readonly entries: number
  readonly answered: number
  readonly reached: ReadonlyMap<string, number>
  /** Null when the first phase ended in a failure. */
  /** The most that servers said, as a share of what invariant 20 allows. */
  readonly work: number
  readonly recovery: Recovery | null
  /** What did not hold; null when all did. */
  readonly failure: Error | null
}

const SEED_END = 2 ** 32
const STEPS_MIN = 100
const STEPS_MAX = 100_000_000
const STEPS = 10_000

/** Never rejects because of what the world did: that is `failure`. Throws RangeError for a seed or steps out of range. */
export async function simulate(options: SimulateOptions): Promise<SimulateResult> {
  const { seed, steps = STEPS } = options
  checkWhole('seed', seed, 0, SEED_END - 1)
  checkWhole('steps', steps, STEPS_MIN, STEPS_MAX)
  const truth = new Truth()
  const hash = new RunHash()
  const reached = new Reached()
  const clients = new ClientInvariants(truth)
  const nemesis = new Nemesis()
  const work = new WorkInvariants(() => {
    return { servers: world.servers.length, heartbeatMs: world.plan.heartbeatMs, now: () => world.queue.now }
  })
  const invariants = [work, new ElectionInvariants(truth), new LogInvariants(truth, () => world.servers), clients]
  const { trace } = options
  const traces = trace === undefined ? [] : [new Trace(() => world.queue.now, trace)]
  const world: World = new World({
    plan: options.plan ?? drawPlan(seed),
    // Who only tells goes first, so that a trace ends with what broke the invariant.
    observers: [...traces, ...(options.observers ?? []), hash, reached, ...invariants],
    actors: [nemesis, new Supervisor()],
  })
  let recovery: Recovery | null = null
  let failure: Error | null = null
  const stray = new StrayErrors()
  const stackDepth = Error.stackTraceLimit
  // Refused calls are the common case, and a stack for each of them a good part of the time.
  if (options.stacks !== true && trace === undefined) Error.stackTraceLimit = 0
  try {
    await world.run(() => world.steps >= steps || stray.first !== null)
    if (stray.first === null) recovery = await recover(world, nemesis)
  } catch (error) {
    failure = error as Error
  } finally {
    stray.end()
    Error.stackTraceLimit = stackDepth
  }
  return {
    seed,
    hash: hash.value,
    steps: world.steps,
    ms: world.queue.now,
    entries: truth.commitIndex,
    answered: clients.succeeded,
    reached: reached.counts,
    work: work.worst,
    recovery,
    failure: failure ?? stray.first,
  }
}

/** Whether a failure is one of the system under test, and not of whoever called. */
export function isFinding(error: Error): boolean {
  return error instanceof Violation || error instanceof AssertionFailure
}

function checkWhole(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} is ${value}: it must be a whole number in ${min} .. ${max}`)
  }
}

/** Errors that surface where nobody awaits them, such as an assertion in a promise's callback. */
class StrayErrors {
  first: Error | null = null
  readonly #take = (error: unknown): void => {
    this.first ??= error instanceof Error ? error : new Error(String(error))
  }

  constructor() {
    process.on('uncaughtException', this.#take)
    process.on('unhandledRejection', this.#take)
  }

  end(): void {
    process.off('uncaughtException', this.#take)
    process.off('unhandledRejection', this.#take)
  }
}
