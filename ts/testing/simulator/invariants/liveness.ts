/**
 * The second phase: only a quorum is mended, drawn at random; the others stay as broken as they are, and may disturb.
 * Where the quorum has a server to spare, one path inside it may stay cut in one direction: whoever leads then misses
 * one of them at most, and that one must not disturb either. Then the mended ones must elect a leader, agree on
 * everything, answer everybody who asks them, come to rest, and keep their leader; then they are asked once more, and
 * what that costs is counted.
 */

import { RETRY_MS_MAX } from '../../../server/snapshot-transfers.js'
import { leaderOf } from '../faults/fault.js'
import { hasMembershipFaults, restoreMembers } from '../faults/membership-faults.js'
import type { Rooms, SimServer } from '../doubles/sim-server.js'
import { formatConfiguration } from '../../stage/text.js'
import { hold, Violation } from '../../invariants/violation.js'
import type { CostInvariants } from './cost-invariants.js'
import type { Path, World } from '../world.js'

/**
 * Until a leader that stays, and agreement: in longest election timeouts, and on top what a dial may take to be given
 * up.
 */
const TIMEOUTS_MAX = 10
const DIAL_MS = 4000
/** A log that must be replayed or caught up with costs time as well: this much for each entry, in writes and reads. */
const ENTRY_SHARE = 0.05
/** By then a leader has heard from its quorum, or is none any more. */
const SETTLE_TIMEOUTS = 2
/** How often one path stays cut, where it may. */
const CUT_CHANCE = 0.7
/** A repair that was under way asks for as long until it is found that the damage is gone, or nobody waits for it. */
const REPAIR_MS = 30_000
/** How long the leader is watched when nothing is asked any more. */
const CALM_TIMEOUTS = 4
/** Three turns take part in a round; each now and then takes as long as several of them. */
const TURNS_MAX = 20

export interface Recovery {
  /** False: so much was lost that no quorum is left, and nothing can be asked of it. */
  readonly wasPossible: boolean
  /** Simulated, from the repair to the rest. */
  readonly ms: number
}

export interface RecoveryOptions {
  /**
   * Counts what it costs to ask once more. Null where others than the clients of the world ask: they may ask any mended
   * server, so no path stays cut, and what they leave behind may go on writing.
   */
  readonly costs?: CostInvariants | null
  /** What others than the clients of the world have under way on the mended servers; empty for nothing. */
  readonly underWay?: () => string
}

