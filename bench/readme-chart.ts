/**
 * The chart of the README, drawn from the table that stands in docs/performance.md: what is measured stands once, and
 * `node build/bench/readme-chart.js` draws it again when it has changed (test/docs-figures.test.ts).
 *
 * Both scales are logarithmic, so that one command in flight is seen beside a thousand: points, since the length of a
 * bar says nothing there. Colours follow what the reader has chosen, light or dark, and shapes differ as well.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

export const CHART = 'docs/figures.svg'
export const FIGURES = 'docs/performance.md'

const HEADING = '### The two modes of the native store, beside hashicorp/raft'
const OURS = 'balsa journal'
const THEIRS = 'hashicorp wal-best'

/** A cell: the median, and what the rounds range over where it is told. */
export interface Figure {
  readonly median: number
  readonly min: number
  readonly max: number
}

export interface Row {
  readonly contender: string
  readonly inFlight: number
  readonly entries: Figure
  readonly p50: Figure
  readonly p99: Figure
  readonly cpu: Figure
}

/** The rows of the table for the default store and for the peer beside it. */
export function rowsOf(markdown: string): readonly Row[] {
  const section = markdown.slice(markdown.indexOf(HEADING) + HEADING.length).split('\n### ', 1)[0] ?? ''
  const [head = [], ...rows] = section.split('\n').filter(isRow).map(cellsOf)
  const cell = (row: readonly string[], name: string): string => row[head.indexOf(name)] ?? ''
  return rows.flatMap((row) => {
    const contender = cell(row, 'contender')
    if (contender !== OURS && contender !== THEIRS) return []
    const figure = (name: string): Figure => figureOf(cell(row, name), name)
    const [p50, p99, cpu] = [figure('p50 ms'), figure('p99 ms'), figure('CPU us/entry')]
    return [{ contender, inFlight: Number(cell(row, 'in flight')), entries: figure('entries/s'), p50, p99, cpu }]
  })
}

const isRow = (line: string): boolean => line.startsWith('| ')

function cellsOf(line: string): readonly string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
}

function figureOf(text: string, name: string): Figure {
  const [, median, min = median, max = median] = /^([\d.]+)(?: \(([\d.]+) \.\. ([\d.]+)\))?$/.exec(text) ?? []
  if (median === undefined) throw new Error(`${FIGURES}: '${text}' of ${name} is no figure`)
  return { median: Number(median), min: Number(min), max: Number(max) }
}

/** A panel: one metric, on a logarithmic axis from the first to the last of these bounds. */
interface Panel {
  readonly left: number
  readonly title: string
  readonly bounds: readonly [least: number, most: number]
  readonly marks: readonly number[]
  readonly figureOf: (row: Row) => Figure
}

const [WIDTH, HEIGHT, PANEL_WIDTH, TOP, BOTTOM] = [760, 330, 300, 84, 270] as const
const [OFFSET, DOT] = [7, 4.5] as const

const PANELS: readonly Panel[] = [
  {
    left: 66,
    title: 'entries in a second: more is better (logarithmic)',
    bounds: [700, 300_000],
    marks: [1000, 3000, 10_000, 30_000, 100_000, 300_000],
    figureOf: ({ entries }) => entries,
  },
  {
    left: 440,
    title: 'p99, milliseconds: less is better (logarithmic)',
    bounds: [0.7, 40],
    marks: [1, 2, 5, 10, 20, 40],
    figureOf: ({ p99 }) => p99,
  },
]

const STYLE = `text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#24292f}
.head{font-size:15px;font-weight:600}.axis{fill:#57606a}.grid{stroke:#d0d7de;stroke-width:1}
.range{stroke-width:2}.a{fill:#0072b2;stroke:#0072b2}.b{fill:#d55e00;stroke:#d55e00}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.axis{fill:#9da7b1}.grid{stroke:#3d444d}
.a{fill:#56b4e9;stroke:#56b4e9}.b{fill:#e69f00;stroke:#e69f00}}
.middle{text-anchor:middle}.end{text-anchor:end}`

const DESCRIPTION =
  'Three servers on one machine, commands of 256 bytes, flushed to disk before they are acknowledged: Balsa beside hashicorp/raft with raft-wal, by commands in flight.'

/** The chart, as the text of an SVG; the same table always gives the same text. */
export function chartOf(markdown: string): string {
  const rows = rowsOf(markdown)
  const steps = [...new Set(rows.map(({ inFlight }) => inFlight))]
  if (steps.length === 0) throw new Error(`${FIGURES} has no rows of ${OURS} below '${HEADING}'`)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">`,
    `<title>Balsa beside hashicorp/raft</title><desc>${DESCRIPTION}</desc>`,
    `<style>${STYLE}</style>`,
    text(16, 26, 'head', 'Three servers; a command is acknowledged when two of their disks have it'),
    dot('a', 22, 46),
    text(34, 50, 'axis', 'Balsa'),
    dot('b', 86, 46),
    text(98, 50, 'axis', 'hashicorp/raft with raft-wal'),
    text(WIDTH - 16, 50, 'axis end', 'median and range of five rounds'),
    ...PANELS.flatMap((panel) => panelOf(panel, rows, steps)),
    '</svg>',
    '',
  ].join('\n')
}

function panelOf(panel: Panel, rows: readonly Row[], steps: readonly number[]): readonly string[] {
  const { left, marks } = panel
  const [least, most] = panel.bounds
  const y = (value: number): number => {
    if (value < least || value > most) throw new Error(`${value} is outside of ${least} .. ${most}: '${panel.title}'`)
    return BOTTOM - (Math.log(value / least) / Math.log(most / least)) * (BOTTOM - TOP)
  }
  const x = (inFlight: number): number => left + ((steps.indexOf(inFlight) + 0.5) * PANEL_WIDTH) / steps.length
  const end = left + PANEL_WIDTH
  return [
    text(left, TOP - 12, 'axis', panel.title),
    ...marks.flatMap((mark) => [
      `<line class="grid" x1="${left}" x2="${end}" y1="${at(y(mark))}" y2="${at(y(mark))}"/>`,
      text(left - 6, y(mark) + 4, 'axis end', mark.toLocaleString('en')),
    ]),
    ...steps.map((step) => text(x(step), BOTTOM + 18, 'axis middle', String(step))),
    text(left + PANEL_WIDTH / 2, BOTTOM + 38, 'axis middle', 'commands in flight'),
    ...rows.flatMap((row) => {
      const { median, min, max } = panel.figureOf(row)
      const [name, place] = row.contender === OURS ? (['a', -OFFSET] as const) : (['b', OFFSET] as const)
      const middle = x(row.inFlight) + place
      const line = `<line class="range ${name}" x1="${at(middle)}" x2="${at(middle)}" y1="${at(y(min))}" y2="${at(y(max))}"/>`
      return [line, dot(name, middle, y(median))]
    }),
  ]
}

/** A circle is ours, a square theirs. */
function dot(name: string, x: number, y: number): string {
  if (name === 'a') return `<circle class="a" cx="${at(x)}" cy="${at(y)}" r="${DOT}"/>`
  return `<rect class="b" x="${at(x - DOT)}" y="${at(y - DOT)}" width="${2 * DOT}" height="${2 * DOT}"/>`
}

function text(x: number, y: number, name: string, words: string): string {
  return `<text class="${name}" x="${at(x)}" y="${at(y)}">${words}</text>`
}

const at = (value: number): string => String(Math.round(value * 10) / 10)

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  writeFileSync(CHART, chartOf(readFileSync(FIGURES, 'utf8')))
}
