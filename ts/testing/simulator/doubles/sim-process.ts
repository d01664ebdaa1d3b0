/**
 * One process of a simulated server, from its start to its end: the real shell over the doubles. Everything that
 * reaches it comes through `arrive`, everything it does by itself is a turn that the world decides on; so it can be
 * paused, with a flood after, and it can die between any two steps.
 */

import type { Request, Response } from '../../../core/messages.js'
import { RaftCore } from '../../../core/raft-core.js'
import type { Input, Ready } from '../../../core/ready.js'
import { RaftError } from '../../../errors.js'
import type { EntryRange } from '../../../errors.js'
import type { StateMachine } from '../../../machine/state-machine.js'
import { recoverSettingsOf, settingsOf } from '../../../options.js'
import type { RecoverOptions, SnapshotOptions } from '../../../options.js'
import { FileSnapshotStore } from '../../../snapshot/file-snapshot-store.js'
import { Raft } from '../../../raft.js'
import { openServer } from '../../../server/open/open-server.js'
import { recover } from '../../../server/open/recover.js'
import type { Recovery } from '../../../server/open/recover.js'
import type { Server as RunningServer } from '../../../server/server.js'
import type { Ticket } from '../../../storage/log-store.js'
import type { Transport } from '../../../transport/transport.js'
import type { CancelTimer, Clock, Server, ServerId, StoreOperation } from '../../../types.js'
import type { Happening } from '../event-queue.js'
import type { DiskBefore } from '../invariants/repair-invariants.js'
import type { SimClock } from './sim-clock.js'
import type { SimDisk } from './sim-disk.js'
import type { SimAnswer, SimCommand } from './sim-machine.js'
import { simCodec } from './sim-machine.js'
import { SimFiles } from './sim-files.js'
import type { FilesUser } from './sim-files.js'
import { SimStore } from './sim-store.js'
import type { StoreUser } from './sim-store.js'
import { SimTransport } from './sim-transport.js'
import type { TransportUser } from './sim-transport.js'

export type SimRaft = Raft<SimCommand, SimAnswer, number, SimAnswer>

/** Longer than any world lasts. */
const JOIN_TIMEOUT_MS = 2 ** 31 - 1

/** What a process needs of its machine. */
export interface ProcessSite {
  readonly id: ServerId
  readonly bootstrap: readonly Server[]
  /** It asks at these addresses which cluster it is to join; null: it knows. */
  readonly asks: readonly string[] | null
  /** It joins the cluster that has come through these; null: it is a first member. */
  readonly recoveries: readonly string[] | null
  readonly heartbeatMs: number
  readonly electionTimeoutMs: number
  readonly snapshots: SnapshotOptions | false
  /** It lets clients in. */
  readonly takesClients: boolean
  readonly clock: SimClock
  readonly disk: SimDisk
  readonly transport: Transport
  readonly machine: StateMachine<SimCommand, SimAnswer, number, SimAnswer>
  random(): number
  drawNonce(): string
  /** Runs something now, as a happening of its own. */
  next(run: () => void): void
  /** Runs a turn soon. */
  queueTurn(turn: Happening): void
  opened(process: SimProcess): void
  /** It could not open, has halted, or has closed. */
  ended(process: SimProcess, error: RaftError | null): void
  stepped(core: RaftCore, input: Input): void
  decided(core: RaftCore, ready: Ready): void
  turned(core: RaftCore): void
  submitted(ticket: Ticket, operations: readonly StoreOperation[]): void
  repaired(range: EntryRange, before: DiskBefore): void
  sent(to: ServerId, message: Request | Response): void
  delivered(from: ServerId, message: Request | Response): void
  framed(channel: object, frame: Uint8Array): void
  promised(): void
  /** The process dies here and now. */
  die(where: string): void
}

/** Thrown through the shell when its process dies in the middle of something; ends in `run`. */
class Death extends Error {
  override readonly name = 'Death'
}

export class SimProcess implements StoreUser, FilesUser, TransportUser, Happening {
  isAlive = true
  isPaused = false
  server: RunningServer | null = null
  raft: SimRaft | null = null
  /** Calls of operators that it has not answered. */
  asked = 0
  /** Dies at the n-th point from now on; 0 for never. */
  pointsToLive = 0
  store: SimStore
  readonly transport: SimTransport
  readonly #site: ProcessSite
  #held: (() => void)[] = []
  /** The shell asks for one turn at a time. */
  #deferred: () => void = () => {}

  constructor(site: ProcessSite) {
    this.#site = site
    this.store = new SimStore(site.disk, this)
    this.transport = new SimTransport(site.transport, this)
  }

