/**
 * A figure that a page repeats is that of the page where it was measured, and the chart of the README is drawn from it:
 * `node build/bench/readme-chart.js` draws it anew.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { CHART, chartOf, FIGURES, rowsOf } from '../bench/readme-chart.js'
import { pages, read, trackedFiles } from './support/doc-pages.js'

const test = suite('figures in the pages')

const readme = read('README.md')
const performance = read(FIGURES)
const planted = trackedFiles('test/planted/*.patch').length

const grouped = (value: number): string => value.toLocaleString('en')

test('the chart is that of the table', () => {
  assert.is(read(CHART), chartOf(performance))
  assert.ok(readme.includes(`](${CHART})`))
  assert.is.not(chartOf(performance.replace('2900 (930', '2400 (930')), read(CHART))
})

test('the table of the README has the medians of the same rows', () => {
  const rows = rowsOf(performance)
  const steps = [...new Set(rows.map(({ inFlight }) => inFlight))]
  const said = steps.map((step) => {
    const cells = rows.filter(({ inFlight }) => inFlight === step)
    const texts = cells.map(({ entries, p50, p99, cpu }) => {
      const [fast, slow] = [p50.median.toFixed(2), p99.median.toFixed(2)]
      return `${grouped(entries.median)}, ${fast} / ${slow}, ${Math.round(cpu.median)}`
    })
    return `| ${step} | ${texts.join(' | ')} |`
  })
  assert.is(steps.length, 5)
  assert.equal(readme.match(/^\| \d+ \| .*$/gm), said)
})

test('what the README says of kv stands in the tables', () => {
  const medianOf = (contender: string, command: string): string => {
    const row = performance.split('\n').find((line) => line.startsWith(`| ${contender} | ${command} | 64 | 1 |`)) ?? ''
    return grouped(Number(/\| (\d+) \(/.exec(row)?.[1]))
  }
  const contenders = ['balsa-kv, three servers', 'redis-server, one']
  const [, ...said] = /([\d,]+) SET\/s, ([\d,]+) linearizable[\s\S]*?: ([\d,]+) and ([\d,]+)\s/.exec(readme) ?? []
  const measured = contenders.flatMap((contender) => ['set', 'get'].map((command) => medianOf(contender, command)))
  assert.equal(said, measured)
  const [, median, most, kills] = /after (\d+) ms in the median, (\d+) at most\s+\((\d+) kills/.exec(readme) ?? []
  assert.match(performance, `| \`--suite failover\`, ${kills} kills | median ${median} ms, p99 and most ${most} |`)
})

test('bugs that are planted are counted', () => {
  const counts = pages().flatMap(({ path, text }) =>
    [...text.matchAll(/\b(\d+) (?:planted bugs|of them, one at a time)/g)].map(([, count]) => `${path}: ${count}`),
  )
  assert.ok(counts.length >= 2, counts.join())
  assert.equal(
    counts,
    counts.map((count) => count.replace(/\d+$/, String(planted))),
  )
})

test('the share of branches is that of the page about it', () => {
  const [, share] = /more than (\d+) % of the core's branches/.exec(readme) ?? []
  assert.match(read('docs/coverage.md'), `The core stays above ${share} %`)
})

test('how many worlds have held is said on one line, in one page', () => {
  const line =
    /^Every invariant held in [\d,]+ such worlds with [\d,]+ million inputs to the consensus core \(20\d\d-\d\d-\d\d\)\.$/m
  assert.match(readme, line)
  const told = pages().filter(({ text }) => /million inputs to the (?:consensus )?core/.test(text))
  assert.equal(
    told.map(({ path }) => path),
    ['README.md'],
  )
})

test('the suites of the bench are those that its page lists', () => {
  const named = trackedFiles('bench/suites/*.ts').map(
    (path) => /\bname: '([a-z-]+)',\n {2}purpose/.exec(read(path))?.[1],
  )
  const table = performance.slice(0, performance.indexOf('Each run leaves'))
  const listed = [...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, name = '']) => name)
  assert.equal(new Set(listed), new Set(named.filter((name) => name !== undefined)))
})

test.run()
