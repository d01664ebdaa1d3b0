/**
 * What clients may rely on: invariants 13 (linearizable), 14 (exactly one outcome, and a true one) and 25 (a call ends
 * at its deadline, with its signal and with its server, and for nothing else; what it tells is applied where it was
 * told). The world knows the one order of all commands, so a history is judged as it grows, without a search: what a
 * call saw may not lie before what was already seen when it began. A recovery from a lost quorum takes back what is
 * not in the log that it began with, and nothing else; from then on only the recovered cluster may answer.
 */

import type { Truth } from '../../invariants/truth.js'
import { hold } from '../../invariants/violation.js'
import type { RaftCore } from '../../../core/raft-core.js'
import type { Input } from '../../../core/ready.js'
import type { AppliedCommand, ServerView } from '../../observer.js'
import type { Operation, Returned, WorldObserver } from '../world-observer.js'

/** How long after its deadline a call may end: one bucket of `Deadlines`. */
const GRAIN_MS = 8

/** Of one server: its calls with a deadline, and when deadlines were last looked at, and the time before. */
interface Due {
  readonly calls: Map<number, Operation>
  lookedAt: number
  lookedBefore: number
}

/** What writes nothing. */
const READS: ReadonlySet<Operation['kind']> = new Set(['read', 'query', 'readIndex'])

type Fate = 'open' | 'ok' | 'not-applied' | 'unknown'

export class ClientInvariants implements WorldObserver {
  /** Calls that have returned with a result. */
  succeeded = 0
  readonly #truthOf: (epoch: number) => Truth
  /** Of the cluster that may answer. */
  #epoch = 0
  /** By command: where it was applied; undefined while it is not. */
  readonly #appliedAt: (number | undefined)[] = []
  readonly #fates: (Fate | undefined)[] = []
  readonly #open = new Map<number, { readonly operation: Operation; readonly floor: number }>()
  readonly #due = new Map<string, Due>()
  /** The furthest place in the order that any returned call has proved to be committed. */
  #floor = 0

  /** `truthOf`: each epoch has its own. */
  constructor(truthOf: (epoch: number) => Truth) {
    this.#truthOf = truthOf
  }

  recovered({ epoch }: ServerView): void {
    const kept = this.#truthOf(this.#epoch).agreesUpTo(this.#truthOf(epoch))
    this.#floor = Math.min(this.#floor, kept)
    this.#epoch = epoch
  }

