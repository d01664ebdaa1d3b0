/**
 * Clients of a world that have sessions: what may have been done they send again, on whichever server, until they know;
 * now and then also what was answered already, or another command as what was answered long ago. They mostly ask
 * whoever leads, and where other clients ask on any server, any. Those outside ask through a `RaftClient`.
 */

import { RaftError } from '../../errors.js'
import type { Session } from '../../server/session.js'
import type { SessionToken } from '../../types.js'
import type { ServerView } from '../observer.js'
import type { SimAnswer, SimCommand } from './doubles/sim-machine.js'
import { SESSION_COMMANDS } from './doubles/sim-machine.js'
import type { SimRaft } from './doubles/sim-process.js'
import type { SimServer } from './doubles/sim-server.js'
import { OUTSIDE } from './outside-clients.js'
import type { SessionInvariants } from './invariants/session-invariants.js'
import { SeededRandom } from './random.js'
import type { Operation, Returned, WorldObserver } from './world-observer.js'
import type { Actor, World } from './world.js'

type SimSession = Session<SimCommand, SimAnswer>

/** A command, and as what it was sent. */
interface Sent {
  readonly command: SimCommand
  readonly token: SessionToken
}

/** What a client does next. */
type Step =
  | { readonly kind: 'sessionOpen' }
  | { readonly kind: 'sessionClose'; readonly token: SessionToken }
  | ({ readonly kind: 'session' | 'sessionAgain' | 'sessionRepeat' | 'sessionBack' } & Sent)

/** Where sessions are opened, and gone on with. */
export type SessionDoor = Pick<SimRaft, 'openSession' | 'resumeSession'>

/** Whom a client asks: a server, or from outside whichever its `RaftClient` has found; then `server` is null. */
interface Asked {
  readonly door: SessionDoor
  readonly server: SimServer | null
}

interface Pending {
  readonly operation: Operation
  readonly step: Step
  readonly server: SimServer | null
}

const NOTHING = { index: 0, applied: 0, value: 0 }
const EMPTY = new Uint8Array(0)

/** All of one world. */
export class SessionClients implements Actor, WorldObserver {
  readonly #invariants: SessionInvariants
  readonly #clients: SessionClient[] = []
  /** Doors outside; asked once the world has begun. */
  readonly #outside: () => readonly SessionDoor[]

  constructor(invariants: SessionInvariants, outside: () => readonly SessionDoor[]) {
    this.#invariants = invariants
    this.#outside = outside
  }

