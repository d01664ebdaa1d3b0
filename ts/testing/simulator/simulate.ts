/** Runs one seed from its plan to its end, both phases, with everything watching; and says what came of it. */

import { checkNames, checkPlan, checkWhole } from './check-plan.js'
import { SealedEntries } from './doubles/sealed-entries.js'
import { SessionInvariants } from './invariants/session-invariants.js'
import { SessionClients } from './session-clients.js'
import { ClientInvariants } from './invariants/client-invariants.js'
import { CostInvariants } from './invariants/cost-invariants.js'
import { EntryTimeInvariants } from './invariants/entry-time-invariants.js'
import { Epochs } from './invariants/epochs.js'
import { recover } from './invariants/liveness.js'
import type { Recovery } from './invariants/liveness.js'
import { framed } from '../machine-under-test.js'
import type { MachineUnderTest } from '../machine-under-test.js'
import { ArrivingInvariants } from './invariants/arriving-invariants.js'
import { LeaseInvariants } from './invariants/lease-invariants.js'
import { OutsideClients } from './outside-clients.js'
import { NarrowPathInvariants } from './invariants/narrow-path-invariants.js'
import { SendingInvariants } from './invariants/sending-invariants.js'
import { Nemesis } from './faults/nemesis.js'
import { LostQuorum } from './lost-quorum.js'
import type { Plan } from './plan.js'
import { Reached } from './reached.js'
import { RunHash } from './run-hash.js'
import { SnapshotFileInvariants } from './invariants/snapshot-file-invariants.js'
import { RoomInvariants } from './invariants/room-invariants.js'
import { Supervisor } from './supervisor.js'
import { drawPlan, isOnlyNarrow } from './swarm.js'
import { StabilityInvariants } from './invariants/stability-invariants.js'
import { TimingInvariants } from './invariants/timing-invariants.js'
import { Trace } from './trace.js'
import { WorkInvariants } from './invariants/work-invariants.js'
import { World } from './world.js'
import type { Actor } from './world.js'
import type { WorldObserver } from './world-observer.js'
import { checkOptionNames } from '../../option-checks.js'

/** What `simulate` takes. */
export interface SimulateOptions<Command = never> {
  /** 0 .. 2^32 - 1. */
  readonly seed: number
  /** Core steps of the first phase, 100 .. 10^8; default 10000. */
  readonly steps?: number
  /** A state machine to run on every server. */
  readonly machine?: MachineUnderTest<Command>
  /** More to watch with. */
  readonly observers?: readonly WorldObserver[]
  /** More that acts on the world. */
  readonly actors?: readonly Actor[]
  /** Is given the run as JSON lines. */
  readonly trace?: (line: string) => void
  /** Whether errors carry their stacks: slower, so only for the replay of a failure. Default: with `trace`. */
  readonly stacks?: boolean
  /** Instead of the seed's own. */
  readonly plan?: Plan
}

/** What one seed came to. */
export interface SimulateResult {
  readonly seed: number
  readonly hash: string
  readonly steps: number
  /** Simulated. */
  readonly ms: number
  readonly entries: number
  readonly answered: number
  readonly reached: ReadonlyMap<string, number>
  /** The most that servers said, as a share of what invariant 20 allows. */
  readonly work: number
  /** Null when the first phase ended in a failure. */
  readonly recovery: Recovery | null
  /** What did not hold; null when all did. */
  readonly failure: Error | null
}

const OPTION_NAMES = Object.keys({
  seed: true,
  steps: true,
  machine: true,
  observers: true,
  actors: true,
  trace: true,
  stacks: true,
  plan: true,
} satisfies Record<keyof SimulateOptions, true>)

const SEED_END = 2 ** 32
const STEPS_MIN = 100
const STEPS_MAX = 100_000_000
const STEPS = 10_000
/** The length of the first phase in election timeouts, at most. */
const TIMEOUTS_MAX = 1000

/**
 * Never rejects because of what the world did: that is `failure`. Rejects with ERR_RAFT_OPTIONS for what is out of
 * range or unknown.
 */
