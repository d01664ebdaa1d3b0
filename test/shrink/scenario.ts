/**
 * A scenario for a cluster of cores that ends in a violation, and how it becomes short: steps that can go are left out,
 * what several steps do is left to one command that does more, single steps are said more simply.
 */

import { ddmin } from './ddmin.js'
import { Script } from '../support/transcript.js'

/** A command of the transcripts. Neighbours with equal turns, other than 0, reach their server in one turn. */
export interface Step {
  readonly turn: number
  readonly command: string
}

export interface Scenario {
  readonly steps: readonly Step[]
  /** What does not hold after the last of them. */
  readonly violation: string
}

/** Is told what each line printed, and throws when something does not hold that the cluster itself does not watch. */
export type Watch = (printed: readonly string[]) => void

/** What happened up to a violation. */
interface Played {
  /** Lines that were begun. */
  readonly lines: number
  readonly violation: string
}

/** Plays steps; what is left are those up to the violation. Null when everything holds. */
export function toViolation(steps: readonly Step[], watch: Watch): Scenario | null {
  const lines = linesOf(steps)
  const played = play(lines, watch)
  if (played === null) return null
  const length = lines.slice(0, played.lines).reduce((sum, line) => sum + line.split('; ').length, 0)
  return { steps: steps.slice(0, length), violation: played.violation }
}

/** As short as it becomes before `isOver`. The violation stays of the same kind. */
export function shrinkScenario(scenario: Scenario, watch: Watch, isOver: () => boolean): Scenario {
  const kind = kindOf(scenario.violation)
  const fails = (steps: readonly Step[]): boolean => {
    if (isOver()) return false
    const played = play(linesOf(steps), watch)
    return played !== null && kindOf(played.violation) === kind
  }
  const known = new Map<string, boolean>()
  /** Not before its last line, so that what breaks is a small step. */
  const endsInFailure = (steps: readonly Step[]): boolean => {
    if (isOver()) return false
    const lines = linesOf(steps)
    const text = lines.join('\n')
    const before = known.get(text)
    if (before !== undefined) return before
    const played = play(lines, watch)
    const ends = played !== null && played.lines === lines.length && kindOf(played.violation) === kind
    known.set(text, ends)
    return ends
  }
  let { steps } = scenario
  steps = withoutServers(steps, fails)
  for (const verb of ['apply', 'disconnect', 'connect', 'fetch', 'read', 'drop', 'sleep', 'persist', 'propose']) {
    const rest = steps.filter(({ command }) => !command.startsWith(`${verb} `))
    if (rest.length < steps.length && fails(rest)) steps = rest
  }
  steps = toViolation(ddmin(steps, fails), watch)?.steps ?? steps
  for (;;) {
    const before = cost(steps)
    steps = withCoarser(steps, endsInFailure)
    steps = withSimpler(steps, endsInFailure)
    steps = ddmin(steps, endsInFailure)
    if (cost(steps) >= before) break
  }
  return toViolation(steps, watch) ?? scenario
}

/** The lines of a transcript, without output. */
export function linesOf(steps: readonly Step[]): readonly string[] {
  return turnsOf(steps).map((turn) => {
    const commands = turn.map(({ command }) => command)
    const [first = ''] = commands
    return commands.length === 1 ? first : `turn ${serverOf(first)}: ${commands.join('; ')}`
  })
}

/** Steps that stand on one line. */
export function turnsOf<Any extends Step>(steps: readonly Any[]): readonly (readonly Any[])[] {
  const turns: Any[][] = []
  for (const step of steps) {
    const last = turns.at(-1)
    if (step.turn !== 0 && last?.[0]?.turn === step.turn) last.push(step)
    else turns.push([step])
  }
  return turns
}

/** Two violations of one kind differ in numbers and names alone. */
export function kindOf(violation: string): string {
  return violation.replaceAll(/\bs\d+(?:, s\d+)*\b/g, 'server').replaceAll(/\d+/g, 'n')
}

function play(lines: readonly string[], watch: Watch): Played | null {
  const script = new Script()
  let at = 0
  try {
    for (const line of lines) {
      at += 1
      watch(script.run(line))
    }
    return null
  } catch (error) {
    return { lines: at, violation: error instanceof Error ? error.message : String(error) }
  }
}

type Fails = (steps: readonly Step[]) => boolean

/** Whom a command of one server's turn reaches. */
function serverOf(command: string): string {
  const way = /\w+>(\w+)/.exec(command)
  return way?.[1] ?? command.split(' ')[1] ?? ''
}

/** Five servers become three where two of them do not matter. */
function withoutServers(steps: readonly Step[], fails: Fails): readonly Step[] {
  let left = steps
  for (const id of ['s5', 's4', 's3', 's2', 's1']) {
    const rest = left.filter(({ command }) => !new RegExp(`\\b${id}\\b`).test(command))
    if (rest.length < left.length && fails(rest)) left = rest
  }
  const isUsed = (id: string): boolean => left.some(({ command }) => command.includes(id))
  const fewer = [{ turn: 0, command: 'cluster servers=3' }, ...left.slice(1)]
  return !isUsed('s4') && !isUsed('s5') && fails(fewer) ? fewer : left
}

/**
 * Windows of steps, large ones first, that something coarser may do instead; the last step stays small, for it is what
 * is read.
 */
function withCoarser(steps: readonly Step[], fails: Fails): readonly Step[] {
  const ids = ['s1', 's2', 's3', 's4', 's5'].filter((id) => steps.some(({ command }) => command.includes(id)))
  const coarser = [['settle'], ['deliver'], ...ids.map((id) => [`timeout ${id}`, 'settle'])]
  let left = steps
  for (let size = left.length - 1; size >= 2; size -= 1) {
    for (let at = 1; at + size < left.length; at += 1) {
      for (const commands of coarser) {
        if (commands.length >= size) continue
        const instead = commands.map((command) => ({ turn: 0, command }))
        const next = [...left.slice(0, at), ...instead, ...left.slice(at + size)]
        if (!fails(next)) continue
        left = next
        break
      }
    }
  }
  return left
}

/** Each step by itself, with fewer words. */
function withSimpler(steps: readonly Step[], fails: Fails): readonly Step[] {
  let left = steps
  for (let at = 1; at < left.length; at += 1) {
    const isLast = at === left.length - 1
    const { command: before } = left[at] as Step
    for (const command of isLast ? [before] : simpler(before)) {
      const next = [...left.slice(0, at), { turn: 0, command }, ...left.slice(at + 1)]
      if (cost(next) > cost(left) || !fails(next)) continue
      left = next
      break
    }
  }
  return left
}

/** What says about the same; the simplest first. */
function simpler(command: string): readonly string[] {
  const [verb = '', ...args] = command.split(' ')
  switch (verb) {
    case 'deliver':
    case 'drop': {
      const way = args.find((arg) => arg.includes('>')) ?? ''
      const [from = '', to = ''] = way.split('>')
      const type = args.at(-1) ?? ''
      return [`${verb} ${from}>`, `${verb} >${to}`, `${verb} ${way}`, `${verb} ${way} ${type}`, command]
    }
    case 'persist':
    case 'propose':
    case 'write':
      return [`${verb} ${args[0]}`, command]
    case 'start':
      return [`restart ${args[0]}`, command]
    case 'sleep':
      return ['sleep 1000', command]
    default:
      return [command]
  }
}

/** Lines count most, then their length. */
function cost(steps: readonly Step[]): number {
  const lines = linesOf(steps)
  return lines.length * 1000 + lines.join().length
}
