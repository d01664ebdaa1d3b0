/**
 * Clients outside of a world's servers: processes of their own, on clocks that are right, that speak through
 * `RaftClient` over lines that break. They propose and query like other clients, and never ask again for what may have
 * been done; beside that each is the door of a client with sessions (`session-clients.ts`).
 */

import { clientSettingsOf } from '../../client/options.js'
import { RaftClient } from '../../client/raft-client.js'
import { RaftError } from '../../errors.js'
import type { Clock } from '../../types.js'
import { hold } from '../invariants/violation.js'
import type { ServerView } from '../observer.js'
import { ClientWire } from './doubles/sim-client-wire.js'
import { SimClock } from './doubles/sim-clock.js'
import type { SimAnswer, SimCommand } from './doubles/sim-machine.js'
import { simCodec } from './doubles/sim-machine.js'
import { SeededRandom } from './random.js'
import type { Operation, Returned, WorldObserver } from './world-observer.js'
import type { Actor, World } from './world.js'

type SimRaftClient = RaftClient<SimCommand, SimAnswer, number, SimAnswer>

/** Of an operation that was asked from outside. */
export const OUTSIDE = { server: 'outside', epoch: 0, isOutside: true } as const

const NOTHING = { index: 0, applied: 0, value: 0 }
const EMPTY = new Uint8Array(0)
/** So long a line that is silent is not given up, in election timeouts. */
const PATIENCE_TIMEOUTS = 3

/** All of one world. */
export class OutsideClients implements Actor, WorldObserver {
  /** What they speak through, once the world has begun. */
  readonly doors: SimRaftClient[] = []
  readonly #clients: OutsideClient[] = []
  #wire: ClientWire | null = null

  start(world: World): void {
    const { plan, queue } = world
    const random = new SeededRandom(plan.seed ^ 0x0075de)
    const promised = (): void => world.promised()
    const wire = new ClientWire({
      ...{ queue, random: random.fork(), delayMs: plan.network.delayMs, promised },
      patienceMs: PATIENCE_TIMEOUTS * plan.electionTimeoutMs,
      servers: () => world.servers,
    })
    this.#wire = wire
    for (let ordinal = 0; ordinal < plan.clients.outside; ordinal += 1) {
      const own = random.fork()
      const settings = clientSettingsOf<SimCommand, SimAnswer, number, SimAnswer>({
        endpoints: world.servers.map(({ address }) => address),
        prefer: own.chance(0.5) ? 'leader' : 'any',
        ...{ codec: simCodec, logger: false, clock: clockOf(world, own.fork()), random: () => own.next() },
      })
      const door = new RaftClient(settings, wire)
      this.doors.push(door)
      const client = new OutsideClient(world, door, ordinal, own.fork())
      this.#clients.push(client)
      client.think()
    }
  }

  crashed({ ordinal }: ServerView, how: string): void {
    this.#wire?.crashed(ordinal, how === 'power cut')
  }

  healed(): void {
    for (const client of this.#clients) client.isStopped = true
    if (this.#wire !== null) this.#wire.isMended = true
  }

  /** What they wait for, until their deadlines; empty for nothing. */
  underWay(): string {
    return this.#clients.flatMap(({ waitsFor }) => waitsFor ?? []).join(', ')
  }
}

class OutsideClient {
  isStopped = false
  readonly #world: World
  readonly #door: SimRaftClient
  readonly #ordinal: number
  readonly #random: SeededRandom
  #pending: Operation | null = null

  constructor(world: World, door: SimRaftClient, ordinal: number, random: SeededRandom) {
    this.#world = world
    this.#door = door
    this.#ordinal = ordinal
    this.#random = random
  }

  get waitsFor(): string | null {
    return this.#pending === null ? null : `a client outside waits for ${this.#pending.kind}`
  }

  think(): void {
    const { queue, plan } = this.#world
    queue.after(this.#random.exponential(plan.clients.thinkMs), () => this.#act())
  }

  #act(): void {
    if (this.isStopped) return
    const operation = this.#draw()
    this.#pending = operation
    this.#world.observers.invoked(operation)
    this.#world.promised()
    this.#call(operation)
      .then(
        ({ index, value }) => this.#end(operation, { status: 'ok', code: null, index, applied: index, value }),
        (error: unknown) => {
          if (!(error instanceof RaftError)) throw error
          this.#end(operation, { status: error.outcome, code: error.code, ...NOTHING })
        },
      )
      // Such as an invariant of those who watch.
      .catch((error: unknown) => this.#world.failed(error))
  }

  #draw(): Operation {
    const { plan } = this.#world
    const { electionTimeoutMs, clients } = plan
    const kind = this.#random.chance(0.5) ? 'submit' : 'query'
    const isByLease = kind === 'query' && clients.leases > 0 && this.#random.chance(clients.leases)
    const timeoutMs = Math.ceil(electionTimeoutMs * this.#random.logBetween(0.2, 5))
    return {
      ...{ ...OUTSIDE, id: this.#world.nextId(), kind, client: clients.count + 2000 + this.#ordinal },
      ...(isByLease ? { isByLease } : {}),
      ...{ key: this.#random.int(0, clients.keys), commands: kind === 'submit' ? [this.#world.nextId()] : [] },
      ...{ timeoutMs, deadline: Infinity, signal: null },
    }
  }

  async #call({ kind, commands, key, timeoutMs, isByLease }: Operation): Promise<SimAnswer> {
    const wait = { timeoutMs: timeoutMs ?? 1 }
    if (kind === 'query') return this.#door.query(key, isByLease ? { ...wait, consistency: 'lease' } : wait)
    const { index, result } = await this.#door.propose({ id: commands[0] ?? 0, key, inner: EMPTY }, wait)
    hold(result.index === index, 14, () => `a command told to be at ${index} has the answer of ${result.index}`)
    return result
  }

  #end(operation: Operation, returned: Returned): void {
    this.#pending = null
    this.#world.observers.returned(operation, returned)
    if (returned.status === 'ok') return this.think()
    const { queue, plan } = this.#world
    queue.after(this.#random.exponential(plan.clients.refusedMs), () => this.#act())
  }
}

/** That of a machine of its own, which is right and never stands still. */
function clockOf(world: World, random: SeededRandom): Clock {
  const { queue, plan } = world
  const clock = new SimClock(queue, 0)
  const run = (callback: () => void): void => {
    world.promised()
    callback()
  }
  return {
    now: () => clock.now(),
    wallNow: () => clock.wallNow(),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, () => run(callback)),
    defer: (callback) => void queue.after(random.exponential(plan.turnMs), () => run(callback)),
  }
}
