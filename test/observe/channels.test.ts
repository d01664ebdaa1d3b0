/** What is published for whoever subscribes, and spans over it with the real OpenTelemetry. */

import { channel, subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import { InMemorySpanExporter, BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider } from '@opentelemetry/sdk-metrics'
import { PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { SpanStatusCode } from '@opentelemetry/api'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Metric } from 'balsa-raft'
import { APPLY_TRACING, channelOf, METRICS } from 'balsa-raft/observe'
import type { ApplyMessage, EventMessage } from 'balsa-raft/observe'
import { observeMetrics, traceCalls } from 'balsa-raft/otel'
import { EVENT_NAMES } from '#balsa/observe/events.js'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'

const test = suite<{ server: LoneServer }>('channels')

test.before.each(async (context) => {
  context.server = await LoneServer.open()
})
test.after.each(({ server }) => server.close())

/** A command that is applied. */
async function apply(server: LoneServer, add: number): Promise<number> {
  const call = server.raft.apply({ add })
  await server.turns()
  await server.acknowledge()
  return call
}

test('each event is published with the server that it is of, as long as somebody listens', async ({ server }) => {
  const heard: EventMessage<'role'>[] = []
  const hear = (message: unknown): void => void heard.push(message as EventMessage<'role'>)
  subscribe('balsa:role', hear)
  await server.lead()
  unsubscribe('balsa:role', hear)
  await server.raft.stepDown()
  assert.equal(
    heard.map(({ server: id, event: { role, term } }) => `${id} ${role} ${term}`),
    ['s1 preCandidate 1', 's1 candidate 2', 's1 leader 2'],
  )
  assert.ok(heard.every((message) => Object.isFrozen(message)))
})

test('there is a channel for each event, and nobody is listened for by the server itself', async ({ server }) => {
  await server.lead()
  assert.is(channelOf('snapshot'), 'balsa:snapshot')
  for (const name of EVENT_NAMES) assert.not(channel(channelOf(name)).hasSubscribers)
})

test('a call is traced from its begin to its outcome, in one message', async ({ server }) => {
  await server.lead()
  const heard: string[] = []
  const messages = new Set<ApplyMessage>()
  const note = (what: string) => (message: ApplyMessage) => {
    heard.push(what)
    messages.add(message)
  }
  const handlers = {
    ...{ start: note('start'), end: note('end'), error: note('error') },
    ...{ asyncStart: note('asyncStart'), asyncEnd: note('asyncEnd') },
  }
  const traced = tracingChannel<unknown, ApplyMessage>(APPLY_TRACING)
  traced.subscribe(handlers)
  try {
    assert.is(await apply(server, 2), 2)
    assert.equal(heard, ['start', 'end', 'asyncStart', 'asyncEnd'])
    assert.equal([...messages], [{ server: 's1', kind: 'command', entries: 1, result: [2] }])
    heard.length = 0
    const failed = failure(server.raft.barrier({ signal: AbortSignal.abort() }))
    assert.is((await failed).code, 'ERR_RAFT_ABORTED')
    assert.equal(heard, ['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
    const [, { error } = { error: null }] = messages
    assert.is((error as { code: string }).code, 'ERR_RAFT_ABORTED')
  } finally {
    traced.unsubscribe(handlers)
  }
  heard.length = 0
  await apply(server, 1)
  assert.equal(heard, [])
})

test('spans of OpenTelemetry begin and end with their calls, and say which failed', async ({ server }) => {
  await server.lead()
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  const end = traceCalls(provider.getTracer('balsa'))
  const waiting = apply(server, 1)
  assert.is(exporter.getFinishedSpans().length, 0)
  await waiting
  await failure(server.raft.apply({ add: 1 }, { signal: AbortSignal.abort() }))
  end()
  await apply(server, 1)
  const [good, bad, ...others] = exporter.getFinishedSpans()
  assert.equal(good?.attributes, { 'balsa.server': 's1', 'balsa.kind': 'command', 'balsa.entries': 1 })
  assert.is(good?.status.code, SpanStatusCode.UNSET)
  assert.is(bad?.status.code, SpanStatusCode.ERROR)
  assert.match(bad?.status.message ?? '', /^RaftError: /)
  assert.equal(others, [])
  await provider.shutdown()
})

test('a meter of OpenTelemetry collects every sample, and reads a server once', async ({ server }) => {
  await server.lead()
  await server.acknowledge()
  await apply(server, 1)
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1 << 30 })
  const provider = new MeterProvider({ readers: [reader] })
  let readings = 0
  const counted = {
    metrics(): readonly Metric[] {
      readings += 1
      return server.raft.metrics()
    },
  }
  const end = observeMetrics([counted], provider.getMeter('balsa'))
  const { resourceMetrics, errors } = await reader.collect()
  assert.equal(errors, [])
  assert.is(readings, 1)
  const told = new Map(
    resourceMetrics.scopeMetrics.flatMap(({ metrics }) =>
      metrics.map(({ descriptor, dataPoints }) => [descriptor.name, { unit: descriptor.unit, dataPoints }]),
    ),
  )
  for (const { name, type, samples } of server.raft.metrics()) {
    if (samples.length === 0) continue
    const points = told.get(type === 'histogram' ? `${name}_count` : name)
    assert.is(points?.dataPoints.length, samples.length, name)
    assert.ok(points?.dataPoints.every(({ attributes }) => attributes['server'] === 's1'))
  }
  assert.is(told.get('balsa_commit_latency_seconds_count')?.dataPoints[0]?.value, 1)
  assert.is(told.get('balsa_commit_latency_seconds_sum')?.unit, 's')
  assert.is(told.get('balsa_store_used_bytes')?.unit, 'By')
  assert.ok(Object.keys(METRICS).length > 0)
  end()
  const after = await reader.collect()
  assert.is(readings, 1)
  assert.equal(after.errors, [])
  await provider.shutdown()
})

test.run()
