/**
 * docs/scenarios.md is what the tests say: every id in the name of a test stands in the table as tested, with that
 * file, and the other way round. `BALSA_REWRITE=1` writes the last column anew; the difference is then to be read like
 * code.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const ROOT = new URL('../../../', import.meta.url)
const TABLE = new URL('docs/scenarios.md', ROOT)
const ID = /\b(?:[ECMRTNDA]\d{1,2}|H[12]-\d{1,2})\b/g
/** How many rows each letter has. */
const COUNTS = { E: 15, C: 22, M: 17, R: 10, T: 5, N: 17, D: 11, A: 7, 'H1-': 28, 'H2-': 18 }
const ROW = /^\| (\S+) \| (.+?) \| (tested|waits for|does not apply)(.*?) \|(.*)\|$/

interface Row {
  readonly id: string
  readonly what: string
  readonly state: string
  readonly tested: boolean
  readonly where: string
}

function rowOf(line: string): Row | null {
  const match = ROW.exec(line)
  if (match === null) return null
  const [, id = '', what = '', kind = '', rest = '', where = ''] = match
  return { id, what, state: kind + rest, tested: kind === 'tested', where: where.trim() }
}

const table = readFileSync(TABLE, 'utf8').split('\n')
const rows = table.flatMap((line) => rowOf(line) ?? [])

/** The names of the tests in a file, and of the transcripts in their folder. */
function namesIn(path: string): readonly string[] {
  const text = readFileSync(new URL(path, ROOT), 'utf8')
  const pattern = path.endsWith('.rs') ? /^fn (\w+)/gm : /^ *test\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/gm
  return [...text.matchAll(pattern)].map((match) => match[2] ?? (match[1] ?? '').toUpperCase().replaceAll('_', ' '))
}

/** By id, where its tests are: file by file, in order. */
function testedIds(): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>()
  const add = (name: string, where: string): void => {
    for (const [id] of name.matchAll(ID)) found.set(id, (found.get(id) ?? new Set()).add(where))
  }
  for (const folder of ['test', 'crates/balsa-log/tests']) {
    const files = readdirSync(new URL(folder, ROOT), { recursive: true }).map((name) => `${folder}/${String(name)}`)
    for (const path of files.sort()) {
      if (path.startsWith('test/core/transcripts/')) add(path.slice(path.lastIndexOf('/') + 1), 'core/transcripts')
      if (!/\.test\.ts$|\.rs$/.test(path)) continue
      for (const name of namesIn(path)) add(name, path.replace(/^test\/|\.test\.ts$/g, ''))
    }
  }
  return found
}

const found = testedIds()
const whereOf = (id: string): string => [...(found.get(id) ?? [])].join(', ')

if (process.env['BALSA_REWRITE'] === '1') {
  const lines = table.map((line) => {
    const row = rowOf(line)
    return row === null ? line : `| ${row.id} | ${row.what} | ${row.state} | ${whereOf(row.id)} |`
  })
  writeFileSync(TABLE, lines.join('\n'))
}

test('the table has every row, once and in order, and no line that only looks like one', () => {
  const expected = Object.entries(COUNTS).flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, at) => `${letter}${at + 1}`),
  )
  assert.equal(
    rows.map(({ id }) => id),
    expected,
  )
  // Two more lines each head a table.
  const headed =
    table.filter((line) => line.startsWith('|')).length -
    2 * table.filter((line) => line === '|---|---|---|---|').length
  assert.is(rows.length, headed)
})

test('an id that is tested is in the name of a test in each file that the table names, and in no other', () => {
  for (const { id, tested, where } of rows) assert.is(where, tested ? whereOf(id) : '', id)
  for (const { id, tested } of rows) assert.is(found.has(id), tested, `${id} is in the name of a test, or of none`)
})

test('no test names a scenario that is not in the table', () => {
  const known = new Set(rows.map(({ id }) => id))
  assert.equal(
    [...found.keys()].filter((id) => !known.has(id)),
    [],
  )
})

test.run()
