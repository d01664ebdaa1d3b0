/**
 * The options of one server, from its command line and its configuration file; what is wrong is named with its bound
 * and its reason.
 */

import { readFileSync } from 'node:fs'
import { formatAddress, makeMember, readAddress, type HostPort, type Member } from '../cluster/members.js'
import { CLIENTS_MAX, LEADER_WAIT_MS } from '../limits.js'
import { isLogLevel, type LogLevel } from '../log.js'
import { memoryLimits } from '../memory-limits.js'
import { byteCount, readArguments, wholeNumber } from './arguments.js'
import { UsageError } from './exit-codes.js'
import {
  readSecurityOptions,
  SECURITY_HELP,
  securityFileKeys,
  securitySpecs,
  type SecurityOptions,
} from './security-options.js'

export interface ServerOptions extends SecurityOptions {
  readonly self: Member
  /** The first members; none where `join` says whom to ask for them. */
  readonly members: readonly Member[]
  /** Peer addresses of members, as the transport takes them; none where `members` are given. */
  readonly join: readonly string[]
  /** What it asks there to be made, by a leader that allows it; null: it waits until it is added. */
  readonly joinAs: 'nonvoter' | null
  /** While it leads, it makes nonvoters of servers that ask for it. */
  readonly allowJoin: boolean
  /** A follower has the leader carry out what its clients send, instead of sending them there. */
  readonly forwards: boolean
  /** This server is none of the first members: it waits until it is added. */
  readonly joins: boolean
  readonly dir: string
  readonly cluster: string
  /** The host to listen at, for peers and clients, instead of the one in this server's addresses. */
  readonly bind: string | null
  /** Where to listen, where that is another address than the one by which others reach this server; null: it is not. */
  readonly listen: { readonly peer: HostPort | null; readonly redis: HostPort | null }
  readonly clientsMax: number
  /** Bytes that the data set may take, and all that is kept for clients. */
  readonly memoryMax: number
  readonly clientsMemoryMax: number
  readonly heartbeatMs: number
  readonly electionTimeoutMs: number
  readonly logLevel: LogLevel
  readonly acceptCopiedFolder: boolean
  readonly acceptPeerBoot: readonly string[]
  /** The recoveries of the cluster, for a server that comes new to it; none when there was none. */
  readonly recovered: readonly string[]
  /** Entries that are left out, on every server, if they cannot be read. */
  readonly skippedEntries: ReadonlySet<number>
  readonly stopWithStdin: boolean
}