export async function recover(world: World, options: RecoveryOptions = {}): Promise<Recovery> {
  const { costs = null, underWay = () => '' } = options
  world.isMended = true
  const sound = world.random.shuffled(world.servers.filter(({ hasForgotten }) => !hasForgotten))
  const majority = (world.servers.length >> 1) + 1
  if (sound.length < majority) return { wasPossible: false, ms: 0 }
  // Who is a quorum is for the logs to say where members change, or were lost: there all are mended, and made voters.
  const hasChanges = hasMembershipFaults(world) || world.quorum !== 'kept'
  const core = hasChanges ? sound : sound.slice(0, world.random.int(majority, sound.length + 1))
  const begin = world.queue.now
  if (costs !== null && !hasChanges) leaveCut(world, core, majority)
  mend(world, core)
  const { electionTimeoutMs, disk } = world.plan
  const longest = Math.max(0, ...core.map((server) => server.disk.durable.lastIndex))
  const allowedMs =
    TIMEOUTS_MAX * 2 * electionTimeoutMs +
    DIAL_MS +
    backlogMs(world, core) +
    retryMs(world) +
    (core.some(({ rooms }) => (rooms?.repairs ?? 0) > 0) ? REPAIR_MS : 0) +
    longest * ENTRY_SHARE * (disk.writeMs + disk.readMs + 1)
  const memberMs = hasChanges ? await membersBack(world, core, 2 * allowedMs) : 0
  const isLate = (): boolean => world.queue.now - begin > allowedMs + memberMs
  const answered = world.clients.map((client) => client.answered)
  const isServed = (): boolean => {
    return world.clients.every(
      (client, at) => client.isStopped || client.answered > (answered[at] ?? 0) || isStuck(client),
    )
  }
  const isStuck = ({ waitsOn }: (typeof world.clients)[number]): boolean => {
    return waitsOn !== null && !reachedBy(world, core, leaderOf(world)).includes(waitsOn)
  }
  // Where nothing is answered before whoever asks has given up, nobody would ever be served.
  world.queue.after(allowedMs / 2, () => {
    world.clients.forEach((client, at) => (client.isPatient = client.answered === answered[at]))
  })
  // A leader that was out of reach right before may still come to doubt its quorum.
  const hasSettled = (): boolean => world.queue.now - begin > SETTLE_TIMEOUTS * electionTimeoutMs
  await world.run(() => isLate() || (hasSettled() && isServed() && leaderIn(world, core) !== null))
  if (isLate()) throw late(world, core, `clients are not served ${allowedMs.toFixed(0)} ms after`)
  const asking = world.clients.filter(({ isStopped }) => !isStopped)
  const isAnswered = (): boolean => world.clients.every((client) => !client.isWaiting || isStuck(client))
  const isAgreed = (): boolean => agreed(world, core) && isAnswered()
  const reached = (): readonly SimServer[] => reachedBy(world, core, leaderOf(world))
  // What was asked for before is still under way: a snapshot on a slow disk, a transfer to one that is broken since,
  // and what whoever asked has given up, or gone from, on one server that has asked another.
  const isUnderWay = (room: keyof Rooms): boolean => PASSED_THROUGH.includes(room) || UNDER_WAY.includes(room)
  const isDone = (server: SimServer): boolean => occupied(server, isUnderWay).length === 0
  const isEmpty = (): boolean => underWay() === '' && reached().every(isDone)
  const comeToRest = async (): Promise<void> => {
    for (const client of asking) client.isStopped = true
    const restBegin = world.queue.now
    await world.run(() => world.queue.now - restBegin > allowedMs || (isAgreed() && isEmpty()))
    if (!isAgreed()) throw late(world, core, `there is no agreement ${allowedMs.toFixed(0)} ms after the last call`)
    hold(underWay() === '', 16, () => `${underWay()}, ${allowedMs.toFixed(0)} ms after the last call`)
    for (const server of reached()) checkRest(server, reached())
  }
  await comeToRest()
  // A command whose caller has given up may still be on its way to whoever leads, who will write it.
  await whatWasSentArrives(world, allowedMs)
  await comeToRest()
  const leader = leaderIn(world, core)
  // An answer that comes again may be of long ago, and be taken for a refusal of what is on its way now: no transport
  // brings one, and what it costs is not counted. Nor is what is said because of it: the calm is as long as that takes.
  const { hasStrays } = world.network
  const isAsked = leader !== null && mayBeAsked(world, core, leader)
  const isCalm = leader !== null && (await leadsOn(world, core, leader, costs !== null && !isAsked))
  if (!isCalm || costs === null) return { wasPossible: true, ms: world.queue.now - begin }
  if (!hasStrays && !isAsked) costs.begin(leader, reachedBy(world, core, leader), world.queue.now)
  for (const client of asking) client.resume()
  const { term } = leader.core ?? {}
  await leadsOn(world, core, leader, false)
  await comeToRest()
  // Whoever follows another leader meanwhile is sent more.
  if (leaderIn(world, core) === leader && leader.core?.term === term) costs.end(world.queue.now)
  return { wasPossible: true, ms: world.queue.now - begin }
}

/**
 * For some time, whoever is left broken may disturb: the leader stays, and writes nothing when nothing is asked. False:
 * a follower came to doubt it, or it came to doubt its quorum. Where messages take long now and then they may do so
 * (invariant 27), a leader only when they did.
 */
async function leadsOn(
  world: World,
  core: readonly SimServer[],
  leader: SimServer,
  isAtRest: boolean,
): Promise<boolean> {
  const term = leader.core?.term
  const lastIndex = leader.core?.log.lastIndex
  const reached = reachedBy(world, core, leader)
  const end = world.queue.now + CALM_TIMEOUTS * world.plan.electionTimeoutMs
  const peers = reached.filter((server) => server !== leader)
  const paths = peers.flatMap((peer): readonly Path[] => [
    [leader, peer],
    [peer, leader],
  ])
  for (const [from, to] of paths) world.network.measureWay(from.address, to.address)
  const stays = (): boolean => {
    const hasWritten = isAtRest && leader.core?.log.lastIndex !== lastIndex
    return leader.core?.role === 'leader' && !hasWritten && reached.every(({ core: each }) => each?.term === term)
  }
  const isDoubted = (): boolean => peers.some((server) => server.core?.role !== 'follower')
  await world.run(() => !stays() || isDoubted() || world.queue.now >= end)
  if (leader.core?.role === 'follower' && leader.core.term === term && mayDoubt(world, paths)) return false
  if (!stays()) throw late(world, core, `the leader ${leader.id} of term ${term ?? 0} did not stay in the calm after`)
  return !isDoubted()
}

