/**
 * What a suite is to the runner: cases that are measured in turn, and what was left out and why. A suite knows how to
 * measure; rounds, medians, tables and charts are the same for all and stand elsewhere.
 */

import type { Settings } from './settings.js'

/** One measurement: a number per metric of the suite; a metric that could not be had is missing. */
export type Sample = Readonly<Record<string, number>>

export interface Metric {
  readonly key: string
  /** The head of its column, with the unit. */
  readonly head: string
  readonly digits: number
}

export interface Case {
  /** Who is measured: cases that differ only in this are compared. */
  readonly contender: string
  /** Under what circumstances: one column each. */
  readonly at: Readonly<Record<string, string | number>>
  measure(): Promise<Sample>
}

export interface Skipped {
  readonly what: string
  readonly reason: string
}

export interface OpenSuite {
  readonly cases: readonly Case[]
  readonly skipped: readonly Skipped[]
  /** What a reader must know to read the table. */
  readonly notes: readonly string[]
  close(): Promise<void>
}

export interface Suite {
  readonly name: string
  readonly purpose: string
  /** The rounds are what is asked for, and not only their middle: each stands in the chart, quantiles in the notes. */
  readonly distribution?: boolean
  /** How long it takes as the defaults are, start and warm-up included; for --list. */
  readonly minutes: number
  /** When the command line says nothing. */
  readonly rounds: number
  readonly seconds: number
  readonly metrics: readonly Metric[]
  /** The metric that contenders are compared by, and which way is better. */
  readonly judged: { readonly key: string; readonly better: 'more' | 'less' }
  open(settings: Settings): Promise<OpenSuite>
}
