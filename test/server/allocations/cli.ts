/**
 * A process that commits commands and counts the bytes that this took from the heap, for `allocations.test.ts`:
 *
 * node --expose-gc --no-opt --min-semi-space-size=256 --max-semi-space-size=256 cli.js SERVERS COMMANDS ROUNDS
 *
 * Some servers, all in memory, none of whose timers falls into the count. Young objects have so much room that nothing
 * is collected while it counts: what the heap has grown by is then all that was allocated. Without the optimizing
 * compiler, so that the figure does not depend on when it comes and on what it finds it can do without. Prints one line
 * of JSON.
 */

import { PerformanceObserver } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import { Raft } from 'balsa-raft'
import type { Codec, StateMachine } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { until } from '../../support/until.js'

type CountingRaft = Raft<Uint8Array, number>

const WARM_UP_ROUNDS = 10
const COMMAND_BYTES = 8
/**
 * Much longer than this process lives: after the first election, which does not wait for it, no timer sends anything.
 */
const TIMING = { heartbeatMs: 60_000, electionTimeoutMs: 600_000 }

const [count = 0, commands = 0, rounds = 0] = process.argv.slice(2).map(Number)
let collections = 0
const observer = new PerformanceObserver((list) => (collections += list.getEntries().length))
const { gc } = globalThis
if (gc === undefined) throw new Error('needs --expose-gc')

const servers = await open()
const leads = (server: CountingRaft): boolean => server.status.role === 'leader'
await until('a server leads', () => servers.some(leads))
const leader = servers.find(leads)
if (leader === undefined) throw new Error('no server leads')
await leader.ready()
const one = await bytesPerCommand(leader, singly)
const list = await bytesPerCommand(leader, asList)
process.stdout.write(`${JSON.stringify({ one, list, collections })}\n`)
await Promise.all(servers.map((server) => server.close({ transferLeadership: false })))

async function open(): Promise<readonly CountingRaft[]> {
  const network = new MemoryNetwork({ clock: systemClock() })
  const storage = memoryStore()
  const bootstrap = Array.from({ length: count }, (_, at) => ({ id: `s${at}`, address: `s${at}:1` }))
  const codec: Codec<Uint8Array> = { encode: (command) => command, decode: (command) => command }
  const stateMachine: StateMachine<Uint8Array, number> = { apply: (batch) => new Array<number>(batch.length).fill(0) }
  const opening = bootstrap.map(({ id, address }) =>
    Raft.open({
      id,
      dir: `/${id}`,
      bootstrap,
      transport: network.transport(address),
      storage,
      stateMachine,
      logger: false,
      codec,
      ...TIMING,
    }),
  )
  return Promise.all(opening)
}

/** As many callers as there are commands, each with one. */
async function singly(raft: CountingRaft, command: Uint8Array): Promise<void> {
  const answers: Promise<number>[] = []
  for (let left = commands; left > 0; left -= 1) answers.push(raft.apply(command))
  for (const answer of answers) await answer
}

/** One caller with all commands. */
async function asList(raft: CountingRaft, command: Uint8Array): Promise<void> {
  await raft.applyAll(new Array<Uint8Array>(commands).fill(command))
}

async function bytesPerCommand(
  raft: CountingRaft,
  commit: (raft: CountingRaft, command: Uint8Array) => Promise<void>,
): Promise<number> {
  const command = new Uint8Array(COMMAND_BYTES)
  for (let left = WARM_UP_ROUNDS; left > 0; left -= 1) await commit(raft, command)
  await raft.barrier()
  gc?.()
  observer.observe({ entryTypes: ['gc'] })
  const before = getHeapStatistics().used_heap_size
  for (let left = rounds; left > 0; left -= 1) await commit(raft, command)
  const grown = getHeapStatistics().used_heap_size - before
  // What was observed is told in a task of its own.
  await new Promise((resolve) => setTimeout(resolve, 0))
  observer.disconnect()
  return grown / (commands * rounds)
}
