/** The trace of real server processes: where each of them writes its part, and all parts as one. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseTrace } from '../trace-format.js'
import type { Trace } from '../trace-format.js'

const HOOK = pathToFileURL('build/test/referee/recorders/process-hook.js')

/** Options of Node that let a server process write its trace into the folder. */
export function hookInto(folder: string): readonly string[] {
  const hook = new URL(HOOK)
  hook.searchParams.set('dir', folder)
  return ['--import', hook.href]
}

/** What the processes of these voters, all of them ended, have written. */
export function readTraces(folder: string, voters: readonly string[]): Trace {
  const parts = readdirSync(folder).map((name) => {
    const [id = '', started = ''] = name.split('.')
    return { id, started: BigInt(started), name }
  })
  const events = parts
    .sort((a, b) => (a.started < b.started ? -1 : 1))
    .flatMap(({ id, name }) => {
      // A process that is killed in the middle of a line has told nobody what would have stood in it.
      const text = readFileSync(join(folder, name), 'utf8')
      const whole = parseTrace(text.slice(0, text.lastIndexOf('\n') + 1))
      return [...whole, { event: 'crash', server: id } as const]
    })
  return [{ event: 'cluster', order: 'perServer', voters, outgoing: null, preVote: true }, ...events]
}
