/**
 * Runs one world of kv: real servers of `apps/kv` on the real Raft shell over the simulator's disk, network and clock,
 * and their clients, in one queue of events that is drawn from a seed. Then a quorum is mended, and must serve every
 * client, hold the same data, and come to rest with nothing kept in any room.
 */

import { invariantsOf } from '#balsa/testing/invariants/invariants.js'
import { Truth } from '#balsa/testing/invariants/truth.js'
import { SealedEntries } from '#balsa/testing/simulator/doubles/sealed-entries.js'
import type { SimServer } from '#balsa/testing/simulator/doubles/sim-server.js'
import { Nemesis } from '#balsa/testing/simulator/faults/nemesis.js'
import { LeaseInvariants } from '#balsa/testing/simulator/invariants/lease-invariants.js'
import { EntryTimeInvariants } from '#balsa/testing/simulator/invariants/entry-time-invariants.js'
import { recover } from '#balsa/testing/simulator/invariants/liveness.js'
import { RoomInvariants } from '#balsa/testing/simulator/invariants/room-invariants.js'
import { StabilityInvariants } from '#balsa/testing/simulator/invariants/stability-invariants.js'
import { TimingInvariants } from '#balsa/testing/simulator/invariants/timing-invariants.js'
import { SeededRandom } from '#balsa/testing/simulator/random.js'
import { RunHash } from '#balsa/testing/simulator/run-hash.js'
import { Supervisor } from '#balsa/testing/simulator/supervisor.js'
import { World } from '#balsa/testing/simulator/world.js'
import { timeEntry } from 'balsa-kv/replication/entry-codec.js'
import { Judge } from './judge.js'
import { KvClient, type KvClientSite } from './kv-client.js'
import { hashOf, KvHost } from './kv-host.js'
import { drawKvPlan, type KvPlan } from './kv-plan.js'

export interface KvWorldResult {
  readonly seed: number
  /** Of everything that happened on the servers. */
  readonly hash: string
  readonly steps: number
  readonly ms: number
  readonly answered: number
  readonly reached: ReadonlyMap<string, number>
  /** What did not hold, with the history before it; null when all did. */
  readonly failure: Error | null
}

export interface KvWorldOptions {
  readonly seed: number
  /** Core steps of the first phase; default 2000. */
  readonly steps?: number
  readonly plan?: KvPlan
}

/** The length of the first phase in election timeouts, at most. */
const TIMEOUTS_MAX = 1000
/** How long a mended quorum may take until every client is served, and until nothing is left under way. */
const SERVED_MS = 60_000

/** Never rejects because of what the world did: that is `failure`. */
export async function runKvWorld({
  seed,
  steps = 2000,
  plan = drawKvPlan(seed),
}: KvWorldOptions): Promise<KvWorldResult> {
  const truth = new Truth(new SealedEntries())
  const hash = new RunHash()
  const random = new SeededRandom(seed ^ 0x636c69)
  const judge = new Judge(() => world.queue.now, plan.forwards)
  const host = new KvHost(
    plan,
    random.fork(),
    () => world.queue,
    (...entry) => judge.committed(...entry),
  )
  host.servers = () => world.servers
  const clients: KvClient[] = []
  const world: World = new World({
    plan: plan.world,
    // What some faults let the registers' clients write is time.
    tested: { create: () => ({ apply: () => [] }), command: () => timeEntry },
    hosted: host.machine,
    observers: [
      ...[host, hash, ...invariantsOf(truth, () => world.servers)],
      ...[new TimingInvariants(() => plan.world), new StabilityInvariants(() => plan.world)],
      ...[new EntryTimeInvariants(), new RoomInvariants()],
      new LeaseInvariants(
        () => world.servers,
        (what) => judge.reached.set(what, (judge.reached.get(what) ?? 0) + 1),
      ),
    ],
    actors: [new Nemesis(), new Supervisor()],
  })
  const site = clientSite(world, plan, host, judge)
  for (let count = 0; count < plan.clients; count += 1) clients.push(new KvClient(site, count + 1, random.fork()))
  for (const client of clients) client.start()
  let failure: Error | null = null
  const stackDepth = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    const endMs = TIMEOUTS_MAX * plan.world.electionTimeoutMs
    await world.run(() => world.steps >= steps || world.queue.now >= endMs || judge.failure !== null)
    if (judge.failure === null) await comeToRest(world, host, clients, judge)
  } catch (error) {
    judge.fail((error as Error).message, error)
    failure = judge.failure ?? (error as Error)
  } finally {
    Error.stackTraceLimit = stackDepth
  }
  const { answered, reached } = judge
  return {
    ...{ seed, hash: hash.value, steps: world.steps, ms: world.queue.now, answered, reached },
    failure: failure ?? judge.failure,
  }
}

