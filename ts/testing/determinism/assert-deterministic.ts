/**
 * Whether a state machine is one that can be replicated: two of it that apply the same entries give the same answers
 * and hold the same state, however the entries are cut into batches, whatever time it is, and whether or not the first
 * of them are replayed.
 */

import type { Codec, StateMachine } from '../../machine/state-machine.js'
import { CommandLog, cutsOf, drawFrom, SEED_MAX } from './command-log.js'
import type { Draw } from './command-log.js'
import { compareOver, madeBy, MachineRun } from './machine-run.js'
import type { Judgement, TestedMachine } from './machine-run.js'
import { deadlineOf, wholeNumber } from '../options.js'
import { checkOptionNames } from '../../option-checks.js'

/** What the answers of a machine are. */
export type ResultOf<Machine> = Machine extends StateMachine<never, infer Result, never, unknown> ? Result : never

/** What `assertDeterministic` takes. */
export interface DeterminismOptions<Command, Machine> {
  /**
   * Draws the log around the commands and the cuts, 0 .. 2^32 - 1. Default: drawn; the report and each fault name it.
   */
  readonly seed?: number
  /**
   * In how many ways the commands are cut, 1 .. 1000; each makes two machines. The first is one by one, the second all
   * in one batch, the others are drawn. Default 8.
   */
  readonly cuts?: number
  /** Gives each machine commands of its own, as a server does. Default: `structuredClone`. */
  readonly codec?: Codec<Command>
  /** Whether two answers count as equal. Default: they say the same, field by field. */
  readonly equal?: (a: ResultOf<Machine>, b: ResultOf<Machine>) => boolean
  /** Everything that the machine holds, or a hash of it; asked after each batch. Default: only answers are compared. */
  readonly stateOf?: (machine: Machine) => unknown
  /** For one call of `apply` or `stateOf` whose promise is pending, in milliseconds. Default 5000. */
  readonly deadlineMs?: number
}

/** What was done. */
export interface DeterminismReport {
  readonly seed: number
  readonly commands: number
  readonly cuts: number
  /** Batches that the machines took that did not take the entries one by one. */
  readonly batches: number
}

const OPTION_NAMES = Object.keys({
  seed: true,
  cuts: true,
  codec: true,
  equal: true,
  stateOf: true,
  deadlineMs: true,
} satisfies Record<keyof DeterminismOptions<unknown, unknown>, true>)

const CUTS = 8
const CUTS_MAX = 1000
const APPLY_DEADLINE_MS = 5000

/** The second machine of a pair lives so far ahead, in milliseconds: a bit more than a year. */
export const OTHER_DAY_MS = 400 * 86_400_000

/**
 * Resolves when no difference was found; rejects with a StateMachineFault that names the first one, and with
 * ERR_RAFT_OPTIONS when an option is out of range or unknown. A call that never returns (an endless loop) is not ended.
 */
export async function assertDeterministic<Command, Machine extends TestedMachine<Command>>(
  make: () => Machine | Promise<Machine>,
  commands: readonly Command[],
  options: DeterminismOptions<Command, Machine> = {},
): Promise<DeterminismReport> {
  checkOptionNames('assertDeterministic', options, OPTION_NAMES)
  const cuts = wholeNumber('cuts', options.cuts ?? CUTS, 1, CUTS_MAX)
  const judgement = judgementOf(options)
  const log = new CommandLog(commands, options.codec, judgement.seed)
  const draw = drawFrom(judgement.seed)
  let batches = 0
  for (let way = 0; way < cuts; way += 1) batches += await comparePair(make, log, way, draw, judgement)
  await compareReplay(make, log, draw, judgement)
  return { seed: judgement.seed, commands: commands.length, cuts, batches }
}

/** The options of one comparison, checked. */
export function judgementOf<Command, Machine>(options: DeterminismOptions<Command, Machine>): Judgement<Machine> {
  const [drawn = 0] = crypto.getRandomValues(new Uint32Array(1))
  const { equal } = options
  return {
    seed: wholeNumber('seed', options.seed ?? drawn, 0, SEED_MAX),
    deadlineMs: deadlineOf(options.deadlineMs, APPLY_DEADLINE_MS),
    equal: equal === undefined ? null : (a, b) => equal(a as ResultOf<Machine>, b as ResultOf<Machine>),
    stateOf: options.stateOf ?? null,
  }
}

/** Two new machines, one by one; the second replays the first half, as after a restart. */
async function compareReplay<Command, Machine extends TestedMachine<Command>>(
  make: () => Machine | Promise<Machine>,
  log: CommandLog<Command>,
  draw: Draw,
  judgement: Judgement<Machine>,
): Promise<void> {
  const { deadlineMs } = judgement
  const first = new MachineRun(await madeBy(make, deadlineMs), log, judgement)
  const end = first.place({ lo: 0, hi: Math.ceil(log.length / 2) }).index
  const second = new MachineRun(await madeBy(make, deadlineMs), log, judgement, { isReplay: (index) => index <= end })
  for (const cut of cutsOf(log.length, 0, draw)) await compareOver(first, second, cut, draw, judgement)
}

/** Two new machines, one way to cut, the second on another day; answers with the number of batches. */
export async function comparePair<Command, Machine extends TestedMachine<Command>>(
  make: () => Machine | Promise<Machine>,
  log: CommandLog<Command>,
  way: number,
  draw: Draw,
  judgement: Judgement<Machine>,
): Promise<number> {
  const { deadlineMs } = judgement
  const first = new MachineRun(await madeBy(make, deadlineMs), log, judgement)
  const second = new MachineRun(await madeBy(make, deadlineMs), log, judgement, { shiftMs: OTHER_DAY_MS })
  const cutting = cutsOf(log.length, way, draw)
  for (const cut of cutting) await compareOver(first, second, cut, draw, judgement)
  return cutting.length
}
