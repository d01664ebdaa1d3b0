/**
 * The clients of a world: each has one call under way at a time, to whichever server it believes in, and never asks
 * again for what may have been done: an outcome that is unknown stays unknown.
 */

import { RaftError } from '../../errors.js'
import { hold } from '../invariants/violation.js'
import type { CallSignals } from './call-signals.js'
import type { EventQueue } from './event-queue.js'
import type { FramedMachine } from '../machine-under-test.js'
import type { WaitOptions } from '../../server/calls/pending-call.js'
import type { Operation, Returned } from './world-observer.js'
import type { WorldObservers } from './world-observers.js'
import type { ClientPlan } from './plan.js'
import type { SeededRandom } from './random.js'
import type { SimAnswer } from './doubles/sim-machine.js'
import type { SimRaft } from './doubles/sim-process.js'
import type { SimServer } from './doubles/sim-server.js'

export interface ClientSite {
  readonly queue: EventQueue
  readonly observers: WorldObservers
  readonly servers: readonly SimServer[]
  readonly plan: ClientPlan
  readonly signals: CallSignals
  readonly tested: FramedMachine | null
  /** Names operations and commands; never twice. */
  nextId(): number
  promised(): void
  /** What must not happen has: the world ends with this. */
  failed(error: unknown): void
  /** How many times slower than planned clients think just now; below 1 for a rush. */
  pace(): number
}

/** Commands only differ in its length, and nobody writes to it. */
let padding = new Uint8Array(4096)

/** What every server takes, in place of what only the leader does. */
const ANYWHERE: Partial<Record<Operation['kind'], Operation['kind']>> = { write: 'submit', read: 'query' }

/** What a call that failed brings. */
const NOTHING = { index: 0, applied: 0, value: 0 }

interface Pending {
  readonly operation: Operation
  readonly server: SimServer
}

export class SimClient {
  /** When not null, it asks only these. */
  only: readonly SimServer[] | null = null
  isStopped = false
  /** It waits for every answer, as long as it takes. */
  isPatient = false
  answered = 0
  readonly #site: ClientSite
  readonly #ordinal: number
  readonly #random: SeededRandom
  /** How often it asks the server that it believes leads, and not just anyone. */
  readonly #loyalty: number
  /** How much more, or less, it reads than planned. */
  readonly #curiosity: number
  #believes: SimServer | null = null
  #pending: Pending | null = null

  constructor(site: ClientSite, ordinal: number, random: SeededRandom) {
    this.#site = site
    this.#ordinal = ordinal
    this.#random = random
    this.#loyalty = random.pick([0.3, 0.8, 0.97])
    this.#curiosity = random.pick([0.2, 1, 5])
  }

  get isWaiting(): boolean {
    return this.#pending !== null
  }

  /** The server that owes it an answer. */
  get waitsOn(): SimServer | null {
    return this.#pending?.server ?? null
  }

  get waitsFor(): string {
    return this.#pending === null ? 'nothing' : `${this.#pending.operation.kind} on ${this.#pending.server.id}`
  }

  start(): void {
    this.#think(1)
  }

  /** Begins again, after it was stopped. */
  resume(): void {
    this.isStopped = false
    this.#think(1)
  }

  /** Asks one thing, with so many commands, there and at once, and nothing after it. */
  visit(server: SimServer, kind: Operation['kind'], commands: number): void {
    const { raft } = server.process ?? { raft: null }
    this.isStopped = true
    if (raft !== null) this.#ask(server, raft, this.#operation(server, kind, commands))
  }

