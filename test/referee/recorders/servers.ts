/**
 * The trace of servers, on a stage or in a simulated world: an observer as both have them. A server whose disk was
 * wiped or rolled back goes by another name from then on, since it is another one to everything that Raft promises.
 */

import type { Input, RaftCore, Ready, Request, Response } from '#balsa/core/index.js'
import type { SnapshotMeta, StoreOperation } from '#balsa/types.js'
import type { TraceEvent, Voters } from '../trace-format.js'
import { bootOf, INTERNAL, messageOf, turnOf, writeOf } from './convert.js'
import type { HashesOf } from './convert.js'

/** What is looked at of a server; one of these stays the same object. */
export interface WatchedServer {
  readonly id: string
  readonly core: RaftCore | null
}

interface Watch {
  name: string
  wipes: number
  isUp: boolean
  isHalted: boolean
  applied: number
  /** Of the entries that the state machine was handed. */
  readonly terms: Map<number, number>
  /** The write of the core that the store has not been given yet. */
  decided: number | null
  /** Writes of the core by the ticket of the store. */
  readonly writes: Map<number, number>
}

export class ServerRecorder {
  readonly #tell: (event: TraceEvent) => void
  readonly #hashesOf: HashesOf
  readonly #servers = new Map<string, Watch>()
  readonly #links = new Map<string, string>()

  /** `hashesOf` calls a command what `applied` calls it, and everything else INTERNAL. */
  constructor({ voters, outgoing }: Voters, hashesOf: HashesOf, tell: (event: TraceEvent) => void) {
    this.#tell = tell
    this.#hashesOf = hashesOf
    tell({ event: 'cluster', order: 'global', voters, outgoing, preVote: true })
  }

  booted(server: WatchedServer): void {
    const watch = this.#watch(server.id)
    if (server.core === null) return
    Object.assign(watch, { isUp: true, isHalted: false, applied: 0, decided: null })
    watch.writes.clear()
    watch.terms.clear()
    this.#tell(bootOf(watch.name, server.core))
  }

  stepped(server: WatchedServer, _core: RaftCore, input: Input): void {
    const watch = this.#watch(server.id)
    if (watch.isHalted) return
    if (input.type === 'request' || input.type === 'response') {
      const message = messageOf(input.message, this.#hashesOf)
      const key = `${input.from}>${server.id} ${JSON.stringify(message)}`
      const from = this.#links.get(key) ?? this.#watch(input.from).name
      this.#tell({ event: 'receive', from, to: watch.name, message })
    } else if (input.type === 'applied') this.applied(server, [], input.index)
    else if (input.type === 'readIndex') this.#tell({ event: 'read', server: watch.name, read: input.id })
    else if (input.type === 'halt') {
      watch.isHalted = true
      this.#tell({ event: 'halt', server: watch.name })
    }
  }

  decided(server: WatchedServer, core: RaftCore, ready: Ready): void {
    const watch = this.#watch(server.id)
    if (watch.isHalted) return
    if (ready.ticket !== null) {
      watch.decided = ready.ticket.ticket
      this.#tell(writeOf(watch.name, ready.ticket, this.#hashesOf))
    }
    this.#tell(turnOf(watch.name, core))
    // A snapshot may be installed over them before they are applied.
    const { first, last } = ready.apply ?? { first: 1, last: 0 }
    for (let index = first; index <= last; index += 1) watch.terms.set(index, core.log.termAt(index as never) ?? 0)
    for (const read of ready.reads) {
      const index = read.status === 'confirmed' ? read.index : null
      this.#tell({ event: 'answer', server: watch.name, read: read.id, index })
    }
  }

  sent(server: WatchedServer, to: string, message: Request | Response): void {
    const from = this.#watch(server.id).name
    const said = messageOf(message, this.#hashesOf)
    // Who said it, should it arrive after a wipe.
    this.#links.set(`${server.id}>${to} ${JSON.stringify(said)}`, from)
    this.#tell({ event: 'send', from, to: this.#watch(to).name, message: said })
  }

  /** The store counts more than the core's writes: facts of the shell have tickets of their own. */
  submitted(server: WatchedServer, ticket: number, operations: readonly StoreOperation[]): void {
    const watch = this.#watch(server.id)
    const isOfCore = operations.some(({ type }) => type !== 'put' && type !== 'delete')
    if (watch.decided === null || !isOfCore) return
    watch.writes.set(ticket, watch.decided)
    watch.decided = null
  }

  durable(server: WatchedServer, ticket: number): void {
    const watch = this.#watch(server.id)
    let last = 0
    for (const [known, write] of watch.writes) {
      if (known > ticket) continue
      last = Math.max(last, write)
      watch.writes.delete(known)
    }
    if (last > 0) this.#tell({ event: 'persisted', server: watch.name, write: last })
  }

  /** The entries between the commands were none, and so were those of which only the core is told. */
  applied(server: WatchedServer, commands: readonly { index: number; term: number; id: number }[], last: number): void {
    const watch = this.#watch(server.id)
    const byIndex = new Map(commands.map((command) => [command.index, command]))
    for (let index = watch.applied + 1; index <= last; index += 1) {
      const command = byIndex.get(index)
      const term = command?.term ?? watch.terms.get(index) ?? 0
      watch.terms.delete(index)
      const hashes = [command === undefined || command.id === 0 ? INTERNAL : String(command.id)]
      this.#tell({ event: 'apply', server: watch.name, entries: { first: index, term, hashes } })
    }
    watch.applied = Math.max(watch.applied, last)
  }

  restored(server: WatchedServer, { index }: SnapshotMeta): void {
    const watch = this.#watch(server.id)
    watch.applied = index
    this.#tell({ event: 'restore', server: watch.name, index })
  }

  crashed(server: WatchedServer): void {
    const watch = this.#watch(server.id)
    if (watch.isUp) this.#tell({ event: 'crash', server: watch.name })
    watch.isUp = false
  }

  forgot(server: WatchedServer): void {
    const watch = this.#watch(server.id)
    watch.wipes += 1
    watch.name = `${server.id}#${watch.wipes}`
  }

  #watch(id: string): Watch {
    const known = this.#servers.get(id)
    if (known !== undefined) return known
    const fresh = {
      isUp: false,
      isHalted: false,
      applied: 0,
      decided: null,
      terms: new Map<number, number>(),
      writes: new Map<number, number>(),
    }
    const watch: Watch = { name: id, wipes: 0, ...fresh }
    this.#servers.set(id, watch)
    return watch
  }
}
