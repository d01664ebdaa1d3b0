/**
 * One cluster, its clients and everything that happens to them, in simulated time: one queue of events, one seed. After
 * an event from which promises may have followed, those are waited for, so the next event finds what it would find in a
 * real process.
 *
 * Invariant: a run ends. It is bounded in core steps, in events and in simulated time, whatever happens in it.
 */

import { nextTick } from 'node:process'

import { assert } from '../../errors.js'
import type { RaftError } from '../../errors.js'
import type { Server, ServerId } from '../../types.js'
import { CallSignals } from './call-signals.js'
import { SimClient } from './clients.js'
import { EventQueue } from './event-queue.js'
import type { FramedMachine } from '../machine-under-test.js'
import type { Plan } from './plan.js'
import { SeededRandom } from './random.js'
import type { HostedMachine } from './doubles/hosted-machine.js'
import type { Receiver, SimNetwork } from './doubles/sim-network.js'
import { SimNetwork as Network } from './doubles/sim-network.js'
import { SimServer } from './doubles/sim-server.js'
import type { Place } from './doubles/sim-server.js'
import { hold, Violation } from '../invariants/violation.js'
import type { WorldObserver } from './world-observer.js'
import { WorldObservers } from './world-observers.js'

/** Events for one core step, on average, above which a world goes round in circles. */
const EVENTS_PER_STEP_MAX = 200
/** Waits for promises from which one goes through Node's event loop: what nobody has awaited is reported there. */
const BREATH_WAITS = 32
const SETTLED = Promise.resolve()

/** Something that acts on a world by itself, such as whoever causes faults. */
export interface Actor {
  start(world: World): void
}

/** What one server says to another. */
export type Path = readonly [from: SimServer, to: SimServer]

export interface WorldOptions {
  readonly plan: Plan
  readonly observers: readonly WorldObserver[]
  readonly actors: readonly Actor[]
  /** What runs on every server beside the registers. */
  readonly tested?: FramedMachine | null
  /** What runs on every server instead of the registers: then `plan` has no clients of these. */
  readonly hosted?: HostedMachine | null
}

export class World {
  readonly queue = new EventQueue()
  readonly plan: Plan
  readonly clients: SimClient[]
  readonly network: SimNetwork
  readonly observers: WorldObservers
  readonly random: SeededRandom
  /** Inputs that the cores have taken. */
  steps = 0
  /** How fast clients are just now: the factor on their time to think. */
  pace = 1
  /** The second phase has begun: whatever goes wrong from here on was broken before. */
  isMended = false
  /** Once one of the first members is lost for good, who is a member is for the logs to say. */
  quorum: 'kept' | 'lost' | 'recovered' = 'kept'
  /** Servers that the second phase has given up: nothing that is broken there is mended any more. */
  readonly leftBroken = new Set<SimServer>()
  /** A path that the second phase has given up; null for none. */
  leftCut: Path | null = null
  readonly #newClient: () => SimClient
  /** Some of `clients`. */
  readonly #visitors: SimClient[] = []
  readonly #servers: SimServer[]
  readonly #newServer: (place: Place, observers: WorldObservers, random: SeededRandom) => SimServer
  #clones = 0
  #events = 0
  #nextId = 0
  #isUnsettled = false
  #waits = 0
  /** What a machine of others awaits is not known: it always gets a whole round of the event loop. */
  readonly #isPatient: boolean
  #failure: Error | null = null