export const SERVER_HELP = `balsa-kv: one server of a replicated key-value store that speaks the Redis protocol

  node apps/kv/dist/main.js --servers <list> --id <id> [options]
  node apps/kv/dist/main.js --port 7001                a cluster of one
  node apps/kv/dist/main.js recover --help             the way back when a majority is lost for good

The command line is the same for all servers of a cluster but for --id, --dir and --self.

  --servers <list>   every server as id=<peer address>/<redis address>, with commas between them:
                     s1=10.0.0.1:7101/10.0.0.1:7001,s2=10.0.0.2:7101/10.0.0.2:7001,...
                     Peers dial the first, clients the second; each must be reachable as it stands here: these are the
                     announced addresses. Where this server listens may differ, see the two --listen options
  --id <id>          which of them this one is
  --self <peer address>/<redis address>
                     with an --id that --servers does not name: a server that is to be added. It waits until the leader is
                     told RAFT ADD <id> <peer address> <redis address>; --servers stays the list of the first members
  --join <peer address>[,...]
                     instead of --servers, with --id and --self: a server that is to be added, and asks there, in turn, which
                     cluster that is. Stays on its command line: once it knows its cluster it asks nobody. Until then RAFT STATUS at
                     its redis address says whom it asks, and what came of it; all else is answered LOADING
  --join-as nonvoter with --join: it also asks to be made a nonvoter, which a leader with --allow-join does by itself. A vote
                     is given by RAFT PROMOTE <id>
  --allow-join       while this server leads it makes nonvoters of servers with --join-as: for all servers of the cluster. Whoever
                     reaches a peer address can fill the cluster up so, to 64 members, but gets no vote
  --forward          a follower has the leader carry out what its clients send, instead of answering MOVED: clients need to
                     know nothing of clusters, and may be at any server. Each server decides for its own clients
  --dir <folder>     where its log lies; made when missing. Default ./data/<id>
  --port <port>      instead of --servers: one server, s1, on this port of 127.0.0.1, its peer port 100 above
  --bind <host>      listen at this host, such as 0.0.0.0, and not at the host of the addresses
  --listen-peer <address>, --listen-redis <address>
                     listen there, such as 0.0.0.0:7101, while others go on to use what --servers says of this server:
                     behind a port mapping, in a container, or where a name stands for an address that changes
${SECURITY_HELP}  --cluster <name>   names the cluster; servers of different names never talk. Default balsa-kv
  --max-clients <n>  1 .. 100000, default ${CLIENTS_MAX}
  --maxmemory <bytes>        what the data set may take, as 512mb or 1gb: beyond it commands that make it larger are answered
                     with -OOM, the others go on. Default half of what the heap has room for (node --max-old-space-size, the
                     same on all servers), at most three quarters
  --maxmemory-clients <bytes>  what is kept for all clients together: commands, transactions (half of it), answers, and what
                     they have sent ahead. Beyond it the client with the most is cut off. Default a quarter of that room,
                     not over 224mb; at most half
  --heartbeat-ms <n>         10 .. 60000, default 100
  --election-timeout-ms <n>  30 .. 600000, default 1000; at least three heartbeats
  --log-level <level>        debug, info, warn or error; default info
  --config <file>    a JSON file with any of these: {"id": "s1", "self", "join", "joinAs", "allowJoin", "forward", "dir": "...", "servers": [{"id": "s1", "peer": "host:port",
                     "redis": "host:port"}, ...], "port", "bind", "listenPeer", "listenRedis", "cluster", "maxClients", "maxmemory",
                     "maxmemoryClients", "heartbeatMs", "electionTimeoutMs", "logLevel", "tlsCertFile", "tlsKeyFile", "tlsCaCertFile",
                     "tlsAuthClients", "passwordFile", "aclfile", "peerTlsCertFile", "peerTlsKeyFile", "peerTlsCaCertFile",
                     "peerTlsSan", "peerTokenFile"}. The command line wins.
  --recovered <list>         for a server that comes with an empty folder to a cluster that was recovered: what recover told
  --accept-copied-folder     start from a folder that was copied or restored; only once, only if it was copied after this
                     server last ran, and never with the original still in use (README, "Copies of a folder")
  --accept-peer-boot <id>    believe once the boot with which this peer comes next, whatever was known of it; only after a
                     forged or damaged one was believed (SECURITY.md), and never for a peer that was restored
  --skip-entry <index>[,...] leave out these entries if they cannot be read, on all servers alike; only after one was forged
                     (SECURITY.md), and never for what a later version wrote: upgrade then
  --stop-with-stdin  close when stdin ends, so that the server does not outlive who started it
  --help

Reads are linearizable, except on a connection that has sent READONLY: there a follower answers them too, with what it has,
at least as new as the beginning of its leader (while that changes it waits for it, ${LEADER_WAIT_MS / 1000} s at most). ioredis sends
READONLY by itself to replicas, and may try reads there when it has lost the leader. READONLY LINEARIZABLE, LEASE, STALE,
MAXSTALENESS <ms> and MININDEX <index> say what the reads of a connection must have seen, on any server.

Runs in the foreground; SIGINT and SIGTERM close it cleanly, and so does SIGHUP where it has no files of security to read again. Logs
are one JSON line per event on stderr. Without a password whoever reaches the Redis address may do everything, and without
certificates of peers whoever reaches the peer address may vote.

Exit codes: 0 closed; 1 a defect; 64 wrong options; 65 the log is damaged or of another format;
69 a port is taken, the addon is missing, or no --join address has answered for a minute; 70 the store is poisoned or an entry could not be applied;
73 the folder cannot be made or written, or holds other things; 74 the disk is full;
75 another process holds the folder; 77 it was removed from the cluster; 78 the folder belongs to another cluster or server or is a copy, or a peer is not
who it was.
`

const specs = {
  servers: { takesValue: true },
  id: { takesValue: true },
  self: { takesValue: true },
  join: { takesValue: true },
  'join-as': { takesValue: true },
  'allow-join': { takesValue: false },
  forward: { takesValue: false },
  dir: { takesValue: true },
  port: { takesValue: true },
  bind: { takesValue: true },
  'listen-peer': { takesValue: true },
  'listen-redis': { takesValue: true },
  cluster: { takesValue: true },
  'max-clients': { takesValue: true },
  maxmemory: { takesValue: true },
  'maxmemory-clients': { takesValue: true },
  'heartbeat-ms': { takesValue: true },
  'election-timeout-ms': { takesValue: true },
  'log-level': { takesValue: true },
  ...securitySpecs,
  config: { takesValue: true },
  'accept-copied-folder': { takesValue: false },
  'accept-peer-boot': { takesValue: true },
  recovered: { takesValue: true },
  'skip-entry': { takesValue: true },
  'stop-with-stdin': { takesValue: false },
  help: { takesValue: false },
} as const

