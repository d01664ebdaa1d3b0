/**
 * What a server tells whoever listens. A listener that throws or rejects is reported to the log; it never disturbs the
 * server.
 */

import type { LeaderHint, RaftError } from '../errors.js'
import { onRejection, textOf } from '../foreign-values.js'
import type { Entry } from '../machine/state-machine.js'
import { meant, optionsError, shortened, shown } from '../option-checks.js'
import type { ConfigurationStatus, Logger, LogIndex, Role, ServerId, Term } from '../types.js'

/** By its name, what each event tells a listener of `raft.on`: frozen, and told during a turn. */
export interface RaftEvents<Command = unknown, Result = unknown> {
  /** The leader as this server knows it; null while it knows none. */
  leader: { readonly leader: LeaderHint | null; readonly term: Term }
  role: { readonly role: Role; readonly term: Term }
  /** A connection to a peer came up or went down. */
  peer: { readonly id: ServerId; readonly connected: boolean; readonly reason: string }
  /**
   * This server begins to refuse a peer, or the peer this server (`by`), or for another reason; `status.peers` has it
   * as long as it lasts. `code` is a RaftErrorCode, or a word of the transport, such as PROTOCOL.
   */
  refused: { readonly id: ServerId; readonly code: string; readonly reason: string; readonly by: 'self' | 'peer' }
  /**
   * This server has taken a snapshot, or failed to, or has received one, or its state machine was restored from one.
   * `index` is the last entry that it covers; `reason` why it failed.
   */
  snapshot: {
    readonly what: 'taken' | 'failed' | 'received' | 'restored'
    readonly index: LogIndex
    readonly term: Term | null
    readonly reason: string | null
  }
  /**
   * A configuration is in force here from now on, and may still be taken back; or it is committed (`isCommitted`),
   * which each one that stays is told of, in order.
   */
  configuration: {
    readonly configuration: ConfigurationStatus
    readonly index: LogIndex
    readonly isCommitted: boolean
  }
  /** This server is no member of the cluster any more, by the configuration of that entry. */
  removed: { readonly index: LogIndex }
  /**
   * A block of the log is damaged, and other members are asked for the entries first .. last that it held; or it is
   * replaced by what `from` has given; or nobody could, for this `reason`. Where the state machine needs them, this
   * server halts then.
   */
  repair: {
    readonly what: 'begun' | 'repaired' | 'failed'
    readonly first: LogIndex
    readonly last: LogIndex
    readonly from: ServerId | null
    readonly reason: string | null
  }
  /**
   * The entries first .. last were applied; told on every server, in order, right after each batch, whether or not
   * there are commands in it. `first` follows the `last` before it, or the snapshot that was restored meanwhile (event
   * `snapshot`): what is in a snapshot is not told. `replaying`: as the state machine was told, of all or none of them.
   */
  applied: {
    readonly first: LogIndex
    readonly last: LogIndex
    readonly replaying: boolean
    /** The commands among them, ascending: what the state machine was given, shared with it, and not copied. */
    readonly entries: readonly Entry<Command>[]
    /** What it answered, in the same order; where nobody waited for the answer (`isAwaited`), maybe nothing of use. */
    readonly results: readonly Result[]
  }
  /** The disk or the store is full, or takes writes again. */
  stall: { readonly stalled: boolean; readonly reason: string }
  /** This server has halted. */
  fault: { readonly error: RaftError }
}

/** Every event that there is. */
export const EVENT_NAMES = Object.keys({
  leader: true,
  role: true,
  peer: true,
  refused: true,
  snapshot: true,
  stall: true,
  fault: true,
  configuration: true,
  removed: true,
  repair: true,
  applied: true,
} satisfies Record<keyof RaftEvents, true>) as readonly (keyof RaftEvents)[]

/** Throws ERR_RAFT_OPTIONS for an event that there is not. */
export function checkEventName(name: unknown): asserts name is keyof RaftEvents {
  if ((EVENT_NAMES as readonly unknown[]).includes(name)) return
  const given = shortened(shown(name))
  throw optionsError(`event ${given} is unknown: ${meant(given, EVENT_NAMES)} There are ${EVENT_NAMES.join(', ')}`)
}

/** The same, and for a listener that cannot be called. */
export function checkListener(name: unknown, listener: unknown): void {
  checkEventName(name)
  if (typeof listener !== 'function') {
    throw optionsError(`the listener of ${name} must be a function, and is ${shown(listener)}`)
  }
}

/** One call of `on`: the same function may be subscribed more than once, and each ends by itself. */
interface Subscription {
  readonly listener: (event: never) => unknown
  /** While false, it is as if nobody had subscribed. */
  readonly isHeard: () => boolean
}

const always = (): boolean => true
const NOBODY: ReadonlySet<Subscription> = new Set()

export class Events {
  readonly #logger: Logger
  readonly #subscriptions = new Map<keyof RaftEvents, Set<Subscription>>()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Returns what ends the subscription. `isHeard`: whether anybody stands behind it now. */
  on<Name extends keyof RaftEvents>(
    name: Name,
    listener: (event: RaftEvents[Name]) => void,
    isHeard = always,
  ): () => void {
    const subscriptions = this.#subscriptions.get(name) ?? new Set()
    const subscription = { listener, isHeard }
    this.#subscriptions.set(name, subscriptions.add(subscription))
    return () => {
      subscriptions.delete(subscription)
    }
  }

  /** Whether anybody listens: what nobody hears need not be made. */
  hears(name: keyof RaftEvents): boolean {
    for (const { isHeard } of this.#subscriptions.get(name) ?? NOBODY) if (isHeard()) return true
    return false
  }

  /** To whoever listens now: who begins to because of this event hears of the next, who has ended meanwhile of none. */
  emit<Name extends keyof RaftEvents>(name: Name, event: RaftEvents[Name]): void {
    const subscriptions = this.#subscriptions.get(name)
    if (subscriptions === undefined) return
    Object.freeze(event)
    for (const subscription of [...subscriptions]) {
      if (!subscriptions.has(subscription) || !subscription.isHeard()) continue
      const { listener } = subscription
      try {
        const answer = (listener as (event: RaftEvents[Name]) => unknown)(event)
        onRejection(answer, (cause) => this.#failed('listener.rejected', name, cause))
      } catch (cause) {
        this.#failed('listener.threw', name, cause)
      }
    }
  }

  #failed(what: string, event: keyof RaftEvents, cause: unknown): void {
    this.#logger.error(what, { event, error: textOf(cause) })
  }
}
