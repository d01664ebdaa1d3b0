/** ACL: the users, as this server has read them from its file. What would change them is refused: change the file. */

import { randomBytes } from 'node:crypto'
import { parseInteger } from '../data-set/integer.js'
import { failure, notAnInteger, ok, quote, syntaxError, textBytes } from '../resp/reply.js'
import type { ErrorReply, Reply } from '../resp/reply.js'
import type { User } from '../security/acl-rules.js'
import type { Denial } from '../security/permissions.js'
import { SecurityError } from '../security/small-file.js'
import { keysOf } from './command-keys.js'
import type { CommandFacts, LocalContext, ServerState, Subcommand, Subcommands } from './local-command.js'

const help: Reply = [
  'ACL <subcommand>. Subcommands are:',
  'CAT, DRYRUN, GENPASS, GETUSER, HELP, LIST, LOAD, LOG, USERS, WHOAMI',
].map((text) => ({ type: 'status', text }))

/** What a command is, and whether it could be called so; undefined: there is none of that name. */
export type LookUp = (
  words: readonly string[],
) => { readonly facts: CommandFacts; readonly refusal: ErrorReply | null } | undefined

export function aclSubcommands(lookUp: LookUp): Subcommands {
  return new Map<string, Subcommand>([
    ['whoami', { arity: 2, run: ({ client: { session } }) => session.userName }],
    ['users', { arity: 2, isWide: true, run: ({ server }) => sortedUsers(server).map(({ name }) => name) }],
    ['list', { arity: 2, isWide: true, run: ({ server }) => sortedUsers(server).map((user) => lineOf(user)) }],
    ['getuser', { arity: 3, isWide: true, run: getUser }],
    ['cat', { arity: -2, isWide: true, run: cat }],
    ['genpass', { arity: -2, run: generatePassword }],
    ['dryrun', { arity: -4, isWide: true, run: (context, words) => dryRun(lookUp, context, words) }],
    ['load', { arity: 2, isWide: true, run: load }],
    ['log', { arity: -2, isWide: true, run: log }],
    ['help', { arity: 2, run: () => help }],
    ['setuser', { arity: -3, run: refuse }],
    ['deluser', { arity: -3, run: refuse }],
    ['save', { arity: 2, run: refuse }],
  ])
}

function sortedUsers({ security }: ServerState): readonly User[] {
  return [...security.users.values()].toSorted((one, other) => (one.name < other.name ? -1 : 1))
}

/** As it could stand in an ACL file. */
function lineOf({ name, isOn, isOpen, hashes, keyRules, commandRules }: User): string {
  const passwords = [...hashes].map((hash) => `#${hash}`)
  return [
    'user',
    name,
    isOn ? 'on' : 'off',
    ...(isOpen ? ['nopass'] : []),
    ...passwords,
    ...keyRules,
    ...commandRules,
  ].join(' ')
}

function getUser({ server }: LocalContext, words: readonly string[]): Reply {
  const user = server.security.users.get(words[2] ?? '')
  if (user === undefined) return null
  const flags = [user.isOn ? 'on' : 'off', ...(user.isOpen ? ['nopass'] : [])]
  return {
    type: 'map',
    pairs: [
      ['flags', { type: 'set', members: flags.map((text): Reply => ({ type: 'status', text })) }],
      ['passwords', [...user.hashes]],
      ['commands', user.commandRules.join(' ')],
      ['keys', user.keyRules.join(' ')],
      ['channels', ''],
      ['selectors', []],
    ],
  }
}

function cat({ server }: LocalContext, words: readonly string[]): Reply {
  const { names, categories, numbersIn } = server.security.catalog
  const [, , category, ...rest] = words
  if (rest.length > 0) return syntaxError
  if (category === undefined) return categories
  const numbers = numbersIn(category.toLowerCase())
  if (numbers === undefined) return failure(`ERR Unknown category '${quote(category)}'`)
  return numbers.map((number) => names[number] ?? '')
}

const BITS_MAX = 4096

function generatePassword(_context: LocalContext, words: readonly string[]): Reply {
  const bits = words[2] === undefined ? 256 : parseInteger(words[2])
  if (words.length > 3) return syntaxError
  if (typeof bits !== 'number' || bits < 1 || bits > BITS_MAX) {
    return failure(
      `ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to ${BITS_MAX}`,
    )
  }
  const digits = Math.ceil(bits / 4)
  return randomBytes(Math.ceil(digits / 2))
    .toString('hex')
    .slice(0, digits)
}

function dryRun(lookUp: LookUp, { server }: LocalContext, words: readonly string[]): Reply {
  const [, , name = '', ...call] = words
  const user = server.security.users.get(name)
  if (user === undefined) return failure(`ERR User '${quote(name)}' not found`)
  const found = lookUp(call)
  if (found === undefined) return failure(`ERR Command '${quote(call[0] ?? '')}' not found`)
  const { facts, refusal } = found
  if (refusal !== null) return refusal
  const { names, numbersOf } = server.security.catalog
  const [number = -1] = numbersOf(`${facts.name}|${call[1]?.toLowerCase()}`) ?? numbersOf(facts.name) ?? []
  const denial = facts.flags.includes('no_auth') ? null : user.permissions.denial(number, keysOf(facts, call))
  return denial === null ? ok : dryRunDenied(denial, names[number] ?? '')
}

function dryRunDenied(denial: Denial, command: string): string {
  return denial.what === 'command'
    ? `This user has no permissions to run the '${command}' command`
    : `This user has no permissions to access the '${quote(denial.key)}' key`
}

function load({ server }: LocalContext): Reply {
  const { aclFile, password } = server.security.sources
  if (aclFile === null && (password === null || !('file' in password))) {
    return failure('ERR there is no file to load: this server was started without --aclfile and --password-file')
  }
  try {
    server.loadUsers()
    return ok
  } catch (error) {
    if (error instanceof SecurityError) return failure(`ERR ${textBytes(error.message)}. The users stay as they were`)
    throw error
  }
}

const LOG_SHOWN = 10

function log({ server }: LocalContext, words: readonly string[]): Reply {
  const { denials } = server.security
  if (words.length > 3) return syntaxError
  if (words[2]?.toLowerCase() === 'reset') {
    denials.reset()
    return ok
  }
  const count = words[2] === undefined ? LOG_SHOWN : parseInteger(words[2])
  if (typeof count !== 'number') return notAnInteger
  const now = server.uptime()
  return denials.latest.slice(0, Math.max(0, count)).map((entry): Reply => ({
    type: 'map',
    pairs: [
      ['count', entry.count],
      ['reason', entry.reason],
      ['context', entry.context],
      ['object', entry.object],
      ['username', entry.user],
      ['age-seconds', ((now - entry.since) / 1000).toFixed(3)],
      ['client-info', entry.client],
    ],
  }))
}

function refuse({ server }: LocalContext, words: readonly string[]): Reply {
  const where =
    server.security.sources.aclFile === null ? 'the file of --aclfile' : textBytes(server.security.sources.aclFile)
  return failure(
    `ERR ACL ${words[1]?.toUpperCase()}: users are kept in a file here, the same for all servers: change ${where} on each, then ACL LOAD there, or SIGHUP`,
  )
}
