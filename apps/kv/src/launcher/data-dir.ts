/**
 * The folder in which the launcher keeps what its servers write. A marker says what the launcher made there; nothing
 * else is ever deleted.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from '../cli/exit-codes.js'
import type { Member } from '../cluster/members.js'
import { launchedMember, type LaunchOptions } from './launch-options.js'

/** What the launcher has made in a folder. */
export interface DataDirState {
  /** The first members. */
  readonly servers: readonly string[]
  readonly port: number
  /** Those that came later. */
  readonly added: readonly string[]
  /** Those of either kind that are no members any more: they are not started, and what they wrote stays. */
  readonly removed: readonly string[]
}

const MARKER_NAME = 'launcher.json'

/** A log file that is longer at the start is put aside, as `<name>.old`. */
const LOG_BYTES_MAX = 16 * 1024 * 1024

export const serverDir = (dataDir: string, id: string): string => join(dataDir, id)
export const serverLog = (dataDir: string, id: string): string => join(dataDir, `${id}.log`)

/** Deletes what `--fresh` asks for, and makes sure that what is there belongs to this cluster. Throws UsageError. */
export function prepareDataDir(options: LaunchOptions): void {
  const { dataDir, members, port, fresh } = options
  if (fresh) deleteMade(dataDir)
  const marker = readState(dataDir)
  const servers = members.map(({ id }) => id)
  if (marker === null) {
    const foreign = servers.find((id) => existsSync(serverDir(dataDir, id)))
    if (foreign !== undefined)
      throw new UsageError(`${serverDir(dataDir, foreign)} was not made by npm start; it stays as it is`)
  } else if (marker.port !== port || marker.servers.length !== servers.length) {
    const asBefore = `--servers ${marker.servers.length} --port ${marker.port}`
    throw new UsageError(
      `${dataDir} holds a cluster of ${asBefore}; start it so, or add --fresh, or choose another --data`,
    )
  }
  mkdirSync(dataDir, { recursive: true })
  writeState(dataDir, marker ?? { servers, port, added: [], removed: [] })
  for (const id of [...servers, ...(marker?.added ?? [])]) putLogAside(serverLog(dataDir, id))
}

/** The servers whose data is there; none when there is no data. Throws UsageError. */
export function membersOfLastStart(dataDir: string): readonly Member[] {
  const marker = readState(dataDir)
  return marker === null ? [] : [...marker.servers, ...marker.added].map((id) => launchedMember(id, marker.port))
}

/** Those that are members, as far as the launcher has heard. Throws UsageError. */
export function membersToStart({ dataDir, members, fresh }: LaunchOptions): readonly Member[] {
  const marker = fresh ? null : readState(dataDir)
  if (marker === null) return members
  const added = marker.added.map((id) => launchedMember(id, marker.port))
  return [...members, ...added].filter(({ id }) => !marker.removed.includes(id))
}

/** A server is no member any more: the next start leaves it out. */
export function markRemoved(dataDir: string, removed: string): void {
  const marker = readState(dataDir)
  if (marker === null) return
  const others = marker.removed.filter((id) => id !== removed)
  writeState(dataDir, { ...marker, removed: [...others, removed] })
}

/** At once: another process reads it. */
export function writeState(dataDir: string, state: DataDirState): void {
  const path = join(dataDir, MARKER_NAME)
  writeFileSync(`${path}.new`, `${JSON.stringify(state)}\n`)
  renameSync(`${path}.new`, path)
}

function deleteMade(dataDir: string): void {
  const marker = readState(dataDir)
  if (marker === null) return
  for (const id of [...marker.servers, ...marker.added]) {
    rmSync(serverDir(dataDir, id), { recursive: true, force: true })
    rmSync(serverLog(dataDir, id), { force: true })
    rmSync(`${serverLog(dataDir, id)}.old`, { force: true })
  }
  rmSync(join(dataDir, MARKER_NAME))
}

/** Null: there is none. Throws UsageError. */
export function readState(dataDir: string): DataDirState | null {
  const path = join(dataDir, MARKER_NAME)
  if (!existsSync(path)) return null
  const marker = parse(readFileSync(path, 'utf8'))
  if (marker === null) throw new UsageError(`${path} is not what npm start writes; it stays as it is`)
  return marker
}

function parse(text: string): DataDirState | null {
  try {
    const { servers, port, added = [], removed = [] } = JSON.parse(text) as Partial<DataDirState>
    const isPort = typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535
    return isNames(servers) && isPort && isNames(added) && isNames(removed) ? { servers, port, added, removed } : null
  } catch {
    return null
  }
}

function isNames(ids: unknown): ids is readonly string[] {
  return Array.isArray(ids) && ids.every((id) => /^s[1-9]$/.test(String(id)))
}

function putLogAside(path: string): void {
  if (existsSync(path) && statSync(path).size > LOG_BYTES_MAX) renameSync(path, `${path}.old`)
}
