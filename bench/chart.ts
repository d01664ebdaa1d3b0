/**
 * A metric of a suite as an SVG, drawn by Vega-Lite: for each case a point at the median and a line from min to max.
 * The circumstance with the most values is the axis, each combination of the others has a panel of its own. Names get
 * the vertical axis, where there is room for them. A suite whose rounds are a distribution gets that one: the share of
 * rounds up to each value.
 *
 * Contenders differ in colour and in shape; the colours are those of Okabe and Ito, which stay apart for colour-blind
 * readers.
 */

import { parse, View } from 'vega'
import { compile } from 'vega-lite'
import type { TopLevelSpec } from 'vega-lite'
import { describe } from './runner.js'
import type { SuiteResult } from './runner.js'

export interface Chart {
  readonly name: string
  readonly svg: string
}

interface Point {
  readonly contender: string
  readonly along: string | number
  readonly panel: string
  readonly median: number
  readonly min: number
  readonly max: number
}

const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#999999']
const SHAPES = [
  'circle',
  'square',
  'triangle-up',
  'diamond',
  'cross',
  'triangle-down',
  'triangle-left',
  'triangle-right',
]
const FONT = 'DejaVu Sans, Verdana, Arial, sans-serif'
/** Beyond this ratio a linear axis shows the large values only. */
const LINEAR_RATIO_MAX = 20
const PANELS_IN_ROW = 2
const OFFSET_PX = 14
const ROW_PX = 26
const DECADES_OF_FEW = 3
/** Latency beside the metric that is judged. */
const TAIL = 'p99'

/** `circumstances` stand below the title. Empty when there is nothing to draw. */
export async function chartsOf(result: SuiteResult, circumstances: readonly string[]): Promise<readonly Chart[]> {
  const charts = groupsOf(result).flatMap((group, at) => {
    const { suite, judged, metrics, distribution } = group
    const name = at === 0 ? suite : `${suite}-${kindOf(group.rows).replaceAll(/[^a-z]+/g, '-')}`
    const tails = metrics.filter(({ key }) => key === TAIL && key !== judged.key)
    return [judged.key, ...tails.map(({ key }) => key)].map(async (key): Promise<readonly Chart[]> => {
      const spec = distribution ? distributionOf(group, key, circumstances) : rangesOf(group, key, circumstances)
      return spec === null ? [] : [{ name: key === judged.key ? name : `${name}-${key}`, svg: await svgOf(spec) }]
    })
  })
  return (await Promise.all(charts)).flat()
}

/** The circumstance that only some of the cases have, as a rate. */
function kindOf(rows: SuiteResult['rows']): string {
  return Object.keys(rows[0]?.at ?? {})[0] ?? ''
}

/** Cases with the same circumstances share a chart: closed loops, and open ones. */
function groupsOf(result: SuiteResult): readonly SuiteResult[] {
  const namesOf = ({ at }: SuiteResult['rows'][number]): string => Object.keys(at).join()
  const kinds = distinct(result.rows.map(namesOf))
  return kinds.map((kind) => ({ ...result, rows: result.rows.filter((row) => namesOf(row) === kind) }))
}

async function svgOf(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: 'none' })
  try {
    return await view.toSVG()
  } finally {
    view.finalize()
  }
}

function rangesOf(result: SuiteResult, key: string, circumstances: readonly string[]): TopLevelSpec | null {
  const axis = axisOf(result)
  const values = pointsOf(result, key, axis)
  if (values.length === 0) return null
  const head = headOf(result, key)
  const contenders = distinct(values.map(({ contender }) => contender))
  const panels = distinct(values.map(({ panel }) => panel))
  const body = bodyOf(head, axis, values, contenders)
  const top = topOf(`${result.suite}: ${head}`, [
    `point: median, line: min to max; rounds: ${result.rounds}`,
    ...circumstances,
  ])
  const data = { values }
  if (panels.length === 1) return specOf({ ...top, data, ...body })
  const header = { title: null, labelFontSize: 13, labelFontWeight: 'bold' }
  const columns = Math.min(PANELS_IN_ROW, panels.length)
  return specOf({ ...top, data, columns, facet: { field: 'panel', type: 'nominal', sort: panels, header }, spec: body })
}

/** One panel. */
function bodyOf(head: string, axis: string, values: readonly Point[], contenders: readonly string[]) {
  const isNamed = values.some(({ along }) => typeof along === 'string')
  const isLog = ratioOf(values) > LINEAR_RATIO_MAX
  const amount = {
    type: 'quantitative',
    title: isLog ? `${head} (logarithmic)` : head,
    scale: isLog ? { type: 'log' } : { zero: true },
    axis: { labelExpr: LABEL, ...(isLog ? { values: marksBetween(values) } : { tickCount: 6 }) },
  }
  const place = { field: 'along', type: 'ordinal', sort: null, title: isNamed ? null : axis, axis: PLACE_AXIS }
  const [from, to, middle] = [{ ...amount, field: 'min' }, { field: 'max' }, { ...amount, field: 'median' }]
  const look = lookOf(contenders)
  const steps = distinct(values.map(({ along }) => along)).length
  const width = Math.max(220, steps * Math.max(28, contenders.length * OFFSET_PX))
  const size = isNamed ? { width: 520, height: { step: ROW_PX } } : { width, height: 240 }
  // Names have a row each, in which contenders lie side by side anyway; numbers need the offset.
  const [encoding, range, point] = isNamed
    ? [{ y: place }, { x: from, x2: to }, { x: middle }]
    : [{ x: place, xOffset: { field: 'contender', sort: null } }, { y: from, y2: to }, { y: middle }]
  const layer = [
    { mark: { type: 'rule', strokeWidth: 2 }, encoding: { ...range, color: look.color } },
    { mark: { type: 'point', filled: true, size: 60, opacity: 1 }, encoding: { ...point, ...look } },
  ]
  return { ...size, encoding, layer }
}

