/**
 * A quorum that is lost for good, and the way back from it (docs/membership.md): most machines are destroyed with their
 * disks, the others are stopped, one of their folders is recovered, and all others come anew in empty folders. Some of
 * those that took no part come back with their old folder before: they are refused, and count for nothing.
 *
 * What must hold: who is left behind is no majority of the first members. Otherwise it goes on as the cluster before,
 * and nobody can keep it from that.
 */

import { assert } from '../../errors.js'
import { hold } from '../invariants/violation.js'
import type { Recovery } from '../../server/open/recover.js'
import type { DurableView } from '../observer.js'
import type { SimServer } from './doubles/sim-server.js'
import { askRaft, causeLater, leaderOf } from './faults/fault.js'
import { SeededRandom } from './random.js'
import type { Actor, World } from './world.js'

/** Points to go at most before the process of a recovery dies at one: about as many as it has. */
const POINTS_MAX = 3
const POINTS_WITH_SNAPSHOT_MAX = 20
/** Looks of an operator in one election timeout. */
const LOOKS = 4

export class LostQuorum implements Actor {
  readonly #steps: number

  /** `steps`: those of the first phase. */
  constructor(steps: number) {
    this.#steps = steps
  }

  start(world: World): void {
    const { seed, losesQuorumAt, electionTimeoutMs } = world.plan
    if (losesQuorumAt === null) return
    const random = new SeededRandom(seed ^ 0x05a1f01d)
    const look = (): void => {
      if (world.isMended) return
      const left = world.steps < losesQuorumAt * this.#steps ? null : drawLeft(world, random)
      if (left === null) world.queue.after(electionTimeoutMs / LOOKS, look)
      else new Rescue(world, random, left).begin()
    }
    look()
  }
}

/** Whose disks are left. */
interface Left {
  readonly survivor: SimServer
  /** They take no part. */
  readonly leftBehind: readonly SimServer[]
}

/** Null when what they hold is nothing yet. */
function drawLeft({ servers }: World, random: SeededRandom): Left | null {
  const majority = (servers.length >> 1) + 1
  const left = random.shuffled(servers).slice(0, random.int(1, Math.min(majority, servers.length - 1) + 1))
  const usable = left.filter(({ disk: { durable } }) => durable.lastIndex > 1)
  if (usable.length === 0) return null
  // The others may count as lost by then, and not be asked what they have.
  const survivor = random.chance(0.6) ? usable.reduce(withMore) : random.pick(usable)
  return { survivor, leftBehind: left.filter((server) => server !== survivor) }
}

function withMore(a: SimServer, b: SimServer): SimServer {
  const [logA, logB] = [a.disk.durable, b.disk.durable]
  const terms = lastTermOf(logA) - lastTermOf(logB)
  return terms > 0 || (terms === 0 && logA.lastIndex >= logB.lastIndex) ? a : b
}

const lastTermOf = (log: DurableView): number => log.termAt(log.lastIndex) ?? log.snapshot?.term ?? 0

/** One way back, from the loss until everybody has come. */
class Rescue {
  readonly #world: World
  readonly #random: SeededRandom
  readonly #survivor: SimServer
  readonly #leftBehind: readonly SimServer[]
  /** Those that the recovery names, the survivor among them: no operator has to add them. */
  readonly #named: SimServer[]
  #lost: SimServer[] = []
  /** What the survivor's disk held before it was touched. */
  #log: DurableView | null = null
  #attempts = 0
  #recoveries: readonly string[] | null = null

  constructor(world: World, random: SeededRandom, { survivor, leftBehind }: Left) {
    this.#world = world
    this.#random = random
    this.#survivor = survivor
    this.#leftBehind = leftBehind
    this.#named = [survivor]
  }

