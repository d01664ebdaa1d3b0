/**
 * Runs one built test file in this process, under uvu, and sends its counts to the parent: `scripts/test.mjs` starts
 * one such process per file. uvu reports in coloured text only, and treats a `before` hook that throws as success, so
 * the counts are taken from what its suites return.
 */

import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

// How long a file that has finished may keep its process alive before what it left open is called a failure.
const LINGER_MS = 5000

globalThis.UVU_DEFER = 1
globalThis.UVU_INDEX = 0
const uvu = await import('uvu')
globalThis.UVU_QUEUE.push([null])
await import(pathToFileURL(process.argv[2]).href)

const counts = { suites: 0, total: 0, passed: 0, skipped: 0, cpuSeconds: null }
const queue = globalThis.UVU_QUEUE[0]
for (let at = 1; at < queue.length; at++) queue[at] = counted(queue[at])
await uvu.exec()

counts.cpuSeconds = cpuSeconds()
process.send(counts)
process.disconnect()
const linger = setTimeout(() => {
  process.stdout.write(`\nstill open after the last test: ${process.getActiveResourcesInfo().join(', ')}\n`)
  process.exit(1)
}, LINGER_MS)
linger.unref()

function counted(suite) {
  return async () => {
    const result = await suite()
    const [, passed, skipped, total] = result
    counts.suites += 1
    counts.total += total
    counts.passed += passed
    counts.skipped += skipped
    return result
  }
}

/** Of this process and of those that it started and saw end, as Linux counts them; null elsewhere. */
function cpuSeconds() {
  if (process.platform !== 'linux') return null
  // Fields 14 to 17 of proc(5), counted behind the name, which may hold blanks; in ticks, a hundred in each second.
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1).split(' ')
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100
}
