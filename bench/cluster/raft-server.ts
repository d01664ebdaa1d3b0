/** One measured server, as a process of its own: a state machine that only counts, and a load when asked for. */

import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { Raft } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { bytes, numbers } from './codecs.js'
import { countingMachine } from './counting-machine.js'
import { Recorder, runLoad } from './load.js'
import type { FromServer, ToServer, Usage } from './messages.js'

const LOOP_DELAY_RESOLUTION_MS = 10

/** `snapshotBytes`: what its snapshots have; 0 for none. They are taken when asked for, or `automatic`. */
const [id = '', dir = '', servers = '', snapshotBytes = '0', taken = 'asked', thread = 'main'] = process.argv.slice(2)
const bootstrap = servers.split(',').map((server) => {
  const [serverId = '', address = ''] = server.split('=')
  return { id: serverId, address }
})

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
  transport: tcp({ listen }),
  stateMachine: countingMachine(Number(snapshotBytes)),
  logger: false,
  codec: bytes,
  resultCodec: numbers,
  clients: true,
  thread: thread === 'worker' ? 'worker' : 'main',
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

function mappedBytes(): number {
  if (process.platform !== 'linux') return 0
  const [, kiB] = /^RssFile:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return Number(kiB) * 1024
}

function say(message: FromServer): void {
  process.send?.(message)
}
