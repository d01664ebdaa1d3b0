/** One row per command: what COMMAND tells of it, and who carries it out. */

import { dataCommands, type DataCommand } from '../data-set/data-commands.js'
import type { KeyWalkOf } from '../data-set/key-walk.js'
import { LOCAL_WORDS_MAX } from '../limits.js'
import { failure, ok, quote, wrongArity, type ErrorReply, type Reply } from '../resp/reply.js'
import { aclSubcommands, type LookUp } from './acl-commands.js'
import { auth, clientSubcommands, echo, hello, ping, select } from './connection-commands.js'
import { clusterSubcommands } from './cluster-commands.js'
import { commandSubcommands, everyCommand } from './command-commands.js'
import { commandTexts } from './command-texts.js'
import type { CommandFacts, LocalCall, LocalContext, LocalHandler } from './local-command.js'
import type { LoginHandler, Subcommand, Subcommands } from './local-command.js'
import { raftSubcommands } from './raft-commands.js'
import { readonlyOff, readonlyOn } from './read-mode-commands.js'
import { backgroundSave, lastSave, save } from './save-commands.js'
import { configSubcommands, info, role } from './server-commands.js'
import { wait, waitNot } from './wait-command.js'

/** Commands that steer their own connection: `server/client/dispatcher.ts` hands them on. */
export type ControlName = 'multi' | 'exec' | 'discard' | 'watch' | 'unwatch' | 'reset' | 'quit' | 'security'

export type CommandRow = CommandFacts &
  /** `grows`: it may make the data set larger, and is refused when that is full. */
  (
    | { readonly type: 'data'; readonly command: DataCommand; readonly grows: boolean }
    /** Answered at once, from what this server knows. */
    | { readonly type: 'local'; readonly run: LocalHandler; readonly isWide: boolean }
    /** Takes as long as it takes. `run`: what it does in a transaction, at once; null: it is no part of one. */
    | { readonly type: 'call'; readonly call: LocalCall; readonly run: LocalHandler | null }
    | { readonly type: 'container'; readonly subcommands: Subcommands; readonly alone: LocalHandler | null }
    | { readonly type: 'control'; readonly control: ControlName }
    /** May say who the client is, and is done once that is known. */
    | { readonly type: 'login'; readonly login: LoginHandler }
  )

type Keys = readonly [first: number, last: number, step: number]

const noKeys: Keys = [0, 0, 0]
const oneKey: Keys = [1, 1, 1]
const allKeys: Keys = [1, -1, 1]

type Group = CommandFacts['group']

function facts(name: string, arity: number, flags: string, keys: Keys, categories: string, group: Group): CommandFacts {
  const [since, summary] = commandTexts[name] ?? ['1.0.0', name]
  const speed = flags.includes('fast') ? 'fast' : 'slow'
  const access = flags.includes('write') ? ['write'] : flags.includes('readonly') ? ['read'] : []
  const [first, ...rest] = categories.split(' ').filter((category) => category !== '')
  const before = first === 'keyspace' || first === 'admin' ? [first] : []
  const after = first === undefined || before.length > 0 ? rest : [first, ...rest]
  const late = after.filter((category) => category !== 'string')
  const all = [...before, ...access, ...after.filter((category) => category === 'string'), speed, ...late]
  return {
    name,
    arity,
    flags: flags.split(' ').filter((flag) => flag !== ''),
    firstKey: keys[0],
    lastKey: keys[1],
    keyStep: keys[2],
    categories: all.map((category) => `@${category}`),
    group,
    since,
    summary,
  }
}

function data(name: string, arity: number, flags: string, keys: Keys, categories = 'string'): CommandRow {
  const command = dataCommands.get(name)
  if (command === undefined) throw new Error(`no data command ${name}`)
  const group = categories.startsWith('keyspace')
    ? keys === noKeys && name !== 'scan' && name !== 'keys'
      ? 'server'
      : 'generic'
    : 'string'
  return {
    type: 'data',
    command,
    grows: flags.includes('denyoom'),
    ...facts(name, arity, flags, keys, categories, group),
  }
}

function local(
  name: string,
  arity: number,
  flags: string,
  group: Group,
  run: LocalHandler,
  categories: string,
): CommandRow {
  return { type: 'local', run, isWide: false, ...facts(name, arity, flags, noKeys, categories, group) }
}

function wide(row: CommandRow): CommandRow {
  return row.type === 'local' ? { ...row, isWide: true } : row
}

function container(name: string, group: Group, subcommands: Subcommands): CommandRow {
  return { type: 'container', subcommands, alone: null, ...facts(name, -2, '', noKeys, '', group) }
}

