/** What a server tells whoever listens. A listener that throws is reported to the log; it never disturbs the server. */

import type { LeaderHint, RaftError } from '../errors.js'
import { meant, optionsError, shown } from '../option-checks.js'
import type { Logger, Role, ServerId, Term } from '../types.js'

export interface RaftEvents {
  /**
   * The leader as this server knows it; null while it knows none. Told once for each term of a leader, also when it led an earlier term:
   * another may have led, and acknowledged, in between.
   */
  leader: { readonly leader: LeaderHint | null; readonly term: Term }
  role: { readonly role: Role; readonly term: Term }
  /** A connection to a peer came up or went down. */
  peer: { readonly id: ServerId; readonly connected: boolean; readonly reason: string }
  /** The disk is full, or takes writes again. */
  stall: { readonly stalled: boolean; readonly reason: string }
  /** This server has halted. */
  fault: { readonly error: RaftError }
}

const EVENT_NAMES = Object.keys({
  leader: true,
  role: true,
  peer: true,
  stall: true,
  fault: true,
} satisfies Record<keyof RaftEvents, true>)

/** Throws ERR_RAFT_OPTIONS for an event that there is not, and for a listener that cannot be called. */
export function checkListener(name: unknown, listener: unknown): void {
  const given = shown(name)
  if (typeof name !== 'string' || !EVENT_NAMES.includes(name)) {
    throw optionsError(`event ${given} is unknown: ${meant(given, EVENT_NAMES)} There are ${EVENT_NAMES.join(', ')}`)
  }
  if (typeof listener !== 'function') {
    throw optionsError(`the listener of ${name} must be a function, and is ${shown(listener)}`)
  }
}

type Listener = (event: never) => void

export class Events {
  readonly #logger: Logger
  readonly #listeners = new Map<keyof RaftEvents, Set<Listener>>()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Returns what ends the subscription. */
  on<Name extends keyof RaftEvents>(name: Name, listener: (event: RaftEvents[Name]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners.add(listener))
    return () => {
      listeners.delete(listener)
    }
  }

  emit<Name extends keyof RaftEvents>(name: Name, event: RaftEvents[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        ;(listener as (event: RaftEvents[Name]) => void)(event)
      } catch (cause) {
        this.#logger.error('a listener threw', { event: name, error: String(cause) })
      }
    }
  }
}
