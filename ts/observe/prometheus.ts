/** Metrics as Prometheus reads them: its text format, version 0.0.4. */

import type { Labels, Metric } from './metric.js'

/** The `content-type` of what `prometheusText` answers. */
export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** One line of the text: a value under a name of its own, which a histogram has three of. */
export interface Line {
  readonly name: string
  readonly labels: Labels
  readonly value: number
}

/** The metrics of one server, or of several: `prometheusText([...a.metrics(), ...b.metrics()])`. */
export function prometheusText(metrics: readonly Metric[]): string {
  const families = new Map<string, string[]>()
  for (const metric of metrics) {
    const { name, type, help } = metric
    const lines = linesOf(metric)
    if (lines.length === 0) continue
    const family = families.get(name) ?? [`# HELP ${name} ${escapedHelp(help)}`, `# TYPE ${name} ${type}`]
    for (const line of lines) family.push(`${line.name}${labelText(line.labels)} ${numberText(line.value)}`)
    families.set(name, family)
  }
  return [...families.values()].map((family) => `${family.join('\n')}\n`).join('')
}

/** A histogram is told as `_bucket`, by ascending `le`, `_sum` and `_count`. */
export function linesOf(metric: Metric): readonly Line[] {
  const { name } = metric
  if (metric.type !== 'histogram') return metric.samples.map(({ labels, value }) => ({ name, labels, value }))
  return metric.samples.flatMap(({ labels, buckets, sum, count }) => [
    ...buckets.map(({ le, count: value }) => ({
      ...{ name: `${name}_bucket`, value },
      labels: { ...labels, le: numberText(le) },
    })),
    { name: `${name}_sum`, labels, value: sum },
    { name: `${name}_count`, labels, value: count },
  ])
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapedValue(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

const escapedHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')

const escapedValue = (text: string): string => escapedHelp(text).replaceAll('"', '\\"')

function numberText(value: number): string {
  if (value === Infinity) return '+Inf'
  return value === -Infinity ? '-Inf' : String(value)
}
