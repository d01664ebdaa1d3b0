/**
 * What every state machine must do so that servers which apply the same log stay the same (the contract of
 * `StateMachine`), as cases that run over a user's own commands.
 */

import { ok } from 'node:assert'

import { isBytes } from '../../foreign-values.js'
import type { Codec } from '../../machine/state-machine.js'
import { comparePair, judgementOf, OTHER_DAY_MS } from '../determinism/assert-deterministic.js'
import type { ResultOf } from '../determinism/assert-deterministic.js'
import { canonicalText, hashOf, shortText } from '../determinism/canonical-text.js'
import { CommandLog, cutsOf, drawFrom, SEED_MAX } from '../determinism/command-log.js'
import { compareOver, MachineRun } from '../determinism/machine-run.js'
import type { Judgement, TestedMachine } from '../determinism/machine-run.js'
import type { LogIndex } from '../../types.js'
import { deadlineOf } from '../options.js'
import { StateMachineFault } from '../determinism/state-machine-fault.js'
import { CASE_DEADLINE_MS, caseOf } from './case.js'
import type { ConformanceCase } from './case.js'
import { checkOptionNames } from '../../option-checks.js'

/** What `stateMachineConformance` takes. */
export interface StateMachineConformanceOptions<Command, Machine> {
  /** A machine that has applied nothing. */
  readonly make: () => Machine | Promise<Machine>
  /** Applied in this order, 1 .. 100,000. As many kinds as there are, and some that meet each other's effects. */
  readonly commands: readonly Command[]
  /**
   * The codec that the server will use. Without it, `structuredClone` copies commands, and nothing is said of the
   * codec.
   */
  readonly codec?: Codec<Command>
  /** Whether two answers count as equal. Default: they say the same, field by field. */
  readonly equal?: (a: ResultOf<Machine>, b: ResultOf<Machine>) => boolean
  /** Everything that the machine holds, or a hash of it. Without it, the cases about state are skipped. */
  readonly stateOf?: (machine: Machine) => unknown
  /** Another machine, made from what this one wrote of itself. Without it, that case is skipped. */
  readonly roundTrip?: (machine: Machine) => Machine | Promise<Machine>
  /** Draws the log around the commands and the cuts, 0 .. 2^32 - 1. Default: drawn; each fault names it. */
  readonly seed?: number
  /** For one case. Default 60,000. */
  readonly deadlineMs?: number
}

/** What all cases share. */
interface Bench<Command, Machine> {
  readonly options: StateMachineConformanceOptions<Command, Machine>
  readonly log: CommandLog<Command>
  /** With states, where they can be asked for, and without. */
  readonly withStates: Judgement<Machine>
  readonly answersOnly: Judgement<Machine>
}

interface Behaviour {
  readonly name: string
  readonly needs?: 'stateOf' | 'roundTrip' | 'codec'
  readonly run: <Command, Machine extends TestedMachine<Command>>(bench: Bench<Command, Machine>) => Promise<void>
}

const OPTION_NAMES = Object.keys({
  make: true,
  commands: true,
  codec: true,
  equal: true,
  stateOf: true,
  roundTrip: true,
  seed: true,
  deadlineMs: true,
} satisfies Record<keyof StateMachineConformanceOptions<unknown, unknown>, true>)

/** Ways to cut in each case that cuts. */
const WAYS = 10

const drawnWays: readonly number[] = Array.from({ length: WAYS - 1 }, (_, way) => way + 1)

/** Turns of the event loop in which what was left undone would show. */
const IDLE_TURNS = 3

/**
 * The cases for one machine; each makes machines of its own. Run one after another: they watch the clocks of the
 * process.
 */
export function stateMachineConformance<Command, Machine extends TestedMachine<Command>>(
  options: StateMachineConformanceOptions<Command, Machine>,
): readonly ConformanceCase[] {
  checkOptionNames('stateMachineConformance', options, OPTION_NAMES)
  const deadlineMs = deadlineOf(options.deadlineMs, CASE_DEADLINE_MS)
  // A case must have the time to say which entry it was.
  const withStates = { ...judgementOf(options), deadlineMs: Math.ceil(deadlineMs / 2) }
  const log = new CommandLog(options.commands, options.codec, withStates.seed)
  const bench = { options, log, withStates, answersOnly: { ...withStates, stateOf: null } }
  return behaviours.map(({ name, needs, run }) => {
    const missing = needs === undefined || options[needs] !== undefined ? null : `no ${needs} was given`
    return caseOf(name, missing, deadlineMs, { prepare: () => bench, ask: run, release: async () => {} })
  })
}

