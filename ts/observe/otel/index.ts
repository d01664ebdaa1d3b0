/**
 * The door of balsa-raft/otel: what is counted and traced of servers, for OpenTelemetry. It imports nothing of that:
 * whoever uses it brings a meter and a tracer of `@opentelemetry/api`.
 */

import { tracingChannel } from 'node:diagnostics_channel'

import { textOf } from '../../foreign-values.js'
import { APPLY_TRACING } from '../channels.js'
import type { ApplyMessage } from '../channels.js'
import { METRIC_NAMES, METRICS } from '../metric.js'
import type { Labels, Metric } from '../metric.js'
import { linesOf } from '../prometheus.js'

/** So much of `Raft` as is needed. */
export interface MetricSource {
  /** What is told, each time that it is read. */
  metrics(): readonly Metric[]
}

interface Described {
  readonly description: string
  readonly unit: string
}

interface Observer<Instrument> {
  observe(instrument: Instrument, value: number, attributes: Labels): void
}

type ObserveAll<Instrument> = (observer: Observer<Instrument>) => void

/** So much of the `Meter` of OpenTelemetry. */
export interface OtelMeter<Instrument> {
  /** Makes a counter that is asked for its value. */
  createObservableCounter(name: string, options: Described): Instrument
  /** Makes a gauge that is asked for its value. */
  createObservableGauge(name: string, options: Described): Instrument
  /** Asks for the values of all of these at once, from now on. */
  addBatchObservableCallback(observe: ObserveAll<Instrument>, instruments: Instrument[]): void
  /** Asks no more. */
  removeBatchObservableCallback(observe: ObserveAll<Instrument>, instruments: Instrument[]): void
}

/** So much of its `Tracer`. */
export interface OtelTracer {
  /** Begins a span, as a child of the one that is active. */
  startSpan(name: string, options: { readonly attributes: Readonly<Record<string, string | number>> }): OtelSpan
}

interface OtelSpan {
  setStatus(status: { code: number; message?: string }): unknown
  end(): void
}

/** `SpanStatusCode.ERROR` of OpenTelemetry. */
const STATUS_ERROR = 2

const SUFFIXES = ['_bucket', '_sum', '_count'] as const

/**
 * Observable instruments over the metrics of these servers, under the same names; each collection reads each server
 * once. OpenTelemetry has no histogram that is observed, so a histogram is three counters, as in the text of
 * Prometheus: `_bucket` with `le`, `_sum` and `_count`. Returns what ends it.
 */
export function observeMetrics<Instrument>(servers: readonly MetricSource[], meter: OtelMeter<Instrument>): () => void {
  const instruments = new Map<string, Instrument>()
  for (const name of METRIC_NAMES) {
    const { type, help: description } = METRICS[name]
    const unit = unitOf(name)
    if (type === 'gauge') instruments.set(name, meter.createObservableGauge(name, { description, unit }))
    else if (type === 'counter') instruments.set(name, meter.createObservableCounter(name, { description, unit }))
    else {
      for (const suffix of SUFFIXES) {
        const options = { description, unit: suffix === '_sum' ? unit : '1' }
        instruments.set(name + suffix, meter.createObservableCounter(name + suffix, options))
      }
    }
  }
  const observe: ObserveAll<Instrument> = (observer) => {
    for (const { name, labels, value } of servers.flatMap((server) => server.metrics()).flatMap(linesOf)) {
      const instrument = instruments.get(name)
      if (instrument !== undefined) observer.observe(instrument, value, labels)
    }
  }
  const all = [...instruments.values()]
  meter.addBatchObservableCallback(observe, all)
  return () => meter.removeBatchObservableCallback(observe, all)
}

/**
 * A span `balsa.apply` for each call that proposes entries, of every server of this process: a child of whatever span
 * is active where it is called, with an error status when it fails. Returns what ends it; call it when no call is under
 * way, whose span would stay open.
 */
export function traceCalls(tracer: OtelTracer): () => void {
  const spans = new WeakMap<object, OtelSpan>()
  const handlers = {
    start(message: ApplyMessage): void {
      const { server, kind, entries } = message
      const attributes = { 'balsa.server': server, 'balsa.kind': kind, 'balsa.entries': entries }
      spans.set(message, tracer.startSpan('balsa.apply', { attributes }))
    },
    end(): void {},
    asyncStart(): void {},
    asyncEnd(message: ApplyMessage): void {
      spans.get(message)?.end()
    },
    error(message: ApplyMessage): void {
      spans.get(message)?.setStatus({ code: STATUS_ERROR, message: textOf(message.error) })
    },
  }
  const applies = tracingChannel<unknown, ApplyMessage>(APPLY_TRACING)
  applies.subscribe(handlers)
  return () => {
    applies.unsubscribe(handlers)
  }
}

/** As OpenTelemetry writes it (UCUM). */
function unitOf(name: string): string {
  if (name.includes('_seconds')) return 's'
  return name.includes('_bytes') ? 'By' : '1'
}