export async function simulate<Command = never>(options: SimulateOptions<Command>): Promise<SimulateResult> {
  const { seed, steps, plan } = checked(options)
  const hash = new RunHash()
  const reached = new Reached()
  const epochs = new Epochs(
    new SealedEntries(),
    () => world.servers,
    (what) => reached.count(what),
  )
  const clients = new ClientInvariants((epoch) => epochs.truthOf(epoch))
  const ofSessions = new SessionInvariants((epoch) => epochs.truthOf(epoch))
  const outside = new OutsideClients()
  const sessions = new SessionClients(ofSessions, () => outside.doors)
  const work = new WorkInvariants(() => {
    return { servers: world.servers.length, heartbeatMs: world.plan.heartbeatMs, now: () => world.queue.now }
  })
  const costs = new CostInvariants(() => plan.heartbeatMs)
  const ofLinks = invariantsOfLinks(plan, () => world)
  const timing = [new TimingInvariants(() => plan), new StabilityInvariants(() => plan)]
  const count = (what: string): void => reached.count(what)
  const ofRooms = [new EntryTimeInvariants(), new RoomInvariants(), new LeaseInvariants(() => world.servers, count)]
  const ofFiles = new SnapshotFileInvariants(
    ({ ordinal }, id) => world.servers[ordinal]?.sim.snapshots.holds(id) === true,
  )
  const invariants = [work, costs, epochs, clients, ofSessions, ...timing, ...ofLinks, ...ofRooms, ofFiles]
  const { trace } = options
  const traces = trace === undefined ? [] : [new Trace(() => world.queue.now, trace)]
  const world: World = new World({
    plan,
    tested: options.machine === undefined ? null : framed(options.machine),
    // Who only tells goes first, so that a trace ends with what broke the invariant.
    observers: [...traces, ...(options.observers ?? []), hash, reached, ...invariants, outside, sessions],
    actors: [
      ...(options.machine === undefined ? [outside, sessions] : []),
      new Nemesis(),
      new Supervisor(),
      new LostQuorum(steps),
      ...(options.actors ?? []),
    ],
  })
  // A world in which nothing moves takes no steps, and yet it ends.
  const endMs = TIMEOUTS_MAX * plan.electionTimeoutMs
  let recovery: Recovery | null = null
  let failure: Error | null = null
  const stray = new StrayErrors()
  const stackDepth = Error.stackTraceLimit
  // Refused calls are the common case, and a stack for each of them a good part of the time.
  if (options.stacks !== true && trace === undefined) Error.stackTraceLimit = 0
  try {
    await world.run(() => world.steps >= steps || world.queue.now >= endMs || stray.first !== null)
    if (stray.first === null)
      recovery = await recover(world, { costs, underWay: () => sessions.underWay() || outside.underWay() })
  } catch (error) {
    failure = error as Error
  } finally {
    // What nobody has awaited is reported in a round of the event loop.
    await new Promise((resolve) => setImmediate(resolve))
    stray.end()
    Error.stackTraceLimit = stackDepth
  }
  return {
    seed,
    hash: hash.value,
    steps: world.steps,
    ms: world.queue.now,
    entries: epochs.newest.commitIndex,
    answered: clients.succeeded,
    reached: reached.counts,
    work: work.worst,
    recovery,
    failure: failure ?? stray.first,
  }
}

function checked<Command>(options: SimulateOptions<Command>) {
  checkOptionNames('simulate', options, OPTION_NAMES)
  const { seed, steps = STEPS } = options
  checkWhole('seed', seed, 0, SEED_END - 1)
  checkWhole('steps', steps, STEPS_MIN, STEPS_MAX)
  const drawn = drawPlan(seed)
  const { plan = drawn } = options
  checkNames(plan, drawn)
  checkPlan(plan)
  return { seed, steps, plan }
}

/** Invariant 29, as far as it may be asked of a world: not of one in which single messages go astray. */
function invariantsOfLinks(plan: Plan, world: () => World): readonly WorldObserver[] {
  const { electionTimeoutMs, chaos } = plan
  const arriving = new ArrivingInvariants(electionTimeoutMs)
  if (chaos.loss + chaos.duplication + chaos.reordering + chaos.replay > 0) return [arriving]
  if (!isOnlyNarrow(plan)) return [arriving, new SendingInvariants()]
  const addressOf = (id: string): string => world().servers.find((server) => server.id === id)?.address ?? ''
  const site = {
    electionTimeoutMs,
    now: () => world().queue.now,
    narrowPath: (from: string, to: string) => world().network.narrowPathOf(addressOf(from), addressOf(to)),
  }
  return [arriving, new SendingInvariants(), new NarrowPathInvariants(site)]
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
