/**
 * Writers that count in the same few settings, watchers that see each change, and the promise of the configuration
 * store: no update is lost, no watcher misses an event, and no read is older than what was acknowledged before it.
 */

import { setTimeout as pause } from 'node:timers/promises'
import type { Setting } from '../configuration-store/machine.js'
import { Client } from './client.js'
import type { Check } from './check.js'
import type { Run } from './run.js'

const WRITERS = 6
const KEYS = 4
const PAUSE_MS_MAX = 20
const WATCHERS = 3
/** Watchers end with the event in which each server has set it. */
const LAST_KEY = 'last'

/** A read of a key, and the write on top of it. */
export interface Write {
  readonly key: string
  readonly value: string
  /** The version that was read, and when it was asked for. */
  readonly from: number
  readonly askedAt: number
  /** The version that the write came to, and when that was acknowledged; 0: it was refused. */
  readonly version: number
  readonly answeredAt: number
}

export interface SettingHistory {
  readonly writes: readonly Write[]
  /** What each watcher was told, in order. */
  readonly watched: readonly (readonly Setting[])[]
}

export const settingCheck: Check<SettingHistory> = {
  service: 'configuration-store',
  promise: 'no update lost, no event missed by a watcher',
  run: async (run) => {
    const watchers = Promise.all(Array.from({ length: WATCHERS }, (_, at) => watch(at, run)))
    const writers = Promise.all(Array.from({ length: WRITERS }, (_, at) => count(at, run)))
    // A watcher that fails is told at once.
    const writes = (await Promise.race([writers, watchers.then(() => writers)])).flat()
    // On each server, for watchers must end also where servers do not agree.
    for (const url of run.urls) writes.push(await countUp(new Client([url], 0), LAST_KEY, 'the end', run))
    return { writes, watched: await watchers }
  },
  faultOf,
}

async function count(at: number, run: Run): Promise<Write[]> {
  const client = new Client(run.urls, at)
  const writes: Write[] = []
  for (let round = 0; !run.isOver; round += 1) {
    const key = `key${Math.floor(Math.random() * KEYS)}`
    writes.push(await countUp(client, key, `w${at}-${round}`, run))
    await pause(Math.random() * PAUSE_MS_MAX)
  }
  return writes
}

/** Reads a number, and writes the next one, with the name of the writer. */
async function countUp(client: Client, key: string, writer: string, run: Run): Promise<Write> {
  const read = await client.ask('GET', `/settings/${key}`)
  const [now] = settingsOf(read.body)
  const from = now?.version ?? 0
  const value = `${numberOf(now) + 1} by ${writer}`
  const { status, body, answeredAt } = await client.send('PUT', `/settings/${key}`, { value, from })
  const sent = { key, value, from, askedAt: read.askedAt, answeredAt }
  if (status === 409) return { ...sent, version: 0 }
  if (status !== 200) throw new Error(`a write was answered with ${status}: ${JSON.stringify(body)}`)
  run.tally.add()
  return { ...sent, version: (body as Setting).version }
}

function numberOf(setting: Setting | undefined): number {
  return Number.parseInt(setting?.value ?? '0', 10)
}

async function watch(at: number, run: Run): Promise<readonly Setting[]> {
  const client = new Client(run.urls, at)
  const events: Setting[] = []
  while (!run.isLate && !isEnd(events.at(-1), run)) {
    const { status, body } = await client.ask('GET', `/settings?since=${events.at(-1)?.version ?? 0}`)
    if (status !== 200) throw new Error(`a watcher was answered with ${status}: ${JSON.stringify(body)}`)
    events.push(...settingsOf(body))
  }
  return events
}

function isEnd(event: Setting | undefined, run: Run): boolean {
  return event?.key === LAST_KEY && numberOf(event) === run.urls.length
}

function settingsOf(body: unknown): readonly Setting[] {
  if (!Array.isArray(body)) throw new Error(`settings are expected, not ${JSON.stringify(body)}`)
  return body
}

/** How the history breaks the promise, or null. */
function faultOf({ writes, watched }: SettingHistory): string | null {
  const [events = []] = watched
  if (events.length === 0) return 'nothing was ever set'
  const others = watched.findIndex((seen) => JSON.stringify(seen) !== JSON.stringify(events))
  if (others >= 0) return `watcher ${others + 1} was told something else than watcher 1`
  return lostUpdate(events) ?? faultOfWrites(writes, events) ?? staleRead(writes)
}

/** Each event stands on the one before it of its key. */
function lostUpdate(events: readonly Setting[]): string | null {
  const last = new Map<string, Setting>()
  let version = 0
  for (const event of events) {
    const before = last.get(event.key)
    if (event.version <= version) return `version ${event.version} came behind ${version}`
    if (event.from !== (before?.version ?? 0) || numberOf(event) !== numberOf(before) + 1) {
      return `an update was lost: ${JSON.stringify([before ?? null, event])}`
    }
    version = event.version
    last.set(event.key, event)
  }
  return null
}

/** What was acknowledged is an event, and nothing else is: all writes were answered. */
function faultOfWrites(writes: readonly Write[], events: readonly Setting[]): string | null {
  const values = new Map(events.map(({ version, value }) => [version, value]))
  const acknowledged = writes.filter(({ version }) => version > 0)
  const lost = acknowledged.find(({ version, value }) => values.get(version) !== value)
  if (lost !== undefined) return `"${lost.value}" was acknowledged as ${lost.version}, and is no event`
  const versions = new Set(acknowledged.map(({ version }) => version))
  const other = events.find(({ version }) => !versions.has(version))
  return other === undefined ? null : `"${other.value}" was never acknowledged, or more than once, and is an event`
}

/** Nobody reads an older version than was acknowledged before. */
function staleRead(writes: readonly Write[]): string | null {
  const acknowledged = writes.toSorted((a, b) => a.answeredAt - b.answeredAt)
  const newest = new Map<string, number>()
  let next = 0
  for (const { key, value, from, askedAt } of writes.toSorted((a, b) => a.askedAt - b.askedAt)) {
    for (; (acknowledged[next]?.answeredAt ?? Infinity) < askedAt; next += 1) {
      const { key: other = '', version = 0 } = acknowledged[next] ?? {}
      newest.set(other, Math.max(newest.get(other) ?? 0, version))
    }
    const before = newest.get(key) ?? 0
    if (from < before) return `"${value}" stands on ${from}, though ${before} was acknowledged before it was read`
  }
  return null
}
