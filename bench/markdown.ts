/** A run as Markdown: the machine, then a table per suite with `median (min .. max)` in each cell. */

import type { Machine } from './machine.js'
import type { Row, SuiteResult } from './runner.js'
import type { Metric } from './suite.js'

export interface Run {
  readonly startedAt: string
  readonly command: string
  readonly machine: Machine
  /** Why these figures do not count; empty when they do. */
  readonly marks: readonly string[]
  readonly suites: readonly SuiteResult[]
}

export function runHead(run: Run): string {
  const { machine, marks } = run
  const lines = [
    `${run.startedAt}, \`${run.command}\``,
    `${machine.cores} cores, ${machine.cpu}, ${machine.memoryGiB.toFixed(1)} GiB; ${machine.kernel}; Node ${machine.node}`,
    `logs in ${machine.dir} on ${machine.filesystem} (${machine.device}), a raw write and flush of 4 KiB takes ${machine.flushMicroseconds.toFixed(0)} us there`,
    `load average ${machine.loadBefore.toFixed(1)} before${machine.loadAfter === null ? '' : `, ${machine.loadAfter.toFixed(1)} after`}`,
    ...marks.map((mark) => `**MARKED RUN**: ${mark}`),
  ]
  return lines.map((line) => `- ${line}`).join('\n')
}

/** In few words, for a chart. */
export function circumstancesOf({ startedAt, machine, marks }: Run): readonly string[] {
  const { cores, cpu, node, filesystem } = machine
  return [
    `${startedAt.slice(0, 10)}, ${cores} cores, ${cpu}, Node ${node}, logs on ${filesystem}`,
    ...marks.map((mark) => `MARKED RUN: ${mark}`),
  ]
}

export function suiteTable(result: SuiteResult): string {
  const circumstances = [...new Set(result.rows.flatMap((row) => Object.keys(row.at)))]
  const metrics = result.metrics.filter(({ key }) => result.rows.some((row) => row.figures[key] !== undefined))
  const heads = ['contender', ...circumstances, ...metrics.map(({ head }) => head)]
  const table = [
    `| ${heads.join(' | ')} |`,
    `| --- |${' ---: |'.repeat(heads.length - 1)}`,
    ...result.rows.map((row) => `| ${cellsOf(row, circumstances, metrics).join(' | ')} |`),
  ]
  const parts = [
    `## ${result.suite}: ${result.purpose}`,
    `median (min .. max) of ${result.rounds} rounds, ${result.seconds} s each`,
    result.rows.length === 0 ? '' : table.join('\n'),
    bullets(result.verdicts),
    bullets(result.notes),
    bullets(result.skipped.map(({ what, reason }) => `skipped: ${what}: ${reason}`)),
    bullets(result.failures.map((failure) => `FAILED: ${failure}`)),
  ]
  return parts.filter((part) => part !== '').join('\n\n')
}

function cellsOf(row: Row, circumstances: readonly string[], metrics: readonly Metric[]): readonly string[] {
  return [
    row.contender,
    ...circumstances.map((name) => String(row.at[name] ?? '')),
    ...metrics.map(({ key, digits }) => {
      const figure = row.figures[key]
      if (figure === undefined) return ''
      const { median, min, max } = figure
      return `${median.toFixed(digits)} (${min.toFixed(digits)} .. ${max.toFixed(digits)})`
    }),
  ]
}

function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join('\n')
}
