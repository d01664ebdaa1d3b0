/** COMMAND and its subcommands. */

import { failure, status, type Reply } from '../resp/reply.js'
import { isRefusal, prepareGlob } from '../data-set/glob.js'
import { keysOf } from './command-keys.js'
import type { CommandFacts, LocalHandler, Subcommand, Subcommands } from './local-command.js'

type AllFacts = () => ReadonlyMap<string, CommandFacts>

export function everyCommand(all: AllFacts): LocalHandler {
  return () => [...all().values()].map(describe)
}

export function commandSubcommands(all: AllFacts): Subcommands {
  return new Map<string, Subcommand>([
    ['count', { arity: 2, run: () => all().size }],
    ['info', { arity: -2, isWide: true, run: (_context, words) => describeNamed(all(), words.slice(2)) }],
    ['docs', { arity: -2, isWide: true, run: (_context, words) => documentNamed(all(), words.slice(2)) }],
    ['list', { arity: -2, isWide: true, run: (_context, words) => list(all(), words.slice(2)) }],
    ['getkeys', { arity: -3, run: (_context, words) => keysOfCommand(all(), words.slice(2)) }],
    ['help', { arity: 2, run: () => help }],
  ])
}

const help: Reply = ['COMMAND [<subcommand>]. Subcommands are:', 'COUNT, DOCS, GETKEYS, HELP, INFO, LIST'].map(status)

function describeNamed(all: ReadonlyMap<string, CommandFacts>, names: readonly string[]): Reply {
  if (names.length === 0) return [...all.values()].map(describe)
  return names.map((name) => {
    const facts = all.get(name.toLowerCase())
    return facts === undefined ? null : describe(facts)
  })
}

/** Tips, key specifications and subcommands, the last three, are left empty: clients go by the key positions. */
function describe(facts: CommandFacts): Reply {
  return [
    facts.name,
    facts.arity,
    { type: 'set', members: facts.flags.map(status) },
    facts.firstKey,
    facts.lastKey,
    facts.keyStep,
    { type: 'set', members: facts.categories.map(status) },
    { type: 'set', members: [] },
    { type: 'set', members: [] },
    { type: 'set', members: [] },
  ]
}

function documentNamed(all: ReadonlyMap<string, CommandFacts>, names: readonly string[]): Reply {
  const wanted = names.length === 0 ? [...all.values()] : names.map((name) => all.get(name.toLowerCase()))
  const pairs = wanted
    .filter((facts) => facts !== undefined)
    .map(({ name, summary, since, group }): readonly [Reply, Reply] => [
      name,
      {
        type: 'map',
        pairs: [
          ['summary', summary],
          ['since', since],
          ['group', group],
        ],
      },
    ])
  return { type: 'map', pairs }
}

function list(all: ReadonlyMap<string, CommandFacts>, words: readonly string[]): Reply {
  const names = [...all.keys()]
  if (words.length === 0) return names
  const [filter, kind, value] = words.map((word) => word.toLowerCase())
  if (words.length !== 3 || filter !== 'filterby' || value === undefined) return failure('ERR syntax error')
  if (kind === 'pattern') {
    const accepts = prepareGlob(value)
    return isRefusal(accepts) ? accepts : names.filter(accepts)
  }
  if (kind === 'aclcat') return names.filter((name) => all.get(name)?.categories.includes(`@${value}`) === true)
  return kind === 'module' ? [] : failure('ERR syntax error')
}

function keysOfCommand(all: ReadonlyMap<string, CommandFacts>, words: readonly string[]): Reply {
  const facts = all.get((words[0] ?? '').toLowerCase())
  if (facts === undefined) return failure('ERR Invalid command specified')
  if (facts.firstKey === 0) return failure('ERR The command has no key arguments')
  const fits = facts.arity > 0 ? words.length === facts.arity : words.length >= -facts.arity
  return fits ? keysOf(facts, words) : failure('ERR Invalid number of arguments specified for command')
}