  applied(_server: ServerView, commands: readonly AppliedCommand[]): void {
    for (const { id, index } of commands) {
      if (id === 0) continue
      const before = this.#appliedAt[id]
      hold(before === undefined || before === index, 14, () => `command ${id} is applied at ${before} and at ${index}`)
      hold(this.#fates[id] !== undefined, 14, () => `command ${id} is applied and was never given`)
      hold(this.#fates[id] !== 'not-applied', 14, () => `command ${id} is applied at ${index} after "not-applied"`)
      this.#appliedAt[id] = index
    }
  }

  invoked(operation: Operation): void {
    this.#open.set(operation.id, { operation, floor: this.#floor })
    if (operation.timeoutMs !== null && operation.isOutside !== true)
      this.#dueOn(operation.server).calls.set(operation.id, operation)
    for (const id of operation.commands) this.#fates[id] = 'open'
  }

  // Hot path: once per core step.
  stepped(server: ServerView, _core: RaftCore, input: Input): void {
    if (input.type !== 'turn' && input.type !== 'tick') return
    const due = this.#due.get(server.id)
    if (due === undefined || due.calls.size === 0) return
    if (input.type === 'tick') {
      due.lookedBefore = due.lookedAt
      due.lookedAt = input.now
      return
    }
    // A try may have failed in the very turn in which its deadline was met: the call ends in the next one.
    for (const call of due.calls.values()) checkDeadline(call, isTriedAgain(call) ? due.lookedBefore : due.lookedAt)
  }

  aborted(signal: AbortSignal): void {
    for (const { operation } of this.#open.values()) {
      hold(operation.signal !== signal, 25, () => `a ${said(operation)} waits on, and its signal is aborted`)
    }
  }

  ended({ id }: ServerView): void {
    for (const { operation } of this.#open.values()) {
      hold(operation.server !== id, 25, () => `a ${said(operation)} waits on, and ${id} has closed or halted`)
    }
  }

  returned(operation: Operation, { status, code, index, applied }: Returned): void {
    const { id, kind, commands, server, epoch } = operation
    const open = this.#open.get(id)
    hold(open !== undefined, 14, () => `operation ${id} has a second outcome, ${status}`)
    this.#open.delete(id)
    const due = this.#due.get(server)
    due?.calls.delete(id)
    for (const command of commands) this.#settle(command, status, index)
    // Deadlines of clients outside are by clocks of their own.
    if (code !== null && operation.isOutside !== true) checkCause(operation, code, due?.lookedAt ?? -Infinity)
    if (status === 'applied' && !isOfSession(kind)) this.#seen(operation)
    if (status !== 'ok') return
    hold(epoch === this.#epoch, 32, () => `a ${said(operation)}, which took no part in the recovery, is answered`)
    this.succeeded += 1
    const isHere = kind !== 'submit' && !isOfSession(kind) && operation.isOutside !== true
    hold(
      !isHere || index <= applied,
      25,
      () => `a ${said(operation)} returned with ${index}, and ${applied} is applied there`,
    )
    // What those of sessions come to may be of long ago (invariant 15).
    if (kind === 'ready' || isOfSession(kind)) return
    const { floor } = open
    const { commandsUpTo } = this.#truthOf(epoch)
    const last = commands.at(-1)
    if (last !== undefined) {
      hold(this.#appliedAt[last] === index, 14, () => {
        return `command ${last} returned from ${index} on ${server}, applied is ${this.#appliedAt[last]}`
      })
    }
    const first = commands.length === 0 ? index : (this.#appliedAt[commands[0] ?? 0] ?? 0)
    // The state machine is told of commands only, so a read is judged by the commands that it saw.
    const saw = commandsUpTo[index] ?? 0
    hold(READS.has(kind) ? saw >= (commandsUpTo[floor] ?? 0) : first > floor, 13, () => {
      return `a ${said(operation)} saw the order up to ${first}, when ${floor} had been seen before it began`
    })
    this.#floor = Math.max(this.#floor, index)
  }

  /** Its answer is lost, and yet it is committed: whoever asks from now on must see it. */
  #seen(operation: Operation): void {
    const { committed } = this.#truthOf(operation.epoch)
    hold(operation.commands.length > 0 || operation.kind === 'barrier', 14, () => {
      return `a ${said(operation)} ends as applied, and has applied nothing`
    })
    for (const command of operation.commands) {
      const index = committed.findLastIndex((entry) => entry.command === command)
      hold(index > 0, 14, () => `command ${command} ends as applied, and is not committed`)
      this.#floor = Math.max(this.#floor, index)
    }
  }

  #dueOn(server: string): Due {
    const known = this.#due.get(server) ?? { calls: new Map(), lookedAt: -Infinity, lookedBefore: -Infinity }
    this.#due.set(server, known)
    return known
  }

  #settle(command: number, status: Returned['status'], index: number): void {
    const before = this.#fates[command]
    hold(before === 'open', 14, () => `command ${command} ends as ${status}, and was ${before}`)
    if (status === 'not-applied') {
      const at = this.#appliedAt[command]
      hold(at === undefined, 14, () => `command ${command} was not applied, says its outcome; it is, at ${at}`)
    }
    if (status === 'ok') {
      hold(
        this.#appliedAt[command] !== undefined,
        14,
        () => `command ${command} is acknowledged at ${index}, and not applied`,
      )
    }
    this.#fates[command] = status === 'applied' || status === 'lost' ? 'unknown' : status
  }
}

function checkDeadline(operation: Operation, lookedAt: number): void {
  const { deadline } = operation
  hold(deadline + GRAIN_MS > lookedAt, 25, () => {
    return `a ${said(operation)} waits on, and its deadline was ${lookedAt - deadline} ms before deadlines were last looked at`
  })
}

/** What a caller did not ask for ends no call of it. */
function checkCause(operation: Operation, code: string, lookedAt: number): void {
  const { deadline, signal } = operation
  if (code === 'ERR_RAFT_TIMEOUT') {
    hold(deadline <= lookedAt, 25, () => `a ${said(operation)} ends ${deadline - lookedAt} ms before its deadline`)
  } else if (code === 'ERR_RAFT_ABORTED') {
    hold(signal?.aborted === true, 25, () => `a ${said(operation)} ends as aborted, and nobody has aborted it`)
  }
}

/** Calls on any server (docs/any-server.md). */
function isTriedAgain({ kind }: Operation): boolean {
  return kind === 'submit' || kind === 'query' || isOfSession(kind)
}

function isOfSession(kind: Operation['kind']): boolean {
  return kind.startsWith('session')
}

function said({ kind, server }: Operation): string {
  return `${kind} on ${server}`
}