/** Null: help is wanted. Throws UsageError. */
export function readServerOptions(
  words: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = {},
): ServerOptions | null {
  const given = new Map(readArguments(words, specs))
  if (given.has('help')) return null
  const file = given.get('config')
  if (file !== undefined) {
    for (const [name, value] of readConfigFile(file)) if (!given.has(name)) addFromFile(given, name, value)
  }
  const join = readJoin(given)
  const members = join.length > 0 ? [] : readMembers(given)
  const self = findSelf(given.get('id'), given.get('self'), members)
  const bounds = { heartbeat: { min: 10, max: 60_000 }, election: { min: 30, max: 600_000 } }
  const heartbeatMs = wholeNumber('--heartbeat-ms', given.get('heartbeat-ms') ?? '100', bounds.heartbeat)
  const electionTimeoutMs = wholeNumber(
    '--election-timeout-ms',
    given.get('election-timeout-ms') ?? '1000',
    bounds.election,
  )
  if (heartbeatMs * 3 > electionTimeoutMs) {
    const bound = `at least 3 * --heartbeat-ms = ${heartbeatMs * 3}, or one late heartbeat starts an election`
    throw new UsageError(`--election-timeout-ms is ${electionTimeoutMs}; it must be ${bound}`)
  }
  const logLevel = given.get('log-level') ?? 'info'
  if (!isLogLevel(logLevel)) throw new UsageError(`--log-level is ${logLevel}; it must be debug, info, warn or error`)
  return {
    self,
    members,
    join,
    joinAs: readJoinAs(given),
    allowJoin: given.has('allow-join'),
    forwards: given.has('forward'),
    joins: !members.includes(self),
    dir: notEmpty('--dir', given.get('dir') ?? `data/${self.id}`),
    cluster: notEmpty('--cluster', given.get('cluster') ?? 'balsa-kv'),
    ...readListens(given, self),
    clientsMax: wholeNumber('--max-clients', given.get('max-clients') ?? String(CLIENTS_MAX), { min: 1, max: 100_000 }),
    ...readMemory(given),
    heartbeatMs,
    electionTimeoutMs,
    logLevel,
    acceptCopiedFolder: given.has('accept-copied-folder'),
    acceptPeerBoot: peersGiven(given.get('accept-peer-boot'), members),
    recovered: given.get('recovered')?.split(',') ?? [],
    skippedEntries: indexesGiven(given.get('skip-entry')),
    stopWithStdin: given.has('stop-with-stdin'),
    ...readSecurityOptions(given, environment),
  }
}

/** Who joins by an address is told by whoever answers there what else would stand on the command line. */
function readJoin(given: ReadonlyMap<string, string>): readonly string[] {
  const list = given.get('join')
  if (list === undefined) return []
  for (const name of ['servers', 'port', 'recovered']) {
    if (given.has(name)) throw new UsageError(`--join and --${name}: leave --${name} out, it is told at the addresses`)
  }
  if (!given.has('self')) throw new UsageError('--self is missing: with --join it says where this server is found')
  return list.split(',').map((text) => {
    const address = readAddress(text)
    if (address !== null) return formatAddress(address)
    throw new UsageError(`--join: "${text}" is not host:port, with a port of 1 .. 65535: the peer address of a member`)
  })
}

function readJoinAs(given: ReadonlyMap<string, string>): 'nonvoter' | null {
  const kind = given.get('join-as')
  if (kind === undefined) return null
  if (!given.has('join')) throw new UsageError('--join-as is said at the addresses of --join, and there are none')
  if (kind === 'nonvoter') return kind
  throw new UsageError(`--join-as is ${kind}; it must be nonvoter: a vote is given by RAFT PROMOTE <id>`)
}

function peersGiven(id: string | undefined, members: readonly Member[]): readonly string[] {
  if (id === undefined) return []
  if (members.length === 0 || members.some((member) => member.id === id)) return [id]
  throw new UsageError(
    `--accept-peer-boot is ${id}; it must be one of ${members.map((member) => member.id).join(', ')}`,
  )
}

function indexesGiven(list: string | undefined): ReadonlySet<number> {
  const bounds = { min: 1, max: Number.MAX_SAFE_INTEGER }
  return new Set(list?.split(',').map((index) => wholeNumber('--skip-entry', index, bounds)))
}

