/** INFO, CONFIG and ROLE. */

import type { Status } from 'balsa-raft'
import type { Capture } from '../data-set/capture.js'
import { isRefusal, prepareGlob } from '../data-set/glob.js'
import { formatIfKnown } from '../cluster/members.js'
import { failure, quote, status, textBytes, type Reply } from '../resp/reply.js'
import type { LocalContext, ServerState, Subcommand, Subcommands } from './local-command.js'
import { joinRows } from './join-rows.js'
import { inOwnWords } from './remedies.js'
import { BALSA_VERSION, REDIS_VERSION } from './versions.js'

export const configSubcommands: Subcommands = new Map<string, Subcommand>([
  ['get', { arity: -3, isWide: true, run: configGet }],
  ['set', { arity: -4, run: configSet }],
  ['help', { arity: 2, run: () => ['CONFIG <subcommand>. Subcommands are:', 'GET, HELP'].map(status) }],
])

function configGet({ server }: LocalContext, words: readonly string[]): Reply {
  const globs = words.slice(2).map((pattern) => prepareGlob(pattern.toLowerCase()))
  const refusal = globs.find(isRefusal)
  if (refusal !== undefined) return refusal
  const pairs = [...server.config].filter(([name]) => globs.some((accepts) => !isRefusal(accepts) && accepts(name)))
  return { type: 'map', pairs: pairs.map(([name, value]) => [name, textBytes(value)]) }
}

/** Whatever it is: this server alone would have it, until it ends. */
function configSet(_context: LocalContext, words: readonly string[]): Reply {
  const names = words.filter((_, at) => at >= 2 && at % 2 === 0)
  const isPassword = names.some((name) => /^(?:requirepass|masterauth|masteruser)$/.test(name.toLowerCase()))
  const name = isPassword ? 'requirepass' : quote(names[0] ?? '')
  const reason = isPassword
    ? 'a password is kept in the file of --password-file or --aclfile: change it there, on every server, then ACL LOAD or SIGHUP'
    : 'options are those of the command line, which CONFIG GET tells: start this server again with another'
  return failure(`ERR CONFIG SET failed (possibly related to argument '${name}') - ${reason}`)
}

export function role({ server }: LocalContext): Reply {
  const { leadership, status: raft } = server
  const { leader } = leadership
  if (leadership.isLeader) {
    const followers = raft.peers.filter((peer) => peer.connected)
    const rows = followers.map((peer): Reply => {
      const member = leadership.members.find(({ id }) => id === peer.id)
      const { host, port } = member?.redis ?? { host: '?', port: 0 }
      return [textBytes(host), String(port), String(peer.matchIndex)]
    })
    return ['master', raft.commitIndex, rows]
  }
  const link = leader === null ? 'connect' : 'connected'
  return ['slave', textBytes(leader?.redis?.host ?? '?'), leader?.redis?.port ?? 0, link, raft.appliedIndex]
}

type Section = readonly [title: string, lines: (server: ServerState) => readonly (readonly [string, string | number])[]]

const sections: readonly Section[] = [
  ['Server', serverLines],
  ['Clients', clientLines],
  ['Memory', memoryLines],
  ['Persistence', persistenceLines],
  ['Stats', statsLines],
  ['Security', securityLines],
  ['Replication', replicationLines],
  ['Raft', raftLines],
  ['CPU', cpuLines],
  ['Cluster', () => [['cluster_enabled', 1]]],
  ['Keyspace', keyspaceLines],
]

export function info({ server }: LocalContext, words: readonly string[]): Reply {
  const names = words.slice(1).map((word) => word.toLowerCase())
  const all = names.length === 0 || names.some((name) => ['all', 'default', 'everything'].includes(name))
  const parts = sections
    .filter(([title]) => all || names.includes(title.toLowerCase()))
    .map(
      ([title, lines]) =>
        `# ${title}\r\n${lines(server)
          .map(([name, value]) => `${name}:${value}\r\n`)
          .join('')}`,
    )
  // What is not ASCII in here is this server's own: names, paths, addresses.
  return { type: 'verbatim', text: textBytes(parts.join('\r\n')) }
}

function serverLines(server: ServerState): ReturnType<Section[1]> {
  const { leadership } = server
  const uptime = Math.floor(server.uptime() / 1000)
  return [
    ['redis_version', REDIS_VERSION],
    ['balsa_version', BALSA_VERSION],
    ['redis_mode', 'cluster'],
    ['os', `${process.platform} ${process.arch}`],
    ['node_version', process.version],
    ['process_id', process.pid],
    ['run_id', leadership.self.nodeId],
    ['server_id', leadership.self.id],
    ['tcp_port', server.config.get(server.tls === null ? 'port' : 'tls-port') ?? ''],
    ['server_time_usec', server.now() * 1000],
    ['uptime_in_seconds', uptime],
    ['uptime_in_days', Math.floor(uptime / 86400)],
  ]
}