/** Wide is what Vega believes a text to be where it cannot measure one: the limits are twice what is needed. */
const PLACE_AXIS = { labelAngle: 0, grid: false, labelLimit: 640 }
/** 20k, and 0.02 rather than 20m. */
const LABEL = "datum.value < 1 ? format(datum.value, '~g') : format(datum.value, '~s')"

function distributionOf(result: SuiteResult, key: string, circumstances: readonly string[]): TopLevelSpec | null {
  const values = result.rows.flatMap((row) => {
    const sorted = row.rounds.flatMap((sample) => sample[key] ?? []).toSorted((a, b) => a - b)
    const contender = `${row.contender}, ${describe(row.at)}`
    return sorted.map((value, at) => ({ contender, value, share: (at + 1) / sorted.length }))
  })
  if (values.length === 0) return null
  const look = lookOf(distinct(values.map(({ contender }) => contender)))
  const subtitle = [
    `each point is one of ${result.rounds} rounds; its height: the share that took no longer`,
    ...circumstances,
  ]
  const title = headOf(result, key)
  const x = { field: 'value', type: 'quantitative', title, scale: { zero: false, nice: true } }
  const shares = { title: 'share of rounds', axis: { format: '%' }, scale: { domain: [0, 1] } }
  return specOf({
    ...topOf(`${result.suite}: ${title}`, subtitle),
    data: { values },
    width: 520,
    height: 260,
    encoding: { x, y: { field: 'share', type: 'quantitative', ...shares }, color: look.color },
    layer: [
      { mark: { type: 'line', interpolate: 'step-after' } },
      { mark: { type: 'point', filled: true, opacity: 1 }, encoding: { shape: look.shape } },
    ],
  })
}

/** Vega-Lite's own types take no literal that was computed; what is wrong with one shows in the chart. */
function specOf(spec: object): TopLevelSpec {
  return spec as TopLevelSpec
}

function topOf(text: string, subtitle: readonly string[]) {
  const title = { text, subtitle, anchor: 'start', fontSize: 16, subtitleFontSize: 11, offset: 14 }
  const axis = { labelFontSize: 12, titleFontSize: 12, titleFontWeight: 'normal', gridColor: '#e8e8e8' }
  const legend = { labelFontSize: 12, orient: 'bottom', columns: 3, title: null, labelLimit: 640 }
  return { title, background: 'white', padding: 16, config: { font: FONT, axis, legend } }
}

function lookOf(contenders: readonly string[]) {
  const one = { field: 'contender', type: 'nominal', sort: null, ...(contenders.length > 1 ? {} : { legend: null }) }
  const pick = (from: readonly string[]) => contenders.map((_, at) => from[at % from.length])
  return {
    color: { ...one, scale: { domain: contenders, range: pick(COLOURS) } },
    shape: { ...one, scale: { domain: contenders, range: pick(SHAPES) } },
  }
}

/** The circumstance along which points are laid out: the one with the most values. */
function axisOf({ rows }: SuiteResult): string {
  const names = distinct(rows.flatMap(({ at }) => Object.keys(at)))
  const countOf = (name: string): number => new Set(rows.map(({ at }) => at[name])).size
  return names.toSorted((a, b) => countOf(b) - countOf(a))[0] ?? ''
}

function pointsOf({ rows }: SuiteResult, key: string, axis: string): readonly Point[] {
  const names = distinct(rows.flatMap(({ at }) => Object.keys(at)))
  const varies = (name: string): boolean => new Set(rows.map(({ at }) => at[name])).size > 1
  const others = names.filter((name) => name !== axis && varies(name))
  return rows.flatMap(({ contender, at, figures }) => {
    const figure = figures[key]
    if (figure === undefined) return []
    const panel = others.flatMap((name) => (at[name] === undefined ? [] : [`${name} ${at[name]}`])).join(', ')
    return [{ contender, along: at[axis] ?? '', panel, ...figure }]
  })
}

/** For a logarithmic axis: powers of ten, with 2 and 5 between them where there are few. */
function marksBetween(values: readonly Point[]): readonly number[] {
  const first = Math.floor(Math.log10(Math.min(...values.map(({ min }) => min))))
  const last = Math.ceil(Math.log10(Math.max(...values.map(({ max }) => max))))
  const between = last - first > DECADES_OF_FEW ? [1] : [1, 2, 5]
  const decades = Array.from({ length: last - first + 1 }, (_, at) => first + at)
  return decades.flatMap((power) => between.map((digit) => Number(`${digit}e${power}`)))
}

function ratioOf(values: readonly Point[]): number {
  const least = Math.min(...values.map(({ min }) => min))
  return least <= 0 ? 1 : Math.max(...values.map(({ max }) => max)) / least
}

function headOf({ metrics }: SuiteResult, key: string): string {
  return metrics.find((metric) => metric.key === key)?.head ?? key
}

function distinct<Value>(values: readonly Value[]): readonly Value[] {
  return [...new Set(values)]
}
