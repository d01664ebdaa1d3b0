/**
 * One seeded run: random steps of a cluster under faults, then everything is healed and it must recover. One integer
 * decides everything: the cluster, how likely each fault is, every step.
 */

import { membersOf } from '#balsa/core/configuration.js'
import { assert } from '#balsa/errors.js'
import { Reached } from '#balsa/testing/simulator/reached.js'
import { SETTINGS, Stage, votersOnly } from '#balsa/testing/stage/stage.js'
import { isRequest } from '#balsa/testing/stage/stage-network.js'
import type { Envelope } from '#balsa/testing/stage/stage-network.js'
import type { StageServer } from '#balsa/testing/stage/stage-server.js'
import type { ConfigurationChange } from '#balsa/core/index.js'
import type { Configuration, ServerId } from '#balsa/types.js'
import { maybePick, randomInt, randomFrom } from './seed.js'
import type { Random } from './seed.js'
import { StageReached } from './stage-reached.js'

/** Servers that may be added in runs in which the members change. */
const SPARES = ['s6', 's7']
/** Steps of the first phase. */
const STEPS = 500
/** Messages under way above which the oldest are lost. */
const IN_FLIGHT_MAX = 200
/** Old messages kept for replay. */
const HISTORY_MAX = 64
const PLENTY = 1 << 30

/** What a run came across, summed up over many by the caller. */
export interface RandomRunResult {
  readonly steps: number
  readonly reached: ReadonlyMap<string, number>
}

interface Action {
  readonly weight: number
  /** A fault's weight is drawn anew for each seed; it may be nothing. */
  readonly fault: boolean
  run(): void
}

export class RandomRun {
  readonly cluster: Stage
  readonly #reached = new Reached()
  readonly #random: Random
  readonly #history: Envelope[] = []
  readonly #actions: { readonly upTo: number; readonly run: () => void }[] = []
  /** A server whose disk is busy most of the time. */
  readonly #slow: ServerId | null
  /** How often the members change; in some runs never. */
  readonly #changes: number
  #weights = 0
  #steps = 0