/** What is on its way to the leader by now. */
async function whatWasSentArrives(world: World, allowedMs: number): Promise<void> {
  const leader = leaderOf(world)
  if (leader === null) return
  const others = world.servers.filter((server) => server !== leader)
  const backlogs = others.map((other) => world.network.backlogMs(other.address, leader.address))
  const end = world.queue.now + Math.min(Math.max(0, ...backlogs), allowedMs)
  await world.run(() => world.queue.now > end)
}

/**
 * Whether one that was left broken has still to be heard: what its clients asked it for while it ran may be on a slow
 * way to the leader, or be sent once more.
 */
function mayBeAsked({ network, servers }: World, core: readonly SimServer[], leader: SimServer): boolean {
  const asks = ({ rooms }: SimServer): boolean => (rooms?.submitted ?? 0) + (rooms?.forwarded ?? 0) > 0
  const others = servers.filter((server) => !core.includes(server))
  return others.some((other) => asks(other) || network.backlogMs(other.address, leader.address) > 0)
}

/**
 * Whether a leader may have heard no answer for an election timeout: one heartbeat leaves at least in two intervals,
 * goes there and comes back, and takes the turns of both on its way.
 */
function mayDoubt({ network, plan }: World, paths: readonly Path[]): boolean {
  const wayMs = Math.max(...paths.map(([from, to]) => network.longestWayMs(from.address, to.address)))
  return 2 * plan.heartbeatMs + 2 * wayMs + TURNS_MAX * plan.turnMs >= plan.electionTimeoutMs
}

/** All of them are made voters again. Returns how long that took. */
async function membersBack(world: World, core: readonly SimServer[], allowedMs: number): Promise<number> {
  const begin = world.queue.now
  let isBack = false
  const look = (): void => {
    // A leader that not all follow may be one of before, and have missed what its successor knows of the members.
    isBack = world.quorum !== 'lost' && restoreMembers(world, core) && leaderIn(world, core) !== null
    if (!isBack) world.queue.after(2 * world.plan.electionTimeoutMs, look)
  }
  look()
  const asking = world.clients.filter(({ isStopped }) => !isStopped)
  const paths = core.flatMap((from) => core.filter((to) => to !== from).map((to): Path => [from, to]))
  for (const [from, to] of paths) world.network.measureWay(from.address, to.address)
  // A leader that needs no other to commit may take more than a slow way carries: nobody catches up with that before
  // whoever adds it has taken the load away.
  world.queue.after(allowedMs / 2, () => {
    if (!isBack && mayFillWindow(world, paths)) for (const client of asking) client.isStopped = true
  })
  const isLate = (): boolean => world.queue.now - begin > allowedMs
  await world.run(() => isBack || isLate())
  if (!isBack) throw late(world, core, `not all are voters again ${allowedMs.toFixed(0)} ms after`)
  for (const client of asking) if (client.isStopped) client.resume()
  return world.queue.now - begin
}

/** Whether a way was so slow now and then that a leader sends the least along it (`LinkWindow`). */
function mayFillWindow({ network, plan }: World, paths: readonly Path[]): boolean {
  const wayMs = Math.max(0, ...paths.map(([from, to]) => network.longestWayMs(from.address, to.address)))
  return 2 * wayMs > plan.electionTimeoutMs / 4
}

/** Draws a path that stays cut, where every leader still has a quorum. */
function leaveCut(world: World, core: readonly SimServer[], majority: number): void {
  if (core.length <= majority || !world.random.chance(CUT_CHANCE)) return
  const [from, to] = world.random.shuffled(core)
  if (from === undefined || to === undefined) return
  world.leftCut = [from, to]
  world.network.cutPath(from.address, to.address)
  world.observers.fault('cut-for-good', `${from.id}>${to.id}`)
}

/** Those of the mended servers that this one hears and that hear it, itself among them. */
function reachedBy(world: World, core: readonly SimServer[], server: SimServer | null): readonly SimServer[] {
  if (server === null) return core
  return core.filter((other) => !world.isLeftCut([server, other]) && !world.isLeftCut([other, server]))
}

/** A path or a disk that was slow has still to finish what it took, and nothing overtakes that. */
function backlogMs(world: World, core: readonly SimServer[]): number {
  const paths = core.flatMap((from) => core.map((to) => world.network.backlogMs(from.address, to.address)))
  return Math.max(...paths) + Math.max(...core.map(({ sim }) => sim.backlogMs))
}

