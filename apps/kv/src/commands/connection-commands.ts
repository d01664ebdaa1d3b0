/** PING, HELLO, CLIENT and what else concerns one connection. */

import { NAME_BYTES_MAX } from '../limits.js'
import { failure, notAnInteger, ok, quote, status, syntaxError, wrongArity } from '../resp/reply.js'
import type { ErrorReply, Reply } from '../resp/reply.js'
import type { ProtocolVersion } from '../resp/reply-encoder.js'
import { DEFAULT_USER } from '../security/security.js'
import { parseInteger } from '../data-set/integer.js'
import type { ClientState, LocalContext, LoginRequest, Subcommand, Subcommands } from './local-command.js'
import { REDIS_VERSION } from './versions.js'

export function ping(_context: LocalContext, words: readonly string[]): Reply {
  if (words.length > 2) return wrongArity('ping')
  return words[1] ?? status('PONG')
}

export function echo(_context: LocalContext, words: readonly string[]): Reply {
  return words[1] ?? ''
}

export function select(_context: LocalContext, words: readonly string[]): Reply {
  const database = parseInteger(words[1] ?? '')
  if (database === null) return notAnInteger
  return database === 0 ? ok : failure('ERR SELECT is not allowed in cluster mode')
}

/** AUTH [user] password. */
export function auth({ server: { security } }: LocalContext, words: readonly string[]): LoginRequest | ErrorReply {
  const [, first = '', second] = words
  if (words.length > 3) return syntaxError
  if (second === undefined && security.users.get(DEFAULT_USER)?.isOpen === true) {
    return failure(
      'ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?',
    )
  }
  const credentials = second === undefined ? { user: DEFAULT_USER, password: first } : { user: first, password: second }
  return { credentials, finish: () => ok }
}

/** HELLO [version [AUTH user password] [SETNAME name]]. */
export function hello(_context: LocalContext, words: readonly string[]): LoginRequest | ErrorReply {
  let version: ProtocolVersion | null = null
  let name: string | null = null
  let credentials: LoginRequest['credentials'] = null
  if (words[1] !== undefined) {
    const wanted = parseInteger(words[1])
    if (wanted === null) return failure('ERR Protocol version is not an integer or out of range')
    if (wanted !== 2 && wanted !== 3) return failure('NOPROTO unsupported protocol version')
    version = wanted
    let at = 2
    while (at < words.length) {
      const [option = '', value, password] = words.slice(at, at + 3)
      if (option.toLowerCase() === 'auth' && value !== undefined && password !== undefined) {
        credentials = { user: value, password }
        at += 3
        continue
      }
      if (option.toLowerCase() !== 'setname' || value === undefined) {
        return failure(`ERR Syntax error in HELLO option '${quote(option)}'`)
      }
      const flaw = nameFlaw(value)
      if (flaw !== null) return flaw
      name = value
      at += 2
    }
  }
  return { credentials, finish: (context) => greet(context, version, name) }
}

function greet(
  { client: { session }, server }: LocalContext,
  version: ProtocolVersion | null,
  name: string | null,
): Reply {
  if (session.login === null) return helloFirst
  session.version = version ?? session.version
  session.name = name ?? session.name
  return {
    type: 'map',
    pairs: [
      ['server', 'redis'],
      ['version', REDIS_VERSION],
      ['proto', session.version],
      ['id', session.id],
      ['mode', 'cluster'],
      ['role', server.leadership.isLeader ? 'master' : 'replica'],
      ['modules', []],
    ],
  }
}

const helloFirst = failure(
  'NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time',
)

/** Null: a client may be called so. `what` it is that it says of itself. */
function nameFlaw(name: string, what = 'Client names'): ErrorReply | null {
  if (name.length > NAME_BYTES_MAX) return failure(`ERR ${what} cannot be longer than ${NAME_BYTES_MAX} bytes.`)
  return /^[!-~]*$/.test(name) ? null : failure(`ERR ${what} cannot contain spaces, newlines or special characters.`)
}

