/** A scenario as a file among the golden transcripts: as much of what it prints as fits, the end of it first. */

import { Script } from '../support/transcript.js'
import { linesOf } from './scenario.js'
import type { Scenario } from './scenario.js'

/** Lines of a scenario that a person reads at once. */
export const SCENARIO_LINES_MAX = 40

const WIDTH = 130

export interface Rendered {
  /** The file. */
  readonly text: string
  /** Everything that the servers did. */
  readonly story: readonly string[]
}

export function renderScenario({ steps, violation }: Scenario, comment: string): Rendered {
  const commands = linesOf(steps)
  const script = new Script()
  const outputs = commands.map((command) => outputOf(script, command))
  const status = script.run('status')
  const isSaid = comment.includes(violation)
  const head = `${wrapped(isSaid ? comment : `${comment} Here: ${violation}.`)}\n`
  let text = ''
  for (let loud = 1; loud <= commands.length - 1; loud += 1) {
    const first = commands.length - loud
    const quiet = [...commands.slice(0, first).map((command) => `quiet ${command}`), '----', '']
    const told = commands.slice(first).flatMap((command, at) => {
      const isLast = at === loud - 1
      return [
        command,
        ...(isLast ? ['status'] : []),
        '----',
        ...(outputs[first + at] ?? []),
        ...(isLast ? status : ['']),
      ]
    })
    const next = [head, ...quiet, ...told, ''].join('\n')
    if (loud > 1 && next.split('\n').length - 1 > SCENARIO_LINES_MAX) break
    text = next
  }
  return { text, story: script.story }
}

/** What a command printed, even when it ends in the violation. */
function outputOf(script: Script, command: string): readonly string[] {
  const before = script.story.length
  try {
    script.run(command)
  } catch {
    // That is what the scenario is for; its text is known.
  }
  return script.story.slice(before)
}

/** Lines of a comment. */
function wrapped(text: string): string {
  const lines: string[] = []
  let line = '#'
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = '#'
    }
    line += ` ${word}`
  }
  return [...lines, line].join('\n')
}
