/**
 * The folder in which the launcher keeps what its servers write. A marker says what the launcher made there; nothing
 * else is ever deleted.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from '../cli/exit-codes.js'
import type { Member } from '../cluster/members.js'
import { launchedMembers, type LaunchOptions } from './launch-options.js'

interface Marker {
  readonly servers: readonly string[]
  readonly port: number
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
  const marker = readMarker(dataDir)
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
  writeFileSync(join(dataDir, MARKER_NAME), `${JSON.stringify({ servers, port } satisfies Marker)}\n`)
  for (const id of servers) putLogAside(serverLog(dataDir, id))
}

/** The servers whose data is there; none when there is no data. Throws UsageError. */
export function membersOfLastStart(dataDir: string): readonly Member[] {
  const marker = readMarker(dataDir)
  return marker === null ? [] : launchedMembers(marker.servers.length, marker.port)
}

function deleteMade(dataDir: string): void {
  const marker = readMarker(dataDir)
  if (marker === null) return
  for (const id of marker.servers) {
    rmSync(serverDir(dataDir, id), { recursive: true, force: true })
    rmSync(serverLog(dataDir, id), { force: true })
    rmSync(`${serverLog(dataDir, id)}.old`, { force: true })
  }
  rmSync(join(dataDir, MARKER_NAME))
}

/** Null: there is none. */
function readMarker(dataDir: string): Marker | null {
  const path = join(dataDir, MARKER_NAME)
  if (!existsSync(path)) return null
  const marker = parse(readFileSync(path, 'utf8'))
  if (marker === null) throw new UsageError(`${path} is not what npm start writes; it stays as it is`)
  return marker
}

function parse(text: string): Marker | null {
  try {
    const { servers, port } = JSON.parse(text) as Partial<Marker>
    const named = Array.isArray(servers) && servers.every((id) => /^s[1-9]$/.test(String(id)))
    const isPort = typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535
    return named && isPort ? { servers, port } : null
  } catch {
    return null
  }
}

function putLogAside(path: string): void {
  if (existsSync(path) && statSync(path).size > LOG_BYTES_MAX) renameSync(path, `${path}.old`)
}
