/**
 * How many clients the limit of open files leaves room for. A client is a descriptor, and so is a connection of a peer:
 * clients that take all of them would cost the quorum.
 */

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** Connections that are told that there are too many clients, before they are closed. */
export const REFUSED_AT_ONCE_MAX = 8

/** Each peer is dialled and dials, and both may be tried anew before the old ones are gone. */
const DESCRIPTORS_BY_PEER = 4

/** For the store, logs, name lookups and what node opens now and then, beyond what is open at start. */
const DESCRIPTORS_SPARE = 8

/** Null: there is no limit, or this system does not say. Node has raised the soft limit to the hard one by then. */
export function openFilesMax(): number | null {
  return limitFromProc() ?? limitFromShell()
}

/** Linux, and whoever is like it. */
function limitFromProc(): number | null {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
    return soft === undefined ? null : Number(soft)
  } catch {
    return null
  }
}

/** Other systems: a shell has the limit of whoever starts it. Windows has none. */
export function limitFromShell(): number | null {
  if (process.platform === 'win32') return null
  const { stdout } = spawnSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8', timeout: SHELL_MAX_MS })
  return /^\d+\s*$/.test(stdout ?? '') ? Number(stdout) : null
}

export function openFiles(): number {
  // One of them is the folder that is being read.
  return readdirSync(process.platform === 'linux' ? '/proc/self/fd' : '/dev/fd').length - 1
}

const SHELL_MAX_MS = 2000

export function clientsThatFit(limit: number, inUse: number, peers: number): number {
  return Math.max(0, limit - inUse - peers * DESCRIPTORS_BY_PEER - DESCRIPTORS_SPARE - REFUSED_AT_ONCE_MAX)
}