function control(control: ControlName, arity: number, flags: string, group: Group, keys: Keys = noKeys): CommandRow {
  const categories = group === 'transactions' ? 'transaction' : 'connection'
  return { type: 'control', control, ...facts(control, arity, flags, keys, categories, group) }
}

const QUICK = 'loading stale fast'
const ALWAYS = 'noscript loading stale fast no_auth allow_busy'
const TRANSACTION = 'noscript loading stale fast allow_busy'

/** What clients can call. */
export const allRows: readonly CommandRow[] = [
  data('get', 2, 'readonly fast', oneKey),
  data('set', -3, 'write denyoom', oneKey),
  data('setnx', 3, 'write denyoom fast', oneKey),
  data('getset', 3, 'write denyoom fast', oneKey),
  data('getdel', 2, 'write fast', oneKey),
  data('incr', 2, 'write denyoom fast', oneKey),
  data('decr', 2, 'write denyoom fast', oneKey),
  data('incrby', 3, 'write denyoom fast', oneKey),
  data('decrby', 3, 'write denyoom fast', oneKey),
  data('append', 3, 'write denyoom fast', oneKey),
  data('strlen', 2, 'readonly fast', oneKey),
  data('mget', -2, 'readonly fast', allKeys),
  data('mset', -3, 'write denyoom', [1, -1, 2]),
  data('del', -2, 'write', allKeys, 'keyspace'),
  data('unlink', -2, 'write fast', allKeys, 'keyspace'),
  data('exists', -2, 'readonly fast', allKeys, 'keyspace'),
  data('expire', -3, 'write fast', oneKey, 'keyspace'),
  data('pexpire', -3, 'write fast', oneKey, 'keyspace'),
  data('ttl', 2, 'readonly fast', oneKey, 'keyspace'),
  data('pttl', 2, 'readonly fast', oneKey, 'keyspace'),
  data('persist', 2, 'write fast', oneKey, 'keyspace'),
  data('type', 2, 'readonly fast', oneKey, 'keyspace'),
  data('scan', -2, 'readonly', noKeys, 'keyspace'),
  data('keys', 2, 'readonly', noKeys, 'keyspace dangerous'),
  data('dbsize', 1, 'readonly fast', noKeys, 'keyspace'),
  data('flushall', -1, 'write', noKeys, 'keyspace dangerous'),
  local('ping', -1, 'fast', 'connection', ping, 'connection'),
  local('echo', 2, QUICK, 'connection', echo, 'connection'),
  { type: 'login', login: auth, ...facts('auth', -2, ALWAYS, noKeys, 'connection', 'connection') },
  { type: 'login', login: hello, ...facts('hello', -1, ALWAYS, noKeys, 'connection', 'connection') },
  local('select', 2, QUICK, 'connection', select, 'connection'),
  wide(local('info', -1, 'loading stale', 'server', info, 'dangerous')),
  wide(local('role', 1, 'noscript loading stale fast', 'server', role, 'admin dangerous')),
  local('readonly', -1, QUICK, 'cluster', readonlyOn, 'connection'),
  local('readwrite', 1, QUICK, 'cluster', readonlyOff, 'connection'),
  { type: 'call', call: save, run: null, ...facts('save', 1, 'admin noscript', noKeys, 'admin dangerous', 'server') },
  wide(local('bgsave', -1, 'admin noscript', 'server', backgroundSave, 'admin dangerous')),
  local('lastsave', 1, 'loading stale fast', 'server', lastSave, 'admin dangerous'),
  { type: 'call', call: wait, run: waitNot, ...facts('wait', 3, 'noscript', noKeys, 'connection', 'generic') },
  container('client', 'connection', clientSubcommands),
  container('config', 'server', configSubcommands),
  container('acl', 'server', aclSubcommands(lookUp)),
  container('cluster', 'cluster', clusterSubcommands),
  {
    type: 'container',
    subcommands: raftSubcommands,
    alone: null,
    ...facts('raft', -2, 'admin noscript loading stale', noKeys, 'admin dangerous', 'server'),
  },
  {
    type: 'container',
    subcommands: commandSubcommands(() => factsOfAll),
    alone: everyCommand(() => factsOfAll),
    ...facts('command', -1, 'loading stale', noKeys, 'connection', 'server'),
  },
  control('multi', 1, TRANSACTION, 'transactions'),
  control('exec', 1, 'noscript loading stale skip_slowlog', 'transactions'),
  control('discard', 1, TRANSACTION, 'transactions'),
  control('watch', -2, TRANSACTION, 'transactions', allKeys),
  control('unwatch', 1, TRANSACTION, 'transactions'),
  control('reset', 1, ALWAYS, 'connection'),
  control('quit', -1, ALWAYS, 'connection'),
]

