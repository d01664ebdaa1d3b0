/**
 * `apps/kv` on the servers of a world: for each process that begins an empty data set and its state machine, and, once
 * the process is open, a `KvServer` on its Raft. Time, turns and sockets are the world's.
 */

import { nextTick } from 'node:process'
import { DataSet } from 'balsa-kv/data-set/data-set.js'
import { makeMember, type Member } from 'balsa-kv/cluster/members.js'
import { decodeEntry } from 'balsa-kv/replication/entry-codec.js'
import { KvStateMachine } from 'balsa-kv/replication/kv-state-machine.js'
import type { Reply } from 'balsa-kv/resp/reply.js'
import type { KvClock } from 'balsa-kv/server/clock.js'
import type { KvRaft } from 'balsa-kv/server/kv-raft.js'
import { KvServer } from 'balsa-kv/server/kv-server.js'
import { crc32c } from '#balsa/format/crc32c.js'
import type { ApplyContext, Entry, StateMachine } from '#balsa/machine/state-machine.js'
import type { HostingServer } from '#balsa/testing/simulator/doubles/hosted-machine.js'
import type { MachineUser, SimAnswer, SimCommand } from '#balsa/testing/simulator/doubles/sim-machine.js'
import type { SimProcess, SimRaft } from '#balsa/testing/simulator/doubles/sim-process.js'
import type { SimServer } from '#balsa/testing/simulator/doubles/sim-server.js'
import type { EventQueue } from '#balsa/testing/simulator/event-queue.js'
import type { SeededRandom } from '#balsa/testing/simulator/random.js'
import type { WorldObserver } from '#balsa/testing/simulator/world-observer.js'
import type { ServerView } from '#balsa/testing/observer.js'
import type { Connection } from './connection.js'
import type { KvPlan } from './kv-plan.js'
import type { ModelEntry } from './model.js'

/** Commands of the registers' clients, whom some faults bring along, are named from 1 on. */
const FIRST_ID = 2 ** 31
const PORT = 7001

/** Told of each entry that some server applies, before its effect is seen. */
export type OnCommitted = (index: number, time: number, entry: ModelEntry) => void

interface KvAnswer extends SimAnswer {
  readonly reply: Reply
}

interface Running {
  readonly process: SimProcess
  readonly data: DataSet
  readonly clock: KvClock
  server: KvServer | null
  readonly connections: Set<Connection>
}

export class KvHost implements WorldObserver {
  readonly members: readonly Member[]
  readonly #running = new Map<string, Running>()
  readonly #plan: KvPlan
  readonly #random: SeededRandom
  readonly #queue: () => EventQueue
  readonly #onCommitted: OnCommitted
  #nextId = FIRST_ID

  constructor(plan: KvPlan, random: SeededRandom, queue: () => EventQueue, onCommitted: OnCommitted) {
    this.#plan = plan
    this.#random = random
    this.#queue = queue
    this.#onCommitted = onCommitted
    this.members = Array.from({ length: plan.world.servers }, (_, ordinal) => {
      const at = (port: number) => ({ host: '127.0.0.1', port })
      return makeMember(`s${ordinal + 1}`, at(PORT + 100 + ordinal), at(PORT + ordinal))
    })
  }

  /** Null: no process is open there. */
  serverOf(id: string): KvServer | null {
    return this.#running.get(id)?.server ?? null
  }

  dataOf(id: string): DataSet | null {
    return this.#running.get(id)?.data ?? null
  }

  /** A client has come. False: nobody listens. */
  accept(id: string, connection: Connection): boolean {
    const running = this.#running.get(id)
    if (running === undefined || running.server === null || running.process.isPaused) return false
    running.connections.add(connection)
    running.server.accept(connection)
    return true
  }

  readonly machine = (
    server: HostingServer,
    process: () => SimProcess,
    user: MachineUser,
  ): StateMachine<SimCommand, KvAnswer, number, SimAnswer> => {
    const data = new DataSet()
    const clock = this.#clock(server, process)
    this.#pending.set(server.id, { data, clock })
    return new HostedKv(data, new KvStateMachine(data, clock), user, this.#onCommitted)
  }

  readonly #pending = new Map<string, { readonly data: DataSet; readonly clock: KvClock }>()

  booted({ id }: ServerView): void {
    const begun = this.#pending.get(id)
    const process = this.#processOf(id)
    if (begun === undefined || process === null || process.raft === null) return
    const running: Running = { process, ...begun, server: null, connections: new Set() }
    this.#running.set(id, running)
    running.server = this.#open(id, running, process.raft)
  }

  crashed({ id }: ServerView): void {
    const running = this.#running.get(id)
    this.#running.delete(id)
    for (const connection of running?.connections ?? []) connection.die()
  }

  /** To be set before the world begins. */
  servers: () => readonly SimServer[] = () => []

  #processOf(id: string): SimProcess | null {
    return this.servers().find((server) => server.id === id)?.process ?? null
  }