/** Where to listen; not for both at the same place. */
function readListens(given: ReadonlyMap<string, string>, self: Member): Pick<ServerOptions, 'bind' | 'listen'> {
  const bind = given.get('bind') ?? null
  if (bind !== null && readAddress(formatAddress({ host: bind, port: 1 })) === null) {
    throw new UsageError(`--bind is ${bind}; it must be a host without a port, such as 0.0.0.0 or ::`)
  }
  const listen = { peer: readListen(given, 'peer'), redis: readListen(given, 'redis') }
  const { peer, redis } = { peer: listen.peer ?? self.peer, redis: listen.redis ?? self.redis }
  if (peer.port === redis.port && (bind !== null || peer.host === redis.host)) {
    throw new UsageError(
      `peers and clients would both be listened for at ${formatAddress(peer)}; give one another port`,
    )
  }
  return { bind, listen }
}

function readListen(given: ReadonlyMap<string, string>, whom: 'peer' | 'redis'): HostPort | null {
  const text = given.get(`listen-${whom}`)
  if (text === undefined) return null
  if (given.has('bind')) throw new UsageError(`--bind and --listen-${whom} both say where to listen; give one of them`)
  const address = readAddress(text)
  if (address === null)
    throw new UsageError(`--listen-${whom} is ${text}; it must be host:port, with a port of 1 .. 65535`)
  return address
}

function readMemory(given: ReadonlyMap<string, string>): Pick<ServerOptions, 'memoryMax' | 'clientsMemoryMax'> {
  const { dataDefault, dataMost, clientsDefault, clientsMost } = memoryLimits()
  const remedy = 'for what the heap has room for: node --max-old-space-size makes it larger'
  const data = given.get('maxmemory') ?? String(dataDefault)
  const clients = given.get('maxmemory-clients') ?? String(clientsDefault)
  return {
    memoryMax: byteCount('--maxmemory', data, { min: MEMORY_BYTES_MIN, max: dataMost, remedy }),
    clientsMemoryMax: byteCount('--maxmemory-clients', clients, { min: MEMORY_BYTES_MIN, max: clientsMost, remedy }),
  }
}

/** Less could not hold one command. */
const MEMORY_BYTES_MIN = 8 * 1024 * 1024

/** The command line's form of a list of servers. */
export function formatServers(members: readonly Member[]): string {
  return members.map(({ id, peer, redis }) => `${id}=${formatAddress(peer)}/${formatAddress(redis)}`).join(',')
}

/** What the names of the file's keys are on the command line. */
const fileKeys: Readonly<Record<string, string>> = {
  servers: 'servers',
  id: 'id',
  dir: 'dir',
  self: 'self',
  join: 'join',
  joinAs: 'join-as',
  allowJoin: 'allow-join',
  forward: 'forward',
  port: 'port',
  bind: 'bind',
  listenPeer: 'listen-peer',
  listenRedis: 'listen-redis',
  cluster: 'cluster',
  maxClients: 'max-clients',
  maxmemory: 'maxmemory',
  maxmemoryClients: 'maxmemory-clients',
  heartbeatMs: 'heartbeat-ms',
  electionTimeoutMs: 'election-timeout-ms',
  logLevel: 'log-level',
  ...securityFileKeys,
}

function readConfigFile(file: string): readonly (readonly [string, string])[] {
  let content: unknown
  try {
    content = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new UsageError(`--config ${file} cannot be read as JSON: ${(error as Error).message}`)
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new UsageError(`--config ${file} must hold one JSON object`)
  }
  return Object.entries(content).flatMap(([key, value]: [string, unknown]): (readonly [string, string])[] => {
    const name = Object.hasOwn(fileKeys, key) ? fileKeys[key] : undefined
    if (name === undefined) {
      throw new UsageError(`--config ${file}: unknown key ${key}; there are ${Object.keys(fileKeys).join(', ')}`)
    }
    if (key === 'servers' && Array.isArray(value))
      return [[name, value.map((server) => listed(file, server)).join(',')]]
    if (key === 'allowJoin' || key === 'forward') {
      if (typeof value !== 'boolean') throw new UsageError(`--config ${file}: ${key} must be true or false`)
      return value ? [[name, '']] : []
    }
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw new UsageError(`--config ${file}: ${key} must be a text or a number`)
    }
    return [[name, String(value)]]
  })
}

function listed(file: string, server: unknown): string {
  const { id, peer, redis, ...others } = (server ?? {}) as Readonly<Record<string, unknown>>
  const isAll = Object.keys(others).length === 0
  if (isAll && typeof id === 'string' && typeof peer === 'string' && typeof redis === 'string') {
    return `${id}=${peer}/${redis}`
  }
  throw new UsageError(
    `--config ${file}: each of servers must be {"id": "...", "peer": "host:port", "redis": "host:port"}`,
  )
}

