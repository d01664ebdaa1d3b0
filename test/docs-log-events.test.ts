/** docs/watching.md names each event that is logged, with its level; and none that is not. */

import { readdirSync, readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('log events in docs/watching.md')

const NAME = /^[a-z]+\.[a-z]+(-[a-z]+)*$/
/** How a line is written: by a logger, or by one that is quiet about what it has said. */
const LOGGED = /(?:[lL]ogger|quiet|Quiet)(?:\??\.(debug|info|warn|error)|\[\w+\])\(\s*([^,)]+)/g
/** Texts of these forms are events also where they are no argument of such a call. */
const NAMED = /'((?:raft|apply|clock|store|folder|repair|snapshot|peer|join|listener|transport)\.[a-z]+(?:-[a-z]+)*)'/g

/** By event, its levels; none where the source names it elsewhere than in the call. */
function logged(): ReadonlyMap<string, ReadonlySet<string>> {
  const events = new Map<string, Set<string>>()
  const add = (event: string): Set<string> => {
    const levels = events.get(event) ?? new Set()
    events.set(event, levels)
    return levels
  }
  for (const path of readdirSync('ts', { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.ts') || path.startsWith('testing/')) continue
    const source = readFileSync(`ts/${path}`, 'utf8')
    for (const [, event = ''] of source.matchAll(NAMED)) add(event)
    for (const [call, level, argument = ''] of source.matchAll(LOGGED)) {
      for (const [, event = ''] of argument.matchAll(/'([^']*)'/g)) {
        assert.match(event, NAME, `${path}: ${call}`)
        if (level === undefined) add(event)
        else add(event).add(level)
      }
    }
  }
  return events
}

test('the table has them all, and their levels', () => {
  const text = readFileSync('docs/watching.md', 'utf8')
  const table = text.slice(text.indexOf('| event | level | what has happened |'))
  const told = new Map<string, string>()
  for (const [, events = '', levels = ''] of table.matchAll(/^\| ((?:`[a-z.-]+`(?:, )?)+) \| ([a-z, ]+) \| /gm)) {
    const names = [...events.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name)
    const each = levels.split(', ')
    names.forEach((name, at) => told.set(name, each[at] ?? each[0] ?? ''))
  }
  const events = logged()
  assert.ok(events.size > 50, `${events.size} events`)
  assert.equal([...told.keys()].toSorted(), [...events.keys()].toSorted())
  for (const [event, levels] of events) for (const level of levels) assert.is(told.get(event), level, event)
})

test.run()
