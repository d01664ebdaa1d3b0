/** docs/errors.md has a row for each code, with the outcomes that the sources give it. */

import { readdirSync, readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { httpStatusOf, RaftError } from 'balsa-raft'
import type { Outcome, RaftErrorCode } from 'balsa-raft'

const test = suite('docs/errors.md')

const OUTCOMES: readonly Outcome[] = ['not-applied', 'unknown', 'applied']
/** What halts a server ends each of its calls, with what became of that call (`halted` in ts/server/refusals.ts). */
const HALTING = ['APPLY_FAILED', 'STORE_CORRUPT', 'STORE_POISONED', 'SNAPSHOT_CORRUPT'].map(
  (name) => `ERR_RAFT_${name}`,
)

const text = readFileSync('docs/errors.md', 'utf8')
const rows = [...text.matchAll(/^\| `(ERR_RAFT_\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$/gm)]
const outcomesOf = new Map(rows.map(([, code = '', outcomes = '']) => [code, outcomes.split(', ')]))

/** By code, what is said where such an error is made: an outcome, none at all, or one that is told from elsewhere. */
const made = madeInSources()

function madeInSources(): ReadonlyMap<string, ReadonlySet<Outcome | 'told'>> {
  const found = new Map<string, Set<Outcome | 'told'>>()
  for (const path of readdirSync('ts', { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.ts') || path.startsWith('testing/')) continue
    const source = readFileSync(`ts/${path}`, 'utf8')
    for (const { index } of source.matchAll(/(?:new RaftError|givenUp)\(\s*'/g)) {
      const call = source.slice(index, endOfCall(source, index))
      const [, code = ''] = /'(ERR_RAFT_\w+)'/.exec(call) ?? []
      const [said, outcome] = /\boutcome\b(?:: '([\w-]+)')?/.exec(call) ?? []
      const outcomes = found.get(code) ?? new Set()
      found.set(code, outcomes.add(said === undefined ? 'not-applied' : ((outcome as Outcome) ?? 'told')))
    }
  }
  return found
}

/** Where the brackets close that open behind `begin`; those within texts close as well. */
function endOfCall(source: string, begin: number): number {
  let depth = 0
  for (let at = source.indexOf('(', begin); at < source.length; at += 1) {
    if (source[at] === '(') depth += 1
    if (source[at] === ')') depth -= 1
    if (depth === 0) return at
  }
  throw new Error('a call without an end')
}

test('it has one row for each code, in the order of ts/errors.ts, and every cell says something', () => {
  const [, union = ''] =
    /export type RaftErrorCode =\n((?: {2}\| '\w+'\n)+)/.exec(readFileSync('ts/errors.ts', 'utf8')) ?? []
  const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code)
  assert.ok(codes.length > 30)
  assert.equal(
    rows.map(([, code]) => code),
    codes,
  )
  for (const [, code, outcomes = '', what = '', remedy = ''] of rows) {
    assert.ok(what.length > 8 && remedy.length > 8, code)
    assert.equal(
      outcomes.split(', ').filter((outcome) => !OUTCOMES.includes(outcome as Outcome)),
      [],
      code,
    )
  }
})

test('an outcome that an error is made with is in its row', () => {
  assert.ok(made.size > 20, `${made.size} codes are made`)
  for (const [code, outcomes] of made) {
    for (const outcome of outcomes) {
      if (outcome !== 'told') assert.ok(outcomesOf.get(code)?.includes(outcome), `${code} is made as ${outcome}`)
    }
  }
})

test('an outcome that is in a row is given to such an error somewhere', () => {
  for (const [code, outcomes] of outcomesOf) {
    const given = made.get(code)
    // Made by a function that is told the code, or the outcome; or told with what tries before have come to.
    if (given === undefined || given.has('told') || code === 'ERR_RAFT_SESSION_LOST') continue
    // It ends the calls of a server as what halts it does, and nobody is left to say that a command was applied.
    if (code === 'ERR_RAFT_THREAD_LOST') continue
    if (HALTING.includes(code)) assert.equal(outcomes.toSorted(), OUTCOMES.toSorted(), code)
    else assert.equal(outcomes.toSorted(), [...given].toSorted(), code)
  }
})

test('its table of HTTP statuses is what httpStatusOf answers, for each code and each of its outcomes', () => {
  const told = new Map<string, number>()
  for (const [, status = '', cells = ''] of text.matchAll(/^\| (\d{3}) \| (.*) \|$/gm)) {
    for (const [, code = '', outcome] of cells.matchAll(/`(ERR_RAFT_\w+)`(?: \((not-applied|applied)\))?/g)) {
      told.set(outcome === undefined ? code : `${code} ${outcome}`, Number(status))
    }
  }
  assert.ok(told.size > 10)
  for (const [code, outcomes] of outcomesOf) {
    for (const outcome of outcomes as readonly Outcome[]) {
      const others = outcome === 'not-applied' ? 503 : 504
      const error = new RaftError(code as RaftErrorCode, 'x', { outcome })
      assert.is(httpStatusOf(error), told.get(`${code} ${outcome}`) ?? told.get(code) ?? others, `${code} ${outcome}`)
    }
  }
  assert.is(httpStatusOf(new Error('x')), 500)
})

test('README.md names it', () => {
  assert.match(readFileSync('README.md', 'utf8'), '(docs/errors.md)')
})

test.run()
