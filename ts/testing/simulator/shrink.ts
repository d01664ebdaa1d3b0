/**
 * Makes the world of a failure smaller: fewer servers, faults, clients and kinds of trouble, fewer steps, as long as
 * the same invariant breaks. A smaller world is another one from its first event on, so each is tried with several
 * seeds.
 */

import { FAULT_NAMES } from './faults/fault-names.js'
import type { FaultName } from './faults/fault-names.js'
import type { ClientPlan, Plan } from './plan.js'
import { simulate } from './simulate.js'
import type { SimulateResult } from './simulate.js'
import { Violation } from '../invariants/violation.js'

/** A world that fails, and when. */
export interface FailingWorld {
  readonly plan: Plan
  /** Core steps of the first phase. */
  readonly steps: number
  readonly failure: Error
}

export interface ShrinkOptions {
  /** Asked before each trial: no more of them. */
  readonly isOver: () => boolean
  /** Runs a world; `simulate` unless told. */
  readonly run?: (plan: Plan, steps: number) => Promise<SimulateResult>
  /** Seeds for each smaller plan; default 4. */
  readonly seeds?: number
}

const STEPS_MIN = 100
const SEEDS = 4
/** Seeds that are tried in the end for a world that fails sooner. */
const LAST_SEEDS = 40
const SEED_END = 2 ** 32
const NO_CHAOS: Plan['chaos'] = { loss: 0, duplication: 0, reordering: 0, replay: 0, flip: 0 }

/** The smallest world found before `isOver`; the one that was given, when none is smaller. */
export async function shrinkWorld(world: FailingWorld, options: ShrinkOptions): Promise<FailingWorld> {
  const { isOver, seeds = SEEDS } = options
  const run = options.run ?? ((plan, steps) => simulate({ seed: plan.seed, plan, steps }))
  const kind = failureKind(world.failure)
  /** The first of some seeds with which a plan fails in the same way, and not later. */
  const fails = async (plan: Plan, steps: number, count: number): Promise<FailingWorld | null> => {
    for (let at = 0; at < count && !isOver(); at += 1) {
      const other = { ...plan, seed: (plan.seed + at) % SEED_END }
      const result = await run(other, steps)
      if (result.failure === null || failureKind(result.failure) !== kind) continue
      return { plan: other, steps: Math.max(STEPS_MIN, Math.min(steps, result.steps + 1)), failure: result.failure }
    }
    return null
  }
  let smallest = (await fails(world.plan, world.steps, 1)) ?? world
  for (let hasShrunk = true; hasShrunk && !isOver();) {
    hasShrunk = false
    for (const smaller of SMALLER) {
      const plan = smaller(smallest.plan)
      const found = plan === null ? null : await fails(plan, smallest.steps, seeds)
      if (found === null) continue
      smallest = found
      hasShrunk = true
    }
  }
  const { seed } = smallest.plan
  for (let at = 1; at <= LAST_SEEDS && smallest.steps > STEPS_MIN && !isOver(); at += 1) {
    const plan = { ...smallest.plan, seed: (seed + at) % SEED_END }
    smallest = (await fails(plan, smallest.steps - 1, 1)) ?? smallest
  }
  return smallest
}

/** One step towards a world in which less happens; null where that is so already. */
type Smaller = (plan: Plan) => Plan | null

/** What takes away most comes first. */
const SMALLER: readonly Smaller[] = [
  (plan) => (plan.losesQuorumAt === null ? null : { ...plan, losesQuorumAt: null }),
  withFaults(() => false),
  (plan) => (Object.values(plan.chaos).some((chance) => chance > 0) ? { ...plan, chaos: NO_CHAOS } : null),
  (plan) => (plan.servers > 3 ? { ...plan, servers: 3 } : null),
  withFaults((at, count) => at < count >> 1),
  withFaults((at, count) => at >= count >> 1),
  ...FAULT_NAMES.map((_, away) => withFaults((at) => at !== away)),
  ...(Object.keys(NO_CHAOS) as (keyof typeof NO_CHAOS)[]).map((name): Smaller => {
    return (plan) => (plan.chaos[name] > 0 ? { ...plan, chaos: { ...plan.chaos, [name]: 0 } } : null)
  }),
  withClients((clients) => (clients.count > 1 ? { ...clients, count: 1 } : null)),
  withClients((clients) => (clients.count > 2 ? { ...clients, count: clients.count >> 1 } : null)),
  ...(['read', 'writes', 'barrier', 'write'] as const).map((name) =>
    withClients(({ weights, ...rest }) => {
      const hasOther = Object.entries(weights).some(([other, weight]) => other !== name && weight > 0)
      return weights[name] > 0 && hasOther ? { ...rest, weights: { ...weights, [name]: 0 } } : null
    }),
  ),
  withClients((clients) => (clients.deadlines > 0 ? { ...clients, deadlines: 0 } : null)),
  withClients((clients) => (clients.sessions > 0 ? { ...clients, sessions: clients.sessions >> 1 } : null)),
  withClients((clients) => (clients.outside > 0 ? { ...clients, outside: clients.outside >> 1 } : null)),
  withClients((clients) => (clients.anywhere > 0 ? { ...clients, anywhere: 0 } : null)),
  withClients((clients) => (clients.signals > 0 ? { ...clients, signals: 0 } : null)),
  withClients((clients) =>
    clients.paddingMax > 0 || clients.keys > 1 ? { ...clients, paddingMax: 0, keys: 1 } : null,
  ),
  (plan) => (plan.applyMs > 0 ? { ...plan, applyMs: 0 } : null),
  (plan) => (plan.stateBytes > 0 ? { ...plan, stateBytes: 0 } : null),
  (plan) => (plan.snapshots === false ? null : { ...plan, snapshots: false }),
  ({ heartbeatMs, ...plan }) => {
    const rare = Math.max(10, Math.floor(plan.electionTimeoutMs / 3))
    return heartbeatMs < rare ? { ...plan, heartbeatMs: rare } : null
  },
]

/** Keeps the faults that `isKept` says, by their place among those that are on. */
function withFaults(isKept: (at: number, count: number) => boolean): Smaller {
  return (plan) => {
    const on = FAULT_NAMES.filter((name) => (plan.faults[name] ?? 0) > 0)
    const kept = on.filter((_, at) => isKept(at, on.length))
    if (kept.length === on.length) return null
    const faults: Partial<Record<FaultName, number>> = {}
    for (const name of kept) faults[name] = plan.faults[name] ?? 0
    return { ...plan, faults }
  }
}

function withClients(smaller: (clients: ClientPlan) => ClientPlan | null): Smaller {
  return (plan) => {
    const clients = smaller(plan.clients)
    return clients === null ? null : { ...plan, clients }
  }
}

/** Two failures of one kind break the same invariant; assertions say the same but for numbers and names. */
export function failureKind(failure: Error): string {
  if (failure instanceof Violation && failure.invariant !== 0) return `invariant ${failure.invariant}`
  return `${failure.name}: ${failure.message.replaceAll(/\bs\d+\b/g, 'server').replaceAll(/\d+/g, 'n')}`
}
