/**
 * From a seed to a plan. Every world enables a random subset of the faults, with weights that differ by orders of
 * magnitude: a world with everything on drowns the rare orders of events in the common ones.
 */

import type { FaultName } from './faults/fault-names.js'
import { FAULT_NAMES } from './faults/fault-names.js'
import type { Plan } from './plan.js'
import { SeededRandom } from './random.js'

/** Rare because of what each of them costs, in steps or in servers. */
const RARE: Partial<Record<FaultName, number>> = {
  ...{ flood: 0.1, wipe: 0.4, rollback: 0.5, clone: 0.5, 'crash-all': 0.3 },
  // They end leaderships and processes that others are to meet.
  ...{ 'step-down': 0.3, transfer: 0.5, flap: 0.4, 'machine-fails': 0.4, 'file-fails': 0.5, 'file-rot': 0.4 },
  // In worlds of their own.
  ...{ 'member-goes': 0, 'member-comes': 0, 'member-vote': 0, 'members-joint': 0, 'crash-at-transfer': 0 },
  ...{ 'member-replaced': 0, 'member-anew': 0, lease: 0, usurp: 0 },
}
const MEMBERSHIP: readonly FaultName[] = [
  ...(['member-goes', 'member-comes', 'member-vote', 'members-joint', 'member-replaced', 'member-anew'] as const),
]

export function drawPlan(seed: number): Plan {
  const plan = drawLeasesWithMore(seed)
  // Drawn by itself, so that all other seeds stay the worlds that they were.
  const random = new SeededRandom(seed ^ 0x0075de5e)
  // Of a cluster that is lost, and of the one that is recovered, they would not know which has answered.
  if (plan.losesQuorumAt !== null || isOnlyNarrow(plan) || !random.chance(0.2)) return plan
  return { ...plan, clients: { ...plan.clients, outside: random.int(1, 4) } }
}

function drawLeasesWithMore(seed: number): Plan {
  const plan = drawWithLeases(seed)
  // Drawn by itself, so that all other seeds stay the worlds that they were.
  const random = new SeededRandom(seed ^ 0x1ea5ef0a)
  if (plan.clients.leases === 0 || plan.servers === 1 || !random.chance(0.5)) return plan
  const sessions = random.chance(0.6) ? random.int(1, 4) : 0
  return { ...plan, clients: { ...plan.clients, anywhere: random.between(0.1, 1), sessions } }
}

function drawWithLeases(seed: number): Plan {
  const plan = drawWithoutLeases(seed)
  // Drawn by itself, so that all other seeds stay the worlds that they were.
  const random = new SeededRandom(seed ^ 0x1ea5e0f0)
  const isOther = isOnlyNarrow(plan) || plan.clients.anywhere > 0
  return isOther || !random.chance(0.33) ? plan : withLeases(plan, random)
}

/**
 * A quarter of what happens is that leases come and go, and that others would lead meanwhile; clients read all the
 * time, mostly by them.
 */
function withLeases(plan: Plan, random: SeededRandom): Plan {
  const others = Object.values(plan.faults).reduce((sum, weight) => sum + weight, 0)
  const weights = { ...plan.clients.weights, read: Math.max(plan.clients.weights.read, random.between(0.3, 1.5)) }
  return {
    ...plan,
    clients: { ...plan.clients, weights, sessions: 0, leases: random.between(0.3, 1) },
    faults: { ...plan.faults, lease: Math.max(others, 0.1) / 5, usurp: Math.max(others, 0.1) / 8 },
  }
}

function drawWithoutLeases(seed: number): Plan {
  const plan = drawWithoutForwards(seed)
  // Drawn by itself, so that all other seeds stay the worlds that they were.
  const random = new SeededRandom(seed ^ 0x0f0a4d5e)
  if (plan.servers === 1 || isOnlyNarrow(plan) || !random.chance(0.25)) return plan
  return { ...plan, clients: { ...plan.clients, anywhere: random.between(0.1, 1) } }
}

function drawWithoutForwards(seed: number): Plan {
  const plan = drawKind(seed)
  // Drawn by itself, so that all other seeds stay the worlds that they were.
  const random = new SeededRandom(seed ^ 0x10570f0f)
  const mayLose = plan.servers > 1 && !isOnlyNarrow(plan) && !MEMBERSHIP.some((name) => (plan.faults[name] ?? 0) > 0)
  return mayLose && random.chance(0.13) ? { ...plan, losesQuorumAt: random.between(0.4, 0.9) } : plan
}

function drawKind(seed: number): Plan {
  const plan = drawBusyPlan(seed)
  // Drawn by itself, so that a seed stays the world that it was but for this.
  const random = new SeededRandom(seed ^ 0x0a770a77)
  if (random.chance(0.05)) return onlyNarrow(plan, random)
  if (random.chance(0.15)) return oftenNarrow(plan, random)
  if (plan.servers < 3) return plan
  if (random.chance(0.25)) return withOtherMembers(plan, random)
  return random.chance(0.2) ? withTransfers(plan, random) : plan
}

