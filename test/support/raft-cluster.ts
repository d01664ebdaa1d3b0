/**
 * Servers of one cluster in one process, over any store and transport, with a state machine that shows everything it
 * did.
 */

import { msgpackCodec, Raft, RaftError } from 'balsa-raft'
import type {
  Clock,
  Entry,
  Logger,
  RaftErrorCode,
  RaftOptions,
  StateMachine,
  StoreFactory,
  Transport,
} from 'balsa-raft'
import { until } from './until.js'

/** Sums what is added; `fail` throws, `wait` answers when the test lets it. */
export type Command = { readonly add: number } | { readonly fail: string } | { readonly wait: Promise<void> }
export type Answer = { readonly total: number; readonly count: number }

export class SumMachine implements StateMachine<Command, number, 'total', Answer> {
  readonly applied: Entry<Command>[] = []
  /** Set by a test: every batch waits for it. */
  gate: Promise<void> | null = null
  #total = 0

  apply(batch: readonly Entry<Command>[]): readonly number[] | Promise<readonly number[]> {
    const gate = this.gate
    if (gate === null) return this.#sum(batch)
    return gate.then(() => this.#sum(batch))
  }

  query(): Answer {
    return { total: this.#total, count: this.applied.length }
  }

  #sum(batch: readonly Entry<Command>[]): readonly number[] {
    return batch.map((entry) => {
      if ('fail' in entry.command) throw new Error(entry.command.fail)
      this.applied.push(entry)
      if ('add' in entry.command) this.#total += entry.command.add
      return this.#total
    })
  }
}

export type TestRaft = Raft<Command, number, 'total', Answer>

export interface Site {
  readonly id: string
  readonly dir: string
  readonly address: string
}

export interface TestClusterOptions {
  readonly sites: readonly Site[]
  readonly storage: StoreFactory
  readonly transportOf: (site: Site) => Transport
  readonly clock?: Clock
  readonly logger?: Logger
  readonly extra?: Partial<RaftOptions<Command, number, 'total', Answer>>
}

const ENDED_BY_ELECTIONS: ReadonlySet<RaftErrorCode> = new Set([
  'ERR_RAFT_NOT_LEADER',
  'ERR_RAFT_NO_LEADER',
  'ERR_RAFT_LEADERSHIP_LOST',
])

export class TestCluster {
  readonly servers = new Map<string, TestRaft>()
  readonly machines = new Map<string, SumMachine>()
  readonly #options: TestClusterOptions

  constructor(options: TestClusterOptions) {
    this.#options = options
  }

  async openAll(): Promise<void> {
    await Promise.all(this.#options.sites.map(({ id }) => this.open(id)))
    await Promise.all([...this.servers.values()].map((server) => server.ready({ timeoutMs: 20_000 })))
  }

  async open(id: string, more: Partial<RaftOptions<Command, number, 'total', Answer>> = {}): Promise<TestRaft> {
    const { sites, storage, transportOf, extra, clock, logger } = this.#options
    const site = sites.find((each) => each.id === id)
    if (site === undefined) throw new Error(`no site ${id}`)
    const machine = new SumMachine()
    const server = await Raft.open({
      id,
      dir: site.dir,
      bootstrap: sites.map(({ id: siteId, address }) => ({ id: siteId, address })),
      transport: transportOf(site),
      storage,
      stateMachine: machine,
      logger: false,
      codec: msgpackCodec<Command>(),
      ...(clock === undefined ? {} : { clock }),
      ...(logger === undefined ? {} : { logger }),
      ...extra,
      ...more,
    })
    this.servers.set(id, server)
    this.machines.set(id, machine)
    return server
  }

  server(id: string): TestRaft {
    const server = this.servers.get(id)
    if (server === undefined) throw new Error(`server ${id} is not open`)
    return server
  }

  machine(id: string): SumMachine {
    const machine = this.machines.get(id)
    if (machine === undefined) throw new Error(`server ${id} was never opened`)
    return machine
  }

  /** Waits until one of the open servers leads, and is ready. */
  async leader(): Promise<TestRaft> {
    let leader: TestRaft | undefined
    await until('a server leads and is ready', async () => {
      leader = [...this.servers.values()].find(({ status }) => status.role === 'leader')
      await leader?.ready({ timeoutMs: 20_000 }).catch(() => {})
      return leader?.status.role === 'leader'
    })
    if (leader === undefined) throw new Error('no server leads')
    return leader
  }

  /**
   * What the leader answers. On a real clock there may be an election at any time: what has failed because of one is
   * asked of the next leader, and so must be something that may be asked twice. Whether there was one the server itself
   * says: where it still leads the term in which it was asked, the failure is its own.
   */
  async askLeader<Value>(ask: (leader: TestRaft) => Promise<Value>): Promise<Value> {
    let answer: { readonly value: Value } | undefined
    const elections: string[] = []
    const answered = until('a leader answers that leads on until it has', async () => {
      const leader = await this.leader()
      const { term } = leader.status
      try {
        answer = { value: await ask(leader) }
      } catch (error) {
        const { status } = leader
        const hasLostIt = status.role !== 'leader' || status.term > term
        if (!hasLostIt || !(error instanceof RaftError) || !ENDED_BY_ELECTIONS.has(error.code)) throw error
        elections.push(`${status.id} no longer leads term ${term}: ${error.message}`)
      }
      return answer !== undefined
    })
    await answered.catch((error: unknown) => {
      throw new Error([String(error), ...elections].join('\n'), { cause: error })
    })
    if (answer === undefined) throw new Error('no leader has answered')
    return answer.value
  }

  followers(leader: TestRaft): readonly TestRaft[] {
    return [...this.servers.values()].filter((server) => server !== leader)
  }

  async close(id: string): Promise<void> {
    await this.server(id).close()
    this.servers.delete(id)
  }

  /** Of those that leave together nobody hands over to another. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.servers.values()].map((server) => server.close({ transferLeadership: false })))
    this.servers.clear()
  }
}
