/**
 * Flushes per commit as the system sees them: the calls that wait for the device, counted by strace over two runs of
 * different length, so that what opening and closing cost cancels out. Writes to files opened with O_DSYNC flush as
 * well, and count.
 */

import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

const COMMITS_FEW = 20
const COMMITS_MANY = 120
const TRACE_MS_MAX = 60_000
const CALLS = 'trace=openat,fsync,fdatasync,msync,sync_file_range,write,pwrite64,writev,pwritev,pwritev2'

/** Why nothing can be traced here, or null. */
export async function whyNotTraced(): Promise<string | null> {
  try {
    // A container may have strace and still not allow it.
    await run('strace', ['-o', '/dev/null', 'true'])
    return null
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return code === 'ENOENT' ? 'there is no strace on the PATH' : `strace does not work here: ${message.trim()}`
  }
}

export async function tracedFlushes(name: string, dir: string, entries: number, bytes: number): Promise<number> {
  const few = await countOf(name, dir, COMMITS_FEW, entries, bytes)
  const many = await countOf(name, dir, COMMITS_MANY, entries, bytes)
  return (many - few) / (COMMITS_MANY - COMMITS_FEW)
}

async function countOf(name: string, dir: string, commits: number, entries: number, bytes: number): Promise<number> {
  const folder = mkdtempSync(join(dir, 'traced-'))
  try {
    const script = fileURLToPath(new URL('count-flushes.js', import.meta.url))
    const trace = join(folder, 'trace')
    const program = [process.execPath, script, name, join(folder, 'store'), `${commits}`, `${entries}`, `${bytes}`]
    mkdirSync(join(folder, 'store'))
    await run('strace', ['-f', '-qq', '-e', CALLS, '-o', trace, ...program], { timeout: TRACE_MS_MAX })
    return flushesIn(readFileSync(trace, 'utf8'), join(folder, 'store'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Lines are `PID call(arguments) = result`, or halves of one when another thread came between. */
function flushesIn(trace: string, folder: string): number {
  const synchronous = new Set<string>()
  let flushes = 0
  for (const line of trace.split('\n')) {
    const opened = /openat\([^,]*, "([^"]*)", (\S+).* = (\d+)$/.exec(line)
    if (opened !== null) {
      const [, path = '', flags = '', descriptor = ''] = opened
      if (path.startsWith(folder) && /O_D?SYNC/.test(flags)) synchronous.add(descriptor)
      else synchronous.delete(descriptor)
    }
    if (/\b(fsync|fdatasync|sync_file_range)\(/.test(line) || /\bmsync\(.*MS_SYNC/.test(line)) flushes += 1
    const written = /\b(?:write|pwrite64|writev|pwritev2?)\((\d+),/.exec(line)
    if (written !== null && synchronous.has(written[1] ?? '')) flushes += 1
  }
  return flushes
}