const behaviours: readonly Behaviour[] = [
  {
    name: 'a command comes back from the codec as it was',
    needs: 'codec',
    async run({ options: { codec, commands } }) {
      if (codec === undefined) return
      const encoded = commands.map((command, at) => {
        const bytes: unknown = codec.encode(command)
        ok(isBytes(bytes), `encode answered ${shortText(bytes)} for command ${at}, not a Uint8Array`)
        // As a server does: a codec may use its memory again.
        return new Uint8Array(bytes)
      })
      for (const [at, bytes] of encoded.entries()) {
        const [before, after] = [commands[at], codec.decode(bytes)].map(canonicalText)
        ok(before === after, `command ${at} was ${shortText(commands[at])}, and came back as ${shortText(after)}`)
      }
    },
  },
  {
    name: 'apply answers with an array of one result per entry, or a promise of it, whatever the batch',
    async run({ options, log, answersOnly }) {
      const draw = drawFrom(answersOnly.seed)
      for (let way = 0; way < WAYS; way += 1) {
        const machine = new MachineRun(await options.make(), log, answersOnly)
        for (const cut of cutsOf(log.length, way, draw)) await machine.apply(cut, draw(2) === 0)
      }
    },
  },
  {
    name: 'the commands change what stateOf answers',
    needs: 'stateOf',
    async run({ options, log, withStates }) {
      const machine = new MachineRun(await options.make(), log, withStates)
      const before = await machine.state()
      for (const cut of cutsOf(log.length, 0, drawFrom(withStates.seed))) {
        await machine.apply(cut, false)
        if ((await machine.state()) !== before) return
      }
      const remedy = 'show what is in private fields, and give commands that change something'
      ok(
        false,
        `stateOf answers ${hashOf(before ?? '')} whatever is applied, so that states could not differ: ${remedy}`,
      )
    },
  },
  {
    name: 'two machines that apply the same entries answer the same',
    run: ({ options, log, answersOnly }) => compareWays(options.make, log, [0], answersOnly),
  },
  {
    name: 'two machines that have applied the same entries hold the same state',
    needs: 'stateOf',
    run: ({ options, log, withStates }) => compareWays(options.make, log, [0], withStates),
  },
  {
    name: 'batches cut anywhere give the same answers, in the order of the entries',
    run: ({ options, log, answersOnly }) => compareWays(options.make, log, drawnWays, answersOnly),
  },
  {
    name: 'batches cut anywhere give the same state',
    needs: 'stateOf',
    run: ({ options, log, withStates }) => compareWays(options.make, log, drawnWays, withStates),
  },
  {
    name: 'what is held, and what is answered to those who wait, does not depend on who waits, nor on what is replayed',
    async run({ options: { make }, log, withStates }) {
      const draw = drawFrom(withStates.seed)
      const salt = draw(SEED_MAX)
      // Nobody; and about half of the callers, in no order.
      for (const around of [{ isReplay: () => true }, { isAwaited: (at: LogIndex) => drawFrom(salt + at)(2) === 0 }]) {
        const first = new MachineRun(await make(), log, withStates)
        const second = new MachineRun(await make(), log, withStates, around)
        for (const cut of cutsOf(log.length, 0, draw)) await compareOver(first, second, cut, draw, withStates)
      }
    },
  },
  {
    name: 'apply asks no clock and no source of chance',
    async run({ options, log, answersOnly }) {
      const { seed } = answersOnly
      const machine = new MachineRun(await options.make(), log, answersOnly)
      for (const cut of cutsOf(log.length, 0, drawFrom(seed))) {
        const [use] = (await machine.apply(cut, false)).uses
        if (use === undefined) continue
        const finding = `apply asked ${use.what} (${use.where}); entries carry their time, and chance must come with the command`
        throw new StateMachineFault('ambient', finding, { ...machine.place(cut), seed })
      }
    },
  },
  {
    name: 'what apply does is done when its answer is there',
    needs: 'stateOf',
    async run({ options, log, withStates }) {
      const { seed } = withStates
      const draw = drawFrom(seed)
      const machine = new MachineRun(await options.make(), log, withStates)
      for (const cut of cutsOf(log.length, 2, draw)) {
        await machine.apply(cut, draw(2) === 0)
        const before = (await machine.state()) ?? ''
        for (let turn = 0; turn < IDLE_TURNS; turn += 1) await new Promise((resolve) => setImmediate(resolve))
        const after = (await machine.state()) ?? ''
        if (after === before) continue
        const hashes = [hashOf(before), hashOf(after)] as const
        const finding = `the state went from ${hashes[0]} to ${hashes[1]} after apply had answered`
        throw new StateMachineFault('not-done', finding, { ...machine.place(cut), seed, hashes })
      }
    },
  },
  {
    name: 'a machine made from what another holds goes on as that one does',
    needs: 'roundTrip',
    async run({ options, log, withStates }) {
      const { roundTrip, make } = options
      if (roundTrip === undefined) return
      const draw = drawFrom(withStates.seed)
      for (const at of new Set([0, Math.floor(log.length / 2), log.length, draw(log.length)])) {
        const first = new MachineRun(await make(), log, withStates)
        for (let lo = 0; lo < at; lo += 1) await first.apply({ lo, hi: lo + 1 }, false)
        const second = new MachineRun(await roundTrip(first.machine), log, withStates, { shiftMs: OTHER_DAY_MS })
        for (let lo = at; lo < log.length; lo += 1)
          await compareOver(first, second, { lo, hi: lo + 1 }, draw, withStates)
        const [a, b] = [await first.state(), await second.state()]
        ok(
          a === b,
          `a machine made after ${at} commands ends as ${shortText(b)}, and the one it was made from as ${shortText(a)}`,
        )
      }
    },
  },
]

async function compareWays<Command, Machine extends TestedMachine<Command>>(
  make: () => Machine | Promise<Machine>,
  log: CommandLog<Command>,
  ways: readonly number[],
  judgement: Judgement<Machine>,
): Promise<void> {
  const draw = drawFrom(judgement.seed)
  for (const way of ways) await comparePair(make, log, way, draw, judgement)
}
