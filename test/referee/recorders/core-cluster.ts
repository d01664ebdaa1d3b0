/**
 * The trace of a `CoreCluster`. It listens where the cluster's own checker does, and to the few calls beside; the cluster
 * does not know. To be called when the cluster has been made and before anything else is done with it: until then its
 * servers have only booted.
 */

import type { Input } from '#balsa/core/index.js'
import { CoreCluster } from '../../support/core-cluster.js'
import { entriesOf } from '../../support/fake-blocks.js'
import type { TraceEvent } from '../trace-format.js'
import { bootOf, messageOf, turnOf, writeOf } from './convert.js'
import type { HashesOf } from './convert.js'

export function recordCoreCluster(cluster: CoreCluster, tell: (event: TraceEvent) => void): void {
  const { voters, outgoing } = cluster.configuration
  tell({
    event: 'cluster',
    order: 'global',
    voters: voters.map(({ id }) => id),
    outgoing: outgoing?.map(({ id }) => id) ?? null,
    preVote: true,
  })
  for (const { id, up } of cluster.servers.values()) tell(bootOf(id, up))
  listenToChecker(cluster, tell)
  listenToInputs(cluster, tell)
  listenToDisks(cluster, tell)
}

/**
 * Calls `made` with every cluster that is made while `run` runs, before anything is done with it: for code that makes its
 * clusters itself. They come to be known in the last step of their making, when all servers are connected.
 */
export function withEachCoreCluster(run: () => void, made: (cluster: CoreCluster) => void): void {
  const { connectAll } = CoreCluster.prototype
  const known = new Set<CoreCluster>()
  CoreCluster.prototype.connectAll = function () {
    connectAll.call(this)
    if (known.has(this)) return
    known.add(this)
    made(this)
  }
  try {
    run()
  } finally {
    CoreCluster.prototype.connectAll = connectAll
  }
}

const hashesOf: HashesOf = (block) => entriesOf(block).map(({ payload }) => String(payload))

/** Tells what happens before the checker may find fault with it. */
function listenToChecker({ checker }: CoreCluster, tell: (event: TraceEvent) => void): void {
  checker.booted = before(checker.booted.bind(checker), ({ id, core }) => {
    if (core !== null) tell(bootOf(id, core))
  })
  checker.submitted = before(checker.submitted.bind(checker), ({ id }, ticket) => tell(writeOf(id, ticket, hashesOf)))
  checker.drained = before(checker.drained.bind(checker), ({ id, core, halted }) => {
    if (core !== null && !halted) tell(turnOf(id, core))
  })
  checker.sent = before(checker.sent.bind(checker), ({ id }, to, message) => {
    tell({ event: 'send', from: id, to, message: messageOf(message, hashesOf) })
  })
  checker.applied = before(checker.applied.bind(checker), ({ id }, index, { term, payload }) => {
    tell({ event: 'apply', server: id, entries: { first: index, term, hashes: [String(payload)] } })
  })
}

function listenToInputs(cluster: CoreCluster, tell: (event: TraceEvent) => void): void {
  const { step, drain } = cluster
  cluster.step = (id, input) => {
    const event = eventOf(id, input)
    if (event !== null && !cluster.server(id).halted) tell(event)
    step.call(cluster, id, input)
  }
  cluster.drain = (id) => {
    const ready = drain.call(cluster, id)
    if (cluster.server(id).halted) return ready
    for (const read of ready.reads) {
      tell({ event: 'answer', server: id, read: read.id, index: read.status === 'confirmed' ? read.index : null })
    }
    return ready
  }
  cluster.crash = before(cluster.crash.bind(cluster), (server) => tell({ event: 'crash', server }))
  cluster.failStore = before(cluster.failStore.bind(cluster), (server) => tell({ event: 'halt', server }))
}

/** A write is durable when it is on the disk, whether or not anybody has been told. */
function listenToDisks(cluster: CoreCluster, tell: (event: TraceEvent) => void): void {
  for (const { id, disk } of cluster.servers.values()) {
    const { write } = disk
    disk.write = (count) => {
      const known = disk.written
      const written = write.call(disk, count)
      if (written > known) tell({ event: 'persisted', server: id, write: written })
      return written
    }
  }
}

function eventOf(to: string, input: Input): TraceEvent | null {
  if (input.type === 'request' || input.type === 'response') {
    return { event: 'receive', from: input.from, to, message: messageOf(input.message, hashesOf) }
  }
  return input.type === 'readIndex' ? { event: 'read', server: to, read: input.id } : null
}

function before<Args extends readonly unknown[], Result>(
  original: (...args: Args) => Result,
  listen: (...args: Args) => void,
): (...args: Args) => Result {
  return (...args) => {
    listen(...args)
    return original(...args)
  }
}