  constructor(options: WorldOptions) {
    const { plan } = options
    this.plan = plan
    this.#isPatient = (options.tested ?? options.hosted ?? null) !== null
    this.observers = new WorldObservers(options.observers)
    this.random = new SeededRandom(plan.seed)
    const receivers = new Map<string, Receiver>()
    this.network = new Network({
      ...{ queue: this.queue, plan: plan.network, random: this.random.fork(), receivers },
      promised: () => this.promised(),
    })
    Object.assign(this.network.chaos, plan.chaos)
    const bootstrap: readonly Server[] = Array.from({ length: plan.servers }, (_, ordinal) => {
      return { id: `s${ordinal + 1}`, address: `s${ordinal + 1}:1` }
    })
    const { queue, network } = this
    const failed = (error: unknown): void => this.failed(error)
    const shared = {
      ...{ queue, network, plan, bootstrap, failed },
      promised: () => this.promised(),
      countStep: () => void (this.steps += 1),
      tested: options.tested ?? null,
      hosted: options.hosted ?? null,
      machineFailed: (server: SimServer, error: RaftError) => this.#machineFailed(server, error),
      gone: (server: SimServer) => this.#gone(server),
    }
    this.#newServer = (place, observers, random) => {
      const server = new SimServer({ ...shared, observers }, place, random)
      receivers.set(server.address, { arrive: (run) => server.process?.arrive(run) })
      return server
    }
    this.#servers = bootstrap.map((server, ordinal) => {
      return this.#newServer({ ...server, ordinal }, this.observers, this.random.fork())
    })
    const news = { queue, observers: this.observers, promised: () => this.promised() }
    const signals = new CallSignals({ ...news, patienceMs: plan.clients.deadlineMs / 2 }, new SeededRandom(~plan.seed))
    const site = {
      ...{ ...news, signals, servers: this.servers, plan: plan.clients, tested: shared.tested, failed },
      nextId: () => this.nextId(),
      pace: () => this.pace,
    }
    this.#newClient = () => new SimClient(site, this.clients.length, this.random.fork())
    this.clients = []
    for (let count = 0; count < plan.clients.count; count += 1) this.#addClient()
    for (const server of this.servers) queue.after(this.random.exponential(20), () => server.start())
    for (const client of this.clients) client.start()
    for (const actor of options.actors) actor.start(this)
  }

  /**
   * Another process, that runs from the copy of that server's disk, under its id and at an address of its own. Nobody
   * may hear a word of it who has not forgotten whom it knew (invariant 3).
   */
  addClone(original: SimServer): SimServer {
    this.#clones += 1
    original.isCloned = true
    const { id } = original
    const isForgetful = (to: ServerId): boolean => this.servers.some((other) => other.id === to && other.hasForgotten)
    const silence: WorldObserver = {
      sent: (_, to, { type }) =>
        hold(isForgetful(to), 3, () => `a clone of ${id} is known, and sends ${type} to ${to}`),
    }
    const ordinal = this.servers.length + this.#clones
    const clone = this.#newServer(
      { id, ordinal, address: `${id}:clone` },
      new WorldObservers([silence]),
      this.random.fork(),
    )
    clone.sim.becomeCopyOf(original.sim)
    this.observers.cloned(original)
    clone.start()
    return clone
  }

  get servers(): readonly SimServer[] {
    return this.#servers
  }

  /** Another machine takes the place of one that was destroyed, under an id and at an address of its own. */
  replace({ ordinal }: SimServer, id: ServerId, random: SeededRandom): SimServer {
    const server = this.#newServer({ id, ordinal, address: `${id}:1` }, this.observers, random)
    this.#servers[ordinal] = server
    return server
  }

  /** Names operations and commands; never twice. */
  nextId(): number {
    return ++this.#nextId
  }

  /** What must not happen has: the world ends with this. */
  failed(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error))
  }

  /** A client that does nothing but what it is told, and has nothing to do now. */
  visitor(): SimClient {
    const idle = this.#visitors.find((visitor) => !visitor.isWaiting)
    if (idle !== undefined) return idle
    const visitor = this.#addClient()
    this.#visitors.push(visitor)
    return visitor
  }

  isLeftBroken(server: SimServer): boolean {
    return this.leftBroken.has(server)
  }

  isLeftCut([from, to]: Path): boolean {
    return this.leftCut !== null && this.leftCut[0] === from && this.leftCut[1] === to
  }

  /** Promises may have been settled: what follows from that comes before the next event. */
  promised(): void {
    this.#isUnsettled = true
  }

  /** Lets things happen until `isOver`, asked after each of them. */
  run(isOver: () => boolean): Promise<void> {
    const startSteps = this.steps
    const startEvents = this.#events
    return new Promise((resolve, reject) => {
      const pump = (): void => {
        try {
          do {
            if (this.#failure !== null) throw this.#failure
            if (isOver()) {
              resolve()
              return
            }
            this.#isUnsettled = false
            this.#happen()
            const steps = this.steps - startSteps + 1000
            const events = this.#events - startEvents
            assert(events < steps * EVENTS_PER_STEP_MAX, () => `world: ${events} events for ${steps} core steps`)
          } while (!this.#isUnsettled)
          this.#waits += 1
          if (this.#isPatient || this.#waits % BREATH_WAITS === 0) setImmediate(pump)
          else void SETTLED.then(pumpAfterAll)
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)))
        }
      }
      // What a microtask asks of `nextTick` comes when no microtask is left: every promise has had all its
      // consequences.
      const pumpAfterAll = (): void => nextTick(pump)
      setImmediate(pump)
    })
  }

  #addClient(): SimClient {
    const client = this.#newClient()
    this.clients.push(client)
    return client
  }

  #happen(): void {
    const happening = this.queue.next()
    assert(happening !== null, 'world: nothing is left that could happen')
    this.#events += 1
    happening.happen()
  }

  #machineFailed({ id }: SimServer, { message, cause }: RaftError): void {
    // What watches the state machine throws through it.
    if (cause instanceof Violation) this.#failure ??= cause
    const why = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
    this.#failure ??= new Violation(8, `${id}: ${message} (${why})`)
  }

  #gone(server: SimServer): void {
    for (const client of this.clients) client.gone(server)
  }
}
