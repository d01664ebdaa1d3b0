/** The judged metric of a suite as an SVG: the median of each case as a bar, min and max over it as a line. Drawn by Vega-Lite. */

import { parse, View } from 'vega'
import { compile } from 'vega-lite'
import type { TopLevelSpec } from 'vega-lite'
import { describe } from './runner.js'
import type { SuiteResult } from './runner.js'

export interface Chart {
  readonly name: string
  readonly svg: string
}

/** Empty when there is nothing to draw. */
export async function chartOf(result: SuiteResult): Promise<readonly Chart[]> {
  const values = result.rows.flatMap(({ contender, at, figures }) => {
    const figure = figures[result.judged.key]
    return figure === undefined ? [] : [{ contender, at: describe(at), ...figure }]
  })
  if (values.length === 0) return []
  const head = result.metrics.find(({ key }) => key === result.judged.key)?.head ?? result.judged.key
  const x = { field: 'at', type: 'nominal', sort: null, title: null } as const
  const xOffset = { field: 'contender', sort: null } as const
  const spec: TopLevelSpec = {
    title: `${result.suite}: ${head}, median with min and max of ${result.rounds} rounds`,
    width: Math.max(320, values.length * 36),
    height: 300,
    background: 'white',
    data: { values },
    encoding: { x, xOffset },
    layer: [
      {
        mark: 'bar',
        encoding: {
          y: { field: 'median', type: 'quantitative', title: head },
          color: { field: 'contender', type: 'nominal', sort: null },
        },
      },
      {
        mark: 'rule',
        encoding: { y: { field: 'min', type: 'quantitative' }, y2: { field: 'max' } },
      },
    ],
  }
  const view = new View(parse(compile(spec).spec), { renderer: 'none' })
  const svg = await view.toSVG()
  view.finalize()
  return [{ name: result.suite, svg }]
}