function clientLines({
  clientCount,
  clients,
  clientsMax,
  clientMemory,
  copyWaits,
}: ServerState): ReturnType<Section[1]> {
  let largestInput = 0
  let largestOutput = 0
  let strangers = 0
  for (const client of clients) {
    largestInput = Math.max(largestInput, client.buffered)
    largestOutput = Math.max(largestOutput, client.unsent)
    if (client.session.login === null) strangers += 1
  }
  return [
    ['connected_clients', clientCount],
    ['maxclients', clientsMax],
    ['client_recent_max_input_buffer', largestInput],
    ['client_recent_max_output_buffer', largestOutput],
    ['maxmemory_clients', clientMemory.most],
    ['mem_clients_normal', clientMemory.held],
    ['unauthenticated_clients', strangers],
    ['blocked_clients', copyWaits.count],
  ]
}

function memoryLines({ data, memoryMax }: ServerState): ReturnType<Section[1]> {
  const memory = process.memoryUsage()
  return [
    ['used_memory', memory.heapUsed + memory.external],
    ['used_memory_human', humanBytes(memory.heapUsed + memory.external)],
    ['used_memory_rss', memory.rss],
    ['used_memory_rss_human', humanBytes(memory.rss)],
    ['used_memory_dataset', data.bytes],
    ['maxmemory', memoryMax],
    ['maxmemory_human', humanBytes(memoryMax)],
    ['maxmemory_policy', 'noeviction'],
  ]
}

function persistenceLines({ data, saves, status: raft, dir }: ServerState): ReturnType<Section[1]> {
  const captures = [...data.captures]
  const sum = (of: (capture: Capture) => number): number => captures.reduce((so, capture) => so + of(capture), 0)
  return [
    ['loading', data.isRestoring ? 1 : 0],
    // What is kept for a snapshot under way, and how many keys of it are written.
    ['current_cow_size', data.keptBytes],
    ['current_save_keys_processed', sum(({ handedOut }) => handedOut)],
    ['current_save_keys_total', sum(({ facts }) => facts.size)],
    ['rdb_changes_since_last_save', saves.entriesSince],
    ['rdb_bgsave_in_progress', saves.isTaking ? 1 : 0],
    ['rdb_last_save_time', Math.floor(saves.lastAt / 1000)],
    ['rdb_last_bgsave_status', saves.failure === null ? 'ok' : 'err'],
    ['rdb_saves', saves.count],
    ['snapshot_index', raft.snapshot.last?.index ?? 0],
    ['snapshot_bytes', raft.snapshot.last?.bytes ?? 0],
    ['snapshot_failure', oneField(inOwnWords(raft.snapshot.failure?.message ?? ''))],
    ['snapshot_unavailable', oneField(saves.unavailable ?? '')],
    ['log_durability', raft.durability],
    ['log_dir', dir],
    ['log_group_commits', raft.store.groupCommits],
    ['log_flushes', raft.store.flushes],
    ['log_bytes_written', raft.store.bytesWritten],
    ['log_used_bytes', raft.store.usedBytes],
    ['log_capacity_bytes', raft.store.capacityBytes ?? 0],
  ]
}

function statsLines({ counters, clientMemory }: ServerState): ReturnType<Section[1]> {
  return [
    ['total_connections_received', counters.connections],
    ['total_commands_processed', counters.commands],
    ['total_net_input_bytes', counters.bytesIn],
    ['total_net_output_bytes', counters.bytesOut],
    ['rejected_connections', counters.rejected],
    ['cut_off_connections', counters.cutOff],
    ['evicted_clients', clientMemory.evicted],
  ]
}

function securityLines({ security, tls }: ServerState): ReturnType<Section[1]> {
  const { denials, guard } = security
  return [
    ['acl_users', security.users.size],
    ['acl_asks_for_password', security.asksForPassword ? 1 : 0],
    ['acl_access_denied_auth', denials.counts.auth],
    ['acl_access_denied_cmd', denials.counts.command],
    ['acl_access_denied_key', denials.counts.key],
    ['acl_logins_delayed', guard.delayed],
    ['acl_logins_waiting', guard.waiting],
    ['tls', tls === null ? 0 : 1],
    ['tls_handshakes_pending', tls?.pending ?? 0],
    ['tls_handshakes_refused', tls?.failed ?? 0],
    // In seconds since 1970.
    ['tls_certificate_until', tls === null ? 0 : Math.floor(tls.certificateUntil / 1000)],
  ]
}

