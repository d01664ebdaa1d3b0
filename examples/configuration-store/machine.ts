/** What each setting is, and what has changed lately. */

import { text } from 'node:stream/consumers'
import { defineStateMachine, msgpackCodec } from 'balsa-raft'

/** As far as the servers know that are asked: what is under way may come on top. */
const SETTINGS_MAX = 10_000
/** So many of the last events are kept, up to twice as many: a watcher that is further behind reads all settings. */
const EVENTS_MAX = 10_000
/** In one answer. */
const EVENTS_ANSWERED_MAX = 1000
const KEY_LENGTH_MAX = 200
const VALUE_LENGTH_MAX = 1000

/** A setting as it is since its version; also the event of that change. */
export interface Setting {
  readonly key: string
  readonly value: string
  /** Grows from event to event. */
  readonly version: number
  /** The version of the same key before it; 0: none. */
  readonly from: number
}

/** Sets a key, if `from` is its version still. */
export type Command = Omit<Setting, 'version'>

export type Query = 'all' | { readonly key: string } | { readonly since: number }

export const codec = msgpackCodec<Command>()

export function makeSettings() {
  let settings = new Map<string, Setting>()
  /** In order; the last of each key is in `settings`, too. */
  let events: Setting[] = []
  /** The version of the last event that is not kept. */
  let forgotten = 0

  function set(command: Command, version: number): Setting | null {
    if (command.from !== (settings.get(command.key)?.version ?? 0)) return null
    const setting = { ...command, version }
    settings.set(setting.key, setting)
    events.push(setting)
    if (events.length >= 2 * EVENTS_MAX) forgotten = events.splice(0, EVENTS_MAX).at(-1)?.version ?? 0
    return setting
  }

  function eventsSince(since: number): readonly Setting[] | null {
    const first = events.findLastIndex(({ version }) => version <= since) + 1
    return since < forgotten ? null : events.slice(first, first + EVENTS_ANSWERED_MAX)
  }

  return defineStateMachine(codec, {
    validate: ({ key, value }) => {
      if (key.length === 0 || key.length > KEY_LENGTH_MAX || value.length > VALUE_LENGTH_MAX) {
        throw new RangeError(`a key has 1 .. ${KEY_LENGTH_MAX} characters, a value ${VALUE_LENGTH_MAX} at most`)
      }
      if (settings.size >= SETTINGS_MAX && !settings.has(key))
        throw new RangeError(`there are ${SETTINGS_MAX} settings`)
    },
    apply: (batch) => batch.map(({ index, command }) => set(command, index)),
    query: (query: Query) => {
      if (query === 'all') return [...settings.values()]
      return 'key' in query ? [settings.get(query.key) ?? []].flat() : eventsSince(query.since)
    },
    snapshot: () => [Buffer.from(JSON.stringify([[...settings], events, forgotten]))],
    restore: async (source) => {
      const [all, ...rest] = JSON.parse(await text(source))
      settings = new Map(all)
      ;[events, forgotten] = rest
    },
  })
}
