/**
 * A metric of a suite as an SVG, drawn by Vega-Lite: for each case a point at the median and a line from min to max. The circumstance
 * with the most values is the axis, each combination of the others has a panel of its own. Names get the vertical axis, where there is
 * room for them. A suite whose rounds are a distribution gets that one: the share of rounds up to each value.
 *
 * Contenders differ in colour and in shape; the colours are those of Okabe and Ito, which stay apart for colour-blind readers.
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
/** Latency beside the metric that is judged. */
const TAIL = 'p99'

/** `circumstances` stand below the title. Empty when there is nothing to draw. */
export async function chartsOf(result: SuiteResult, circumstances: readonly string[]): Promise<readonly Chart[]> {
  const { suite, judged, metrics, distribution } = result
  const tails = metrics.filter(({ key }) => key === TAIL && key !== judged.key)
  const keys = [judged.key, ...tails.map(({ key }) => key)]
  const charts = keys.map(async (key): Promise<readonly Chart[]> => {
    const spec = distribution ? distributionOf(result, key, circumstances) : rangesOf(result, key, circumstances)
    if (spec === null) return []
    return [{ name: key === judged.key ? suite : `${suite}-${key}`, svg: await svgOf(spec) }]
  })
  return (await Promise.all(charts)).flat()
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
  const steps = distinct(values.map(({ along }) => along))
  const isNamed = values.some(({ along }) => typeof along === 'string')
  const isLog = ratioOf(values) > LINEAR_RATIO_MAX
  const amount = {
    type: 'quantitative',
    title: isLog ? `${head} (logarithmic)` : head,
    scale: { type: isLog ? 'log' : 'linear', zero: !isLog },
    axis: { format: '~s', labelOverlap: 'greedy', tickCount: 6 },
  } as const
  const place = { field: 'along', type: 'ordinal', sort: null, title: isNamed ? null : axis, axis: placeAxis } as const
  const offset = { field: 'contender', sort: null } as const
  const [from, to] = [{ ...amount, field: 'min' }, { field: 'max' }] as const
  const middle = { ...amount, field: 'median' } as const
  const look = lookOf(contenders)
  const size = Math.max(28, contenders.length * OFFSET_PX)
  const [shared, range, point] = isNamed
    ? [{ y: place, yOffset: offset }, { x: from, x2: to }, { x: middle }]
    : [{ x: place, xOffset: offset }, { y: from, y2: to }, { y: middle }]
  const body = {
    ...(isNamed ? { width: 520, height: { step: 16 } } : { width: Math.max(220, steps.length * size), height: 240 }),
    encoding: shared,
    layer: [
      { mark: { type: 'rule', strokeWidth: 2 }, encoding: { ...range, color: look.color } },
      { mark: { type: 'point', filled: true, size: 60, opacity: 1 }, encoding: { ...point, ...look } },
    ],
  } as const
  const title = `${result.suite}: ${head}`
  const data = { values: values.map((value) => ({ ...value })) }
  const top = topOf(title, [`point: median, line: min to max of ${result.rounds} rounds`, ...circumstances])
  if (panels.length === 1) return { ...top, data, ...body }
  const header = { title: null, labelFontSize: 13, labelFontWeight: 'bold' } as const
  const columns = Math.min(PANELS_IN_ROW, panels.length)
  return { ...top, data, columns, facet: { field: 'panel', type: 'nominal', sort: null, header }, spec: body }
}

const placeAxis = { labelAngle: 0, grid: false, labelLimit: 320 } as const

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
  return {
    ...topOf(`${result.suite}: ${headOf(result, key)}`, subtitle),
    data: { values },
    width: 520,
    height: 260,
    encoding: {
      x: { field: 'value', type: 'quantitative', title: headOf(result, key), scale: { zero: false, nice: true } },
      y: {
        field: 'share',
        type: 'quantitative',
        title: 'share of rounds',
        axis: { format: '%' },
        scale: { domain: [0, 1] },
      },
      color: look.color,
    },
    layer: [
      { mark: { type: 'line', interpolate: 'step-after' } },
      { mark: { type: 'point', filled: true, opacity: 1 }, encoding: { shape: look.shape } },
    ],
  }
}

function topOf(text: string, subtitle: readonly string[]) {
  const title = {
    text,
    subtitle: [...subtitle],
    anchor: 'start',
    fontSize: 16,
    subtitleFontSize: 11,
    offset: 14,
  } as const
  const axis = { labelFontSize: 12, titleFontSize: 12, titleFontWeight: 'normal' } as const
  const legend = { labelFontSize: 12, orient: 'bottom', columns: 3, title: null, labelLimit: 320 } as const
  return { title, background: 'white', padding: 16, config: { font: FONT, axis, legend } } as const
}

function lookOf(contenders: readonly string[]) {
  const legend = contenders.length > 1 ? {} : { legend: null }
  const one = { field: 'contender', type: 'nominal', sort: null, ...legend } as const
  const domain = [...contenders]
  return {
    color: { ...one, scale: { domain, range: domain.map((_, at) => COLOURS[at % COLOURS.length] ?? '#000000') } },
    shape: { ...one, scale: { domain, range: domain.map((_, at) => SHAPES[at % SHAPES.length] ?? 'circle') } },
  } as const
}

/** The circumstance along which points are laid out: the one with the most values. */
function axisOf({ rows }: SuiteResult): string {
  const names = distinct(rows.flatMap(({ at }) => Object.keys(at)))
  const countOf = (name: string): number => new Set(rows.map(({ at }) => at[name])).size
  return names.toSorted((a, b) => countOf(b) - countOf(a))[0] ?? ''
}

/** Cases without that circumstance, as those of an open loop among closed ones, get panels of their own. */
function pointsOf({ rows }: SuiteResult, key: string, axis: string): readonly Point[] {
  const names = distinct(rows.flatMap(({ at }) => Object.keys(at)))
  const varies = (name: string): boolean => new Set(rows.map(({ at }) => at[name])).size > 1
  const others = names.filter((name) => name !== axis && varies(name))
  return rows.flatMap(({ contender, at, figures }) => {
    const figure = figures[key]
    if (figure === undefined) return []
    const panel = others.flatMap((name) => (at[name] === undefined ? [] : [`${name} ${at[name]}`])).join(', ')
    return [{ contender, along: at[axis] ?? 'open loop', panel, ...figure }]
  })
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
