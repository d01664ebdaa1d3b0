/**
 * One server of a world: its machine (disk, clock, address), which stays, and the process that runs on it, which comes
 * and goes. What faults do to a server they do here.
 */

import type { CoreCounters, RaftCore } from '../../../core/raft-core.js'
import type { RaftError } from '../../../errors.js'
import type { MemoryDisk } from '../../../storage/memory/memory-log-store.js'
import type { Counters } from '../../../server/server.js'
import type { Recovery } from '../../../server/open/recover.js'
import type { Server, ServerId } from '../../../types.js'
import type { EventQueue } from '../event-queue.js'
import type { FramedMachine } from '../../machine-under-test.js'
import type { ServerView } from '../../observer.js'
import type { Plan } from '../plan.js'
import type { SeededRandom } from '../random.js'
import type { WorldObservers } from '../world-observers.js'
import { SimClock } from './sim-clock.js'
import { SimDisk } from './sim-disk.js'
import { MachineFault, SimMachine } from './sim-machine.js'
import type { MachineFaultPlace, MachineUser } from './sim-machine.js'
import type { SimNetwork } from './sim-network.js'
import { SimProcess } from './sim-process.js'
import type { ProcessSite } from './sim-process.js'
import type { HostedMachine } from './hosted-machine.js'

/** What all servers of a world share. */
export interface ServerSite {
  readonly queue: EventQueue
  readonly network: SimNetwork
  readonly observers: WorldObservers
  readonly plan: Plan
  readonly bootstrap: readonly Server[]
  /** Promises may have settled: what follows from them comes before the next event. */
  promised(): void
  /** One input of a core. */
  countStep(): void
  /** What runs on every server beside the registers; null for nothing. */
  readonly tested: FramedMachine | null
  /** Makes what runs there instead of the registers; null: the registers. */
  readonly hosted: HostedMachine | null
  /** An observer threw where nobody awaits it. */
  failed(error: unknown): void
  /** The machine under test threw. */
  machineFailed(server: SimServer, error: RaftError): void
  /** A process is gone: callers on it will never hear. */
  gone(server: SimServer): void
}

/** Which server it is, and where. */
export interface Place {
  readonly id: ServerId
  /** Its own, also of a clone. */
  readonly ordinal: number
  readonly address: string
}

/** All of them are empty when nothing is asked of the server and nobody lags. */
export interface Rooms extends Counters, CoreCounters {
  /** Messages that were handed to the transport and not flushed. */
  readonly unsent: number
  /** Tickets that the disk has not written. */
  readonly unwritten: number
  /** Bytes that the idle disk would take, and the core believes it does not. */
  readonly creditMissing: number
  /** Reads of the disk under way. */
  readonly blocksRead: number
}

export class SimServer implements ServerView {
  readonly id: ServerId
  readonly ordinal: number
  readonly address: string
  readonly sim: SimDisk
  readonly clock: SimClock
  boot = 0
  epoch = 0
  /** With which it joins: of a server that comes anew; null of a first member. */
  recoveries: readonly string[] | null = null
  /** An operator sees to it that nothing starts here. */
  isKeptDown = false
  /** Null: nothing runs. */
  process: SimProcess | null = null
  /** Why the last process ended by itself. */
  trouble: string | null = null
  /** Where its state machine throws next. */
  readonly machineFaults = new Set<MachineFaultPlace>()
  /** Its disk was wiped or rolled back: nothing that it has said before holds any more. */
  hasForgotten = false
  /** Where its processes ask which cluster they are to join, if their folder is new; null: they know. */
  asks: readonly string[] | null = null
  /** When it last came back with another disk. */
  renewedAt = -Infinity
  /** Another process runs under its id, from an older copy of its disk. */
  isCloned = false
  readonly #site: ServerSite
  readonly #random: SeededRandom

