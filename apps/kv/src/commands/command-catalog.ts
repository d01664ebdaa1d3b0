/**
 * The commands and subcommands as rules of users speak of them: a number for each, and its categories. A subcommand has
 * those that Redis gives it; RAFT, which Redis has not, is for whoever administers.
 */

import type { CommandCatalog } from '../security/catalog.js'
import { allRows, subcommandOf, type CommandRow } from './command-table.js'
import type { Subcommand } from './local-command.js'

/** As Redis lists them, and has users in its files speak of them; of some there is no command here. */
const CATEGORIES = [
  ...['keyspace', 'read', 'write', 'set', 'sortedset', 'list', 'hash', 'string', 'bitmap', 'hyperloglog', 'geo'],
  ...['stream', 'pubsub', 'admin', 'fast', 'slow', 'blocking', 'dangerous', 'connection', 'transaction', 'scripting'],
]

const ADMIN = ['admin', 'slow', 'dangerous']

/** Subcommands of these are for administrators, but for those that follow. */
const ADMINISTERING: ReadonlyMap<string, readonly string[]> = new Map([
  ['acl', ['cat', 'genpass', 'help', 'whoami']],
  ['config', ['help']],
  ['raft', ['help', 'index']],
])
/** And these. */
const ADMIN_ALONE: readonly string[] = ['client|list', 'client|no-evict']
/** All of whose subcommands concern the connection alone. */
const CONNECTION: readonly string[] = ['client', 'command']

const names: string[] = []
const categoriesOf: (readonly string[])[] = []
const numbers = new Map<CommandRow | Subcommand, number>()
const byName = new Map<string, number[]>()

for (const row of allRows) {
  const own = [
    add(
      row,
      row.name,
      row.categories.map((category) => category.slice(1)),
    ),
  ]
  byName.set(row.name, own)
  if (row.type !== 'container') continue
  for (const [name, subcommand] of row.subcommands) {
    const full = `${row.name}|${name}`
    const number = add(subcommand, full, categoriesOfSubcommand(row.name, name))
    own.push(number)
    byName.set(full, [number])
  }
}

const byCategory: ReadonlyMap<string, readonly number[]> = new Map(
  CATEGORIES.map((category) => [category, [...names.keys()].filter((at) => categoriesOf[at]?.includes(category))]),
)

export const commandCatalog: CommandCatalog = {
  names,
  categories: CATEGORIES,
  numbersOf: (name) => byName.get(name),
  numbersIn: (category) => byCategory.get(category),
}

/** The number of what these words call. */
export function numberOf(row: CommandRow, words: readonly string[]): number {
  const subcommand = row.type === 'container' ? subcommandOf(row, words) : undefined
  return numbers.get(subcommand ?? row) ?? -1
}

function add(what: CommandRow | Subcommand, name: string, categories: readonly string[]): number {
  const number = names.length
  names.push(name)
  categoriesOf.push(categories)
  numbers.set(what, number)
  return number
}

function categoriesOfSubcommand(container: string, name: string): readonly string[] {
  const own = CONNECTION.includes(container) ? ['connection'] : []
  const isAdmin = ADMINISTERING.get(container)?.includes(name) === false || ADMIN_ALONE.includes(`${container}|${name}`)
  return [...(isAdmin ? ADMIN : ['slow']), ...own]
}