function clientSite(world: World, plan: KvPlan, host: KvHost, judge: Judge): KvClientSite {
  const { queue, servers } = world
  let mark = 0
  const ttls = new Set<number>()
  const flushes = [...spellings('sync'), ...spellings('async')]
  return {
    ...{ queue, plan, host, judge, servers },
    promised: () => world.promised(),
    nextMark: () => (mark += 1),
    nextTtl: (least) => {
      let ttl = least
      while (ttls.has(ttl)) ttl += 1
      ttls.add(ttl)
      return ttl
    },
    nextFlush: () => flushes.pop() ?? null,
  }
}

/** The word in all its mixtures of small and capital letters. */
function spellings(word: string): readonly string[] {
  return Array.from({ length: 2 ** word.length }, (_, mask) =>
    Array.from(word, (letter, at) => ((mask >> at) & 1 ? letter.toUpperCase() : letter)).join(''),
  )
}

async function comeToRest(world: World, host: KvHost, clients: readonly KvClient[], judge: Judge): Promise<void> {
  for (const client of clients) client.isStopped = true
  const isMended = (server: SimServer): boolean => !world.isLeftBroken(server)
  const waitsFor = (): string => {
    if (judge.failure !== null) return ''
    const waiting = clients.filter(({ waitsOn }) => waitsOn !== null && isMended(waitsOn))
    const asked = waiting.map((client) => `nobody answers ${client.waitsFor}`)
    const kept = world.servers.filter(isMended).map((server) => [server.id, underWay(host, server)] as const)
    return [...asked, ...kept.flatMap(([id, rooms]) => (rooms === '' ? [] : [`${id} keeps ${rooms}`]))].join('; ')
  }
  const { wasPossible } = await recover(world, { underWay: waitsFor })
  if (!wasPossible || judge.failure !== null) return
  const core = world.servers.filter(isMended)
  const within = async (isDone: () => boolean): Promise<boolean> => {
    const end = world.queue.now + SERVED_MS
    await world.run(() => isDone() || judge.failure !== null || world.queue.now > end)
    return isDone() || judge.failure !== null
  }
  for (const client of clients) {
    client.leave()
    client.asks = core
    client.served = 0
    client.isStopped = false
  }
  const isServed = await within(() => clients.every(({ served }) => served > 0))
  for (const client of clients) client.isStopped = true
  if (!isServed) return judge.fail(`clients are not served ${SERVED_MS} ms after the repair`)
  const isAnswered = await within(() => clients.every(({ waitsFor }) => waitsFor === null))
  if (!isAnswered) return judge.fail(`nobody answers ${clients.map(({ waitsFor }) => waitsFor).join('; ')}`)
  for (const client of clients) client.leave()
  const isEmpty = await within(() => core.every((server) => roomsOf(host, server).length === 0))
  if (!isEmpty) {
    return judge.fail(
      `at rest: ${core.map((server) => `${server.id} keeps ${roomsOf(host, server).join(', ')}`).join('; ')}`,
    )
  }
  // Time goes into the log whenever a key is due, so the last entry of now is what counts.
  const isAgreed = await within(() => {
    const last = Math.max(...core.map(({ core: each }) => each?.log.lastIndex ?? 0))
    return core.every(({ core: each }) => each?.log.appliedIndex === last)
  })
  const hashes = core.map(({ id }) => (host.dataOf(id) === null ? 0 : hashOf(host.dataOf(id) as never)))
  if (!isAgreed) judge.fail(`not everything is applied ${SERVED_MS} ms after the last answer`)
  else if (new Set(hashes).size > 1) judge.fail(`the servers hold different data at rest: ${hashes.join(', ')}`)
}

/** What stands there while clients do, and what they watch. */
const OF_CLIENTS = ['clients', 'clientAccounts', 'clientBytes', 'clientCommandBytes', 'watchedKeys']

/** What is under way there, clients apart. */
function underWay(host: KvHost, server: SimServer): string {
  return roomsOf(host, server, (room) => !OF_CLIENTS.includes(room)).join(', ')
}

/** Which rooms of a server hold something. */
function roomsOf(host: KvHost, server: SimServer, isMeant = (_room: string): boolean => true): readonly string[] {
  const rooms = Object.entries(host.serverOf(server.id)?.rooms ?? {})
  return rooms.flatMap(([name, count]) => (count === 0 || !isMeant(name) ? [] : [`${count} in "${name}"`]))
}