  constructor(seed: number) {
    this.#random = randomFrom(seed)
    const configuration = this.#drawConfiguration()
    this.#changes = maybePick(this.#random, [0, 0, 1, 4]) ?? 0
    this.#slow = this.#random() < 0.4 ? (maybePick(this.#random, configuration.voters)?.id ?? null) : null
    const tailBytesMax = maybePick(this.#random, [0, 100, 500, 1 << 20]) ?? 0
    const first = this.#random() < 0.5 ? null : 100
    const settings = { ...SETTINGS, firstElectionTimeoutMs: first }
    const observers = [this.#reached, new StageReached(this.#reached)]
    const spares = this.#changes > 0 ? SPARES : []
    this.cluster = new Stage({ configuration, spares, tailBytesMax, settings, random: () => this.#random, observers })
    this.cluster.trace = null
    for (const { weight, fault, run } of this.#catalogue()) {
      this.#weights += weight * (fault ? (maybePick(this.#random, [0, 0, 0.3, 1, 3]) ?? 0) : 1)
      this.#actions.push({ upTo: this.#weights, run })
    }
  }

  run(): RandomRunResult {
    if (this.#random() < 0.7) this.cluster.elect(maybePick(this.#random, this.cluster.configuration.voters)?.id ?? 's1')
    for (let step = 0; step < STEPS; step += 1) this.#step()
    this.#recover()
    return { steps: this.#steps, reached: this.#reached.counts }
  }

  #step(): void {
    this.#steps += 1
    const draw = this.#random() * this.#weights
    this.#actions.find(({ upTo }) => draw < upTo)?.run()
    const excess = this.cluster.inFlight.length - IN_FLIGHT_MAX
    if (excess > 0) this.cluster.network.inFlight.splice(0, excess)
  }

  #drawConfiguration(): Configuration {
    const three = votersOnly(['s1', 's2', 's3'])
    const five = votersOnly(['s1', 's2', 's3', 's4', 's5'])
    const nonvoter = { id: 's4', address: 's4:1', promote: false }
    const draw = this.#random()
    if (draw < 0.4) return three
    if (draw < 0.45) return votersOnly(['s1', 's2', 's3', 's4'])
    if (draw < 0.8) return five
    if (draw < 0.9) return { ...three, nonvoters: [nonvoter] }
    if (draw < 0.95) return { voters: three.voters, outgoing: five.voters.slice(2), nonvoters: [] }
    return votersOnly(['s1'])
  }

  #catalogue(): readonly Action[] {
    const normal = (weight: number, run: () => void): Action => ({ weight, fault: false, run })
    const fault = (weight: number, run: () => void): Action => ({ weight, fault: true, run })
    return [
      normal(30, () => this.#deliverOldest()),
      normal(10, () => this.#deliverAny()),
      normal(4, () => this.#burst()),
      normal(12, () => this.#onAny((server) => this.#tick(server))),
      normal(6, () => this.#passTime()),
      normal(12, () => this.#onAny(({ id }) => this.#persist(id))),
      normal(4, () => this.#onAny((server) => this.#persistSome(server))),
      normal(8, () => this.#onAny((server) => this.#apply(server))),
      normal(6, () => this.#onAny((server) => this.#serveFetch(server))),
      normal(8, () => this.#onLeader((id) => this.#propose(id))),
      normal(3, () => this.#onLeader((id) => this.cluster.read(id))),
      normal(this.#changes, () => this.#onLeader((id) => this.#change(id))),
      normal(1, () => this.#onAny(({ id }) => this.cluster.read(id))),
      normal(3, () => this.#busyTurn()),
      normal(1, () => this.#heal()),
      normal(1.5, () => this.#restartOne()),
      normal(1, () => this.#onAny(({ id }) => this.cluster.turn(id, { type: 'credit', bytes: PLENTY }))),
      fault(6, () => this.#drop()),
      fault(3, () => this.#duplicate()),
      fault(3, () => this.#replay()),
      fault(1, () => this.#cutSome()),
      fault(0.5, () => this.#isolateOne()),
      fault(1.5, () => this.#resetSession()),
      fault(1, () => this.#onAny(({ id }) => this.#crash(id))),
      fault(0.3, () => this.#crashAll()),
      fault(0.2, () => this.#onAny((server) => this.#halt(server))),
      fault(1, () => this.#onAny(({ id }) => this.#starve(id))),
      fault(0.5, () => this.#sleepLong()),
      fault(3, () => this.#onAny((server) => this.#timeout(server))),
      fault(1, () => this.#race()),
      fault(1, () => this.#depose()),
      fault(1.5, () => this.#overtake()),
    ]
  }

  // Network

  #deliverOldest(): void {
    const [envelope] = this.cluster.network.inFlight.splice(0, 1)
    if (envelope !== undefined) this.#receive(envelope)
  }

  /** For a moment everything works, so that runs get somewhere. */
  #burst(): void {
    for (let count = randomInt(this.#random, 2, 25); count > 0; count -= 1) {
      this.#deliverOldest()
      if (this.#random() < 0.5) this.#onAny(({ id }) => this.#persist(id))
    }
  }

  #deliverAny(): void {
    const [envelope] = this.cluster.network.inFlight.splice(randomInt(this.#random, 0, this.cluster.inFlight.length), 1)
    if (envelope !== undefined) this.#receive(envelope)
  }

  #receive(envelope: Envelope): void {
    this.#remember(envelope)
    this.cluster.receive(envelope)
  }

  #remember(envelope: Envelope): void {
    if (this.#history.length < HISTORY_MAX) this.#history.push(envelope)
    else this.#history[randomInt(this.#random, 0, HISTORY_MAX)] = envelope
  }

  #drop(): void {
    const [envelope] = this.cluster.network.inFlight.splice(randomInt(this.#random, 0, this.cluster.inFlight.length), 1)
    if (envelope !== undefined) this.#remember(envelope)
  }

  #duplicate(): void {
    const envelope = maybePick(this.#random, this.cluster.inFlight)
    if (envelope !== undefined) this.cluster.receive(envelope)
  }

  #replay(): void {
    const envelope = maybePick(this.#random, this.#history)
    if (envelope === undefined) return
    this.#reached.count(isRequest(envelope.message) ? 'replayed request' : 'replayed response')
    this.cluster.receive(envelope)
  }

  #cutSome(): void {
    for (const from of this.cluster.ids) {
      for (const to of this.cluster.ids) if (from !== to && this.#random() < 0.2) this.cluster.cut(from, to)
    }
  }

  #isolateOne(): void {
    const leader = this.cluster.leader?.id
    const id = this.#random() < 0.6 && leader !== undefined ? leader : maybePick(this.#random, this.cluster.ids)
    if (id !== undefined) this.cluster.isolate(id)
  }

  #heal(): void {
    this.cluster.heal()
    for (const from of this.cluster.ids) {
      for (const to of this.cluster.ids) {
        if (from !== to && !this.cluster.server(from).sessions.has(to)) this.cluster.connect(from, to)
      }
    }
  }

  #resetSession(): void {
    const from = maybePick(this.#random, this.cluster.ids)
    const to = maybePick(this.#random, this.cluster.ids)
    if (from === undefined || to === undefined || from === to) return
    const draw = this.#random()
    if (draw < 0.7) this.cluster.disconnect(from, to)
    if (draw > 0.3) this.cluster.connect(from, to)
  }

  // Time

  #tick({ id }: StageServer): void {
    this.cluster.tick(id, this.cluster.now + randomInt(this.#random, 0, 60))
  }

  #passTime(): void {
    this.cluster.now += randomInt(this.#random, 0, 150)
    for (const { id } of this.#alive()) if (this.#random() < 0.8) this.cluster.tick(id)
  }

  #timeout({ id, up }: StageServer): void {
    if (up.nextDeadline() < Infinity) this.cluster.timeout(id)
  }

  /** Nothing runs anywhere for up to three election timeouts. */
  #sleepLong(): void {
    this.cluster.now += randomInt(this.#random, 0, 3000)
  }

  /** Two servers campaign at the same time. */
  #race(): void {
    for (const server of this.#alive()) if (this.#random() < 0.5) this.#timeout(server)
  }

  /** A leader is cut off with entries that nobody else has, while another server campaigns. */
  #depose(): void {
    const leader = this.cluster.leader
    if (leader === null || leader.halted) return
    this.cluster.isolate(leader.id)
    this.#propose(leader.id)
    if (this.#random() < 0.5) this.cluster.persist(leader.id)
    const others = this.#alive().filter(({ id }) => id !== leader.id)
    const successor = maybePick(this.#random, others)
    if (successor === undefined) return
    this.#timeout(successor)
    this.#burst()
    if (this.#random() < 0.5) this.#heal()
  }

  /** Entries that one follower has not yet written are replaced by the next leader, and then its disk comes to them. */
  #overtake(): void {
    const { cluster } = this
    const leader = cluster.leader
    const others = this.#alive().filter(({ id }) => id !== leader?.id)
    const victim = maybePick(this.#random, others)
    const successor = maybePick(
      this.#random,
      others.filter(({ id }) => id !== victim?.id),
    )
    if (leader === null || leader.halted || victim === undefined || successor === undefined) return
    this.#propose(leader.id)
    cluster.deliver(({ from, to }) => from === leader.id && to === victim.id)
    cluster.drop(({ from }) => from === leader.id)
    cluster.isolate(leader.id)
    this.#timeout(successor)
    for (let round = 0; round < 8; round += 1) {
      cluster.deliver()
      for (const { id } of this.#alive()) if (id !== victim.id) cluster.persist(id)
    }
    cluster.persist(victim.id, randomInt(this.#random, 1, victim.disk.pending.length + 1))
  }

  // Disks and state machines

  #persist(id: ServerId): void {
    if (id !== this.#slow || this.#random() < 0.05) this.cluster.persist(id)
  }

  #persistSome({ id, disk }: StageServer): void {
    const count = randomInt(this.#random, 0, disk.pending.length + 1)
    const draw = this.#random()
    if (id === this.#slow && this.#random() < 0.7) return
    if (draw < 0.5) this.cluster.write(id, count)
    else if (draw < 0.75) this.cluster.persist(id, count)
    else this.cluster.report(id)
  }

  #apply(server: StageServer): void {
    const range = server.applying
    if (range === null) return
    // A state machine may report part of what it was handed.
    const isPart = range.last > range.first && this.#random() < 0.3
    this.cluster.apply(server.id, isPart ? randomInt(this.#random, range.first, range.last) : range.last)
  }

  #serveFetch(server: StageServer): void {
    if (this.#random() < 0.8) {
      this.cluster.serveFetches(server.id)
      return
    }
    const fetch = server.fetches.shift()
    if (fetch !== undefined) this.cluster.turn(server.id, { type: 'fetchFailed', fetch })
  }

  #halt(server: StageServer): void {
    if (server.halted) return
    this.cluster.write(server.id, randomInt(this.#random, 0, server.disk.pending.length + 1))
    this.cluster.failStore(server.id)
    this.#reached.count('store failure')
  }

  #starve(id: ServerId): void {
    this.cluster.turn(id, { type: 'credit', bytes: randomInt(this.#random, 0, 60) })
  }

  // Clients and processes

  #propose(id: ServerId): void {
    this.cluster.propose(id, randomInt(this.#random, 1, 5), maybePick(this.#random, [24, 24, 40]) ?? 24)
  }

  /** The members change, to whatever comes; also by force, where too few would be heard. */
  #change(id: ServerId): void {
    const { servers } = this.cluster
    const any = (): ServerId => maybePick(this.#random, [...servers.keys()]) ?? id
    const some = (share: number): readonly ServerId[] => [...servers.keys()].filter(() => this.#random() < share)
    const voters = some(0.5)
    const force = this.#random() < 0.2
    const changes: readonly ConfigurationChange[] = [
      { type: 'add', server: { id: any(), address: `${any()}:2` }, promote: this.#random() < 0.7 },
      { type: 'add', server: { id: any(), address: `${any()}:3` }, promote: true },
      { type: 'promote', id: any(), atOnce: this.#random() < 0.3 },
      { type: 'demote', id: any() },
      { type: 'remove', id: any() },
      { type: 'update', server: { id: any(), address: `${any()}:4` } },
      { type: 'set', voters, nonvoters: some(0.3).filter((other) => !voters.includes(other)) },
    ]
    const change = maybePick(this.#random, changes)
    if (change === undefined) return
    const answer = this.cluster.configure(id, change, { force })
    this.#reached.count(
      answer.status === 'appended' ? `change: ${change.type}` : `change refused: ${answer.refusal.kind}`,
    )
  }

  #crash(id: ServerId): void {
    const { disk } = this.cluster.server(id)
    if (this.#random() < 0.5) this.cluster.write(id, randomInt(this.#random, 0, disk.pending.length + 1))
    this.cluster.crash(id)
    if (this.#random() < 0.5) this.cluster.restart(id)
  }

  #crashAll(): void {
    for (const { id } of this.#alive()) this.cluster.crash(id)
    for (const id of this.cluster.ids) if (this.#random() < 0.7) this.cluster.restart(id)
  }

  #restartOne(): void {
    const down = [...this.cluster.servers.values()].filter(({ core, halted }) => core === null || halted)
    const server = maybePick(this.#random, down)
    if (server !== undefined) this.cluster.restart(server.id)
  }

  /** Several inputs reach one server in one turn, before anything leaves it. */
  #busyTurn(): void {
    const server = maybePick(this.#random, this.#alive())
    if (server === undefined) return
    const { id } = server
    const { cluster } = this
    cluster.step(id, { type: 'turn', now: cluster.now })
    for (const envelope of cluster.drop(({ to }) => to === id && this.#random() < 0.7)) {
      const input = cluster.inputOf(envelope)
      if (input !== null) cluster.step(id, input)
      if (this.#random() < 0.2) cluster.proposeInTurn(id)
    }
    if (this.#random() < 0.3) server.reportInTurn()
    if (this.#random() < 0.5) cluster.step(id, { type: 'tick', now: cluster.now })
    cluster.drain(id)
  }

  // Phase two

  /** Everything works again: a leader within ten election timeouts, and everyone agrees on everything. */
  #recover(): void {
    const { cluster } = this
    cluster.heal()
    for (const { id, core, halted } of cluster.servers.values()) {
      if (core === null || halted) cluster.restart(id)
      cluster.turn(id, { type: 'credit', bytes: PLENTY })
    }
    cluster.connectAll()
    const start = cluster.now
    const deadline = start + 10 * SETTINGS.electionTimeoutMs
    // A leader that had not heard of a quorum for long may still give up; then another one is found.
    let term = 0
    while (cluster.now < deadline && !(this.#converged() && cluster.leader?.up.term === term)) {
      while (cluster.now < deadline && !this.#converged()) cluster.run(SETTINGS.heartbeatMs)
      term = cluster.leader?.up.term ?? 0
      cluster.run(2 * SETTINGS.heartbeatMs)
    }
    assert(this.#converged(), `no agreement ${cluster.now - start} ms after all was healed: ${this.#describe()}`)
    this.#serveClients()
    assert(cluster.faults.length === 0, `a correct server was blamed: ${cluster.faults.join('; ')}`)
  }

  #converged(): boolean {
    const { leader, servers } = this.cluster
    if (leader === null) return false
    const last = leader.up.log.lastIndex
    // What follows of the log alone is done: a joint configuration is left, and whoever was to be promoted is.
    const { outgoing, nonvoters } = leader.up.configuration
    if (outgoing !== null || nonvoters.some(({ promote }) => promote)) return false
    return [...servers.values()].every((server) => {
      const { log, term } = server.up
      if (!this.#isMember(server.id)) return true
      return term === leader.up.term && log.lastIndex === last && server.machine.applied.length === last
    })
  }

  #isMember(id: ServerId): boolean {
    const configuration = this.cluster.leader?.up.configuration
    return configuration !== undefined && membersOf(configuration).some((server) => server.id === id)
  }

  /** What clients were promised: one outcome for everything, room again, reads that answer. */
  #serveClients(): void {
    const { cluster } = this
    for (const { id, up } of cluster.servers.values()) {
      const reads = cluster.clients.readsAt(id)
      const proposals = cluster.clients.proposalsAt(id)
      assert(reads.length === 0, `${id} leaves reads unanswered: ${reads.join(', ')}`)
      assert(proposals.length === 0, `${id} leaves proposals without an outcome: ${proposals.join(', ')}`)
      const hasUncommitted = this.#isMember(id) && up.log.bytesAbove(up.log.commitIndex) > 0
      assert(!hasUncommitted, `${id} counts uncommitted bytes, and has none (C19)`)
    }
    const { leader } = cluster
    const payloads = leader === null ? null : cluster.propose(leader.id)
    const read = leader === null ? 0 : cluster.read(leader.id)
    cluster.run(2 * SETTINGS.heartbeatMs)
    const committed = payloads?.every((payload) => cluster.outcomes.get(payload) === 'committed') === true
    assert(committed, `a proposal after recovery came to nothing: ${this.#describe()}`)
    assert(cluster.readOutcomes.get(read)?.status === 'confirmed', `a read after recovery came to nothing`)
    assert(this.#converged(), `no agreement after the last proposal: ${this.#describe()}`)
  }

  #describe(): string {
    return [...this.cluster.servers.values()]
      .map(({ id, core, machine }) => {
        if (core === null) return `${id} is down`
        const { lastIndex, commitIndex, durableIndex } = core.log
        const pointers = `last ${lastIndex} durable ${durableIndex} commit ${commitIndex} applied ${machine.applied.length}`
        return `${id} ${core.role} in term ${core.term}, ${pointers}`
      })
      .join('; ')
  }

  #alive(): readonly StageServer[] {
    return [...this.cluster.servers.values()].filter(({ core, halted }) => core !== null && !halted)
  }

  #onAny(act: (server: StageServer) => void): void {
    const server = maybePick(this.#random, this.#alive())
    if (server !== undefined) act(server)
  }

  #onLeader(act: (id: ServerId) => void): void {
    const leaders = this.#alive().filter(({ core }) => core?.role === 'leader')
    const server = maybePick(this.#random, leaders)
    if (server !== undefined) act(server.id)
  }
}