  start(): void {
    const site = this.#site
    const settings = settingsOf<SimCommand, SimAnswer, number, SimAnswer>({
      id: site.id,
      dir: site.id,
      transport: this.transport,
      ...(site.asks === null ? { bootstrap: site.bootstrap } : { join: site.asks, joinTimeoutMs: JOIN_TIMEOUT_MS }),
      ...(site.recoveries === null ? {} : { join: true, recoveries: site.recoveries }),
      stateMachine: site.machine,
      codec: simCodec,
      ...this.#folder(),
      snapshots: site.snapshots,
      clients: site.takesClients,
      heartbeatMs: site.heartbeatMs,
      electionTimeoutMs: site.electionTimeoutMs,
      random: () => site.random(),
    })
    site.promised()
    openServer(settings, () => site.drawNonce()).then(
      (server) => {
        if (!this.isAlive) return
        this.#watch(server)
        this.server = server
        this.raft = new Raft(server, settings)
        site.opened(this)
        void this.raft.closed.then((error) => {
          if (this.isAlive) site.ended(this, error)
        })
      },
      (error: unknown) => this.#failed(error),
    )
  }

  /** Runs the one call of an operator instead of a server, and tells what came of it if it lives to. */
  recover(servers: readonly Server[], recovered: (recovery: Recovery) => void): void {
    const site = this.#site
    const settings = recoverSettingsOf(site.id, servers, { ...this.#folder(), mayLoseData: true })
    site.promised()
    recover(settings, () => site.drawNonce()).then(
      (recovery) => site.next(() => this.arrive(() => recovered(recovery))),
      (error: unknown) => this.#failed(error),
    )
  }

  get hasFailed(): boolean {
    return this.server?.fault !== null || this.store.failed
  }

  /** Runs something in this process: now, after a pause, or, when it is dead, never. */
  arrive(run: () => void): void {
    if (this.isPaused) this.#held.push(run)
    else this.#run(run)
  }

  pause(): void {
    this.isPaused = true
  }

  /** Everything that came meanwhile comes at once, and what follows from each before the next. */
  resume(): void {
    this.isPaused = false
    const held = this.#held
    this.#held = []
    for (const run of held) this.#site.next(() => this.arrive(run))
  }

  /** From here on nothing of this process has any effect. The transport is the caller's to silence. */
  kill(): void {
    this.isAlive = false
    this.#held = []
    this.#site.clock.forgetTimers()
  }

  point(where: string): void {
    if (!this.isAlive) throw new Death()
    if (this.pointsToLive === 0) return
    this.pointsToLive -= 1
    if (this.pointsToLive > 0) return
    this.#site.die(where)
    throw new Death()
  }

  /** A point at which it dies without anything to unwind. */
  pointOutside(where: string): void {
    if (!this.isAlive || this.pointsToLive === 0) return
    this.pointsToLive -= 1
    if (this.pointsToLive === 0) this.#site.die(where)
  }

  submitted(ticket: Ticket, operations: readonly StoreOperation[]): void {
    this.#site.submitted(ticket, operations)
  }

  repaired(range: EntryRange, before: DiskBefore): void {
    this.#site.repaired(range, before)
  }

  sent(to: ServerId, message: Request | Response): void {
    this.#site.sent(to, message)
  }

  delivered(from: ServerId, message: Request | Response): void {
    this.#site.delivered(from, message)
  }

  framed(channel: object, frame: Uint8Array): void {
    this.#site.framed(channel, frame)
  }

  promised(): void {
    this.#site.promised()
  }

  #failed(error: unknown): void {
    if (!this.isAlive) return
    if (!(error instanceof RaftError)) throw error
    this.#site.ended(this, error)
  }

  /** A store is opened once; a recovery looks at the folder first. */
  #folder(): Pick<RecoverOptions, 'storage' | 'snapshotStorage' | 'clock' | 'logger'> {
    const { disk } = this.#site
    return {
      storage: { name: 'simulated', create: () => (this.store = new SimStore(disk, this)) },
      snapshotStorage: { name: 'simulated', create: (dir) => new FileSnapshotStore(dir, new SimFiles(disk, this)) },
      clock: this.#clock(),
      logger: false,
    }
  }

  #run(run: () => void): void {
    if (!this.isAlive) return
    try {
      run()
    } catch (error) {
      if (!(error instanceof Death)) throw error
    }
  }

  #clock(): Clock {
    const { clock } = this.#site
    return {
      now: () => clock.now(),
      bootNow: () => clock.bootNow(),
      wallNow: () => clock.wallNow(),
      setTimer: (delayMs, callback): CancelTimer => {
        if (!this.isAlive) return () => {}
        return clock.setTimer(delayMs, () => this.arrive(callback))
      },
      defer: (callback) => {
        if (!this.isAlive) return
        this.#deferred = callback
        this.#site.queueTurn(this)
      },
    }
  }

  /** The turn that was asked for. */
  happen(): void {
    this.arrive(this.#turn)
  }

  readonly #turn = (): void => {
    this.#site.promised()
    this.#deferred()
    if (this.server !== null && this.isAlive) this.#site.turned(this.server.core)
  }

  /** From outside, by the two doors of the core, so that the shell is what users run. */
  #watch({ core }: RunningServer): void {
    const site = this.#site
    core.step = (input) => {
      // One function for all cores, so that the engine can put it in its callers.
      RaftCore.prototype.step.call(core, input)
      if (this.isAlive) site.stepped(core, input)
    }
    core.takeReady = () => {
      const ready = RaftCore.prototype.takeReady.call(core)
      if (this.isAlive) site.decided(core, ready)
      return ready
    }
  }
}