  /** In some cases those that are to be lost have time to commit what nobody else has. */
  begin(): void {
    const { electionTimeoutMs } = this.#world.plan
    for (const server of this.#world.servers) if (!this.#isLeft(server)) this.#lost.push(server)
    if (this.#random.chance(0.5)) this.#loseQuorum()
    else {
      this.#betweenLostAndLeft((from, to) => this.#world.network.cutPath(from.address, to.address))
      causeLater(this.#world, this.#random.exponential(2 * electionTimeoutMs), () => this.#loseQuorum())
    }
  }

  #loseQuorum(): void {
    const { electionTimeoutMs } = this.#world.plan
    this.#world.quorum = 'lost'
    this.#tell('quorum-lost', this.#lost)
    for (const server of this.#lost) server.destroy()
    this.#betweenLostAndLeft((from, to) => this.#world.network.mendPath(from.address, to.address))
    this.#lost = this.#lost.map((server) => (this.#random.chance(0.3) ? this.#replaced(server) : server))
    for (const server of [...this.#leftBehind, ...this.#lost]) if (this.#random.chance(0.7)) this.#named.push(server)
    this.#later(this.#random.exponential(2 * electionTimeoutMs), () => this.#stop())
  }

  #isLeft(server: SimServer): boolean {
    return server === this.#survivor || this.#leftBehind.includes(server)
  }

  #betweenLostAndLeft(act: (from: SimServer, to: SimServer) => void): void {
    for (const left of [this.#survivor, ...this.#leftBehind]) {
      for (const lost of this.#lost) {
        act(left, lost)
        act(lost, left)
      }
    }
  }

  #replaced(server: SimServer): SimServer {
    const id = `s${this.#world.servers.length + server.ordinal + 1}`
    const other = this.#world.replace(server, id, this.#random.fork())
    other.isKeptDown = true
    return other
  }

  /** Every server that is left, by force or in order. */
  #stop(): void {
    for (const server of [this.#survivor, ...this.#leftBehind]) {
      server.isKeptDown = true
      if (this.#random.chance(0.5)) server.stop()
      else server.crash('stopped', this.#random.chance(0.5))
    }
    this.#later(this.#random.exponential(this.#world.plan.electionTimeoutMs), () => {
      for (const server of [this.#survivor, ...this.#leftBehind]) server.crash('stopped', false)
      this.#log = this.#survivor.disk.copy().durable
      this.#attempt()
    })
  }

  /** Its process may die at any point of it, its disk may fail; then the call is made again. */
  #attempt(): void {
    const { plan, isMended } = this.#world
    const servers = this.#named.map(({ id, address }) => ({ id, address }))
    this.#attempts += 1
    this.#survivor.recover(servers, (recovery) => this.#recovered(recovery))
    const { process } = this.#survivor
    if (process !== null && !isMended && this.#random.chance(0.5)) {
      const points = this.#log?.snapshot === null ? POINTS_MAX : POINTS_WITH_SNAPSHOT_MAX
      process.pointsToLive = this.#random.int(1, points + 1)
    }
    const look = (): void => {
      if (this.#recoveries !== null) return
      if (this.#survivor.process !== null && this.#survivor.trouble === null) this.#soon(look)
      else {
        this.#survivor.crash('recovery failed', false)
        this.#later(this.#random.exponential(plan.restartMs), () => this.#attempt())
      }
    }
    this.#soon(look)
  }

  #recovered({ recoveries, isNew }: Recovery): void {
    const survivor = this.#survivor
    const log = this.#log
    assert(log !== null, 'a server is recovered before it was stopped')
    this.#recoveries = recoveries
    survivor.epoch += 1
    this.#world.quorum = 'recovered'
    this.#world.observers.recovered(survivor, log)
    if (!isNew) this.#tell('recovered-before', [survivor])
    else if (this.#attempts > 1) this.#tell('recovered-again', [survivor])
    survivor.isKeptDown = false
    survivor.start()
    const spell = (): number => this.#random.exponential(4 * this.#world.plan.electionTimeoutMs)
    for (const server of this.#lost) this.#later(spell(), () => this.#comesAnew(server))
    for (const server of this.#leftBehind) {
      if (this.#random.chance(0.8)) this.#later(spell() / 4, () => this.#comesBack(server, spell()))
      else this.#later(spell(), () => this.#comesAnew(server))
    }
  }

  /** One that took no part, with its old folder; some of them are told of the recovery. */
  #comesBack(server: SimServer, ms: number): void {
    // In a folder that is still empty it would come anew.
    const hasJoined = server.disk.durable.lastIndex > 0
    if (hasJoined && this.#random.chance(0.3)) server.recoveries = this.#recoveries
    server.isKeptDown = false
    server.start()
    this.#tell('left-behind', [server])
    let isRefused = false
    const look = (): void => {
      if (server.epoch > 0 || isRefused) return
      isRefused = isRefusedHere(server)
      if (isRefused) this.#tell(server.recoveries === null ? 'left-behind-refused' : 'left-behind-told', [server])
      else this.#soon(look)
    }
    look()
    this.#later(ms, () => this.#comesAnew(server))
  }

  #comesAnew(server: SimServer): void {
    const isLeftBehind = this.#leftBehind.includes(server)
    if (isLeftBehind) server.destroy()
    server.comeAnew(this.#survivor.epoch, this.#recoveries ?? [])
    this.#tell('comes-anew', [server])
    if (!this.#named.includes(server)) this.#add(server)
  }

  /** Until it is a member, or the second phase sees to that. */
  #add(server: SimServer): void {
    const { id, address } = server
    const leader = leaderOf(this.#world)
    const configuration = leader?.process?.raft?.configuration().configuration
    const members = [...(configuration?.voters ?? []), ...(configuration?.nonvoters ?? [])]
    if (this.#world.isMended || members.some((member) => member.id === id)) return
    const timeoutMs = Math.ceil(4 * this.#world.plan.electionTimeoutMs)
    askRaft(this.#world, leader, `adds ${id}`, (raft) => raft.addVoter({ id, address }, { timeoutMs }))
    this.#later(timeoutMs, () => this.#add(server))
  }

  #tell(what: string, servers: readonly SimServer[]): void {
    this.#world.observers.fault(what, servers.map(({ id }) => id).join(' '))
  }

  #soon(act: () => void): void {
    this.#world.queue.after(this.#world.plan.electionTimeoutMs / LOOKS, act)
  }

  /** A world that is mended waits for nothing. */
  #later(ms: number, act: () => void): void {
    const due = this.#world.queue.now + ms
    const look = (): void => {
      if (this.#world.isMended || this.#world.queue.now >= due) act()
      else this.#soon(look)
    }
    look()
  }
}

/** Whether it says itself that the cluster was recovered without it. One that was told of that must not even open. */
function isRefusedHere({ id, recoveries, trouble, isUp, process }: SimServer): boolean {
  const code = 'ERR_RAFT_CLUSTER_RECOVERED'
  if (recoveries === null) return process?.raft?.status.peers.some(({ refusal }) => refusal?.code === code) === true
  hold(!isUp, 32, () => `${id} takes part with what it had before the recovery that it was told of`)
  return trouble === code
}