  #open(id: string, { data, clock }: Running, raft: SimRaft): KvServer {
    const self = this.members.find((member) => member.id === id)
    if (self === undefined) throw new Error(`no member is called ${id}`)
    const quiet = (): void => undefined
    return new KvServer({
      raft: this.#raft(raft),
      data,
      self,
      members: this.members,
      host: '127.0.0.1',
      port: 0,
      dir: '/simulated',
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      leaderWaitMs: this.#plan.leaderWaitMs,
      forwards: this.#plan.forwards,
      memoryMax: this.#plan.memoryMax,
      clientsMemoryMax: this.#plan.clientsMemoryMax,
      clock,
    })
  }

  #raft(raft: SimRaft): KvRaft {
    const commandOf = (inner: Uint8Array): SimCommand => ({ id: (this.#nextId += 1), key: 0, inner })
    return {
      applyAll: async (entries) => {
        const answers = await raft.applyAll(entries.map(commandOf))
        return answers.map((answer) => (answer as KvAnswer).reply)
      },
      propose: async (entry, options) => {
        const { index, term, result } = await raft.propose(commandOf(entry), options)
        return { index, term, result: (result as KvAnswer).reply }
      },
      query: async (_query, options) => {
        await raft.query(0, options)
        return null
      },
      readIndex: (options) => raft.readIndex(options),
      ready: (options) => raft.ready(options),
      // Its own commands are inside of those of this world: nobody here listens to what is applied.
      on: (event, listener) => raft.on(event, listener as Parameters<typeof raft.on>[1]),
      close: () => raft.close(),
      get status() {
        return raft.status
      },
      get entryTime() {
        return raft.entryTime
      },
      get closed() {
        return raft.closed
      },
    }
  }

  #clock(server: HostingServer, process: () => SimProcess): KvClock {
    const { lookMs, world } = this.#plan
    const random = this.#random.fork()
    let looks = 0
    let turnAt = 0
    const arrive = (callback: () => void): void => {
      process().arrive(() => {
        process().promised()
        callback()
      })
    }
    return {
      // Each look costs: what a turn does is bounded by looks, and cut short by them.
      now: () => server.clock.now() + (looks += 1) * lookMs,
      wallNow: () => server.clock.wallNow(),
      setTimer: (delayMs, callback) =>
        process().isAlive ? server.clock.setTimer(delayMs, () => arrive(callback)) : () => undefined,
      defer: (callback) => {
        if (!process().isAlive) return
        // In the order of asking, as in the check phase.
        turnAt = Math.max(turnAt, this.#queue().now + random.exponential(world.turnMs))
        this.#queue().call(turnAt, () => arrive(callback))
      },
      afterPromises: (callback) => {
        nextTick(() => {
          if (process().isAlive) callback()
        })
      },
    }
  }
}

/** The state machine of kv, seen by the world. */
class HostedKv implements StateMachine<SimCommand, KvAnswer, number, SimAnswer> {
  readonly #data: DataSet
  readonly #machine: KvStateMachine
  readonly #user: MachineUser
  readonly #onCommitted: OnCommitted

  constructor(data: DataSet, machine: KvStateMachine, user: MachineUser, onCommitted: OnCommitted) {
    this.#data = data
    this.#machine = machine
    this.#user = user
    this.#onCommitted = onCommitted
  }

  apply(
    batch: readonly Entry<SimCommand>[],
    context: ApplyContext,
  ): readonly KvAnswer[] | Promise<readonly KvAnswer[]> {
    this.#user.point('apply')
    return this.#user.slowly(() => this.#run(batch, context)) ?? this.#run(batch, context)
  }

  query(): SimAnswer {
    return { index: this.#data.index, value: 0 }
  }

  #run(batch: readonly Entry<SimCommand>[], context: ApplyContext): readonly KvAnswer[] | Promise<readonly KvAnswer[]> {
    const entries = batch.map(({ index, term, time, command }) => ({ index, term, time, command: command.inner }))
    for (const { index, time, command } of entries) {
      const content = decodeEntry(command)
      if (typeof content === 'string') throw new Error(`entry ${index} ${content}`)
      this.#onCommitted(index, time, content)
    }
    const replies = this.#machine.apply(entries, context)
    if (replies instanceof Promise) return replies.then((all) => this.#applied(batch, context, all))
    return this.#applied(batch, context, replies)
  }

  #applied(
    batch: readonly Entry<SimCommand>[],
    { appliedIndex }: ApplyContext,
    replies: readonly Reply[],
  ): readonly KvAnswer[] {
    checkSums(this.#data)
    const applied = batch.map(({ index, term, command }) => ({ index, term, id: command.id }))
    this.#user.applied(applied, appliedIndex, hashOf(this.#data))
    this.#user.point('applied')
    return batch.map(({ index }, at) => ({ index, value: 0, reply: replies[at] ?? null }))
  }
}

/** What a key takes beside its bytes, and with a deadline, for `maxmemory`. */
const ITEM_BYTES = 176
const DEADLINE_BYTES = 40

/** What the data set counts is what is there; of keys that are dead, and not removed yet, nothing is seen. */
function checkSums(data: DataSet): void {
  let [size, bytes, expiring] = [0, 0, 0]
  data.scan(0, Infinity, ({ key, value, deadline }) => {
    size += 1
    bytes += ITEM_BYTES + key.length + value.length
    if (value.length > data.valueBytesMax) throw new Error(`a value of ${value.length} bytes, over the longest`)
    if (deadline === 0) return
    bytes += DEADLINE_BYTES
    expiring += 1
  })
  const dead = data.size - size
  const isRight = dead === 0 ? data.bytes === bytes && data.expiring === expiring : data.expiring === expiring + dead
  const counted = `${data.size} keys, ${data.expiring} with a deadline, ${data.bytes} bytes`
  if (!isRight) throw new Error(`the data set counts ${counted}; there are ${size}, ${expiring} and ${bytes} alive`)
}

/** Of everything that follows from the entries, the order of SCAN and what counts for `maxmemory` included. */
export function hashOf(data: DataSet): number {
  const { time, size, expiring, bytes } = data
  let text = `${time} ${size} ${expiring} ${bytes}`
  data.scan(0, Infinity, ({ key, value, deadline, version }) => {
    text += `\n${key} ${value} ${deadline} ${version}`
  })
  return crc32c(Buffer.from(text, 'latin1'))
}
