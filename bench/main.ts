/**
 * The bench: runs suites and writes what they measured as JSON, Markdown and SVG. Asserts nothing about time.
 *
 *   npm run bench -- --list
 *   npm run bench -- --suite store,apply --rounds 5
 *
 * Exit codes: 0; 1 when a measurement failed; 64 when the command line names what does not exist.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chartsOf } from './chart.js'
import { describeMachine, marksOf, withLoadAfter } from './machine.js'
import { circumstancesOf, runHead, suiteTable } from './markdown.js'
import type { Run } from './markdown.js'
import { runSuite } from './runner.js'
import type { SuiteResult } from './runner.js'
import { HELP, readCommandLine, UsageError } from './settings.js'
import type { CommandLine, Settings } from './settings.js'
import type { Suite } from './suite.js'
import { suites } from './suites/index.js'

const USAGE_EXIT_CODE = 64
/** 128 and the number of the signal, as shells have it. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const

// What was started ends with its parent, or by what the parent does at its exit.
for (const [signal, code] of Object.entries(EXIT_CODES)) process.once(signal, () => process.exit(code))

try {
  const names = suites.map(({ name }) => name)
  await main(readCommandLine(process.argv.slice(2), names))
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = USAGE_EXIT_CODE
}

async function main(line: CommandLine): Promise<void> {
  switch (line.command) {
    case 'help':
      console.log(HELP)
      return
    case 'list':
      for (const { name, purpose, minutes } of suites) {
        console.log(`${name.padEnd(10)} ${`${minutes} min`.padStart(6)}  ${purpose}`)
      }
      return
    case 'run':
      await run(line)
      return
  }
}

async function run(line: CommandLine): Promise<void> {
  const chosen = suites.filter((suite) => isChosen(suite, line.suites))
  const { dir, profile } = line.settings
  for (const folder of [dir, line.out, ...(profile === null ? [] : [profile])]) mkdirSync(folder, { recursive: true })
  const machine = describeMachine(dir)
  const marks = marksOf(
    machine,
    chosen.filter(({ name }) => name !== 'soak').map((suite) => line.rounds ?? suite.rounds),
  )
  const begun: Run = {
    startedAt: new Date().toISOString(),
    command: ['npm run bench --', ...process.argv.slice(2)].join(' '),
    machine,
    marks,
    suites: [],
  }
  console.log(runHead(begun))
  const results: SuiteResult[] = []
  for (const suite of chosen) {
    const settings = { ...line.settings, seconds: line.seconds ?? suite.seconds }
    const result = await measured(suite, line.rounds ?? suite.rounds, settings)
    if (result === null) continue
    results.push(result)
    if (result.failures.length > 0) process.exitCode = 1
    console.log(`\n${suiteTable(result)}`)
    // After every suite: a later one that fails costs nothing of the earlier ones.
    await write(line, { ...begun, machine: withLoadAfter(machine), suites: results })
  }
  console.log(`\nwritten to ${line.out}${marks.map((mark) => `\nMARKED RUN: ${mark}`).join('')}`)
}

/** Null when the suite could not be opened or closed: said on standard error, and the other suites run. */
async function measured(suite: Suite, rounds: number, settings: Settings): Promise<SuiteResult | null> {
  try {
    return await runSuite(suite, rounds, settings, console.error)
  } catch (error) {
    console.error(`bench: the suite ${suite.name} failed: ${(error as Error).message}`)
    process.exitCode = 1
    return null
  }
}

/** `hashicorp` measures what `apply` does and more, in the same rounds. */
function isChosen({ name }: Suite, asked: readonly string[]): boolean {
  return asked.includes(name) && !(name === 'apply' && asked.includes('hashicorp'))
}

async function write(line: CommandLine, done: Run): Promise<void> {
  const { out } = line
  writeFileSync(join(out, 'run.json'), `${JSON.stringify(done, null, 2)}\n`)
  writeFileSync(join(out, 'tables.md'), `${[runHead(done), ...done.suites.map(suiteTable)].join('\n\n')}\n`)
  if (!line.charts) return
  for (const result of done.suites) {
    for (const { name, svg } of await chartsOf(result, circumstancesOf(done)))
      writeFileSync(join(out, `${name}.svg`), svg)
  }
}