/** Who could not be given a snapshot again and again is tried again after that. */
function retryMs({ plan: { faults } }: World): number {
  return faults['break-channels'] === undefined ? 0 : RETRY_MS_MAX
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
    for (const to of core) {
      if (from !== to && !world.isLeftCut([from, to])) world.network.mendPath(from.address, to.address)
    }
    from.sim.mend()
    from.machineFaults.clear()
    from.clock.setRate(1)
    if (from.process !== null) from.process.pointsToLive = 0
    if (from.halted || from.trouble !== null) from.crash('restarted', false)
    from.start()
    from.resume()
  }
  for (const client of world.clients) client.only = core
  world.observers.healed(core.map(({ id }) => id))
}

/** A leader that all of them follow who can. */
function leaderIn(world: World, core: readonly SimServer[]): SimServer | null {
  const leader = leaderOf(world)
  if (leader === null || !core.includes(leader)) return null
  const isFollowed = reachedBy(world, core, leader).every((server) => server.core?.term === leader.core?.term)
  return isFollowed ? leader : null
}

/** Everybody has everything, and the leader knows. */
function agreed(world: World, core: readonly SimServer[]): boolean {
  const found = leaderIn(world, core)
  const leader = found?.core
  if (found === null || leader === null || leader === undefined) return false
  const { lastIndex } = leader.log
  return reachedBy(world, core, found).every(({ id, core: each }) => {
    if (each === null || each.log.lastIndex !== lastIndex || each.log.appliedIndex !== lastIndex) return false
    return id === found.id || leader.matchIndexOf(id) === lastIndex
  })
}

/**
 * Through these rooms goes what servers do by themselves, such as heartbeats, writing down a peer that was out of
 * reach, or the confirmation of a read whose caller has given up; of the room that a disk has again only the next turn
 * hears; and what a slow disk has begun to read for a peer it finishes after all is quiet. At rest they are empty as
 * well, but not at any moment.
 */
const PASSED_THROUGH: readonly (keyof Rooms)[] = [
  ...(['mail', 'messagesHeld', 'readsToConfirm', 'writes', 'admissions'] as const),
  ...(['unwritten', 'creditMissing', 'blocksRead', 'repairs', 'givings'] as const),
]

/** What was begun before everything is quiet ends by itself, in a time that is bounded. */
const UNDER_WAY: readonly (keyof Rooms)[] = [
  ...([
    'snapshotCalls',
    'transfers',
    'submitted',
    'forwarded',
    'clientCalls',
    'served',
    'reads',
    'readRounds',
  ] as const),
]

function occupied(server: SimServer, isMeant: (room: keyof Rooms) => boolean): readonly string[] {
  const rooms = Object.entries(server.rooms ?? {}) as [keyof Rooms, number][]
  return rooms.flatMap(([room, count]) => (count === 0 || !isMeant(room) ? [] : [`${count} in "${room}"`]))
}

const passing = (server: SimServer): readonly string[] => occupied(server, (room) => PASSED_THROUGH.includes(room))

/**
 * Invariant 16: whatever counts or queues is at zero when nothing is asked. `peers`: whom a leader reaches; one that it
 * does not reach it owes a snapshot for as long, so those are counted peer by peer.
 */
function checkRest(server: SimServer, peers: readonly SimServer[]): void {
  hold(passing(server).length === 0, 16, () => `${server.id} keeps ${passing(server).join(', ')}`)
  const kept = occupied(server, (room) => room !== 'snapshotsSent' && !PASSED_THROUGH.includes(room))
  hold(kept.length === 0, 16, () => `${server.id} keeps ${kept.join(', ')}, at rest`)
  for (const { id } of peers) {
    const progress = server.core?.peers.get(id)
    if (progress === undefined) continue
    const { mode, inflights, probeBytes, fetching, nextIndex, matchIndex } = progress
    hold(mode !== 'snapshot', 16, () => `${server.id} gives a snapshot to ${id}, which has everything, at rest`)
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
    const members = `members by ${log.configurationIndex}: ${formatConfiguration(log.configuration)}`
    return `${server.id} ${role} of term ${term}, last ${log.lastIndex} durable ${log.durableIndex} commit ${log.commitIndex} applied ${log.appliedIndex}, ${members}`
  })
  const waiting = world.clients.filter((client) => client.isWaiting).map((client) => client.waitsFor)
  const leader = leaderOf(world)?.id ?? 'none'
  return new Violation(
    21,
    `${what} the core was mended: ${told.join('; ')}; leader ${leader}; clients wait for ${waiting.join(', ') || 'nothing'}`,
  )
}
