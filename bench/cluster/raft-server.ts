/** One measured server, as a process of its own: a state machine that only counts, and a load when asked for. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { credentials, Server, ServerCredentials } from '@grpc/grpc-js'
import { grpcTransport } from '@balsa-raft/grpc'
import { Raft } from 'balsa-raft'
import type { Transport } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { bytes, numbers } from './codecs.js'
import { countingMachine } from './counting-machine.js'
import { Recorder, runLoad } from './load.js'
import type { FromServer, ServerWords, ToServer, Usage } from './messages.js'

const LOOP_DELAY_RESOLUTION_MS = 10

const { id, dir, bootstrap, transport, certificates, thread, snapshotBytes, taken } = JSON.parse(
  process.argv[2] ?? '',
) as ServerWords
let recorder = new Recorder()
let load = new AbortController()
const loopDelay = monitorEventLoopDelay({ resolution: LOOP_DELAY_RESOLUTION_MS })
loopDelay.enable()
let gcMilliseconds = 0
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) gcMilliseconds += entry.duration
}).observe({ entryTypes: ['gc'] })

const listen = bootstrap.find((server) => server.id === id)?.address ?? ''
const raft = await Raft.open({
  id,
  dir,
  bootstrap,
  transport: await transportOf(listen),
  stateMachine: countingMachine(snapshotBytes),
  logger: false,
  codec: bytes,
  resultCodec: numbers,
  clients: transport !== 'grpc',
  thread,
  snapshots: taken === 'automatic' ? {} : false,
})
// One that must be given a snapshot is ready when it has it, and is looked at before.
if (raft.status.lastIndex <= 1) await raft.ready()
say({ type: 'ready' })

// The parent is gone: nobody will say close.
process.once('disconnect', () => process.exit(1))
process.on('message', (message: ToServer) => {
  switch (message.type) {
    case 'load':
      recorder = new Recorder()
      load = new AbortController()
      runLoad(raft, message.load, recorder, load.signal).then(say, (error: unknown) =>
        say({ type: 'failed', message: String(error) }),
      )
      return
    case 'latencies':
      say(recorder.summary())
      return
    case 'usage':
      say(usage())
      if (message.restart) loopDelay.reset()
      return
    case 'endLoad':
      load.abort()
      return
    case 'snapshot':
      raft.snapshot().then(
        ({ index }) => say({ type: 'snapshotTaken', index }),
        (error: unknown) => say({ type: 'failed', message: String(error) }),
      )
      return
    case 'close':
      void raft.close().then(() => process.exit(0))
      return
  }
})

function usage(): Usage {
  const { role, appliedIndex, store } = raft.status
  const { user, system } = process.cpuUsage()
  return {
    type: 'usage',
    role,
    appliedIndex,
    store,
    cpuMicroseconds: user + system,
    gcMilliseconds,
    // The histogram holds the distance of samples that are asked for at each resolution.
    loopDelayP99: Math.max(0, loopDelay.percentile(99) / 1e6 - LOOP_DELAY_RESOLUTION_MS),
    rssBytes: process.memoryUsage.rss(),
    mappedBytes: mappedBytes(),
  }
}

/** As an application has it: its own server, bound by itself. */
async function transportOf(address: string): Promise<Transport> {
  if (transport === 'grpc') return overGrpc(address)
  const read = (name: string): string => readFileSync(join(certificates, name), 'utf8')
  const tls = () => ({ cert: read('cert'), key: read('key'), ca: read('ca'), san: 'DNS:{id}.bench' })
  return tcp({ listen: address, ...(transport === 'tls' && { tls }) })
}

async function overGrpc(address: string): Promise<Transport> {
  const server = new Server()
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    )
  })
  return grpcTransport({ server, address, credentials: credentials.createInsecure() })
}

function mappedBytes(): number {
  if (process.platform !== 'linux') return 0
  const [, kiB] = /^RssFile:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return Number(kiB) * 1024
}

function say(message: FromServer): void {
  process.send?.(message)
}
