/**
 * The second phase: only a quorum is mended, drawn at random; the others stay as broken as they are, and may disturb.
 * Then the mended ones must elect a leader, agree on everything, answer everybody who asks them, and come to rest.
 */

import { leaderOf } from '../faults/fault.js'
import type { Nemesis } from '../faults/nemesis.js'
import type { Rooms, SimServer } from '../doubles/sim-server.js'
import { hold, Violation } from '../../invariants/violation.js'
import type { World } from '../world.js'

/**
 * Until a leader that stays, and agreement: in longest election timeouts, and on top what a dial may take to be given
 * up.
 */
const TIMEOUTS_MAX = 10
const DIAL_MS = 4000
/** A log that must be replayed or caught up with costs time as well: this much for each entry, in writes and reads. */
const ENTRY_SHARE = 0.05

export interface Recovery {
  /** False: so much was lost that no quorum is left, and nothing can be asked of it. */
  readonly wasPossible: boolean
  /** Simulated, from the repair to the rest. */
  readonly ms: number
}

/** `underWay`: what is, on the mended servers, of clients that the world does not know; empty for nothing. */
export async function recover(world: World, nemesis: Nemesis, underWay = (): string => ''): Promise<Recovery> {
  nemesis.isStopped = true
  const sound = world.random.shuffled(world.servers.filter(({ hasForgotten }) => !hasForgotten))
  const majority = (world.servers.length >> 1) + 1
  if (sound.length < majority) return { wasPossible: false, ms: 0 }
  const core = sound.slice(0, world.random.int(majority, sound.length + 1))
  const begin = world.queue.now
  mend(world, core)
  const { electionTimeoutMs, disk } = world.plan
  const longest = Math.max(0, ...core.map((server) => server.disk.durable.lastIndex))
  const allowedMs =
    TIMEOUTS_MAX * 2 * electionTimeoutMs +
    DIAL_MS +
    backlogMs(world, core) +
    longest * ENTRY_SHARE * (disk.writeMs + disk.readMs + 1)
  const isLate = (): boolean => world.queue.now - begin > allowedMs
  const answered = world.clients.map((client) => client.answered)
  const isServed = (): boolean => {
    return world.clients.every(
      (client, at) => client.isStopped || client.answered > (answered[at] ?? 0) || isStuck(client),
    )
  }
  const isStuck = (client: (typeof world.clients)[number]): boolean => {
    return client.waitsOn !== null && !core.includes(client.waitsOn)
  }
  await world.run(() => isLate() || (isServed() && leaderIn(core) !== null))
  if (isLate()) throw late(world, core, `clients are not served ${allowedMs.toFixed(0)} ms after`)
  for (const client of world.clients) client.isStopped = true
  const restBegin = world.queue.now
  const isAnswered = (): boolean => world.clients.every((client) => !client.isWaiting || isStuck(client))
  const isAgreed = (): boolean => agreed(core) && areMatched(core) && isAnswered()
  const passing = (server: SimServer): readonly string[] => occupied(server, (room) => PASSED_THROUGH.includes(room))
  const isEmpty = (): boolean => underWay() === '' && core.every((server) => passing(server).length === 0)
  await world.run(() => world.queue.now - restBegin > allowedMs || (isAgreed() && isEmpty()))
  if (!isAgreed()) throw late(world, core, `there is no agreement ${allowedMs.toFixed(0)} ms after the last call`)
  hold(underWay() === '', 16, () => `${underWay()}, ${allowedMs.toFixed(0)} ms after the last call`)
  for (const server of core) {
    hold(passing(server).length === 0, 16, () => `${server.id} keeps ${passing(server).join(', ')}`)
    checkRest(server, core)
  }
  return { wasPossible: true, ms: world.queue.now - begin }
}

/** A path or a disk that was slow has still to finish what it took, and nothing overtakes that. */
function backlogMs(world: World, core: readonly SimServer[]): number {
  const paths = core.flatMap((from) => core.map((to) => world.network.backlogMs(from.address, to.address)))
  return Math.max(...paths) + Math.max(...core.map(({ sim }) => sim.backlogMs))
}

/** The rest is broken for good, each of it in its own way: what still works of it may disturb, and must not lead. */
function breakForGood(world: World, server: SimServer, core: readonly SimServer[]): void {
  world.leftBroken.add(server)
  const [isDeaf, isMute] = world.random.pick([
    [true, true],
    [true, false],
    [false, true],
  ])
  for (const other of core) {
    if (isDeaf) world.network.cutPath(other.address, server.address)
    if (isMute) world.network.cutPath(server.address, other.address)
  }
  if (world.random.chance(0.3)) server.crash('left broken', true)
  else if (world.random.chance(0.2)) server.pause()
}