  start(world: World): void {
    const { clients, seed } = world.plan
    const random = new SeededRandom(seed ^ 0x5e551045)
    const doors = [...Array.from({ length: clients.sessions }, () => null), ...this.#outside()]
    for (const [ordinal, door] of doors.entries()) {
      const client = new SessionClient(world, this.#invariants, ordinal, random.fork(), door)
      this.#clients.push(client)
      client.think(1)
    }
  }

  crashed({ ordinal }: ServerView): void {
    for (const client of this.#clients) client.gone(ordinal)
  }

  healed(): void {
    for (const client of this.#clients) client.isStopped = true
  }

  /** What they wait for on servers that will answer, at their deadline at the latest; empty for nothing. */
  underWay(): string {
    return this.#clients.flatMap(({ waitsFor }) => waitsFor ?? []).join(', ')
  }
}

class SessionClient {
  isStopped = false
  readonly #world: World
  readonly #invariants: SessionInvariants
  readonly #ordinal: number
  readonly #random: SeededRandom
  #count = 0
  #believes: SimServer | null = null
  #pending: Pending | null = null
  /** As what the next command is sent; null: there is no session. */
  #token: SessionToken | null = null
  /** The session as it was opened or resumed there; null: it is resumed. */
  #live: { readonly session: SimSession; readonly door: SessionDoor } | null = null
  /** What may have been done. */
  #doubt: Sent | null = null
  /** What was answered last, and before that. */
  #last: Sent | null = null
  #older: Sent | null = null

  readonly #outside: SessionDoor | null

  constructor(
    world: World,
    invariants: SessionInvariants,
    ordinal: number,
    random: SeededRandom,
    outside: SessionDoor | null,
  ) {
    this.#world = world
    this.#invariants = invariants
    this.#ordinal = ordinal
    this.#random = random
    this.#outside = outside
  }

  /** Null: nothing, or what a server has that is given up and may be paused. */
  get waitsFor(): string | null {
    const pending = this.#pending
    if (pending === null || (pending.server !== null && this.#world.isLeftBroken(pending.server))) return null
    return `a client waits for ${pending.operation.kind} on ${pending.operation.server}`
  }

  think(times: number): void {
    const { queue, plan } = this.#world
    queue.after(this.#random.exponential(plan.clients.thinkMs) * times, () => this.#act())
  }

  gone(ordinal: number): void {
    const pending = this.#pending
    if (pending?.server?.ordinal === ordinal) this.#end(pending, { status: 'lost', code: null, ...NOTHING }, null)
  }

  #act(): void {
    if (this.isStopped || this.#pending !== null) return
    const asked = this.#choose()
    if (asked === null) return this.think(3)
    const { door, server } = asked
    const step = this.#draw()
    const operation = this.#operation(server, step)
    const pending = { operation, step, server }
    this.#pending = pending
    this.#world.observers.invoked(operation)
    this.#world.promised()
    this.#call(door, step, operation.timeoutMs ?? 1)
      .then(
        (answer) => {
          const applied = server?.core?.log.appliedIndex ?? 0
          this.#end(
            pending,
            { status: 'ok', code: null, applied, index: answer?.index ?? 0, value: answer?.value ?? 0 },
            null,
          )
        },
        (error: unknown) => {
          if (!(error instanceof RaftError)) throw error
          this.#end(pending, { status: error.outcome, code: error.code, ...NOTHING }, error)
        },
      )
      .catch((error: unknown) => this.#world.failed(error))
  }

  #choose(): Asked | null {
    if (this.#outside !== null) return { door: this.#outside, server: null }
    const server = this.#chooseServer()
    const door = server?.process?.raft ?? null
    return door === null ? null : { door, server }
  }

  #chooseServer(): SimServer | null {
    const candidates = this.#world.servers.filter((server) => server.isUp && !server.paused)
    const leader = this.#believes
    const { anywhere } = this.#world.plan.clients
    if (leader !== null && candidates.includes(leader) && !this.#random.chance(Math.max(0.1, anywhere))) return leader
    return candidates.length === 0 ? null : this.#random.pick(candidates)
  }

  #draw(): Step {
    const token = this.#token
    if (this.#doubt !== null) return { kind: 'sessionAgain', ...this.#doubt }
    if (token === null) return { kind: 'sessionOpen' }
    const draw = this.#random.next()
    if (draw < 0.03) return { kind: 'sessionClose', token }
    if (draw < 0.15 && this.#last !== null) return { kind: 'sessionRepeat', ...this.#last }
    const command = this.#command()
    if (draw < 0.2 && this.#older !== null) {
      this.#invariants.wentBack(command.id)
      return { kind: 'sessionBack', command, token: this.#older.token }
    }
    return { kind: 'session', command, token }
  }

  /** Their ids are apart from those of all other commands. */
  #command(): SimCommand {
    this.#count += 1
    const id = SESSION_COMMANDS + 2 ** 20 * this.#ordinal + this.#count
    return { id, key: this.#random.int(0, this.#world.plan.clients.keys), inner: EMPTY }
  }

  #operation(server: SimServer | null, { kind }: Step): Operation {
    const { plan } = this.#world
    // Commands of sessions are judged by invariant 15, not as those that are sent once.
    const timeoutMs = Math.ceil(plan.electionTimeoutMs * this.#random.logBetween(0.2, 5))
    const client = plan.clients.count + 1000 + this.#ordinal
    const deadline = (server?.clock.now() ?? 0) + timeoutMs
    const asked = { ...(server === null ? OUTSIDE : { server: server.id, epoch: server.epoch }), client }
    return { id: this.#world.nextId(), kind, ...asked, key: 0, commands: [], timeoutMs, deadline, signal: null }
  }

  async #call(door: SessionDoor, step: Step, timeoutMs: number): Promise<SimAnswer | null> {
    if (step.kind === 'sessionOpen') {
      const expiresAfterMs = this.#random.pick([1000, 10_000, 3_600_000])
      const session = await door.openSession({ timeoutMs, expiresAfterMs })
      this.#live = { session, door }
      this.#token = session.token
      return null
    }
    if (step.kind === 'sessionClose') {
      await this.#sessionOn(door, step.token).close({ timeoutMs })
      return null
    }
    const { command, token } = step
    const session = step.kind === 'session' ? this.#sessionOn(door, token) : door.resumeSession(token)
    const answer = await session.apply(command, { timeoutMs })
    // From here on it is gone on with as what was sent again.
    if (step.kind === 'session' || step.kind === 'sessionAgain') this.#live = { session, door }
    return answer
  }

  #sessionOn(door: SessionDoor, token: SessionToken): SimSession {
    const live = this.#live
    if (live !== null && live.door === door) return live.session
    return door.resumeSession(token)
  }

  #end(pending: Pending, returned: Returned, error: RaftError | null): void {
    if (this.#pending !== pending) return
    this.#pending = null
    const { operation, step, server } = pending
    this.#world.observers.returned(operation, returned)
    this.#learn(step, returned, error)
    const leader = error?.leader ?? server?.core?.leader ?? null
    if (leader !== null) this.#believes = this.#world.servers.find(({ id }) => id === leader.id) ?? null
    else if (this.#random.chance(0.3)) this.#believes = null
    if (this.isStopped) return
    if (returned.status === 'ok') return this.think(this.#random.chance(0.01) ? 1000 : 1)
    this.#world.queue.after(this.#random.exponential(this.#world.plan.clients.refusedMs), () => this.#act())
  }

  #learn(step: Step, { status, code, index, value }: Returned, error: RaftError | null): void {
    if (step.kind === 'sessionOpen') return
    if (code === 'ERR_RAFT_SESSION_LOST' || (step.kind === 'sessionClose' && status !== 'not-applied')) {
      this.#forget()
      if (step.kind === 'session' && status === 'not-applied') this.#invariants.notApplied(step.command.id)
      return
    }
    if (step.kind === 'sessionClose') {
      this.#live = null
      return
    }
    const { kind, command, token } = step
    if (status === 'ok') {
      this.#invariants.answered(command.id, { index, value })
      if (kind !== 'sessionRepeat') this.#answered({ command, token })
    } else if (kind === 'session' || kind === 'sessionAgain') this.#failed(step, status, error)
    else if (kind === 'sessionRepeat') this.#invariants.refused(command.id, code ?? '')
  }

  #answered(sent: Sent): void {
    this.#doubt = null
    this.#older = this.#last
    this.#last = sent
    this.#token = this.#live?.session.token ?? this.#token
  }

  #failed({ kind, command, token }: Step & Sent, status: Returned['status'], error: RaftError | null): void {
    if (error !== null) this.#invariants.refused(command.id, error.code)
    this.#live = null
    if (status === 'not-applied' && kind === 'session') return this.#invariants.notApplied(command.id)
    this.#doubt = { command, token: error?.session ?? token }
  }

  #forget(): void {
    this.#token = null
    this.#live = null
    this.#doubt = null
    this.#last = null
    this.#older = null
  }
}
