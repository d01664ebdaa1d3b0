/** Three servers over a network in memory, on the real clock; each keeps a list of the commands that it was given. */

import { msgpackCodec, Raft } from 'balsa-raft'
import type { RaftOptions } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'

export type ListRaft = Raft<unknown, unknown, null, readonly unknown[]>
type Options = Partial<RaftOptions<unknown, unknown, null, readonly unknown[]>>

export const IDS = ['s1', 's2', 's3']
export const addressOf = (id: string): string => `${id}:1`

export class ListSite {
  readonly network = new MemoryNetwork({ clock: systemClock() })
  readonly servers = new Map<string, ListRaft>()
  readonly lists = new Map<string, unknown[]>()
  readonly #storage = memoryStore()
  readonly #extra: Options
  readonly #validate: (command: unknown) => void

  constructor(extra: Options = {}, validate: (command: unknown) => void = () => {}) {
    this.#extra = extra
    this.#validate = validate
  }

  async openAll(): Promise<void> {
    await Promise.all(IDS.map((id) => this.open(id)))
    await Promise.all([...this.servers.values()].map((server) => server.ready({ timeoutMs: 20_000 })))
  }

  async open(id: string): Promise<void> {
    const list: unknown[] = []
    const server: ListRaft = await Raft.open<unknown, unknown, null, readonly unknown[]>({
      ...{ id, dir: `/${id}`, bootstrap: IDS.map((one) => ({ id: one, address: addressOf(one) })) },
      ...{ storage: this.#storage, transport: this.network.transport(addressOf(id)), codec: msgpackCodec() },
      stateMachine: {
        validate: this.#validate,
        apply: (batch) =>
          batch.map(({ command }) => {
            list.push(command)
            return command
          }),
        query: () => [...list],
      },
      ...this.#extra,
    })
    this.servers.set(id, server)
    this.lists.set(id, list)
  }

  get leader(): ListRaft {
    const leader = [...this.servers.values()].find(({ status }) => status.role === 'leader')
    if (leader === undefined) throw new Error('nobody leads')
    return leader
  }

  get followers(): readonly [ListRaft, ListRaft] {
    const [first, second] = [...this.servers.values()].filter(({ status }) => status.role !== 'leader')
    if (first === undefined || second === undefined) throw new Error('there are no two followers')
    return [first, second]
  }

  /** Between that server and all others. */
  part(raft: ListRaft): void {
    for (const id of IDS) {
      if (id !== raft.status.id) this.network.partition(addressOf(id), addressOf(raft.status.id))
    }
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.servers.values()].map((server) => server.close({ transferLeadership: false })))
  }
}