const factsOfAll: ReadonlyMap<string, CommandFacts> = new Map(allRows.map((row) => [row.name, row]))

/** A browser that was tricked into posting here: its first line must not be followed by commands in its body. */
const securityRow: CommandRow = {
  type: 'control',
  control: 'security',
  ...facts('post', -1, 'no_auth', noKeys, '', 'server'),
}

const rowsByName: ReadonlyMap<string, CommandRow> = new Map([
  ...allRows.flatMap((row) => [[row.name, row] as const, [row.name.toUpperCase(), row] as const]),
  ['post', securityRow],
  ['host:', securityRow],
])

/** Undefined: there is no such command. */
export function findCommand(name: string): CommandRow | undefined {
  return rowsByName.get(name) ?? rowsByName.get(name.toLowerCase())
}

function lookUp(words: readonly string[]): ReturnType<LookUp> {
  const row = findCommand(words[0] ?? '')
  return row === undefined ? undefined : { facts: row, refusal: checkCommand(row, words) }
}

type Container = Extract<CommandRow, { readonly type: 'container' }>

/** Undefined: none is named, or there is no such one. */
export function subcommandOf({ subcommands }: Container, words: readonly string[]): Subcommand | undefined {
  return subcommands.get((words[1] ?? '').toLowerCase())
}

/** Null: the number of words fits, and a subcommand is one that there is. */
export function checkCommand(row: CommandRow, words: readonly string[]): ErrorReply | null {
  if (!arityFits(row.arity, words.length)) return wrongArity(row.name)
  if ((row.type === 'local' || row.type === 'container' || row.type === 'login') && words.length > LOCAL_WORDS_MAX) {
    return failure(
      `ERR ${row.name.toUpperCase()} has ${words.length} words, at most ${LOCAL_WORDS_MAX} are allowed: split it`,
    )
  }
  if (row.type !== 'container' || words.length < 2) return null
  const subcommand = subcommandOf(row, words)
  if (subcommand === undefined) {
    return failure(`ERR unknown subcommand '${quote(words[1] ?? '')}'. Try ${row.name.toUpperCase()} HELP.`)
  }
  return arityFits(subcommand.arity, words.length) ? null : wrongArity(`${row.name}|${words[1]?.toLowerCase()}`)
}

/** The answer to a command that this server gives by itself; OK to one that it does not. */
export function answerLocally(row: CommandRow, words: readonly string[], context: LocalContext): Reply {
  if (row.type === 'local') return row.run(context, words)
  if (row.type === 'call') return row.run === null ? ok : row.run(context, words)
  if (row.type === 'login') {
    const request = row.login(context, words)
    return 'type' in request ? request : request.finish(context)
  }
  if (row.type !== 'container') return ok
  const subcommand = subcommandOf(row, words)
  const run = subcommand !== undefined && 'run' in subcommand ? subcommand.run : row.alone
  return run === null ? ok : run(context, words)
}

/** How a command is carried out that looks at every key; null: it does not, or at so few that it needs no slices. */
export function walkOf(row: CommandRow, words: readonly string[]): KeyWalkOf | null {
  if (row.type === 'data') return row.command.walkOf
  if (row.type !== 'container') return null
  const subcommand = subcommandOf(row, words)
  return subcommand !== undefined && 'walkOf' in subcommand ? subcommand.walkOf : null
}

/** How a command is carried out that is a call of the library; null: it is none. */
export function callOf(row: CommandRow, words: readonly string[]): LocalCall | null {
  if (row.type === 'call') return row.call
  if (row.type !== 'container') return null
  const subcommand = subcommandOf(row, words)
  return subcommand !== undefined && 'call' in subcommand ? subcommand.call : null
}

/**
 * Whether its work, or its answer, follows from more than its words: from all keys, all clients or the state of the
 * server. Then it is no part of a transaction, which is carried out in one go.
 */
export function isWide(row: CommandRow, words: readonly string[]): boolean {
  switch (row.type) {
    case 'data':
      return row.command.walks
    case 'local':
      return row.isWide
    case 'container': {
      const subcommand = subcommandOf(row, words)
      return subcommand === undefined || !('run' in subcommand) || subcommand.isWide === true
    }
    case 'call':
      return row.run === null
    case 'control':
    case 'login':
      return false
  }
}

function arityFits(arity: number, words: number): boolean {
  return arity > 0 ? words === arity : words >= -arity
}

export function unknownCommand(words: readonly string[]): ErrorReply {
  let rest = ''
  for (const word of words.slice(1)) {
    if (rest.length >= 128) break
    rest += `'${quote(word, 128 - rest.length)}' `
  }
  return failure(`ERR unknown command '${quote(words[0] ?? '')}', with args beginning with: ${rest}`)
}