/** They say the same thing in three ways, so the command line's way hides the file's. */
const WHICH_CLUSTER = ['port', 'servers', 'join']

function addFromFile(given: Map<string, string>, name: string, value: string): void {
  const isHidden = WHICH_CLUSTER.includes(name) && WHICH_CLUSTER.some((other) => other !== name && given.has(other))
  if (!isHidden) given.set(name, value)
}

export function readMembers(given: ReadonlyMap<string, string>): readonly Member[] {
  const list = given.get('servers')
  const port = given.get('port')
  if (list === undefined && port === undefined) {
    throw new UsageError(
      '--servers is missing: it names every server of the cluster, or --join some that are there (--help shows how)',
    )
  }
  if (list !== undefined && port !== undefined) {
    throw new UsageError('--port is for a cluster of one; with --servers the ports stand there')
  }
  if (port !== undefined) {
    const redis = { host: '127.0.0.1', port: wholeNumber('--port', port, { min: 1, max: 65_435 }) }
    const id = given.get('id') ?? 's1'
    return [makeMember(named('--id', id), { host: redis.host, port: redis.port + 100 }, redis)]
  }
  const members = (list ?? '').split(',').map(readMember)
  noneTwice(
    'server',
    members.map(({ id }) => id),
  )
  noAddressTwice(members)
  return members
}

function readMember(text: string): Member {
  const match = /^([^=]+)=([^/]+)\/([^/]+)$/.exec(text)
  const peer = readAddress(match?.[2])
  const redis = readAddress(match?.[3])
  const id = match?.[1]
  if (id !== undefined && !isServerId(id)) throw new UsageError(`--servers names a server ${id}; ${SERVER_ID_RULE}`)
  if (id !== undefined && peer !== null && redis !== null) return makeMember(id, peer, redis)
  throw new UsageError(`--servers: "${text}" is not id=host:port/host:port, with ports of 1 .. 65535`)
}

/** It stands in lists, lines of INFO and names of folders. */
const SERVER_ID_RULE = 'an id has 1 .. 255 bytes, none of them white space, a control character or one of = / ,'

function named(option: string, id: string): string {
  if (!isServerId(id)) throw new UsageError(`${option} is ${id}; ${SERVER_ID_RULE}`)
  return id
}

function isServerId(id: string): boolean {
  // oxlint-disable-next-line no-control-regex -- control characters are what this looks for
  return /^[^=/,\s\u0000-\u001f\u007f]+$/.test(id) && Buffer.byteLength(id) <= 255
}

function noAddressTwice(members: readonly Member[]): void {
  noneTwice(
    'address',
    members.flatMap(({ peer, redis }) => [peer, redis]).map(({ host, port }) => `${host}:${port}`),
  )
}

function noneTwice(what: string, names: readonly string[]): void {
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice !== undefined) throw new UsageError(`--servers names ${what} ${twice} twice`)
}

export function findSelf(id: string | undefined, own: string | undefined, members: readonly Member[]): Member {
  const [only] = members
  if (own !== undefined) return readSelf(id, own, members)
  if (id === undefined && members.length === 1 && only !== undefined) return only
  if (id === undefined) throw new UsageError('--id is missing: it says which of --servers this one is')
  const self = members.find((member) => member.id === id)
  if (self !== undefined) return self
  const names = members.map((member) => member.id).join(', ')
  throw new UsageError(`--id is ${id}; --servers names ${names}. A server that is to be added needs --self`)
}

/** One that is to be added. */
function readSelf(id: string | undefined, own: string, members: readonly Member[]): Member {
  if (id === undefined) throw new UsageError('--id is missing: it names the server that is to be added')
  if (members.some((member) => member.id === id)) {
    throw new UsageError(`--self is for a server that is to be added; --servers already says where ${id} is`)
  }
  const [, peer, redis] = /^([^/]+)\/([^/]+)$/.exec(own) ?? []
  const [ofPeers, ofClients] = [readAddress(peer), readAddress(redis)]
  if (ofPeers === null || ofClients === null) {
    throw new UsageError(`--self is ${own}; it must be host:port/host:port, with ports of 1 .. 65535`)
  }
  const self = makeMember(named('--id', id), ofPeers, ofClients)
  noAddressTwice([...members, self])
  return self
}

export function notEmpty(name: string, text: string): string {
  if (text === '') throw new UsageError(`${name} must not be empty`)
  return text
}
