/** What a stranger's project looks like to `npm run pack:check`: the texts of its files. */

/** Uses the public API as an application does; only ever type-checked. */
export const typedConsumer = `import { defineStateMachine, msgpackCodec, Raft, RaftError } from 'balsa-raft'
import type { Entry, LogIndex, Outcome, RaftOptions, Status, WaitOptions } from 'balsa-raft'
import { RaftClient } from 'balsa-raft/client'
import { RaftCore } from 'balsa-raft/core'
import { memoryStore, nativeStore } from 'balsa-raft/storage'
import type { StoreFactory } from 'balsa-raft/storage'
import { assertDeterministic, logStoreConformance, stateMachineConformance, StateMachineFault } from 'balsa-raft/testing'
import type { ConformanceCase, DeterminismReport } from 'balsa-raft/testing'
import { commonFeatures, decodeFrame, encodeMessage, FEATURES, frameMemory, identityRefusal } from 'balsa-raft/transport'
import type { Introduction, Request, Transport, TransportHandlers } from 'balsa-raft/transport'
import { MemoryNetwork } from 'balsa-raft/transport/memory'
import { Stage } from 'balsa-raft/testing/stage'
import { verify } from 'balsa-raft/tools'
import type { Verification } from 'balsa-raft/tools'
import { healthHandler, prometheusText } from 'balsa-raft/observe'
import { observeMetrics, traceCalls } from 'balsa-raft/otel'
import { tcp } from 'balsa-raft/transport/tcp'

interface Add {
  readonly add: number
}
let total = 0
export const options: RaftOptions<Add, number, 'total', number> = {
  id: 's1',
  dir: './data',
  bootstrap: [{ id: 's1', address: '127.0.0.1:7601' }],
  transport: tcp({ listen: '127.0.0.1:7601' }),
  codec: msgpackCodec<Add>(),
  stateMachine: defineStateMachine<Add, number, 'total', number>({
    apply: (batch: readonly Entry<Add>[]) => batch.map(({ command }) => (total += command.add)),
    query: () => total,
  }),
}
export const stores: readonly StoreFactory[] = [nativeStore(), memoryStore()]
export const others = [RaftCore, MemoryNetwork, observeMetrics, Stage, traceCalls]
export const verified: (dir: string) => Promise<Verification> = verify
export async function ask(): Promise<number> {
  const endpoints = ['127.0.0.1:7601']
  const client = await RaftClient.connect<Add, number, 'total', number>({ endpoints, codec: msgpackCodec<Add>() })
  const sum: number = await client.submit({ add: 1 }, { timeoutMs: 1000 })
  // @ts-expect-error a query of another shape
  const refused = client.query('sum')
  return sum + (await client.query('total')) + (await refused)
}
export const transports: readonly Transport[] = [tcp({ listen: '127.0.0.1:0' })]
export const isRead = (message: Request, handlers: TransportHandlers, self: Introduction): boolean =>
  decodeFrame(frameMemory(encodeMessage(message, commonFeatures(FEATURES)))).type === message.type &&
  handlers.admit(self) instanceof Promise &&
  identityRefusal(self, self, self.serverId, null) === null
export async function run(wait: WaitOptions): Promise<readonly [number, number, LogIndex, Outcome | null]> {
  const raft = await Raft.open(options)
  const status: Status = raft.status
  const watchers = [healthHandler(raft), prometheusText(raft.metrics()), raft.watch({ events: ['leader'] })]
  if (watchers.length !== 3 || !raft.health.isReady) throw new Error(raft.health.reason ?? '')
  const sum: number = await raft.apply({ add: 1 }, wait)
  // @ts-expect-error a command of another shape
  const refused = raft.apply({ add: 'one' })
  const outcome = await refused.then(() => null, (error: unknown) => (error instanceof RaftError ? error.outcome : null))
  return [sum, await raft.read('total'), status.commitIndex, outcome]
}
export function cases(): readonly ConformanceCase[] {
  const factory = memoryStore()
  return [
    ...stateMachineConformance({
      make: () => options.stateMachine,
      commands: [{ add: 1 }],
      codec: msgpackCodec<Add>(),
      equal: (a: number, b: number) => a === b,
    }),
    ...logStoreConformance({
      create: (dir) => factory.create(dir),
      makeDir: async () => 'a',
      removeDir: async () => {},
      failNextWrite: (dir) => factory.disk(dir).failTicket(1, 'lost'),
      crash: null,
    }),
  ]
}
export async function test(): Promise<DeterminismReport | number> {
  try {
    return await assertDeterministic(() => options.stateMachine, [{ add: 1 }], { seed: 1, stateOf: () => total })
  } catch (error) {
    // @ts-expect-error a command of another shape
    await assertDeterministic(() => options.stateMachine, [{ add: 'one' }])
    return error instanceof StateMachineFault ? error.index : 0
  }
}
`