function mend(world: World, core: readonly SimServer[]): void {
  for (const server of world.servers) if (!core.includes(server)) breakForGood(world, server, core)
  Object.assign(world.network.chaos, { loss: 0, duplication: 0, reordering: 0, replay: 0, flip: 0 })
  world.pace = 1
  for (const from of core) {
    for (const to of core) if (from !== to) world.network.mendPath(from.address, to.address)
    from.sim.mend()
    from.clock.setRate(1)
    if (from.process !== null) from.process.pointsToLive = 0
    if (from.halted || from.trouble !== null) from.crash('restarted', false)
    from.start()
    from.resume()
  }
  for (const client of world.clients) client.only = core
  world.observers.healed(core.map(({ id }) => id))
}

/** A leader that all of them follow. */
function leaderIn(core: readonly SimServer[]): SimServer | null {
  const leader = core.find((server) => server.core?.role === 'leader')
  const isFollowed = core.every((server) => server.core?.term === leader?.core?.term)
  return leader !== undefined && isFollowed ? leader : null
}

function agreed(core: readonly SimServer[]): boolean {
  const leader = leaderIn(core)?.core
  if (leader === null || leader === undefined) return false
  const { lastIndex } = leader.log
  return core.every(
    ({ core: each }) => each !== null && each.log.lastIndex === lastIndex && each.log.appliedIndex === lastIndex,
  )
}

/** A leader has heard from all of them that they have everything. */
function areMatched(core: readonly SimServer[]): boolean {
  const leader = leaderIn(core)
  return core.every(({ id }) => id === leader?.id || leader?.core?.matchIndexOf(id) === leader?.core?.log.lastIndex)
}

/**
 * Through these rooms goes what servers do by themselves, such as heartbeats, and writing down a peer that was out of
 * reach; and of the room that a disk has again only the next turn hears. At rest they are empty as well, but not at any
 * moment.
 */
const PASSED_THROUGH: readonly (keyof Rooms)[] = [
  ...(['mail', 'messagesHeld', 'writes', 'admissions', 'unwritten', 'creditMissing'] as const),
]

function occupied(server: SimServer, isMeant: (room: keyof Rooms) => boolean): readonly string[] {
  const rooms = Object.entries(server.rooms ?? {}) as [keyof Rooms, number][]
  return rooms.flatMap(([room, count]) => (count === 0 || !isMeant(room) ? [] : [`${count} in "${room}"`]))
}

/** Invariant 16: whatever counts or queues is at zero when nothing is asked. */
function checkRest(server: SimServer, core: readonly SimServer[]): void {
  const kept = occupied(server, (room) => !PASSED_THROUGH.includes(room))
  hold(kept.length === 0, 16, () => `${server.id} keeps ${kept.join(', ')}, at rest`)
  for (const { id } of core) {
    const progress = server.core?.peers.get(id)
    if (progress === undefined) continue
    const { inflights, probeBytes, fetching, nextIndex, matchIndex } = progress
    const isIdle = inflights.count === 0 && inflights.bytes === 0 && probeBytes === 0 && !fetching
    hold(isIdle && nextIndex === matchIndex + 1, 16, () => {
      const held = `${inflights.count} messages with ${inflights.bytes} bytes and a probe with ${probeBytes} on their way`
      return `${server.id} counts ${held}, next ${nextIndex}${fetching ? ', and a read' : ''}, for ${id}, which has everything up to ${matchIndex}`
    })
  }
}

function late(world: World, core: readonly SimServer[], what: string): Violation {
  const told = core.map((server) => {
    if (server.core === null) return `${server.id} is down (${server.trouble})`
    const { log, role, term } = server.core
    return `${server.id} ${role} of term ${term}, last ${log.lastIndex} durable ${log.durableIndex} commit ${log.commitIndex} applied ${log.appliedIndex}`
  })
  const waiting = world.clients.filter((client) => client.isWaiting).map((client) => client.waitsFor)
  const leader = leaderOf(world)?.id ?? 'none'
  return new Violation(
    21,
    `${what} the core was mended: ${told.join('; ')}; leader ${leader}; clients wait for ${waiting.join(', ') || 'nothing'}`,
  )
}