export const clientSubcommands: Subcommands = new Map<string, Subcommand>([
  ['id', { arity: 2, run: ({ client }) => client.session.id }],
  ['getname', { arity: 2, run: ({ client: { session } }) => (session.name === '' ? null : session.name) }],
  ['setname', { arity: 3, run: setName }],
  ['setinfo', { arity: 4, run: setInfo }],
  [
    'info',
    { arity: 2, isWide: true, run: ({ client, server }) => verbatim(`${describeClient(client, server.uptime())}\n`) },
  ],
  ['list', { arity: -2, isWide: true, run: list }],
  ['no-evict', { arity: 3, run: noEvict }],
  ['reply', { arity: 3, run: reply }],
  ['help', { arity: 2, run: () => help }],
])

const help: Reply = [
  'CLIENT <subcommand>. Subcommands are:',
  'GETNAME, HELP, ID, INFO, LIST, NO-EVICT, REPLY, SETINFO, SETNAME',
].map(status)

const verbatim = (text: string): Reply => ({ type: 'verbatim', text })

function setName({ client: { session } }: LocalContext, words: readonly string[]): Reply {
  const name = words[2] ?? ''
  const flaw = nameFlaw(name)
  if (flaw !== null) return flaw
  session.name = name
  return ok
}

function setInfo({ client: { session } }: LocalContext, words: readonly string[]): Reply {
  const [, , option = '', value = ''] = words
  const attribute = option.toLowerCase()
  if (attribute !== 'lib-name' && attribute !== 'lib-ver') return failure(`ERR Unrecognized option '${quote(option)}'`)
  const flaw = nameFlaw(value, attribute)
  if (flaw !== null) return flaw
  if (attribute === 'lib-name') session.libraryName = value
  else session.libraryVersion = value
  return ok
}

function list({ server }: LocalContext, words: readonly string[]): Reply {
  const [, , option, ...values] = words
  const byId = option?.toLowerCase() === 'id'
  const byType = option?.toLowerCase() === 'type'
  if (option !== undefined && ((!byId && !byType) || values.length === 0)) return syntaxError
  const ids = new Set(values)
  const isListed = (client: ClientState): boolean =>
    option === undefined || (byId ? ids.has(String(client.session.id)) : values[0]?.toLowerCase() === 'normal')
  const now = server.uptime()
  const lines = [...server.clients].filter(isListed).map((client) => describeClient(client, now))
  return verbatim(lines.map((line) => `${line}\n`).join(''))
}

export function describeClient(
  { session, queued, watching, buffered, unsent, held }: ClientState,
  now: number,
): string {
  const seconds = (since: number): number => Math.floor((now - since) / 1000)
  const flags = `${queued >= 0 ? 'x' : ''}${session.readMode === 'leader' ? '' : 'r'}${session.noEvict ? 'e' : ''}`
  // One text, since there may be thousands of clients.
  return (
    `id=${session.id} addr=${session.address} laddr=${session.localAddress} name=${session.name}` +
    ` age=${seconds(session.connectedAt)} idle=${seconds(session.activeAt)} flags=${flags === '' ? 'N' : flags}` +
    ` db=0 sub=0 psub=0 multi=${queued} watch=${watching} qbuf=${buffered} omem=${unsent} tot-mem=${held}` +
    ` cmd=${session.lastCommand} user=${session.userName} lib-name=${session.libraryName} lib-ver=${session.libraryVersion}` +
    ` resp=${session.version}`
  )
}

/** Who asks for this goes last when more is kept for clients than may be. */
function noEvict({ client: { session } }: LocalContext, words: readonly string[]): Reply {
  const value = words[2]?.toLowerCase()
  if (value !== 'on' && value !== 'off') return syntaxError
  session.noEvict = value === 'on'
  return ok
}

function reply({ client: { session } }: LocalContext, words: readonly string[]): Reply {
  const value = words[2]?.toLowerCase()
  if (value !== 'on' && value !== 'off' && value !== 'skip') return syntaxError
  if (value === 'skip') {
    // It is not answered itself either.
    session.skips = 2
  } else {
    session.replies = value
    session.skips = 0
  }
  return ok
}