  /** That process is gone, and what was asked of it will not be answered. */
  gone(server: SimServer): void {
    if (this.#pending?.server === server) this.#end(this.#pending, { status: 'lost', code: null, ...NOTHING })
  }

  #think(times: number): void {
    const { queue, plan } = this.#site
    queue.after(this.#random.exponential(plan.thinkMs) * times * this.#site.pace(), () => this.#act())
  }

  #act(): void {
    if (this.isStopped || this.#pending !== null) return
    const server = this.#choose()
    const raft = server?.process?.raft ?? null
    if (server === null || raft === null) {
      this.#think(3)
      return
    }
    this.#ask(server, raft, this.#draw(server))
  }

  #ask(server: SimServer, raft: SimRaft, operation: Operation): void {
    const pending = { operation, server }
    this.#pending = pending
    this.#site.observers.invoked(operation)
    this.#site.promised()
    this.#call(raft, operation)
      .then(
        ({ index, value }) => {
          const applied = server.core?.log.appliedIndex ?? 0
          this.#end(pending, { status: 'ok', code: null, index, applied, value })
        },
        (error: unknown) => {
          if (!(error instanceof RaftError)) throw error
          if (error.leader !== null) this.#follow(error.leader.id)
          this.#end(pending, { status: error.outcome, code: error.code, ...NOTHING })
        },
      )
      // Such as an invariant of those who watch.
      .catch((error: unknown) => this.#site.failed(error))
  }

  #choose(): SimServer | null {
    const candidates = (this.only ?? this.#site.servers).filter((server) => server.isUp && !server.paused)
    const leader = this.#believes
    if (leader !== null && candidates.includes(leader) && this.#random.chance(this.#loyalty)) return leader
    return candidates.length === 0 ? null : this.#random.pick(candidates)
  }

  #follow(id: string): void {
    this.#believes = this.#site.servers.find((server) => server.id === id) ?? null
  }

  #draw(server: SimServer): Operation {
    const { plan } = this.#site
    const read = plan.weights.read * this.#curiosity
    const total = plan.weights.write + plan.weights.writes + read + plan.weights.barrier
    let draw = this.#random.next() * total
    const kind =
      (draw -= plan.weights.write) < 0
        ? 'write'
        : (draw -= plan.weights.writes) < 0
          ? 'writes'
          : draw < read
            ? 'read'
            : this.#random.pick(['barrier', 'readIndex', 'ready'] as const)
    return this.#operation(server, kind, kind === 'write' ? 1 : kind === 'writes' ? this.#random.int(2, 9) : 0)
  }

  #operation(server: SimServer, drawn: Operation['kind'], count: number): Operation {
    const { plan } = this.#site
    const kind = plan.anywhere > 0 && this.#random.chance(plan.anywhere) ? (ANYWHERE[drawn] ?? drawn) : drawn
    const id = this.#site.nextId()
    const commands = Array.from({ length: count }, () => this.#site.nextId())
    const key = this.#random.int(0, plan.keys)
    const waits = this.#random.chance(plan.deadlines) ? this.#random.int(1, plan.deadlineMs + 1) : null
    const timeoutMs = this.isPatient ? null : waits
    const deadline = timeoutMs === null ? Infinity : server.clock.now() + timeoutMs
    const signal = this.isPatient ? null : this.#site.signals.draw(server.process, plan.signals)
    const isRead = kind === 'read' || kind === 'query'
    const isByLease = isRead && plan.leases > 0 && this.#random.chance(plan.leases)
    const asked = { server: server.id, epoch: server.epoch, ...(isByLease ? { isByLease } : {}) }
    return { id, kind, client: this.#ordinal, ...asked, key, commands, timeoutMs, deadline, signal }
  }

  async #call(raft: SimRaft, { kind, commands, key, timeoutMs, signal, isByLease }: Operation): Promise<SimAnswer> {
    const options: WaitOptions = {
      ...(timeoutMs === null ? {} : { timeoutMs }),
      ...(signal === null ? {} : { signal }),
    }
    switch (kind) {
      case 'write':
        return raft.apply({ id: commands[0] ?? 0, key, inner: this.#inner() }, options)
      case 'writes': {
        const answers = await raft.applyAll(
          commands.map((id) => ({ id, key, inner: this.#inner() })),
          options,
        )
        return answers.at(-1) ?? { index: 0, value: 0 }
      }
      case 'submit': {
        const { index, result } = await raft.propose({ id: commands[0] ?? 0, key, inner: this.#inner() }, options)
        hold(result.index === index, 14, () => `a command told to be at ${index} has the answer of ${result.index}`)
        return result
      }
      case 'read':
        return raft.read(key, isByLease ? { ...options, consistency: 'lease' } : options)
      case 'query':
        return raft.query(key, isByLease ? { ...options, consistency: 'lease' } : options)
      case 'readIndex':
        return { index: await raft.readIndex(options), value: 0 }
      case 'barrier':
        return { index: await raft.barrier(options), value: 0 }
      case 'ready':
        await raft.ready(options)
        return { index: 0, value: 0 }
      default:
        throw new TypeError(`a client without sessions is asked for ${kind}`)
    }
  }

  #inner(): Uint8Array {
    const { plan, tested } = this.#site
    if (tested !== null) return tested.command(() => this.#random.next())
    const length = this.#random.int(0, plan.paddingMax + 1)
    if (length > padding.length) padding = new Uint8Array(plan.paddingMax)
    return padding.subarray(0, length)
  }

  #end(pending: Pending, returned: Returned): void {
    // A process that is gone answers no more, whatever its promises still do.
    if (this.#pending !== pending) return
    this.#pending = null
    this.#site.observers.returned(pending.operation, returned)
    if (returned.status === 'ok') {
      this.answered += 1
      this.#believes = pending.server
      this.#think(1)
      return
    }
    if (returned.code === 'ERR_RAFT_NO_LEADER' || returned.status === 'lost') this.#believes = null
    this.#site.queue.after(this.#random.exponential(this.#site.plan.refusedMs), () => this.#act())
  }
}