function replicationLines({ leadership, status: raft }: ServerState): ReturnType<Section[1]> {
  const { leader } = leadership
  if (leadership.isLeader) {
    const rows = raft.peers.map((peer, at): readonly [string, string] => {
      const member = leadership.members.find(({ id }) => id === peer.id)
      const address = `ip=${member?.redis?.host ?? '?'},port=${member?.redis?.port ?? 0}`
      const lag = Math.max(0, raft.lastIndex - peer.matchIndex)
      return [
        `slave${at}`,
        `${address},state=${peer.connected ? 'online' : 'offline'},offset=${peer.matchIndex},lag=${lag}`,
      ]
    })
    const connected = raft.peers.filter((peer) => peer.connected).length
    return [['role', 'master'], ['connected_slaves', connected], ...rows, ['master_repl_offset', raft.commitIndex]]
  }
  return [
    ['role', 'slave'],
    ['master_host', leader?.redis?.host ?? ''],
    ['master_port', leader?.redis?.port ?? 0],
    ['master_link_status', leader === null ? 'down' : 'up'],
    ['slave_repl_offset', raft.appliedIndex],
    ['slave_read_only', leadership.forwards ? 0 : 1],
    ['connected_slaves', 0],
  ]
}

function raftLines({ leadership, status: raft, now }: ServerState): ReturnType<Section[1]> {
  const { leader } = leadership
  return [
    ['raft_role', raft.role],
    ['raft_term', raft.term],
    ['raft_leader', leader?.id ?? ''],
    ['raft_leader_redis', formatIfKnown(leader?.redis) ?? ''],
    ['raft_cluster_id', raft.clusterId],
    ['raft_first_index', raft.firstIndex],
    ['raft_last_index', raft.lastIndex],
    ['raft_durable_index', raft.durableIndex],
    ['raft_commit_index', raft.commitIndex],
    ['raft_applied_index', raft.appliedIndex],
    ['raft_voters', raft.configuration.voters.map(({ id }) => id).join(',')],
    ['raft_nonvoters', raft.configuration.nonvoters.map(({ id }) => id).join(',')],
    ['raft_lease_ms', raft.configuration.leaseMs ?? 0],
    ...raft.peers.map((peer): readonly [string, string] => [
      `raft_peer_${peer.id}`,
      `address=${peer.address},connected=${peer.connected ? 1 : 0},match_index=${peer.matchIndex}${lostLine(peer)}${refusedLine(peer)}`,
    ]),
    ...joinRows(raft.join, now()).map(([label, value]): readonly [string, string | number] => [
      `raft_${label.replaceAll('-', '_')}`,
      typeof value === 'string' ? oneField(value) : (value ?? ''),
    ]),
    ['raft_clock_offset_ms', raft.clock.offsetMs],
    ['raft_clock_jumps', raft.clock.jumps],
    ['raft_fault', raft.fault === null ? '' : raft.fault.code],
  ]
}

/** Why there is no connection to a peer, as one field of a line. */
function lostLine({ downReason }: Status['peers'][number]): string {
  return downReason === null ? '' : `,lost=${oneField(downReason)}`
}

/** Why this server refuses a peer or is refused by it, and how often, as two fields of a line. */
function refusedLine({ refusal }: Status['peers'][number]): string {
  if (refusal === null) return ''
  const { by, code, reason, count } = refusal
  return `,refused=${by === 'peer' ? 'by the peer: ' : ''}${oneField(`${code} ${inOwnWords(reason)}`)},refused_times=${count}`
}

function oneField(text: string): string {
  return text.replace(/[\r\n]/g, ' ').replaceAll(',', ';')
}

function cpuLines(): ReturnType<Section[1]> {
  const { user, system } = process.cpuUsage()
  return [
    ['used_cpu_sys', (system / 1e6).toFixed(6)],
    ['used_cpu_user', (user / 1e6).toFixed(6)],
  ]
}

function keyspaceLines({ data }: ServerState): ReturnType<Section[1]> {
  return data.size === 0 ? [] : [['db0', `keys=${data.size},expires=${data.expiring},avg_ttl=0`]]
}

function humanBytes(bytes: number): string {
  const units = ['B', 'K', 'M', 'G', 'T']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(2)}${units[unit]}`
}
