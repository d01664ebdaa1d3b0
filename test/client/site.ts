/** Three servers over TCP in one process that take clients, with a state machine that keeps a list. */

import { msgpackCodec, Raft } from 'balsa-raft'
import type { RaftOptions } from 'balsa-raft'
import { RaftClient } from 'balsa-raft/client'
import type { ClientOptions } from 'balsa-raft/client'
import { memoryStore } from 'balsa-raft/storage'
import { tcp } from 'balsa-raft/transport/tcp'
import type { TcpOptions, TcpTransport } from 'balsa-raft/transport/tcp'
import { freeAddresses } from '../../support/free-addresses.js'
import { until } from '../support/until.js'

export type ListRaft = Raft<unknown, unknown, unknown, unknown>
export type ListClient = RaftClient<unknown>
type Options = Partial<RaftOptions<unknown, unknown, unknown, unknown>>

export class Site {
  readonly servers = new Map<string, ListRaft>()
  readonly lists = new Map<string, unknown[]>()
  readonly transports = new Map<string, TcpTransport>()
  addresses: ReadonlyMap<string, string> = new Map()
  readonly #storage = memoryStore()
  readonly #clients: ListClient[] = []
  readonly #extra: Options
  readonly #tcp: (id: string) => Partial<TcpOptions>

  /** `ofTcp`: what the transport of that server is given besides. */
  constructor(extra: Options = {}, ofTcp: (id: string) => Partial<TcpOptions> = () => ({})) {
    this.#extra = extra
    this.#tcp = ofTcp
  }

  async openAll(): Promise<this> {
    const addresses = await freeAddresses(3)
    this.addresses = new Map(addresses.map((address, at) => [`s${at + 1}`, address]))
    await Promise.all([...this.addresses.keys()].map((id) => this.open(id)))
    await Promise.all([...this.servers.values()].map((server) => server.ready({ timeoutMs: 20_000 })))
    return this
  }

  async open(id: string, more: Options = {}): Promise<ListRaft> {
    const list: unknown[] = []
    const transport = tcp({ listen: this.address(id), ...this.#tcp(id) })
    this.transports.set(id, transport)
    const server: ListRaft = await Raft.open<unknown, unknown, unknown, unknown>({
      // A busy machine is seldom a reason for an election.
      electionTimeoutMs: 3000,
      ...{ id, dir: `/${id}`, storage: this.#storage, clients: true, codec: msgpackCodec(), logger: false },
      bootstrap: [...this.addresses].map(([one, address]) => ({ id: one, address })),
      transport,
      stateMachine: {
        apply: (batch) => batch.map(({ command }) => (list.push(command), command)),
        query: (query) => answerOf(query, list),
      },
      ...this.#extra,
      ...more,
    })
    this.servers.set(id, server)
    this.lists.set(id, list)
    return server
  }

  get endpoints(): readonly string[] {
    return [...this.addresses.values()]
  }

  address(id: string): string {
    return this.addresses.get(id) ?? ''
  }

  get leader(): ListRaft {
    const leader = [...this.servers.values()].find(({ status }) => status.role === 'leader')
    if (leader === undefined) throw new Error('nobody leads')
    return leader
  }

  get follower(): ListRaft {
    const follower = [...this.servers.values()].find(({ status }) => status.role === 'follower')
    if (follower === undefined) throw new Error('there is no follower')
    return follower
  }

  async connect(more: Partial<ClientOptions<unknown>> = {}): Promise<ListClient> {
    const client = await RaftClient.connect<unknown>({
      ...{ endpoints: this.endpoints, codec: msgpackCodec(), logger: false, timeoutMs: 20_000 },
      ...more,
    })
    this.#clients.push(client)
    return client
  }

  /** To that server, whoever leads. */
  connectTo(id: string, more: Partial<ClientOptions<unknown>> = {}): Promise<ListClient> {
    return this.connect({ endpoints: [this.address(id)], prefer: 'any', ...more })
  }

  async close(id: string): Promise<void> {
    const server = this.servers.get(id)
    this.servers.delete(id)
    await server?.close({ transferLeadership: false })
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()))
    await Promise.all([...this.servers.keys()].map((id) => this.close(id)))
  }

  /** All that was applied, in its order, when every server has the same. */
  async applied(): Promise<readonly unknown[]> {
    const lists = [...this.servers.keys()].map((id) => this.lists.get(id) ?? [])
    await until('all have applied the same', () => new Set(lists.map(({ length }) => length)).size === 1)
    return lists[0] ?? []
  }
}

function answerOf(query: unknown, list: readonly unknown[]): unknown {
  if (query === 'count') return list.length
  if (query === 'later') return Promise.resolve('then')
  if (query === 'never') return new Promise(() => {})
  if (query === 'throw') throw new Error('no such list')
  if (query === 'long') return 'x'.repeat(2 ** 20 - 16)
  if (query === 'longer') return 'x'.repeat(2 ** 20)
  return [...list]
}
