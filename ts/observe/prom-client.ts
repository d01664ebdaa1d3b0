/** The metrics of servers among those of an application that has a registry of prom-client. */

import { METRIC_NAMES, METRICS } from './metric.js'
import type { Labels, Metric, MetricName } from './metric.js'
import { linesOf } from './prometheus.js'

/** So much of `Raft` as is needed. */
export interface MetricSource {
  /** What is told, each time that it is read. */
  metrics(): readonly Metric[]
}

/** So much of the `Registry` of prom-client. */
export interface PromRegistry {
  /** Takes a metric in. */
  registerMetric(metric: never): void
  /** Takes it out again. */
  removeSingleMetric(name: string): void
}

interface PromValue {
  readonly value: number
  readonly labels: Labels
  /** Of a histogram: which of its three names. */
  readonly metricName?: string
}

/** What a registry asks of a metric. */
interface PromMetric {
  readonly name: MetricName
  get(): Promise<object>
  /** Counters of a server are its own to begin again. */
  reset(): void
}

/**
 * Has a registry of prom-client tell the metrics of these servers, as they are when it is asked. Returns what takes
 * them out again. The registry throws when it has them already: servers of one process are registered together.
 */
export function registerPromClient(
  servers: MetricSource | readonly MetricSource[],
  registry: PromRegistry,
): () => void {
  const reading = new Reading(Array.isArray(servers) ? servers : [servers as MetricSource])
  for (const name of METRIC_NAMES) registry.registerMetric(promMetric(name, reading) as never)
  return () => {
    for (const name of METRIC_NAMES) registry.removeSingleMetric(name)
  }
}

function promMetric(name: MetricName, reading: Reading): PromMetric {
  const { help, type } = METRICS[name]
  return {
    name,
    get: async () => ({ name, help, type, aggregator: 'sum', values: reading.valuesOf(name) }),
    reset: () => {},
  }
}

/** A registry asks all its metrics in one go: the servers are read once for all of them. */
class Reading {
  readonly #servers: readonly MetricSource[]
  #metrics: readonly Metric[] | null = null

  constructor(servers: readonly MetricSource[]) {
    this.#servers = servers
  }

  valuesOf(name: MetricName): readonly PromValue[] {
    return this.#read()
      .filter((metric) => metric.name === name)
      .flatMap(linesOf)
      .map(({ name: metricName, labels, value }) =>
        metricName === name ? { labels, value } : { labels, value, metricName },
      )
  }

  #read(): readonly Metric[] {
    if (this.#metrics === null) {
      this.#metrics = this.#servers.flatMap((server) => server.metrics())
      queueMicrotask(() => {
        this.#metrics = null
      })
    }
    return this.#metrics
  }
}
