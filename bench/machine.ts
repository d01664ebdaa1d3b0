/** The machine that figures come from, and what speaks against believing them. */

import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync, writeSync } from 'node:fs'
import { cpus, loadavg, release, totalmem, type } from 'node:os'
import { join, sep } from 'node:path'
import { ROUNDS_TO_JUDGE } from './runner.js'
import { quantile } from './statistics.js'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly node: string
  readonly dir: string
  readonly filesystem: string
  readonly device: string
  /** Median of a raw write of 4 KiB into a pre-written file and its flush. */
  readonly flushMicroseconds: number
  readonly loadBefore: number
  readonly loadAfter: number | null
}

const PROBES = 200
const PROBE_BYTES = 4096
/**
 * No device answers a flush as fast as this: a system call that leaves the process and comes back with nothing done.
 */
const FLUSH_MICROSECONDS_MIN = 10
const IN_MEMORY = ['tmpfs', 'ramfs', 'devtmpfs']

/** `dir` exists. */
export function describeMachine(dir: string): Machine {
  const { filesystem, device } = mountOf(dir)
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown processor',
    cores: cpus().length,
    memoryGiB: totalmem() / 2 ** 30,
    kernel: `${type()} ${release()}`,
    node: process.version,
    dir,
    filesystem,
    device,
    flushMicroseconds: flushMicroseconds(dir),
    loadBefore: loadavg()[0] ?? 0,
    loadAfter: null,
  }
}

export function withLoadAfter(machine: Machine): Machine {
  return { ...machine, loadAfter: loadavg()[0] ?? 0 }
}

export function marksOf(machine: Machine, rounds: readonly number[]): readonly string[] {
  const marks: string[] = []
  if (IN_MEMORY.includes(machine.filesystem)) {
    marks.push(`${machine.dir} lies on ${machine.filesystem}: a flush does nothing, durable figures mean nothing`)
  } else if (machine.flushMicroseconds < FLUSH_MICROSECONDS_MIN) {
    const took = machine.flushMicroseconds.toFixed(1)
    marks.push(`a flush takes ${took} us, faster than any device: it is not real, durable figures mean nothing`)
  }
  if (rounds.some((count) => count < ROUNDS_TO_JUDGE))
    marks.push(`fewer than ${ROUNDS_TO_JUDGE} rounds: for a look only`)
  return marks
}

function flushMicroseconds(dir: string): number {
  const folder = mkdtempSync(join(dir, 'probe-'))
  const file = openSync(join(folder, 'probe'), 'w')
  try {
    const page = Buffer.alloc(PROBE_BYTES, 0x62)
    for (let at = 0; at < PROBES; at += 1) writeSync(file, page, 0, PROBE_BYTES, at * PROBE_BYTES)
    fdatasyncSync(file)
    const took: number[] = []
    for (let at = 0; at < PROBES; at += 1) {
      const begin = performance.now()
      writeSync(file, page, 0, PROBE_BYTES, at * PROBE_BYTES)
      fdatasyncSync(file)
      took.push((performance.now() - begin) * 1000)
    }
    return quantile(
      took.toSorted((a, b) => a - b),
      0.5,
    )
  } finally {
    closeSync(file)
    rmSync(folder, { recursive: true })
  }
}

/** The mount with the longest path above `dir`; on systems without /proc that is not known. */
function mountOf(dir: string): { filesystem: string; device: string } {
  let found = { filesystem: 'an unknown filesystem', device: 'unknown' }
  let longest = -1
  let mounts: string
  try {
    mounts = readFileSync('/proc/self/mounts', 'utf8')
  } catch {
    return found
  }
  const path = realpathSync(dir)
  for (const line of mounts.split('\n')) {
    const [device = '', point = '', filesystem = ''] = line.split(' ')
    const above = point === '/' || path === point || path.startsWith(point + sep)
    if (point === '' || !above || point.length < longest) continue
    longest = point.length
    found = { filesystem, device }
  }
  return found
}
