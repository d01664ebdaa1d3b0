/** The door of balsa-raft/observe: what shows a server to operators. `balsa-raft/otel` is beside it. */

export { APPLY_TRACING, channelOf } from './channels.js'
export type { ApplyMessage, EventMessage } from './channels.js'
export { healthHandler } from './health-handler.js'
export type { HealthHandler, HealthSource } from './health-handler.js'
export { METRICS } from './metric.js'
export { registerPromClient } from './prom-client.js'
export type { MetricSource, PromRegistry } from './prom-client.js'
export { PROMETHEUS_CONTENT_TYPE, prometheusText } from './prometheus.js'
