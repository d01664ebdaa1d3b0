/** From a seed to what happens in a world of kv: the world itself, and what its clients do in it. */

import type { Plan } from '#balsa/testing/simulator/plan.js'
import { SeededRandom } from '#balsa/testing/simulator/random.js'
import { drawPlan } from '#balsa/testing/simulator/swarm.js'

export interface KvPlan {
  readonly world: Plan
  readonly clients: number
  readonly keys: number
  /** Between two times that a client sends something. */
  readonly thinkMs: number
  /** Commands that a client has under way at most. */
  readonly depth: number
  /** Between a client and a server, one way. */
  readonly delayMs: number
  /** How long keys live that are to die: up to this. */
  readonly ttlMaxMs: number
  /** How often clients go away in the middle, 0 .. 1 for each time they send. */
  readonly fickleness: number
  readonly leaderWaitMs: number
  /** Followers have the leader carry out what their clients send. */
  readonly forwards: boolean
  /** Connections that say READONLY say of which mode; without, none says one. */
  readonly readModes: boolean
  /** Every second connection reads by lease, whatever it would say else. */
  readonly leaseReads: boolean
  readonly memoryMax: number
  readonly clientsMemoryMax: number
  /** What a look at the clock costs a server. */
  readonly lookMs: number
  /** How often each kind of command is drawn; weights. */
  readonly weights: Readonly<Record<CommandKind, number>>
}

export const COMMAND_KINDS = [
  'set',
  'get',
  'incrby',
  'del',
  'expire',
  'ttl',
  'mset',
  'mget',
  'keys',
  'scan',
  'echo',
  'transaction',
  'crowd',
  'flushall',
] as const
export type CommandKind = (typeof COMMAND_KINDS)[number]

/** What shows no more here than in other worlds, and thousands of calls to registers that are not there. */
const LEFT_OUT = ['rollback', 'clone', 'flood'] as const

export function drawKvPlan(seed: number): KvPlan {
  const random = new SeededRandom(seed ^ 0x6b76)
  const drawn = drawPlan(seed)
  const faults = { ...drawn.faults }
  for (const name of LEFT_OUT) delete faults[name]
  // Half of them have time to come to something between two faults.
  const faultEveryMs = drawn.faultEveryMs * (random.chance(0.5) ? 6 : 1)
  const clients = { ...drawn.clients, count: 0 }
  const world: Plan = { ...drawn, faults, faultEveryMs, clients, losesQuorumAt: null }
  const { electionTimeoutMs, network, disk, turnMs } = world
  const roundMs = 4 * network.delayMs + 4 * disk.writeMs + 10 * turnMs
  const weights = Object.fromEntries(
    COMMAND_KINDS.slice(0, -1).map((kind) => [kind, random.chance(0.8) ? random.logBetween(0.05, 1) : 0]),
  ) as Record<CommandKind, number>
  // Drawn by itself: a world in which everything goes again and again comes to little else.
  const apart = new SeededRandom(~seed ^ 0x6b76)
  weights.flushall = apart.chance(0.3) ? apart.logBetween(0.01, 0.2) : 0
  const [forwards, readModes] = [apart.chance(0.4), apart.chance(0.5)]
  const leaseReads = drawn.clients.leases > 0 && apart.chance(0.8)
  return {
    world,
    clients: random.int(1, 6),
    keys: random.int(1, 8),
    thinkMs: roundMs * random.logBetween(0.1, 4),
    depth: random.pick([1, 4, 20, 60]),
    delayMs: random.logBetween(0.02, 10),
    ttlMaxMs: Math.ceil(random.logBetween(20, 5000)),
    fickleness: random.chance(0.5) ? random.logBetween(0.002, 0.1) : 0,
    leaderWaitMs: random.pick([0, electionTimeoutMs, 5 * electionTimeoutMs]),
    forwards,
    readModes,
    leaseReads,
    memoryMax: random.chance(0.2) ? random.int(300, 4000) : 2 ** 30,
    clientsMemoryMax: random.chance(0.1) ? random.int(4000, 40_000) : 2 ** 30,
    lookMs: random.pick([0, 0, 0.5, 4]),
    weights: { ...weights, set: Math.max(weights.set, 0.1), get: Math.max(weights.get, 0.1) },
  }
}
