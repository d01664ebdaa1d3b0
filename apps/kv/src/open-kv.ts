/** Opens one server of the store: the log, the peers, the data set, the clients. */

import { Raft, type Codec, type RaftError } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { formatAddress, type HostPort } from './cluster/members.js'
import { ListenError } from './cli/exit-codes.js'
import type { ServerOptions } from './cli/server-options.js'
import { DataSet } from './data-set/data-set.js'
import type { Log } from './log.js'
import { readClientSecurity, reloadSecurity, securityFacts, warnOfOpenDoors } from './open-security.js'
import { KvStateMachine } from './replication/kv-state-machine.js'
import { replyCodec } from './replication/reply-codec.js'
import type { Reply } from './resp/reply.js'
import { peerSecurity } from './security/peer-files.js'
import { machineClock } from './server/clock.js'
import { clientsThatFit, openFiles, openFilesMax } from './server/descriptors.js'
import { JoiningDesk } from './server/joining-desk.js'
import { KvServer } from './server/kv-server.js'

export interface OpenKv {
  /** Hands over, answers what is under way, closes everything. Idempotent. */
  readonly close: () => Promise<void>
  /**
   * Resolves when it is time to close: with the error that halted the Raft server or null, or because it is no member
   * of the cluster any more.
   */
  readonly over: Promise<RaftError | 'removed' | null>
  /** Reads users and certificates again: what is wrong is logged, and what was there stays. */
  readonly reload: () => void
}

/** What clients are still owed when they have gone, or were told to, may finish for so long. */
const DRAIN_MS = 1000

/** Entries are bytes already; they are taken apart where they are applied. */
const bytesCodec: Codec<Uint8Array> = { encode: (bytes) => bytes, decode: (bytes) => bytes }

/** Rejects with RaftError or ListenError. */
export async function openKv(options: ServerOptions, log: Log): Promise<OpenKv> {
  const { self, members, bind, dir } = options
  const at = (address: HostPort): HostPort => ({ host: bind ?? address.host, port: address.port })
  const listen = { peer: options.listen.peer ?? at(self.peer), redis: options.listen.redis ?? at(self.redis) }
  const doors = readClientSecurity(options)
  const data = new DataSet()
  const desk = new JoiningDesk({
    ...{ id: self.id, address: listen.redis, clock: machineClock, log, tls: doors.tls },
    isOpen: !doors.security.asksForPassword,
  })
  const transport = tcp({
    ...{ listen: formatAddress(listen.peer), advertise: formatAddress(self.peer) },
    ...peerSecurity(options.peers),
  })
  const opening = Raft.open<Uint8Array, Reply, null, null>({
    ...raftOptions(options, data),
    transport,
    onJoin: (status) => desk.tell(status),
    logger: log,
  })
  const raft = await opening.finally(() => desk.close())
  const removed = new Promise<'removed'>((resolve) => raft.on('removed', () => resolve('removed')))
  const clientsMax = fittingClients(options, raft.status.peers.length, log)
  if (clientsMax === 0) {
    await raft.close()
    throw new ListenError(`the limit of open files, ${openFilesMax()}, leaves none for clients: raise it (ulimit -n)`)
  }
  const server = new KvServer({
    raft,
    data,
    self,
    members,
    dir,
    log,
    clientsMax,
    forwards: options.forwards,
    memoryMax: options.memoryMax,
    clientsMemoryMax: options.clientsMemoryMax,
    ...doors,
    facts: securityFacts(options, listen.redis.port),
    ...listen.redis,
  })
  try {
    await server.listen()
  } catch (error) {
    await server.close(raft.close())
    throw new ListenError(listenReason(listen.redis, error as NodeJS.ErrnoException), { cause: error })
  }
  const { durability } = raft.status
  log.info('server.open', { redis: formatAddress(self.redis), peer: formatAddress(self.peer), dir, durability })
  warnOfOpenDoors(doors, listen.redis, log)
  let closing: Promise<void> | null = null
  const close = async (): Promise<void> => {
    await server.depart()
    await server.close(raft.close({ transferLeadership: false, drainMs: DRAIN_MS }))
  }
  return {
    close: () => (closing ??= close()),
    over: Promise.race([removed, raft.closed]),
    reload: () => reloadSecurity(options, server, transport, log),
  }
}

/** But for what belongs to this process. */
function raftOptions(options: ServerOptions, data: DataSet) {
  const { self, members, recovered } = options
  const meta = { redis: formatAddress(self.redis) }
  return {
    id: self.id,
    dir: options.dir,
    cluster: options.cluster,
    bootstrap: members.map(({ id, peer }) => ({ id, address: formatAddress(peer) })),
    stateMachine: new KvStateMachine(data, machineClock, options.skippedEntries, options.memoryMax),
    codec: bytesCodec,
    resultCodec: replyCodec,
    heartbeatMs: options.heartbeatMs,
    electionTimeoutMs: options.electionTimeoutMs,
    acceptCopiedFolder: options.acceptCopiedFolder,
    acceptPeerBoot: options.acceptPeerBoot,
    recoveries: recovered,
    join: options.join.length > 0 ? options.join : options.joins || recovered.length > 0,
    joinAs: options.joinAs === null ? null : { address: formatAddress(self.peer), meta },
    allowJoin: options.allowJoin,
  }
}

/** As many clients as were asked for, or as there are descriptors for: said once when those are fewer. */
function fittingClients({ clientsMax }: ServerOptions, peers: number, log: Log): number {
  const limit = openFilesMax()
  if (limit === null) return clientsMax
  const fitting = clientsThatFit(limit, openFiles(), peers)
  if (fitting >= clientsMax) return clientsMax
  log.warn('clients.lowered', { maxClients: fitting, asked: clientsMax, openFilesMax: limit, remedy: 'ulimit -n' })
  return fitting
}

function listenReason(address: HostPort, error: NodeJS.ErrnoException): string {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: 'the port is taken by another process',
    EACCES: 'this user may not listen there',
    EADDRNOTAVAIL: 'this machine has no such address; --listen-redis can name another to listen at',
    ENOTFOUND: 'there is no such host; --listen-redis can name another to listen at',
  }
  return `cannot listen for clients at ${formatAddress(address)}: ${reasons[error.code ?? ''] ?? error.message}`
}
