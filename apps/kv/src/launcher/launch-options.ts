/** The options of `npm start`. */

import { makeMember, type Member } from '../cluster/members.js'
import { readArguments, wholeNumber } from '../cli/arguments.js'
import { UsageError } from '../cli/exit-codes.js'
import { PASSWORD_VARIABLE, readPassword } from '../cli/security-options.js'
import type { UserSources } from '../security/security.js'

export interface LaunchOptions {
  readonly members: readonly Member[]
  readonly port: number
  /** Holds one folder and one log file per server. */
  readonly dataDir: string
  readonly fresh: boolean
  readonly restarts: boolean
  /** Followers have the leader carry out what their clients send. */
  readonly forwards: boolean
  /** One more server for the cluster that runs. */
  readonly adds: boolean
  /** What clients say; null: nothing. */
  readonly password: UserSources['password']
}

export const SERVERS_MAX = 9

export const LAUNCH_HELP = `npm start: a cluster of server processes on this machine, for trying it out

  npm start
  npm start -- --servers 5 --port 8001

  --servers <n>   how many servers, 1 .. 9, default 3; an even number survives no more failures than one less
  --port <port>   Redis ports from here up, default 7001; peers listen 100 above each
  --data <dir>    where folders and log files of the servers lie, default ./data; they are kept from one start to the next
  --fresh         first delete the data of the last start, so far as npm start made it itself
  --no-restart    report a server that ended, and leave it so
  --forward       followers have the leader carry out what their clients send, so that clients that know no clusters may be at
                  any of them; goes with every start
  --password-file <file>  clients say this password (AUTH), the one line of the file; or the variable ${PASSWORD_VARIABLE}
  --add           one more server for the cluster that another npm start runs, five in all at most; goes with --data and
                  --password-file alone
  --help

Ctrl-C closes all servers cleanly; a second Ctrl-C kills them.
`

const specs = {
  servers: { takesValue: true },
  port: { takesValue: true },
  data: { takesValue: true },
  fresh: { takesValue: false },
  'no-restart': { takesValue: false },
  forward: { takesValue: false },
  'password-file': { takesValue: true },
  add: { takesValue: false },
  help: { takesValue: false },
} as const

/** Peers listen so far above clients. */
const PEER_PORT_OFFSET = 100

/** Null: help is wanted. Throws UsageError. */
export function readLaunchOptions(words: readonly string[]): LaunchOptions | null {
  const given = readArguments(words, specs)
  if (given.has('help')) return null
  if (given.has('add')) {
    const other = [...given.keys()].find((name) => !['add', 'data', 'password-file'].includes(name))
    if (other !== undefined)
      throw new UsageError(`--add goes with --data and --password-file alone, and --${other} is given`)
  }
  const count = wholeNumber('--servers', given.get('servers') ?? '3', { min: 1, max: SERVERS_MAX })
  const highest = 65_535 - PEER_PORT_OFFSET - SERVERS_MAX
  const port = wholeNumber('--port', given.get('port') ?? '7001', { min: 1, max: highest })
  const dataDir = given.get('data') ?? 'data'
  if (dataDir === '') throw new UsageError('--data must not be empty')
  return {
    members: launchedMembers(count, port),
    port,
    dataDir,
    fresh: given.has('fresh'),
    restarts: !given.has('no-restart'),
    forwards: given.has('forward'),
    adds: given.has('add'),
    password: readPassword(given, process.env),
  }
}

/** The servers of a cluster on this machine, from this Redis port up. */
export function launchedMembers(count: number, port: number): readonly Member[] {
  return Array.from({ length: count }, (_, at) => launchedMember(`s${at + 1}`, port))
}

/** `id`: s1 .. s9. */
export function launchedMember(id: string, port: number): Member {
  const redis = port + Number(id.slice(1)) - 1
  return makeMember(id, { host: '127.0.0.1', port: redis + PEER_PORT_OFFSET }, { host: '127.0.0.1', port: redis })
}
