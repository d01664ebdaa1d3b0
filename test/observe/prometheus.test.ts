/** The text that Prometheus reads: every line of it is parsed again, by the grammar of the format. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Counter, Gauge, Histogram as PromHistogram, Registry } from 'prom-client'
import type { Metric } from 'balsa-raft'
import { METRICS, prometheusText, registerPromClient } from 'balsa-raft/observe'
import { LoneServer } from '../support/lone-server.js'

const test = suite<{ server: LoneServer }>('prometheus')

test.before.each(async (context) => {
  context.server = await LoneServer.open()
})
test.after.each(({ server }) => server.close())

/** As the format has it (exposition formats, text-based). */
const LINE =
  /^(?<name>[a-zA-Z_:][\w:]*)(?:\{(?<labels>(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (?<value>[+-]Inf|NaN|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/

interface Family {
  readonly type: string
  readonly lines: { readonly name: string; readonly labels: string; readonly value: string }[]
}

/** Throws for what is no such text. */
function parsed(text: string): ReadonlyMap<string, Family> {
  assert.ok(text === '' || text.endsWith('\n'), 'the last line ends, too')
  const families = new Map<string, Family>()
  let current = ''
  for (const line of text.split('\n').slice(0, -1)) {
    const [, head, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? []
    if (head === 'HELP') {
      assert.not(families.has(name), `${name} is told in one place`)
      current = name
    } else if (head === 'TYPE') {
      assert.is(name, current)
      families.set(name, { type: rest, lines: [] })
    } else {
      const groups = LINE.exec(line)?.groups
      assert.ok(groups, `no line of the format: ${line}`)
      const { name: told = '', labels = '', value = '' } = groups
      const family = families.get(current)
      const suffixes = family?.type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
      assert.ok(
        suffixes.some((suffix) => told === current + suffix),
        `${told} under ${current}`,
      )
      family?.lines.push({ name: told, labels, value })
    }
  }
  return families
}

const gauge = (labels: Readonly<Record<string, string>>, value: number, help = 'help'): Metric => ({
  ...{ name: 'balsa_term', type: 'gauge', help },
  samples: [{ labels, value }],
})

test('what a server tells is well-formed, each with its type', async ({ server }) => {
  await server.lead()
  const families = parsed(prometheusText(server.raft.metrics()))
  assert.ok(families.size > 30)
  for (const [name, { type }] of families) assert.is(type, METRICS[name as keyof typeof METRICS].type)
})

test('quotes, backslashes and line ends of a label are escaped, and of a help all but quotes', () => {
  assert.is(
    prometheusText([gauge({ server: 'a"b\\c\nd' }, 1, 'one "two"\\\nthree')]),
    '# HELP balsa_term one "two"\\\\\\nthree\n# TYPE balsa_term gauge\nbalsa_term{server="a\\"b\\\\c\\nd"} 1\n',
  )
})

test('numbers that are none in JSON have the words of the format', () => {
  const lines = [Infinity, -Infinity, NaN, 1e21, 0.5].map((value) => prometheusText([gauge({}, value)]).split('\n')[2])
  assert.equal(lines, ['balsa_term +Inf', 'balsa_term -Inf', 'balsa_term NaN', 'balsa_term 1e+21', 'balsa_term 0.5'])
})

test('a histogram ends with +Inf, which is its count', async ({ server }) => {
  await server.lead()
  await server.acknowledge()
  const call = server.raft.apply({ add: 1 })
  await server.turns()
  await server.acknowledge()
  await call
  const lines = parsed(prometheusText(server.raft.metrics())).get('balsa_commit_latency_seconds')?.lines ?? []
  const buckets = lines.filter(({ name }) => name.endsWith('_bucket'))
  assert.is(buckets.at(-1)?.labels, 'server="s1",le="+Inf"')
  assert.is(buckets.at(-1)?.value, '1')
  assert.equal(
    lines.slice(-2).map(({ name, labels }) => [name, labels]),
    ['sum', 'count'].map((end) => [`balsa_commit_latency_seconds_${end}`, 'server="s1"']),
  )
  assert.is(lines.at(-1)?.value, '1')
})

test('servers of one process share the head of each metric', async ({ server }) => {
  const metrics = server.raft.metrics()
  const families = parsed(prometheusText([...metrics, ...metrics]))
  assert.is(families.get('balsa_term')?.lines.length, 2)
})

test('a metric without samples is not told', () => {
  assert.is(prometheusText([{ name: 'balsa_term', type: 'gauge', help: 'help', samples: [] }]), '')
})

test('a registry of prom-client tells the same, beside metrics of its own', async ({ server }) => {
  await server.lead()
  const registry = new Registry()
  const own = new Counter({ name: 'own_total', help: 'own', registers: [registry] })
  const gauge = new Gauge({ name: 'own', help: 'own', registers: [registry] })
  const histogram = new PromHistogram({ name: 'own_seconds', help: 'own', registers: [registry] })
  own.inc()
  gauge.set(1)
  histogram.observe(1)
  let readings = 0
  const counted = {
    metrics(): readonly Metric[] {
      readings += 1
      return server.raft.metrics()
    },
  }
  const remove = registerPromClient(counted, registry)
  const text = await registry.metrics()
  assert.is(readings, 1)
  assert.match(text, /^own_total 1$/m)
  const told = text.split('\n').filter((line) => line.startsWith('balsa_') && !line.startsWith('balsa_event_loop'))
  const ours = prometheusText(server.raft.metrics()).split('\n')
  assert.equal(
    told.toSorted(),
    ours.filter((line) => line.startsWith('balsa_') && !line.startsWith('balsa_event_loop')).toSorted(),
  )
  await registry.metrics()
  assert.is(readings, 2)
  registry.resetMetrics()
  assert.match(await registry.metrics(), /^balsa_term\{server="s1"\} 2$/m)
  remove()
  assert.not.match(await registry.metrics(), /balsa_/)
})

test('a registry that has them already says so, and keeps them', async ({ server }) => {
  const registry = new Registry()
  registerPromClient(server.raft, registry)
  assert.throws(() => registerPromClient(server.raft, registry), /already been registered/)
  assert.match(await registry.metrics(), /balsa_term/)
})

test.run()
