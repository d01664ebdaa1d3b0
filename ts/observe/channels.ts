/**
 * What is published on `node:diagnostics_channel`, for tools that find a server without being given it. Nothing is made
 * for a channel to which nobody has subscribed. A subscriber is called during a turn: it must not block; what it throws
 * is an uncaught exception of the process, as Node.js has it.
 */

import { channel, tracingChannel } from 'node:diagnostics_channel'

import type { ServerId } from '../types.js'
import { EVENT_NAMES } from './events.js'
import type { Events, RaftEvents } from './events.js'

/** The message on `balsa:<event>`, for each event that `on` knows. */
export interface EventMessage<Name extends keyof RaftEvents = keyof RaftEvents> {
  readonly server: ServerId
  readonly event: RaftEvents[Name]
}

/** The message on `tracing:balsa:apply:start`, `end`, `asyncStart`, `asyncEnd` and `error`: one object for all five. */
export interface ApplyMessage {
  readonly server: ServerId
  readonly kind: 'command' | 'session' | 'barrier'
  /** How many entries it asks for. */
  readonly entries: number
  /** One result each; there from `asyncStart` on, unless it failed. */
  result?: readonly unknown[]
  /** Why it failed. */
  error?: unknown
}

/** One for each event. */
export const channelOf = (name: keyof RaftEvents): string => `balsa:${name}`

/** For `tracingChannel`: the five channels of a call that proposes entries. */
export const APPLY_TRACING = 'balsa:apply'

export function publishEvents(events: Events, server: ServerId): void {
  for (const name of EVENT_NAMES) {
    const published = channel(channelOf(name))
    const publish = (event: RaftEvents[typeof name]): void => published.publish(Object.freeze({ server, event }))
    events.on(name, publish, () => published.hasSubscribers)
  }
}

const applies = tracingChannel<unknown, ApplyMessage>(APPLY_TRACING)

/** Carries out a call that proposes entries; whoever traces it hears when it begins and when it ends. */
export function traced(
  about: Pick<ApplyMessage, 'server' | 'kind' | 'entries'>,
  propose: () => Promise<readonly unknown[]>,
): Promise<readonly unknown[]> {
  return applies.tracePromise(propose, { ...about })
}

/** Asked before each call: what `traced` costs is then not spent. */
export const isTraced = (): boolean => applies.hasSubscribers
