/**
 * Runs a suite in rounds: every case once, then every case again (ABAB), so that whatever else the machine does meets
 * all of them alike. What a case does before its measurement begins, its warm-up, is its own affair and is not counted.
 */

import type { Settings } from './settings.js'
import { overlap, quantile, spreads } from './statistics.js'
import type { Spread } from './statistics.js'
import type { Case, Metric, Sample, Skipped, Suite } from './suite.js'

/** With fewer, ranges that do not overlap say little: no winner is named, and the run is marked. */
export const ROUNDS_TO_JUDGE = 5

export interface Row {
  readonly contender: string
  readonly at: Case['at']
  readonly rounds: readonly Sample[]
  readonly figures: Readonly<Record<string, Spread>>
}

export interface SuiteResult {
  readonly suite: string
  readonly purpose: string
  readonly rounds: number
  readonly seconds: number
  readonly judged: Suite['judged']
  readonly distribution: boolean
  readonly metrics: readonly Metric[]
  readonly rows: readonly Row[]
  readonly verdicts: readonly string[]
  readonly skipped: readonly Skipped[]
  /** Measurements that broke off, one sentence each; their rounds are missing in the rows. */
  readonly failures: readonly string[]
  readonly notes: readonly string[]
}

export async function runSuite(
  suite: Suite,
  rounds: number,
  settings: Settings,
  say: (line: string) => void,
): Promise<SuiteResult> {
  const opened = await suite.open(settings)
  const { skipped, notes } = opened
  const cases = besideEachOther(opened.cases)
  try {
    const samples: Sample[][] = cases.map(() => [])
    const failures: string[] = []
    for (let round = 1; round <= rounds; round += 1) {
      say(`${suite.name}: round ${round} of ${rounds}`)
      for (const [at, measured] of cases.entries()) {
        try {
          samples[at]?.push(await measured.measure())
        } catch (error) {
          const { contender } = measured
          failures.push(`${contender}, ${describe(measured.at)}, round ${round}: ${(error as Error).message.trim()}`)
          say(`${suite.name}: failed: ${failures.at(-1)}`)
        }
      }
    }
    const rows = cases.map(({ contender, at }, n) => {
      const own = samples[n] ?? []
      return { contender, at, rounds: own, figures: spreads(own) }
    })
    const { name, purpose, judged, metrics } = suite
    const enough = samples.every(({ length }) => length >= ROUNDS_TO_JUDGE)
    const verdicts = !enough ? [] : verdictsOf(rows, judged, metrics)
    const { seconds } = settings
    const distribution = suite.distribution === true
    const quantiles = distribution ? rows.map((row) => quantilesOf(row, judged.key)) : []
    const found = { rows, verdicts, skipped, failures, notes: [...quantiles, ...notes] }
    return { suite: name, purpose, rounds, seconds, judged, metrics, distribution, ...found }
  } finally {
    await opened.close()
  }
}

/** Contenders that are compared take their turns one right after the other. */
function besideEachOther(cases: readonly Case[]): readonly Case[] {
  const groups = new Map<string, Case[]>()
  for (const each of cases) groups.set(describe(each.at), [...(groups.get(describe(each.at)) ?? []), each])
  return [...groups.values()].flat()
}

/** One sentence for each circumstance with more than one contender; a winner is named only where no ranges overlap. */
function verdictsOf(rows: readonly Row[], judged: Suite['judged'], metrics: readonly Metric[]): readonly string[] {
  const groups = new Map<string, Row[]>()
  for (const row of rows) {
    const at = describe(row.at)
    groups.set(at, [...(groups.get(at) ?? []), row])
  }
  const head = metrics.find(({ key }) => key === judged.key)?.head ?? judged.key
  return [...groups].filter(([, group]) => group.length > 1).map(([at, group]) => verdictOf(at, group, judged, head))
}

function verdictOf(at: string, group: readonly Row[], judged: Suite['judged'], head: string): string {
  const figureOf = (row: Row): Spread | undefined => row.figures[judged.key]
  const sign = judged.better === 'more' ? -1 : 1
  const ranked = group
    .filter((row) => figureOf(row) !== undefined)
    .toSorted((a, b) => sign * ((figureOf(a)?.median ?? 0) - (figureOf(b)?.median ?? 0)))
  const [best, second] = ranked
  const first = best === undefined ? undefined : figureOf(best)
  const next = second === undefined ? undefined : figureOf(second)
  if (best === undefined || second === undefined || first === undefined || next === undefined) {
    return `${at}: nothing to compare`
  }
  const near = ranked.slice(1).filter((row) => overlap(first, figureOf(row) ?? first))
  if (near.length > 0) {
    const ahead = [best, ...near]
    const behind = ranked.filter((row) => !ahead.includes(row))
    const rest = behind.length === 0 ? '' : `; behind: ${namesOf(behind)}`
    return `${at}: no winner by ${head}: the ranges of ${namesOf(ahead)} overlap${rest}`
  }
  const ratio = judged.better === 'more' ? first.median / next.median : next.median / first.median
  return `${at}: ${best.contender} leads by ${head}, ${ratio.toFixed(2)} times as good as ${second.contender} (medians; no overlap)`
}

function quantilesOf({ contender, at, rounds }: Row, key: string): string {
  const sorted = rounds.flatMap((sample) => sample[key] ?? []).toSorted((a, b) => a - b)
  const shares = [0.1, 0.25, 0.5, 0.75, 0.9, 0.99].map(
    (share) => `p${Math.round(share * 100)} ${quantile(sorted, share).toFixed(0)}`,
  )
  return `${contender}, ${describe(at)}: ${shares.join(', ')} of ${sorted.length} rounds`
}

function namesOf(rows: readonly Row[]): string {
  return rows.map(({ contender }) => contender).join(' and ')
}

export function describe(at: Case['at']): string {
  const parts = Object.entries(at).map(([name, value]) => `${name} ${value}`)
  return parts.length === 0 ? 'all' : parts.join(', ')
}
