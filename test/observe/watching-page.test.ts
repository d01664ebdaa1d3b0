/** docs/watching.md names what the code has, and nothing else: metrics with their types, events, channels, paths. */

import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { APPLY_TRACING, channelOf, healthHandler, METRICS } from 'balsa-raft/observe'
import type { HealthSource } from 'balsa-raft/observe'
import { EVENT_NAMES } from '#balsa/observe/events.js'

const test = suite('the page of watching')

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')
const page = readFileSync(join(root, 'docs/watching.md'), 'utf8')

/** The cells of the table rows of one section. */
function rowsOf(section: string): readonly (readonly string[])[] {
  const [, text = ''] = page.split(`\n## ${section}\n`)
  const [body = ''] = text.split('\n## ')
  return body
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()))
}

const wordsOf = (cell = ''): readonly string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word)

test('has every metric with its type, in order, and no other', () => {
  assert.equal(
    rowsOf('Metrics').map(([, name, type]) => `${wordsOf(name).join()} ${type}`),
    Object.entries(METRICS).map(([name, { type }]) => `${name} ${type}`),
  )
})

test('has every event, and no other', () => {
  assert.equal(
    rowsOf('Events')
      .flatMap(([, name]) => wordsOf(name))
      .toSorted(),
    EVENT_NAMES.toSorted(),
  )
})

test('has every channel, and no other', () => {
  const steps = ['start', 'end', 'asyncStart', 'asyncEnd', 'error']
  const channels = [...EVENT_NAMES.map(channelOf), ...steps.map((step) => `tracing:${APPLY_TRACING}:${step}`)]
  assert.equal(
    rowsOf('Channels')
      .flatMap(([, names]) => wordsOf(names))
      .toSorted(),
    channels.toSorted(),
  )
})

test('has every path of the handler, and no other', () => {
  let body = ''
  const response = { setHeader() {}, writeHead() {}, end: (text: string) => void (body = text) }
  healthHandler({} as HealthSource)({ url: '/nowhere', method: 'GET' } as never, response as never)
  const { paths } = JSON.parse(body) as { readonly paths: readonly string[] }
  assert.equal(
    rowsOf('Health endpoints').flatMap(([, path]) => wordsOf(path)),
    paths,
  )
})

test.run()
