/**
 * Fits recorded steps to what a cluster of cores does with them. Where the cores say a little more or less than they
 * did in the world, `first` would soon choose another message than the one that arrived there; each is looked up by
 * what it says instead.
 */

import { Script } from '../support/transcript.js'
import { formatMessage } from '#balsa/testing/stage/text.js'
import { linesOf, turnsOf } from './scenario.js'
import type { Step } from './scenario.js'

export interface RecordedStep extends Step {
  /** What the message that it delivers says, as in traces. */
  readonly text: string | null
}

export function aligned(steps: readonly RecordedStep[]): readonly Step[] {
  const script = new Script()
  const fitted: Step[] = []
  for (const turn of turnsOf(steps)) {
    const group = fit(script, turn)
    fitted.push(...group)
    try {
      for (const line of linesOf(group)) script.run(line)
    } catch {
      // As far as it matters.
      return fitted
    }
  }
  return fitted
}

/** One turn. What stands in the way of the right message, and did not in the world, is dropped before. */
function fit(script: Script, steps: readonly RecordedStep[]): readonly Step[] {
  const drops: Step[] = []
  let underWay = [...script.inFlight]
  const fitted = steps.map(({ turn, command, text }): Step => {
    const [, which = '', way = '', type = ''] = /^deliver (\w+) (\w+>\w+) (\w+)$/.exec(command) ?? []
    if (text === null || which === '') return { turn, command }
    const there = underWay.filter(({ from, to, message }) => `${from}>${to} ${message.type}` === `${way} ${type}`)
    const texts = there.map(({ message }) => formatMessage(message))
    const exact = texts.indexOf(text)
    const at = exact >= 0 ? exact : texts.map(withoutRound).indexOf(withoutRound(text))
    const chosen = there[Math.max(at, 0)]
    if (which !== 'copy') underWay = underWay.filter((envelope) => envelope !== chosen)
    if (at <= 0) return { turn, command: `deliver ${which === 'copy' ? 'copy' : 'first'} ${way} ${type}` }
    if (at === there.length - 1 && which !== 'copy') return { turn, command: `deliver last ${way} ${type}` }
    for (const before of there.slice(0, at)) {
      drops.push({ turn: 0, command: `drop first ${way} ${type}` })
      underWay = underWay.filter((envelope) => envelope !== before)
    }
    return { turn, command: `deliver ${which === 'copy' ? 'copy' : 'first'} ${way} ${type}` }
  })
  return [...drops, ...fitted]
}

function withoutRound(text: string): string {
  return text.replace(/round=\d+/, '')
}