const CUT_SHORT: readonly FaultName[] = ['power-cut', 'cut-server', 'break-channels', 'crash-at-transfer']

/**
 * Who is away needs a snapshot when it comes back, which takes its time, and most of what goes wrong takes servers away
 * or cuts that short.
 */
function withTransfers(plan: Plan, random: SeededRandom): Plan {
  const others = Object.values(plan.faults).reduce((sum, weight) => sum + weight, 0)
  const each = Math.max(others, 0.1) / CUT_SHORT.length
  const faults = { ...plan.faults }
  for (const name of CUT_SHORT) faults[name] = each * random.logBetween(1, 5)
  const entries = random.int(5, 31)
  const stateBytes = Math.round(random.logBetween(150_000, 700_000))
  const takesMs = plan.electionTimeoutMs * random.logBetween(0.3, 2)
  const snapshots = {
    entries,
    trailingEntries: random.int(1, Math.ceil(entries / 3)),
    retain: random.int(1, 4),
    sendBytesPerSecond: Math.round((stateBytes * 1000) / takesMs),
  }
  return {
    ...plan,
    snapshots,
    stateBytes,
    clients: { ...plan.clients, count: random.int(3, 7), thinkMs: oneRoundOf(plan) * random.logBetween(0.1, 1) },
    faultEveryMs: plan.electionTimeoutMs * random.logBetween(0.3, 2),
    spellMs: plan.electionTimeoutMs * random.logBetween(2, 10),
    faults,
  }
}

/** What a world without operators does, and one with them does not: who forgets is counted by the first members. */
const FORGETFUL: readonly FaultName[] = ['wipe', 'rollback', 'clone']

/** Operators change the members, a quarter of what happens. */
function withOtherMembers(plan: Plan, random: SeededRandom): Plan {
  const kept = Object.entries(plan.faults).filter(([name]) => !FORGETFUL.includes(name as FaultName))
  const others = kept.reduce((sum, [, weight]) => sum + weight, 0)
  const each = Math.max(others, 0.1) / 12
  const faults: Partial<Record<FaultName, number>> = Object.fromEntries(kept)
  for (const name of MEMBERSHIP) faults[name] = each * random.logBetween(0.3, 3)
  return { ...plan, faults }
}

/** Half of what goes wrong are narrow paths, and clients write what takes its time there. */
function oftenNarrow(plan: Plan, random: SeededRandom): Plan {
  const others = Object.values(plan.faults).reduce((sum, weight) => sum + weight, 0)
  return {
    ...plan,
    clients: { ...plan.clients, paddingMax: drawPadding(random) },
    faults: { ...plan.faults, 'narrow-path': Math.max(others, 1) },
  }
}

const drawPadding = (random: SeededRandom): number => Math.round(random.logBetween(2000, 20_000))

/** How many rounds an election takes at least, where nothing but paths may keep a leader from staying. */
const QUIET_ROUNDS = 8

/** Whether nothing is to go wrong but that paths are narrow, and everything else is quick: there a leader stays. */
export function isOnlyNarrow({ faults, chaos, electionTimeoutMs, ...plan }: Plan): boolean {
  const drawn = Object.entries(faults).filter(([, weight]) => weight > 0)
  if (drawn.length !== 1 || drawn[0]?.[0] !== 'narrow-path') return false
  if (Object.values(chaos).some((chance) => chance > 0)) return false
  return electionTimeoutMs >= QUIET_ROUNDS * oneRoundOf(plan) && plan.network.jitterMs <= plan.network.delayMs / 2
}

/** Clients write more than the paths carry. */
function onlyNarrow(plan: Plan, random: SeededRandom): Plan {
  const { network, clients } = plan
  const oneRoundMs = oneRoundOf(plan)
  const electionTimeoutMs = Math.ceil(Math.max(90, oneRoundMs * random.logBetween(QUIET_ROUNDS, 20)))
  return {
    ...plan,
    servers: Math.max(3, plan.servers),
    electionTimeoutMs,
    heartbeatMs: Math.max(10, Math.floor(electionTimeoutMs / random.pick([4, 5, 10]))),
    network: { ...network, jitterMs: network.delayMs * 0.2 },
    chaos: { loss: 0, duplication: 0, reordering: 0, replay: 0, flip: 0 },
    clients: {
      ...{ ...clients, count: random.int(4, 9), paddingMax: drawPadding(random) },
      thinkMs: oneRoundMs * random.logBetween(0.3, 6),
      weights: { write: 0.2, writes: 1, read: random.between(0, 0.2), barrier: 0 },
    },
    faultEveryMs: electionTimeoutMs * random.logBetween(0.3, 3),
    spellMs: electionTimeoutMs * random.logBetween(5, 50),
    faults: { 'narrow-path': 1 },
  }
}