  constructor(site: ServerSite, { id, ordinal, address }: Place, random: SeededRandom) {
    this.#site = site
    this.#random = random
    this.ordinal = ordinal
    this.id = id
    this.address = address
    this.clock = new SimClock(site.queue, random.between(0, 1e6))
    const user = { wrote: (): void => this.#wrote(), promised: (): void => site.promised() }
    this.sim = new SimDisk(site.queue, site.plan.disk, random.fork(), user)
  }

  /** Not where a machine of others runs. */
  get takesSnapshots(): boolean {
    return this.#site.tested === null && this.#site.hosted === null
  }

  get core(): RaftCore | null {
    return this.process?.server?.core ?? null
  }

  get disk(): MemoryDisk {
    return this.sim.memory
  }

  get halted(): boolean {
    return this.process !== null && this.process.server !== null && this.process.hasFailed
  }

  get paused(): boolean {
    return this.process?.isPaused ?? false
  }

  get isUp(): boolean {
    return this.process?.raft !== null && this.process !== null && !this.halted
  }

  /** How much stands in each room of its process, and of what that stands on; null while there is none. */
  get rooms(): Rooms | null {
    const { process } = this
    if (process === null || process.server === null) return null
    const { core } = process.server
    return {
      ...process.server.counters,
      ...core.counters,
      unsent: process.transport.unsent,
      unwritten: this.disk.pendingTickets,
      creditMissing: this.disk.capacityBytes - core.credit,
      blocksRead: process.store.reads,
    }
  }

  start(): void {
    if (this.process !== null || this.isKeptDown) return
    this.#newProcess().start()
  }

  /** An operator makes a cluster of its own of this folder, from which no server runs. */
  recover(servers: readonly Server[], recovered: (recovery: Recovery) => void): void {
    this.#newProcess().recover(servers, (recovery) => {
      this.crash('recovered', false)
      recovered(recovery)
    })
  }

  #newProcess(): SimProcess {
    this.boot += 1
    this.trouble = null
    this.#site.network.powered(this.address)
    const process: SimProcess = new SimProcess(this.#processSite(() => process))
    this.process = process
    return process
  }

  /**
   * The process dies. `silent`: the machine loses its power, and peers are not told that their connections are gone.
   */
  crash(how: string, silent: boolean): void {
    const { process } = this
    if (process === null) return
    const { network, observers } = this.#site
    observers.crashed(this, how)
    process.kill()
    if (silent) this.sim.losePower()
    else this.sim.crash()
    this.process = null
    const die = (): void => {
      network.kill(this.address)
      // One that has not begun to listen does not begin any more.
      void this.#closeTransport()
    }
    if (silent) network.silently(this.address, die)
    else die()
    this.#site.gone(this)
  }

  /** Ends the process as an operator does; it is gone when everything that was submitted is durable. */
  stop(): void {
    const { process } = this
    if (process === null || process.raft === null) return
    process.raft.close().then(
      () => this.#site.promised(),
      () => {},
    )
  }

  pause(): void {
    this.process?.pause()
  }

  resume(): void {
    this.process?.resume()
  }

  /** The next process finds an empty disk. */
  wipe(): void {
    this.#forget('wiped')
    this.sim.wipe()
  }

  /** The next process finds the disk as it was when it was copied. Invariant: it was. */
  rollBack(): void {
    this.#forget('rolled back')
    this.sim.rollBack()
  }

  /**
   * It is no member, and the next process finds another disk. Returns which. With `asks` its operator gives it the
   * addresses of others, as one does who adds a server; without, its old options.
   */
  renew(asks: readonly string[] | null, mayBeFormer: boolean): 'former' | 'new' {
    this.asks = asks
    this.renewedAt = this.#site.queue.now
    this.crash('renewed', false)
    this.#site.observers.renewed(this)
    return this.sim.exchange(mayBeFormer)
  }

  /** The machine is gone for good, and its disk with it; what starts in its place is another one. */
  destroy(): void {
    this.isKeptDown = true
    this.crash('destroyed', true)
    this.#site.observers.renewed(this)
    this.sim.wipe()
    this.sim.mend()
  }

  /** It starts in an empty folder, as one that is to join the cluster that was recovered. */
  comeAnew(epoch: number, recoveries: readonly string[]): void {
    this.epoch = epoch
    this.recoveries = recoveries
    this.isKeptDown = false
    this.start()
  }

  #forget(how: string): void {
    this.crash(how, false)
    this.hasForgotten = true
    this.#site.observers.forgot(this)
  }

  #slowly<Result>(process: SimProcess, run: () => Result | Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#site.queue.after(this.#random.exponential(this.#site.plan.applyMs), () => {
        process.arrive(() => {
          process.promised()
          try {
            resolve(run())
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)))
          }
        })
      })
    })
  }

  #closeTransport: () => Promise<void> = async () => {}

  #wrote(): void {
    const ticket = this.process?.store.poll().durable ?? 0
    this.#site.observers.durable(this, ticket)
    this.process?.pointOutside('written')
  }

  /** In a promise's callback: as a rejection that nobody awaits, it would be told after whatever follows from it. */
  #orFail(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      this.#site.failed(error)
    }
  }

  #processSite(self: () => SimProcess): ProcessSite {
    const { plan, observers, bootstrap, network, queue } = this.#site
    const transport = network.transport(this.address)
    this.#closeTransport = () => transport.close()
    const user: MachineUser = {
      point: (where) => self().point(where),
      slowly: (run) => (plan.applyMs === 0 ? null : this.#slowly(self(), run)),
      applied: (commands, last, hash) => observers.applied(this, commands, last, hash),
      restored: (meta, hash) => observers.restored(this, meta, hash),
      disturb: (where) => {
        if (this.machineFaults.delete(where)) throw new MachineFault(`planned to fail in ${where}`)
      },
      stateBytes: plan.stateBytes,
    }
    const machine = this.#site.hosted?.(this, self, user) ?? new SimMachine(this.#site.tested, user)
    return {
      id: this.id,
      bootstrap,
      asks: this.asks,
      recoveries: this.recoveries,
      heartbeatMs: plan.heartbeatMs,
      electionTimeoutMs: plan.electionTimeoutMs,
      snapshots: this.takesSnapshots ? plan.snapshots : false,
      takesClients: plan.clients.outside > 0,
      clock: this.clock,
      disk: this.sim,
      transport,
      machine,
      random: () => this.#random.next(),
      // No other process has the same.
      // In the digits that a snapshot has of it, too.
      drawNonce: () => [this.ordinal + 1, this.boot, 0, 0].map((part) => part.toString(16).padStart(8, '0')).join(''),
      next: (run) => void queue.call(queue.now, run),
      queueTurn: (turn) => void queue.add(queue.now + this.#random.exponential(plan.turnMs), turn),
      opened: () => {
        const isNew = this.asks !== null && this.disk.durable.lastIndex === 1
        if (isNew) observers.fault('asks-where-to-join', this.id)
        this.#orFail(() => observers.booted(this))
      },
      ended: (process, error) => {
        this.trouble = error?.code ?? 'closed'
        const isPlanned = error?.cause instanceof MachineFault
        if (error?.code === 'ERR_RAFT_APPLY_FAILED' && !isPlanned) this.#site.machineFailed(this, error)
        // What its callers were told comes first.
        queue.call(queue.now, () => {
          if (process !== this.process) return
          observers.ended(this)
          if (error === null) this.crash('closed', false)
        })
      },
      stepped: (core, input) => {
        this.#site.countStep()
        observers.stepped(this, core, input)
      },
      decided: (core, ready) => observers.decided(this, core, ready),
      turned: (core) => observers.turned(this, core),
      submitted: (ticket, operations) => observers.submitted(this, ticket, operations),
      repaired: (range, before) => observers.repaired(this, range, before),
      sent: (to, message) => observers.sent(this, to, message),
      delivered: (from, message) => observers.delivered(from, this, message),
      framed: (channel, frame) => observers.framed(this, channel, frame),
      promised: () => this.#site.promised(),
      die: (where) => {
        if (self() === this.process) this.crash(`at ${where}`, this.#random.chance(0.2))
      },
    }
  }
}