/** The settings under which the types must hold, and the endings of the files that are checked under them. */
export const typeSettings = {
  // A CommonJS file may not require an ES module under node16: TypeScript models the Node of that time.
  node16: { module: 'node16', moduleResolution: 'node16', endings: ['mts'] },
  nodenext: { module: 'nodenext', moduleResolution: 'nodenext', endings: ['mts', 'cts'] },
  bundler: { module: 'esnext', moduleResolution: 'bundler', endings: ['mts'] },
}

/** Loads every door by `import` and by `require`, and finds the same things behind them. */
export const esmConsumer = (doors) => `import { createRequire } from 'node:module'
const require = createRequire(import.meta.url)
for (const door of ${JSON.stringify(doors)}) {
  const imported = await import(door)
  const required = require(door)
  const names = Object.keys(imported)
  if (names.length === 0 || names.some((name) => imported[name] !== required[name])) throw new Error(door)
}
console.log('same')
`

/** The same from a file in CommonJS, where \`require\` is what Node gives it. */
export const cjsConsumer = (doors) => `for (const door of ${JSON.stringify(doors)}) {
  if (Object.keys(require(door)).length === 0) throw new Error(door)
}
const { Raft, RaftError } = require('balsa-raft')
console.log(typeof Raft.open, new RaftError('ERR_RAFT_CLOSED', 'x', { outcome: 'not-applied' }).code)
`

/**
 * A process that is no server: of ours no addon may be loaded, there or not. What is tried is counted, for what fails to
 * load may be done without. Nobody listens where it dials.
 */
export const clientConsumer = `const tried = []
process.dlopen = (_, path) => {
  tried.push(path)
  throw new Error('switched off')
}
const { msgpackCodec, RaftClient } = await import('balsa-raft/client')
const endpoints = ['127.0.0.1:1']
const failed = await RaftClient.connect({ endpoints, codec: msgpackCodec(), timeoutMs: 200, logger: false }).then(
  () => 'connected',
  (error) => error.code,
)
// That of msgpackr is not ours; where npm has it in its cache it is installed.
console.log(failed, tried.filter((path) => /@balsa-raft|balsa-native/.test(path)).length)
`

/** Opens one server, which must fail for want of the addon. */
export const openConsumer = `import { defineStateMachine, msgpackCodec, Raft } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
const address = '127.0.0.1:7601'
try {
  await Raft.open({
    id: 's1', dir: './data', bootstrap: [{ id: 's1', address }], transport: tcp({ listen: address }),
    codec: msgpackCodec(), stateMachine: defineStateMachine({ apply: (batch) => batch.map(() => null) }),
  })
  console.log('opened')
} catch (error) {
  console.log(error.code, error.message)
}
process.exit()
`

/**
 * A small service: on each store one server, three commands, a client, and the same again after a restart. It ends by
 * itself, once nothing is left open. Takes two addresses.
 */
export const serviceConsumer = `import { defineStateMachine, fileStore, msgpackCodec, nativeStore, Raft } from 'balsa-raft'
import { RaftClient } from 'balsa-raft/client'
import { tcp } from 'balsa-raft/transport/tcp'

const codec = msgpackCodec()

async function opened(address, storage, dir) {
  let total = 0
  const stateMachine = defineStateMachine({
    apply: (batch) => batch.map(({ command }) => (total += command)),
    query: () => total,
  })
  const raft = await Raft.open({
    ...{ id: 's1', dir, bootstrap: [{ id: 's1', address }], clients: true, storage, codec, stateMachine },
    ...{ transport: tcp({ listen: address }), logger: false },
  })
  await raft.ready()
  return raft
}

async function serve(address, storage, dir) {
  const raft = await opened(address, storage, dir)
  for (const command of [1, 2, 3]) await raft.apply(command)
  const client = await RaftClient.connect({ endpoints: [address], codec, logger: false })
  const asked = await client.query()
  await client.close()
  await raft.close()
  const again = await opened(address, storage, dir)
  console.log(asked, await again.read())
  await again.close()
}

async function main([first, second]) {
  await serve(first, nativeStore(), 'data/native')
  await serve(second, fileStore(), 'data/file')
}

main(process.argv.slice(-2)).catch((error) => {
  console.log(error.code ?? '', error.message)
  process.exitCode = 1
})
`

/** What it says when all went well. */
export const SERVED = '6 6\n6 6'