const oneRoundOf = ({ network, disk, turnMs }: Pick<Plan, 'network' | 'disk' | 'turnMs'>): number =>
  oneRound(network.delayMs, disk.writeMs, turnMs)

const oneRound = (delayMs: number, writeMs: number, turnMs: number): number => 4 * delayMs + 4 * writeMs + 10 * turnMs

function drawBusyPlan(seed: number): Plan {
  const random = new SeededRandom(seed ^ 0x5eed5eed)
  const delayMs = random.logBetween(0.05, 10)
  const writeMs = random.logBetween(0.1, 20)
  const turnMs = random.logBetween(0.01, 1)
  const oneRoundMs = oneRound(delayMs, writeMs, turnMs)
  const electionTimeoutMs = Math.round(Math.max(90, oneRoundMs * random.logBetween(3, 20)))
  const isCalm = random.chance(0.05)
  const hasChaos = random.chance(0.4)
  // Drawn by themselves, so that a seed stays the world that it was but for these.
  const apart = new SeededRandom(~seed)
  const flip = apart.chance(0.2) ? apart.logBetween(0.0005, 0.02) : 0
  const signals = apart.chance(0.5) ? apart.next() : 0
  const snapshots = drawSnapshots(apart)
  const stateBytes = apart.chance(0.2) ? Math.round(apart.logBetween(1000, 700_000)) : 0
  const sessions = apart.chance(0.6) ? apart.int(1, 4) : 0
  const chaosOf = (most: number): number => (hasChaos && random.chance(0.6) ? random.logBetween(0.001, most) : 0)
  return {
    seed,
    servers: drawServers(random),
    electionTimeoutMs,
    heartbeatMs: Math.max(10, Math.floor(electionTimeoutMs / random.pick([3, 4, 5, 10]))),
    turnMs,
    applyMs: random.chance(0.3) ? random.logBetween(0.1, oneRoundMs) : 0,
    network: {
      delayMs,
      jitterMs: delayMs * random.logBetween(0.1, 3),
      keepAliveMs: electionTimeoutMs * random.logBetween(1, 10),
    },
    chaos: { loss: chaosOf(0.1), duplication: chaosOf(0.5), reordering: chaosOf(0.3), replay: chaosOf(0.3), flip },
    disk: {
      writeMs,
      readMs: random.logBetween(0.05, 10),
      capacityBytes: Math.round(random.logBetween(2.5, 16) * 2 ** 20),
    },
    snapshots,
    stateBytes,
    clients: {
      count: random.int(1, 7),
      thinkMs: oneRoundMs * random.logBetween(0.1, 10),
      refusedMs: electionTimeoutMs * random.logBetween(0.05, 0.5),
      keys: random.int(1, 6),
      weights: {
        write: random.between(0.2, 1),
        writes: random.chance(0.5) ? random.between(0, 1) : 0,
        read: random.chance(0.8) ? random.between(0, 1.5) : 0,
        barrier: random.chance(0.3) ? random.between(0, 0.3) : 0,
      },
      anywhere: 0,
      leases: 0,
      paddingMax: random.chance(0.8) ? 40 : 3000,
      deadlines: random.chance(0.7) ? random.next() : 0,
      deadlineMs: electionTimeoutMs * random.logBetween(0.1, 3),
      signals,
      sessions,
      outside: 0,
    },
    faultEveryMs: isCalm ? electionTimeoutMs * 1000 : electionTimeoutMs * random.logBetween(0.3, 15),
    spellMs: electionTimeoutMs * random.logBetween(0.4, 5),
    restartMs: electionTimeoutMs * random.logBetween(0.1, 5),
    faults: drawFaults(random),
    losesQuorumAt: null,
  }
}

function drawSnapshots(random: SeededRandom): Plan['snapshots'] {
  if (random.chance(0.25)) return false
  const entries = Math.round(random.logBetween(5, 300))
  const trailingEntries = random.int(1, entries)
  return { entries, trailingEntries, retain: random.int(1, 4), intervalMs: 1000 * random.int(1, 60) }
}

function drawServers(random: SeededRandom): number {
  const draw = random.next()
  if (draw < 0.55) return 3
  if (draw < 0.85) return 5
  if (draw < 0.91) return 4
  return draw < 0.96 ? 2 : 1
}

function drawFaults(random: SeededRandom): Plan['faults'] {
  const enabled = random.between(0.1, 0.8)
  const weights: Partial<Record<FaultName, number>> = {}
  for (const name of FAULT_NAMES) {
    const isOn = random.chance(enabled * (RARE[name] ?? 1))
    const weight = random.logBetween(0.02, 1)
    if (isOn) weights[name] = weight
  }
  return weights
}
